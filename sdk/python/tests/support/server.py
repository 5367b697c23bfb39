"""A real standalone server in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from arl import Client, Config, WarmPoolManager
from arl.errors import ARLError

# Far above what anything takes on a machine that is busy with other things.
PATIENCE = 120.0
BINARY = Path(os.environ.get("ARL_BIN") or Path(__file__).parents[4] / "bin" / "arl-apiserver")


def eventually(condition: Callable[[], object], what: str) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.02)


class Server:
    """A standalone server; start(), kill(), start() again, and close() at the end."""

    def __init__(self, folder: Path, *flags: str) -> None:
        assert BINARY.is_file(), f"{BINARY} is missing: run make build"
        self.data = folder
        self.kubeconfig = folder / "kubeconfig"
        self.config = Config(kubeconfig=str(self.kubeconfig), retry_seconds=PATIENCE)
        self._flags = flags
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it answers. It listens on another port each time."""
        self.launch()
        eventually(self._is_up, f"the server's first answer\n{self.log()}")

    def _is_up(self) -> bool:
        process = self._process
        assert process is not None
        if process.poll() is None:
            return self._answers()
        # A child of the killed server that was just being started may hold the
        # database's lock for a moment more. As whoever looks after servers would:
        assert "is locked by another process" in self.log().splitlines()[-1], (
            f"the server ended with {process.returncode}:\n{self.log()}"
        )
        self.launch()
        return False

    def launch(self) -> None:
        """Starts the server and does not wait."""
        command = [
            str(BINARY),
            "--standalone",
            "--create-namespaces",
            "--data-dir",
            str(self.data),
            "--allow-host-image",
            "--secure-port=0",
            *self._flags,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """Ends the server as a loss of power would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def log(self) -> str:
        """Is what the server has said."""
        return self._log.read_text(errors="replace")[-8000:] if self._log.exists() else ""

    def close(self) -> None:
        """Stops the server, and removes its pods and its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        subprocess.run([BINARY, "purge", "--data-dir", self.data], check=True, capture_output=True, timeout=PATIENCE)
        shutil.rmtree(self.data)

    def _answers(self) -> bool:
        if not self.kubeconfig.exists():
            return False
        try:
            with Client(Config(kubeconfig=str(self.kubeconfig), retry_seconds=1)) as client:
                WarmPoolManager(client=client, timeout=1).list_warmpools()
        except ARLError:
            return False
        return True
