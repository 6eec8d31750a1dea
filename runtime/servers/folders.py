"""Where the embedded servers keep their files: in the data directory, or where their account can get to."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.servers import accounts, files
from runtime.servers.accounts import Account
from runtime.settings import SettingsError

MAX_SOCKET_PATH = 107
"""Bytes that the kernel allows for the path of a Unix socket."""
OPEN_TO_ALL = Path("/var/lib/everlog")
"""Where the servers' files go when root's data directory lies where their account cannot enter."""
SYSTEM_SOCKETS = Path("/run")
"""Nobody but root can make anything there beforehand."""
TRAVERSED = 0o711
"""Of a folder of root's through which the servers' account gets to its own."""


def data_folder(data_dir: Path) -> Path:
    """Make the data directory, or take the one there. Raises SettingsError for a link or another's."""
    if not data_dir.exists():
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        return files.make_folder(data_dir, accounts.ours(), TRAVERSED if os.geteuid() == 0 else 0o700)
    return files.make_folder(data_dir, accounts.ours(), 0o755)


def log_folder(data_dir: Path) -> Path:
    return files.make_folder(data_dir / "logs", accounts.ours())


def server_folder(data_dir: Path, account: Account) -> Path:
    """The folder under which the embedded servers keep their data, the same for the same data directory."""
    data_folder(data_dir)
    if _lets_in(data_dir, account, "-x"):
        return data_dir
    for name in ("postgres", "valkey"):
        if (data_dir / name).exists():  # a new database elsewhere would look as if all were lost
            raise SettingsError(
                f"{data_dir}: the servers run as uid {account.uid}, which cannot enter: run `chmod o+x` on it"
                " and on the folders above"
            )
    files.make_folder(OPEN_TO_ALL, accounts.ours(), 0o755)
    folder = files.make_folder(OPEN_TO_ALL / _name_of(data_dir), accounts.ours(), 0o755)
    files.replace(
        data_dir / "WHERE_THE_DATA_IS",
        f"{folder}\nThe database runs as uid {account.uid}, which cannot enter this folder.\n".encode(),
    )
    return folder


def socket_folder(data_dir: Path, account: Account) -> Path:
    """A short private folder for sockets. Raises SettingsError when somebody else has made it."""
    name = f"everlog-{account.uid}-{_name_of(data_dir)}"
    for place in _socket_places():
        path = place / name
        if len(bytes(path)) <= MAX_SOCKET_PATH - len("/.s.PGSQL.5432") and _is_safe(place, account):
            return files.make_folder(path, account)
    raise SettingsError(
        "XDG_RUNTIME_DIR: name a short folder of yours for sockets; no safe one is to be found"
    )


def remove_when_empty(folder: Path) -> None:
    """Remove what `socket_folder` made, once the last server has left it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def runnable(site: Path, parts: Sequence[str], kept_in: Path, account: Account) -> Path:
    """The folder to run binaries from: `site`, or a copy of its `parts` where `account` can execute them.

    The parts keep their places relative to each other, as the binaries look for their libraries there.
    """
    if all(_lets_in(site / part, account, "-r") and _lets_in(site / part, account, "-x") for part in parts):
        return site
    copy = kept_in / f"bin-{_name_of(site)}"
    if not copy.exists():
        scratch = copy.with_name(f"{copy.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        files.make_folder(scratch, accounts.ours(), 0o755)
        for part in parts:
            shutil.copytree(site / part, scratch / part, symlinks=True)
        scratch.rename(copy)
    return files.make_folder(copy, accounts.ours(), 0o755)


def _socket_places() -> Iterator[Path]:
    if place := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(place)
    if os.geteuid() == 0:
        yield SYSTEM_SOCKETS
    yield Path(tempfile.gettempdir())
    yield Path("/tmp")  # noqa: S108 - what is made there is checked


def _is_safe(place: Path, account: Account) -> bool:
    """Whether we can make a folder there that `account` can enter and nobody else can move away."""
    if not (place.is_dir() and os.access(place, os.W_OK) and _lets_in(place, account, "-x")):
        return False
    found = place.stat()
    ours = found.st_uid in {0, os.geteuid()} and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return ours or bool(found.st_mode & stat.S_ISVTX)


def _lets_in(path: Path, account: Account, access: str) -> bool:
    """Whether `account` has `-r` or `-x` access to `path`, through all folders above."""
    if account == accounts.ours():
        return True
    check = ["/bin/sh", "-c", f'test {access} "$0"', str(path)]
    done = subprocess.run(
        check, user=account.uid, group=account.gid, extra_groups=[], check=False, cwd="/", env={}
    )
    return done.returncode == 0


def _name_of(data_dir: Path) -> str:
    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
