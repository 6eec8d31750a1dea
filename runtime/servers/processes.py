"""Child processes that cannot outlive their parent, and telling one process from another."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtime.servers import files
from runtime.servers.accounts import Account
from runtime.settings import SettingsError

PR_SET_PDEATHSIG = 1
BARE = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
"""The environment of the servers: ours holds keys, and theirs can be read by SQL."""


def start(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    dies_by: signal.Signals = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    told: bytes = b"",
) -> "subprocess.Popen[bytes]":
    """Start a child that gets the signal `dies_by` when the thread that called this ends.

    As `account` it has a bare environment, and makes files that it alone can read; None: as ourselves, with
    `env` or our own. It is `told` by its standard input what must not be in its command line, up to 64 KiB.
    Its output goes to the end of `log`, or to ours.
    """
    switched = account if os.geteuid() == 0 else None
    output = files.appended(log) if log else None
    given = _pipe_of(told, switched)
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=_bare() if account else env,
            start_new_session=True,
            user=switched.uid if switched else None,
            group=switched.gid if switched else None,
            extra_groups=[] if switched else None,
            umask=0o077 if account else -1,
            # Changing the user clears the request, so it is made in the child, after that.
            preexec_fn=_dying_with(os.getpid(), dies_by),  # noqa: PLW1509 - only system calls in there
        )
    finally:
        os.close(given)
        if output:
            output.close()


def _bare() -> dict[str, str]:
    return BARE | {name: value for name, value in os.environ.items() if name == "TZ"}


def _pipe_of(content: bytes, reader: Account | None) -> int:
    """An end to read `content` from, also by its name /dev/stdin."""
    reading, writing = os.pipe()
    if reader:
        os.fchown(reading, reader.uid, reader.gid)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(content)
    return reading


def _dying_with(parent: int, dies_by: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(dies_by), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request
            os.kill(os.getpid(), dies_by)

    return ask


def stop(process: "subprocess.Popen[bytes]", by: signal.Signals, seconds: float) -> None:
    """Ask a child to end, and make it after `seconds`."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], bool], otherwise: str, seconds: float) -> None:
    """Look until `condition` holds; raises SettingsError with `otherwise` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SettingsError(otherwise)
        time.sleep(0.01)


def works_in(folder: Path) -> bool:
    """Whether any process has `folder` as its working directory, as all processes of a PostgreSQL have."""
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if entry.readlink() == folder.resolve():
                return True
    return False
