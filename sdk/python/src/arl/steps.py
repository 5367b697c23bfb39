"""The steps of a task, and checks that need no server.

A step is a dict of the form that the API has, or an instance of CommandStep or
FilePatchStep, which is the same with types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

MAX_STEPS = 256


class Step(BaseModel):
    """What both types of step have."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    name: str
    """Tells the steps of a task apart."""
    on_failure: Literal["Stop", "Continue"] | None = Field(None, alias="onFailure")
    """Whether the steps after a failed one run; they do not unless it says Continue."""


class CommandStep(Step):
    """Runs a program."""

    type: Literal["Command"] = "Command"
    command: Annotated[list[str], Field(min_length=1)]
    """The program and its arguments. No shell is involved unless it is named."""
    env: dict[str, str] | None = None
    """Environment variables, on top of the image's and the sandbox's."""
    work_dir: str | None = Field(None, alias="workDir")
    """Where it runs, absolute or relative to the pool's own; made if missing."""
    stdin: str | None = None
    """What it reads on standard input, at most 1 MiB."""
    timeout: str | None = None
    """How long it may run, such as "90s" or "5m"."""


class FilePatchStep(Step):
    """Writes a file, or applies a unified diff to a file or to those of a directory."""

    type: Literal["FilePatch"] = "FilePatch"
    path: str
    """The file, or the directory that the names in the patch are relative to. Absolute, or relative to
    the pool's directory, which is "."; missing directories are created."""
    content: str | None = None
    """The whole new content, at most 1 MiB. Either this or patch is needed."""
    patch: str | None = None
    """A unified diff, applied as a whole or not at all. A git diff of several files needs a directory as path."""
    mode: Annotated[int, Field(ge=0, le=0o777)] | None = None
    """The permission bits, such as 0o755."""


AnyStep = Step | Mapping[str, Any]

_TYPES: dict[str, TypeAdapter[CommandStep] | TypeAdapter[FilePatchStep]] = {
    "Command": TypeAdapter(CommandStep),
    "FilePatch": TypeAdapter(FilePatchStep),
}


def check(steps: Sequence[AnyStep]) -> list[dict[str, Any]]:
    """Returns the steps as the API has them.

    Raises pydantic's ValidationError, which names the step and the field, for
    an unknown type, a missing, unknown or ill-typed field, and a name that is
    there twice. Everything else the server checks.
    """
    problems: list[InitErrorDetails] = []
    out: list[dict[str, Any]] = []
    seen: set[Any] = set()
    if isinstance(steps, (str, bytes, Mapping, BaseModel)) or not isinstance(steps, Sequence):
        problems.append(
            _problem(
                (),
                steps,
                "steps must be a list of steps, for instance "
                '[{"name": "hello", "type": "Command", "command": ["echo", "hello"]}]',
            )
        )
        steps = []
    elif not 1 <= len(steps) <= MAX_STEPS:
        problems.append(_problem((), steps, f"there must be 1 to {MAX_STEPS} steps, not {len(steps)}"))
    for number, step in enumerate(steps):
        raw = step.model_dump(by_alias=True, exclude_none=True) if isinstance(step, Step) else step
        found, checked = _check_one(number, raw, seen)
        problems += found
        if checked is not None:
            out.append(checked)
    if problems:
        raise ValidationError.from_exception_data("steps", problems)
    return out


def _check_one(number: int, raw: object, seen: set[Any]) -> tuple[list[InitErrorDetails], dict[str, Any] | None]:
    if not isinstance(raw, Mapping):
        return [_problem((number,), raw, f"step {number + 1} must be a dict or a step, not {type(raw).__name__}")], None
    name = raw.get("name")
    title = f'step {number + 1} ("{name}")' if isinstance(name, str) else f"step {number + 1}"
    problems = []
    if isinstance(name, str):
        if name in seen:
            problems.append(_problem((number, "name"), name, f"{title}: another step has that name"))
        seen.add(name)
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        said = "the field type is missing" if kind is None else f"the type {kind!r} is unknown"
        return [*problems, _problem((number, "type"), kind, f"{title}: {said}; it is Command or FilePatch")], None
    try:
        step = _TYPES[kind].validate_python(dict(raw))
    except ValidationError as error:
        return [*problems, *(_explain(number, title, kind, item) for item in error.errors())], None
    if isinstance(step, FilePatchStep) and (step.content is None) == (step.patch is None):
        problems.append(_problem((number, "content"), None, f"{title}: exactly one of content and patch is needed"))
    return problems, step.model_dump(by_alias=True, exclude_none=True)


def _explain(number: int, title: str, kind: str, item: Any) -> InitErrorDetails:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        text = f"{title}: the field {field} is missing, which a step of type {kind} needs"
    elif item["type"] == "extra_forbidden":
        known = sorted(
            f.alias or n for n, f in (CommandStep if kind == "Command" else FilePatchStep).model_fields.items()
        )
        text = f"{title}: there is no field {field} for a step of type {kind}; there are {', '.join(known)}"
    else:
        text = f"{title}: {field}: {item['msg']}"
    return _problem((number, *item["loc"]), item.get("input"), text)


def _problem(where: tuple[int | str, ...], value: object, text: str) -> InitErrorDetails:
    # The text is a value of the template: braces in it are nothing special.
    return InitErrorDetails(
        type=PydanticCustomError("step", "{text}", {"text": text}),
        loc=where,
        input=value,
    )
