from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from arl.models import Task, TaskStatus

DOCUMENT = {
    "apiVersion": "arl.io/v1alpha1",
    "kind": "Task",
    "metadata": {"name": "t", "ownerReferences": [{"kind": "Thing"}]},
    "spec": {"steps": [{"name": "a", "type": "Command", "command": ["true"]}], "sandboxRef": "s"},
    "status": {
        "state": "Succeeded",
        "exitCode": 0,
        "startTime": "2026-01-02T03:04:05.123456Z",
        "inventedLater": {"x": 1},
    },
}


@pytest.fixture
def task() -> Task:
    return Task.model_validate(DOCUMENT)


def test_fields_and_keys_are_the_same(task: Task) -> None:
    assert task["status"]["exitCode"] == task.status.exit_code == 0
    assert task["spec"]["steps"][0]["command"] == task.spec.steps[0].command == ["true"]
    assert task.status.start_time is not None
    assert task.status.start_time.microsecond == 123456


def test_it_is_a_mapping(task: Task) -> None:
    assert isinstance(task, Mapping)
    assert set(task.status) == {"state", "exitCode", "startTime", "inventedLater", "stdout", "stderr"}
    assert len(task.status) == 6
    assert dict(task.status.items())["state"] == "Succeeded"
    assert "Succeeded" in task.status.values()
    assert set({**task["status"]}) == set(task.status.keys())
    assert "exitCode" in task["status"]
    assert "reason" not in task["status"]
    assert TaskStatus(stdout="", stderr="")


def test_what_is_not_set_is_none(task: Task) -> None:
    assert task["status"]["reason"] is None
    assert task["status"].get("reason") is None
    assert task["status"].get("reason", "none") == "none"
    assert task["status"]["stdout"] == ""


def test_unknown_key_says_which_there_are(task: Task) -> None:
    with pytest.raises(KeyError, match="'exit_code': TaskStatus has attempts, completionTime"):
        task["status"]["exit_code"]
    assert task["status"].get("exit_code") is None


def test_what_a_newer_server_adds_is_kept(task: Task) -> None:
    assert task["status"]["inventedLater"] == {"x": 1}
    assert task.to_dict()["metadata"] == DOCUMENT["metadata"]
    assert json.loads(json.dumps(task.to_dict()))["status"]["exitCode"] == 0


def test_repr_leaves_out_what_is_not_set(task: Task) -> None:
    assert "state='Succeeded'" in repr(task)
    assert "None" not in repr(task)
