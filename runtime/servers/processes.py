"""Child processes that cannot outlive their parent, and telling one process from another."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtime.settings import SettingsError

PR_SET_PDEATHSIG = 1
UNPRIVILEGED = "nobody"
"""Whom the database runs as when we are root: PostgreSQL refuses root."""


def start(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    dies_by: signal.Signals = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
    unprivileged: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start a child that gets the signal `dies_by` when the thread that called this ends.

    With `unprivileged` and as root it runs as `nobody`. Its output goes to the end of `log`, or to ours.
    """
    account = pwd.getpwnam(UNPRIVILEGED) if unprivileged and os.geteuid() == 0 else None
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=dict(env) if env is not None else None,
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            # Changing the user clears the request, so it is made in the child, after that.
            preexec_fn=_dying_with(os.getpid(), dies_by),  # noqa: PLW1509 - only system calls in there
        )
    finally:
        if output:
            output.close()


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


def give_to_unprivileged(*folders: Path) -> None:
    """Make `nobody` the owner of folders that its servers write to, when we are root."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(UNPRIVILEGED)
        for folder in folders:
            os.chown(folder, account.pw_uid, account.pw_gid)


def reachable_by_unprivileged(path: Path) -> bool:
    """Whether `nobody` can enter all folders above `path`, and read it; true when we are not root."""
    if os.geteuid() != 0:
        return True
    check = ["/bin/sh", "-c", 'test -r "$0" && { test ! -d "$0" || test -x "$0"; }', str(path)]
    account = pwd.getpwnam(UNPRIVILEGED)
    done = subprocess.run(
        check, user=account.pw_uid, group=account.pw_gid, extra_groups=[], check=False, cwd="/"
    )
    return done.returncode == 0
