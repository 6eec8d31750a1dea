"""Where the embedded servers keep their files: in the data directory, or where `nobody` can get to."""

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runtime.servers.processes import give_to_unprivileged, reachable_by_unprivileged
from runtime.settings import SettingsError

MAX_SOCKET_PATH = 107
"""Bytes that the kernel allows for the path of a Unix socket."""
OPEN_TO_NOBODY = Path("/var/lib/everlog")
"""Where the servers' files go when root's data directory lies behind folders that `nobody` cannot enter."""


def server_folder(data_dir: Path) -> Path:
    """The folder under which the embedded servers keep their data, the same for the same data directory."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if reachable_by_unprivileged(data_dir):
        return data_dir
    folder = OPEN_TO_NOBODY / _name_of(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (data_dir / "WHERE_THE_DATA_IS").write_text(
        f"{folder}\nThe database runs as `nobody`, who cannot enter this folder.\n"
    )
    return folder


def own_folder(path: Path) -> Path:
    """A folder that only the servers' account can enter."""
    path.mkdir(mode=0o700, exist_ok=True)
    give_to_unprivileged(path)
    return path


def socket_folder(data_dir: Path) -> Path:
    """A short private folder for sockets. Raises SettingsError when somebody else has made it."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not reachable_by_unprivileged(base):
        base = Path(tempfile.gettempdir())
    folder = base / f"everlog-{os.geteuid()}-{_name_of(data_dir)}"
    if len(bytes(folder)) > MAX_SOCKET_PATH - len("/.s.PGSQL.5432"):
        folder = Path("/tmp") / folder.name  # noqa: S108 - private by its mode, checked below
    own_folder(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise SettingsError(f"{folder} is not a private folder; remove it and start again")
    return folder


def remove_when_empty(folder: Path) -> None:
    """Remove what `socket_folder` made, once the last server has left it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def runnable(site: Path, parts: Sequence[str], kept_in: Path) -> Path:
    """The folder to run binaries from: `site`, or a copy of its `parts` where `nobody` can execute them.

    The parts keep their places relative to each other, as the binaries look for their libraries there.
    """
    if all(reachable_by_unprivileged(site / part) for part in parts):
        return site
    copy = kept_in / f"bin-{_name_of(site)}"
    if not copy.exists():
        scratch = copy.with_name(f"{copy.name}.{os.getpid()}")
        for part in parts:
            shutil.copytree(site / part, scratch / part, symlinks=True)
        scratch.chmod(0o755)
        scratch.rename(copy)
    return copy


def _name_of(data_dir: Path) -> str:
    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
