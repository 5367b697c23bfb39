"""Turns the server's refusals into exceptions that say what to do next."""

from __future__ import annotations

import json
from typing import Any

from arl._core.effects import Request, Response
from arl.errors import (
    APIError,
    AuthenticationError,
    ConflictError,
    InvalidRequest,
    NotFoundError,
    PermissionDenied,
)

VERBS = {"POST": "create", "GET": "get", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}
MAX_TEXT = 1000


def retry_after(response: Response) -> float | None:
    """How many seconds the server asks to wait, at most ten."""
    try:
        return min(10.0, max(0.0, float(response.headers["retry-after"])))
    except (KeyError, ValueError):
        return None


def refusal(request: Request, response: Response) -> APIError:
    """Is the exception for a response that is no success."""
    status, reason, message = read_status(response)
    if status == 401:
        return AuthenticationError(
            f"the server does not know who asks: {message}. Check the token or the client certificate of your "
            "kubeconfig; `kubectl auth whoami` shows what it makes of them",
            status=status,
            reason=reason,
        )
    if status == 403:
        return PermissionDenied(f"{message}. {_advice(request, message)}", status=status, reason=reason)
    kinds: dict[int, type[APIError]] = {
        400: InvalidRequest,
        404: NotFoundError,
        409: ConflictError,
        413: InvalidRequest,
        422: InvalidRequest,
    }
    text = f"{message} ({request.method} {request.path}: {status} {reason})"
    return kinds.get(status, APIError)(text, status=status, reason=reason)


def read_status(response: Response) -> tuple[int, str, str]:
    """Are the code, reason and message of a response, from Kubernetes' Status if it is one."""
    try:
        document: Any = json.loads(response.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    message = document.get("message") or response.body[:MAX_TEXT].decode(errors="replace").strip() or "no message"
    return response.status, str(document.get("reason") or "Unknown"), str(message)


def _advice(request: Request, message: str) -> str:
    """Is what to do about a request that is not permitted."""
    if "exceeded quota" in message:
        return "Delete what is not needed any more, or have the ResourceQuota raised"
    parts = request.path.split("/")
    verb = "watch" if "watch" in request.query else VERBS.get(request.method, request.method.lower())
    try:
        namespace, resource = parts[5], parts[6]
    except IndexError:
        return "Ask whoever runs the server for the permission"
    if verb == "get" and len(parts) == 7:
        verb = "list"
    return (
        f"Check with `kubectl auth can-i {verb} {resource}.arl.io --namespace {namespace}`; "
        f'a RoleBinding to the ClusterRole "arl-edit" in namespace "{namespace}" gives the permission'
    )
