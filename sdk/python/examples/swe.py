"""SWE-style: apply a unified diff to a project, run its tests, read the result.

    python examples/swe.py [--image host]

The project is written into the sandbox first, so the example needs no image of
its own; any with python3 will do. With an image that has the project in it, as
those of SWE-bench have in /testbed, create the pool with testbed_path="/testbed"
and leave that out.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from arl import Client, CommandStep, Config, FilePatchStep, SandboxSession, WarmPoolManager

PROJECT = {
    "calc.py": """\
def mean(numbers):
    return sum(numbers) / len(numbers)


def median(numbers):
    ordered = sorted(numbers)
    return ordered[len(ordered) // 2]
""",
    "test_calc.py": """\
import unittest

from calc import mean, median


class Calc(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([1, 2, 6]), 3)

    def test_median_of_odd(self):
        self.assertEqual(median([3, 1, 2]), 2)

    def test_median_of_even(self):
        self.assertEqual(median([4, 1, 2, 3]), 2.5)
""",
}

# What a model would have written.
DIFF = """\
--- a/calc.py
+++ b/calc.py
@@ -4,4 +4,7 @@

 def median(numbers):
     ordered = sorted(numbers)
-    return ordered[len(ordered) // 2]
+    middle = len(ordered) // 2
+    if len(ordered) % 2:
+        return ordered[middle]
+    return (ordered[middle - 1] + ordered[middle]) / 2
"""


@dataclass(frozen=True)
class Verdict:
    """The outcome of each test, by its name."""

    passed: frozenset[str]
    failed: frozenset[str]


def read_verdict(output: str) -> Verdict:
    """Reads what unittest printed."""
    outcomes = dict(re.findall(r"^(\w+) \(.*\) \.\.\. (ok|FAIL|ERROR)$", output, re.MULTILINE))
    passed = frozenset(name for name, outcome in outcomes.items() if outcome == "ok")
    return Verdict(passed, frozenset(outcomes) - passed)


def test(session: SandboxSession) -> Verdict:
    """Runs the project's tests."""
    return read_verdict(session.run("python3 -m unittest -v", timeout=120).stderr)


def evaluate(session: SandboxSession, diff: str) -> tuple[Verdict, Verdict]:
    """Returns how the tests went before the diff was applied, and after."""
    before = test(session)
    applied = session.execute([FilePatchStep(name="patch", path=".", patch=diff)])
    if applied.status.state != "Succeeded":
        raise SystemExit(f"the diff does not apply: {applied.status.message}")
    return before, test(session)


def main(arguments: list[str] | None = None, config: Config | None = None) -> tuple[Verdict, Verdict]:
    """Evaluates the diff in a fresh sandbox."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="host", help="an image with python3")
    image = parser.parse_args(arguments).image
    with Client(config) as client:
        pools = WarmPoolManager(client=client)
        pools.create_warmpool("swe", image, replicas=1)
        pools.wait_for_warmpool_ready("swe")
        try:
            with SandboxSession("swe", client=client, env={"PYTHONDONTWRITEBYTECODE": "1"}) as session:
                session.execute(
                    [
                        *(FilePatchStep(name=name, path=name, content=text) for name, text in PROJECT.items()),
                        CommandStep(name="version", command=["python3", "--version"]),
                    ]
                )
                before, after = evaluate(session, DIFF)
        finally:
            pools.delete_warmpool("swe")
    print(f"before: {sorted(before.passed)} passed, {sorted(before.failed)} failed")
    print(f"after:  {sorted(after.passed)} passed, {sorted(after.failed)} failed")
    return before, after


if __name__ == "__main__":
    main()
