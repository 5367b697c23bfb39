from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from arl import CommandStep, FilePatchStep
from arl.models import TaskStep
from arl.steps import check

COMMAND = {"name": "a", "type": "Command", "command": ["true"]}
PATCH = {"name": "b", "type": "FilePatch", "path": "/x", "content": ""}


def test_dicts_pass_as_they_are() -> None:
    full = {
        **COMMAND,
        "env": {"DEBUG": "1"},
        "workDir": "/workspace",
        "stdin": "x",
        "timeout": "5s",
        "onFailure": "Continue",
    }
    diff = {"name": "c", "type": "FilePatch", "path": "x", "patch": "--- x", "mode": 0o755}
    assert check([full, PATCH, diff]) == [full, PATCH, diff]


def test_typed_steps() -> None:
    steps = [CommandStep(name="a", command=["true"], work_dir="/w"), FilePatchStep(name="b", path="/x", content="")]
    assert check(steps) == [{**COMMAND, "workDir": "/w"}, PATCH]


def test_fields_are_those_of_the_api() -> None:
    """Fails when the API has a field that the typed steps lack."""
    mine = {f.alias or n for step in (CommandStep, FilePatchStep) for n, f in step.model_fields.items()}
    assert mine == {f.alias or n for n, f in TaskStep.model_fields.items()}


@pytest.mark.parametrize(
    ("steps", "where", "what"),
    [
        (
            [{**COMMAND, "type": "Shell"}],
            (0, "type"),
            """step 1 ("a"): the type 'Shell' is unknown; it is Command or FilePatch""",
        ),
        ([COMMAND, {"name": "z", "command": ["x"]}], (1, "type"), 'step 2 ("z"): the field type is missing'),
        ([{"name": "a", "type": "Command"}], (0, "command"), 'step 1 ("a"): the field command is missing'),
        ([{"type": "Command", "command": ["x"]}], (0, "name"), "step 1: the field name is missing"),
        ([{"name": "b", "type": "FilePatch", "content": ""}], (0, "path"), 'step 1 ("b"): the field path is missing'),
        ([{"name": "b", "type": "FilePatch", "path": "x"}], (0, "content"), "exactly one of content and patch"),
        ([{**PATCH, "patch": "x"}], (0, "content"), "exactly one of content and patch"),
        (
            [{**COMMAND, "cmd": "x"}],
            (0, "cmd"),
            "there is no field cmd for a step of type Command; there are command, env",
        ),
        ([{**COMMAND, "command": "echo {x}"}], (0, "command"), 'step 1 ("a"): command: Input should be a valid list'),
        ([{**COMMAND, "command": []}], (0, "command"), "at least 1 item"),
        ([{**COMMAND, "env": {"N": 1}}], (0, "env", "N"), 'step 1 ("a"): env.N: Input should be a valid string'),
        ([{**PATCH, "mode": 0o1000}], (0, "mode"), "less than or equal to 511"),
        ([COMMAND, COMMAND], (1, "name"), 'step 2 ("a"): another step has that name'),
        ([["echo"]], (0,), "step 1 must be a dict or a step, not list"),
        ([], (), "there must be 1 to 256 steps, not 0"),
        ([COMMAND] * 257, (), "there must be 1 to 256 steps, not 257"),
        (COMMAND, (), "steps must be a list of steps, for instance"),
        ("echo", (), "steps must be a list of steps"),
        (None, (), "steps must be a list of steps"),
    ],
)
def test_what_is_wrong_is_named(steps: Any, where: tuple[Any, ...], what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check(steps)
    problems = caught.value.errors()
    assert where in [problem["loc"] for problem in problems]
    assert what in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        check([{"name": "a", "type": "Nope"}, {"name": "b", "type": "Command"}, {"name": "c", "type": "FilePatch"}])
    assert caught.value.error_count() == 3
