from __future__ import annotations

import pytest

from examples import gym_env, swe
from tests.conftest import Look
from tests.support.server import Server


def test_gym_env(server: Server, look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    assert gym_env.main([], server.config) == 1.0
    said = capsys.readouterr().out
    assert "$ cat fruits.txt\npear\napple\nmango\n" in said
    assert "$ cat sorted.txt" not in said, "the episode ends when the task is done"
    assert look.sandboxes("default") == []


def test_swe(server: Server, look: Look) -> None:
    before, after = swe.main(["--image", "python:3.12-slim"], server.config)
    assert before.failed == {"test_median_of_even"}
    assert before.passed == {"test_mean", "test_median_of_odd"}
    assert after.failed == frozenset()
    assert after.passed == before.passed | before.failed
    assert look.sandboxes("default") == []
