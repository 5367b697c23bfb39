"""Every Python block of the README and the guides runs as it is written, in its order."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest

from arl import SandboxSession, WarmPoolManager
from tests.conftest import Look

ROOT = Path(__file__).parents[3]
PAGES = {
    "README.md": ROOT / "sdk/python/README.md",
    "python.md": ROOT / "docs/python.md",
    "migration.md": ROOT / "docs/migration.md",
}


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, with the number of the line before each."""
    text = page.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 1, match[1]) for match in found]


def is_step(code: str) -> bool:
    body = ast.parse(code).body
    return len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Dict)


@pytest.mark.parametrize("name", PAGES)
def test_blocks_run(name: str, kubeconfig: str, look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGES[name]
    steps: list[dict[str, Any]] = []
    ran = 0
    for line, code in blocks(page):
        if is_step(code):
            steps.append(ast.literal_eval(code))
            continue
        # Each block is a program of its own, and the line numbers are the page's.
        exec(compile("\n" * line + code, str(page), "exec"), {"__name__": "__main__"})
        ran += 1
    assert ran == page.read_text().count("\n```python\n") - len(steps)
    assert look.sandboxes("default") == []
    said = capsys.readouterr().out
    if name == "README.md":
        assert ran == 4
        for words in (
            "✓ WarmPool ready!",
            "Task State: Succeeded",
            "Output: Hello, World!",
            "✓ Sandbox allocated",
            "✓ Sandbox cleaned up",
            "Pool: python-39-std, Status: Ready",
        ):
            assert words in said
        run_steps(steps)


def run_steps(steps: list[dict[str, Any]]) -> None:
    """Runs the steps that the README shows by themselves."""
    assert [step["type"] for step in steps] == ["Command", "FilePatch"]
    manager = WarmPoolManager()
    manager.create_warmpool("steps", "python:3.9-slim", replicas=1)
    manager.wait_for_warmpool_ready("steps")
    with SandboxSession("steps") as session:
        session.write_file("/workspace/script.py", "import os; print(os.environ['DEBUG'], os.getcwd())\n")
        command, patch = steps
        assert session.execute([command])["status"]["stdout"] == "1 /workspace\n"
        assert session.execute([patch])["status"]["state"] == "Succeeded"
        assert session.run(["cat", "/workspace/config.yaml"]).stdout == "key: value"
    manager.delete_warmpool("steps")


def test_pages_say_how_to_install() -> None:
    """Each by the wheel, from a checkout and by name; never the product of another name."""
    for name in ("README.md", "python.md"):
        text = PAGES[name].read_text()
        commands = re.findall(r"pip install (\S+?)[`\s]", text)
        wheel, version = "arl_sandbox", importlib.metadata.version("arl-sandbox")
        assert [f"./{wheel}-{version}-py3-none-any.whl", "./sdk/python", "arl-sandbox"] == commands[:3], name


def test_all_kinds_of_exception_are_in_the_guide() -> None:
    import arl
    from arl import errors

    text = PAGES["python.md"].read_text()
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, arl.ARLError) and kind is not errors.NotFoundError:
            assert f"`{name}`" in text, f"{name} is not in docs/python.md"
            assert getattr(arl, name) is kind, f"{name} cannot be imported from arl"
