"""A reinforcement learning environment with Gymnasium's interface: an agent in a shell.

    python examples/gym_env.py [--image host]

An episode is one sandbox. The agent is told what to do, acts by shell commands,
and sees what they print; it is rewarded once the check of the task passes. The
agent here is a list of commands, so that the example runs without a model, and
nothing but a server is needed. The class has the methods of gymnasium.Env
without depending on it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from arl import Client, Config, SandboxSession, TaskTimeout, WarmPoolManager


@dataclass(frozen=True)
class Exercise:
    """What the agent is asked to do, and a shell command that succeeds once it is done."""

    instruction: str
    setup: str
    check: str


SORT = Exercise(
    instruction="Sort the lines of fruits.txt into sorted.txt.",
    setup="printf 'pear\\napple\\nmango\\n' > fruits.txt",
    check='[ "$(cat sorted.txt 2>/dev/null)" = "$(printf "apple\\nmango\\npear")" ]',
)


class ShellEnv:
    """An environment whose actions are shell commands."""

    def __init__(
        self,
        pool: str,
        exercise: Exercise,
        *,
        max_steps: int = 10,
        step_seconds: float = 30,
        client: Client | None = None,
    ) -> None:
        self._pool = pool
        self._exercise = exercise
        self._max_steps = max_steps
        self._step_seconds = step_seconds
        self._client = client
        self._session: SandboxSession | None = None
        self._steps = 0

    def reset(self, *, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Begins an episode in a fresh sandbox. Returns the instruction."""
        self.close()
        self._steps = 0
        self._session = SandboxSession(self._pool, client=self._client)
        self._session.create_sandbox()
        self._session.run(self._exercise.setup, check=True, env={"SEED": str(seed or 0)})
        return self._exercise.instruction, {"sandbox": self._session.sandbox_name}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Runs a command. Returns what it printed, the reward, terminated, truncated, and more."""
        if self._session is None:
            raise RuntimeError("call reset() first")
        self._steps += 1
        info: dict[str, Any] = {}
        try:
            done = self._session.run(action, timeout=self._step_seconds)
            observation = done.stdout + done.stderr
            info["exit_code"] = done.exit_code
        except TaskTimeout as error:
            # To the agent this is a result like any other.
            observation = (error.task.status.stdout if error.task else "") + "\n[timed out]"
        solved = self._session.run(self._exercise.check).ok
        return observation, float(solved), solved, not solved and self._steps >= self._max_steps, info

    def close(self) -> None:
        """Ends the episode and gives the sandbox back."""
        if self._session is not None:
            self._session.delete_sandbox()
            self._session = None


def play(env: ShellEnv, agent: list[str]) -> float:
    """Plays one episode and returns the sum of its rewards."""
    total = 0.0
    observation, _ = env.reset(seed=1)
    print(f"task: {observation}")
    for action in agent:
        observation, reward, terminated, truncated, _ = env.step(action)
        print(f"$ {action}\n{observation}", end="")
        total += reward
        if terminated or truncated:
            break
    env.close()
    return total


def main(arguments: list[str] | None = None, config: Config | None = None) -> float:
    """Plays an episode with an agent that knows its commands beforehand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="host", help="any image with a shell")
    image = parser.parse_args(arguments).image
    with Client(config) as client:
        pools = WarmPoolManager(client=client)
        pools.create_warmpool("gym", image, replicas=2)
        pools.wait_for_warmpool_ready("gym")
        env = ShellEnv("gym", SORT, client=client)
        try:
            total = play(env, ["ls", "cat fruits.txt", "sort fruits.txt > sorted.txt", "cat sorted.txt"])
        finally:
            env.close()
            pools.delete_warmpool("gym")
    print(f"reward: {total}")
    return total


if __name__ == "__main__":
    main()
