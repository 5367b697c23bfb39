"""The requests for objects of the API: where they are, create, get, list, delete, patch.

All take a deadline, by the context's clock, and raise what call.py raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from arl._core.call import call, call_json, encode
from arl._core.context import Context
from arl._core.effects import Op, Request
from arl._core.refusal import refusal
from arl.errors import ConflictError, NotFoundError

GROUP = "arl.io"
VERSION = "v1alpha1"

# The annotation by which a create knows its own object again.
REQUEST_ANNOTATION = "sdk.arl.io/request"

Document = dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """The objects of one kind in one namespace."""

    resource: str
    kind: str
    namespace: str

    @property
    def path(self) -> str:
        """Is where the collection is."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{quote(self.namespace, safe='')}/{self.resource}"

    def path_of(self, name: str) -> str:
        """Is where one object is."""
        return f"{self.path}/{quote(name, safe='')}"


def pools(namespace: str) -> Collection:
    """The warm pools of a namespace."""
    return Collection("warmpools", "WarmPool", namespace)


def sandboxes(namespace: str) -> Collection:
    """The sandboxes of a namespace."""
    return Collection("sandboxes", "Sandbox", namespace)


def tasks(namespace: str) -> Collection:
    """The tasks of a namespace."""
    return Collection("tasks", "Task", namespace)


def complete(document: Document, collection: Collection) -> Document:
    """Fills in what items of a list and objects without a status leave out."""
    document.setdefault("apiVersion", f"{GROUP}/{VERSION}")
    document.setdefault("kind", collection.kind)
    for part in ("metadata", "spec", "status"):
        document.setdefault(part, {})
    return document


def create(
    context: Context,
    collection: Collection,
    name: str,
    request_id: str,
    spec: Mapping[str, Any],
    deadline: float,
    labels: Mapping[str, str] | None = None,
) -> Op[Document]:
    """Creates an object and returns it, once, however often it has to be asked for.

    An answer can get lost after the object was made. The next attempt then
    meets an object of that name, and knows by the request's ID that it is its
    own. If it is not, this raises ConflictError.
    """
    document = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": collection.kind,
        "metadata": {
            "name": name,
            "namespace": collection.namespace,
            "annotations": {REQUEST_ANNOTATION: request_id},
            "labels": dict(labels or {}),
        },
        "spec": spec,
    }
    request = Request("POST", collection.path, body=encode(document))
    response = yield from call(context, request, deadline)
    if response.status in (200, 201, 202):
        return complete(json.loads(response.body), collection)
    refused = refusal(request, response)
    if not isinstance(refused, ConflictError) or refused.reason != "AlreadyExists":
        raise refused
    try:
        there = yield from get(context, collection, name, deadline)
    except NotFoundError:
        raise refused from None
    if (there["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION) != request_id:
        raise refused
    return there


def get(context: Context, collection: Collection, name: str, deadline: float) -> Op[Document]:
    """Returns an object."""
    document = yield from call_json(context, Request("GET", collection.path_of(name)), deadline)
    return complete(document, collection)


def list_all(
    context: Context, collection: Collection, deadline: float, selector: Mapping[str, str] | None = None
) -> Op[tuple[list[Document], str]]:
    """Returns the objects that a selector picks, and the resource version they were read at."""
    request = Request("GET", collection.path, query=dict(selector or {}))
    document = yield from call_json(context, request, deadline)
    items = [complete(item, collection) for item in document.get("items") or []]
    return items, str(document.get("metadata", {}).get("resourceVersion", ""))


def delete(context: Context, collection: Collection, name: str, deadline: float, uid: str = "") -> Op[bool]:
    """Deletes an object. Returns whether it was there; one with another UID is left alone."""
    body = encode({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}) if uid else None
    request = Request("DELETE", collection.path_of(name), body=body)
    response = yield from call(context, request, deadline)
    if response.status in (200, 202):
        return True
    refused = refusal(request, response)
    if isinstance(refused, NotFoundError) or (uid and isinstance(refused, ConflictError)):
        return False
    raise refused


def patch(
    context: Context, collection: Collection, name: str, change: Mapping[str, Any], deadline: float
) -> Op[Document]:
    """Merges a change into an object and returns it."""
    request = Request(
        "PATCH", collection.path_of(name), body=encode(change), content_type="application/merge-patch+json"
    )
    document = yield from call_json(context, request, deadline)
    return complete(document, collection)
