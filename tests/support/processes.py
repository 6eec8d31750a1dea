"""Everlog as the processes of `everlog serve`, and each of its commands as one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from runtime.settings import Settings, variable_of
from tests.support.service import PATIENCE_SECONDS, eventually, free_port

KEY = "bootstrap-key-of-the-test"


class Served:
    """A running `everlog serve`."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.data_dir = data_dir
        self.variables = variables
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = data_dir.with_suffix(".out")
        self.start()

    def start(self) -> None:
        ours = {"EVERLOG_BOOTSTRAP_KEY": KEY, "EVERLOG_DATA_DIR": str(self.data_dir)}
        env = os.environ | ours | self.variables
        command = [sys.executable, "-m", "runtime.cli", "serve", "--port", str(self.port)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        eventually(lambda: "Everlog serves at" in self.output.read_text(), "serve does not get ready")

    def pids(self, part: str) -> list[int]:
        """The processes of a part: `api`, `worker`, `model`, `postgres` (its first process) or `valkey`."""
        needle = {
            "api": "runtime.cli\0api",
            "worker": "runtime.cli\0worker",
            "model": "runtime.cli\0model",
            "postgres": "bin/postgres\0-D",
            "valkey": "valkey-server",
        }[part]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if needle in _command(pid)]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


class Command:
    """A running `everlog COMMAND` with these settings."""

    def __init__(self, settings: Settings, *command: str) -> None:
        given = {variable_of(name): value for name, value in msgspec.structs.asdict(settings).items()}
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli", *command],
            env=os.environ | {name: str(value) for name, value in given.items() if value is not None},
            stdout=self._output,
            stderr=self._output,
        )

    @property
    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def ended(self) -> tuple[int, str]:
        """Its status and output, once it ends by itself."""
        return self.process.wait(PATIENCE_SECONDS), self.output

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)
        self._output.close()


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
