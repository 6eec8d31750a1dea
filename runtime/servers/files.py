"""Folders and files that are one account's alone, made and opened so that nobody can slip another in.

Everybody may make a folder or a link beforehand where ours is to be. So nothing is followed, what is there is
checked by its descriptor (kind, owner, mode) before anything is changed, and files are reached from the open
folder. What fails is refused with a SettingsError that says what to do.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from runtime.servers import accounts
from runtime.servers.accounts import Account
from runtime.settings import SettingsError

READABLE_BY_OTHERS = 0o077
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Of a pipe that waits there for a reader, opening would otherwise never end."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


# --- folders ------------------------------------------------------------------------------------------


def make_folder(path: Path, account: Account, mode: int = 0o700) -> Path:
    """Make a folder of `account`, or take the one that is there and close what is open beyond `mode`.

    Raises SettingsError where something else is there, or it belongs to somebody else, or anybody may write
    into it.
    """
    made = False
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        made = True
    with _opened(path, account.uid, os.geteuid()) as folder:
        found = os.fstat(folder)
        if found.st_mode & stat.S_IWOTH:
            raise SettingsError(f"{path}: anybody may write into it: run `chmod o-w` on it")
        # A kill came between making and giving it.
        made = made or (found.st_uid != account.uid and not os.listdir(folder))  # noqa: PTH208
        if found.st_uid != account.uid and not made:
            raise SettingsError(_whose(path, found.st_uid, account.uid))
        if made and os.geteuid() == 0:
            os.fchown(folder, account.uid, account.gid)
        permissions = stat.S_IMODE(found.st_mode)
        os.fchmod(folder, mode if made else permissions & ~(0o777 & ~mode))
    return path


def take_over(path: Path, account: Account) -> None:
    """Give `account` what earlier starts made for another account in the folder `path`, if there is any.

    Nothing must work in there. Can be repeated after a kill: the folder itself comes last.
    """
    former = accounts.earlier() - {account.uid}
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return
    if owner not in former:
        return
    with _opened(path, owner) as top:
        _require_no_way_out(path, top, owner, account)
        for _, _, names, folder in os.fwalk(".", topdown=False, dir_fd=top):
            for name in names:
                _hand_over(name, folder, owner, account)
            if os.fstat(folder).st_uid == owner:
                os.fchown(folder, account.uid, account.gid)


def _hand_over(name: str, folder: int, owner: int, account: Account) -> None:
    if not stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode):
        return
    file = os.open(name, os.O_RDONLY | FILE, dir_fd=folder)
    try:
        if os.fstat(file).st_uid == owner:  # not what somebody has linked in
            os.fchown(file, account.uid, account.gid)
    finally:
        os.close(file)


def _require_no_way_out(path: Path, top: int, owner: int, account: Account) -> None:
    """A link is not followed, so what it leads to (such as a log on another disk) would stay behind."""
    for place, folders, names, folder in os.fwalk(".", dir_fd=top):
        for name in (*folders, *names):
            if not stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                continue
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=folder).st_uid == owner:
                    link = path / place / name
                    raise SettingsError(
                        f"{link} is a link, and the servers run as uid {account.uid} now: run `chown -R"
                        f" {account.uid}:{account.gid} {link.resolve()}` and start again"
                    )


# --- files --------------------------------------------------------------------------------------------


def create(path: Path, content: bytes) -> None:
    """Write a new file that we alone can read. Raises FileExistsError."""
    with _opened(path.parent, os.geteuid()) as folder:
        _create(path.name, content, folder)


def replace(path: Path, content: bytes) -> None:
    """Put a file that we alone can read in the place of whatever has its name, whole or not at all."""
    with _opened(path.parent, os.geteuid()) as folder:
        scratch = f"{path.name}.{secrets.token_hex(4)}"
        _create(scratch, content, folder)
        os.replace(scratch, path.name, src_dir_fd=folder, dst_dir_fd=folder)


def read_secret(path: Path) -> str:
    """What `create` has written. Raises FileNotFoundError, and SettingsError where others could read it."""
    with _opened(path.parent, os.geteuid()) as folder, _file(path, os.O_RDONLY, folder) as file:
        if os.fstat(file).st_mode & READABLE_BY_OTHERS:
            raise SettingsError(f"{path}: others may read it: run `chmod 600` on it")
        with open(file, closefd=False) as text:
            return text.read()


def appended(path: Path) -> BinaryIO:
    """A file, made where there is none, to write at the end of; we alone can read it from now on."""
    with (
        _opened(path.parent, os.geteuid()) as folder,
        _file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, folder) as file,
    ):
        os.fchmod(file, 0o600)
        return os.fdopen(os.dup(file), "ab")


def remove(path: Path, account: Account) -> None:
    """Remove a file, if it is there, from a folder of `account`."""
    with suppress(FileNotFoundError), _opened(path.parent, account.uid) as folder:
        os.unlink(path.name, dir_fd=folder)


def _create(name: str, content: bytes, folder: int) -> None:
    with os.fdopen(os.open(name, NEW_FILE, 0o600, dir_fd=folder), "wb") as file:
        file.write(content)


@contextmanager
def _file(path: Path, flags: int, folder: int) -> Iterator[int]:
    """A file of ours in the open folder, as a descriptor. Raises FileNotFoundError and SettingsError."""
    try:
        file = os.open(path.name, flags | FILE, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise SettingsError(f"{path} is a link or no file: remove it and start again") from None
        if error.errno == errno.EACCES:
            raise SettingsError(f"{path} belongs to somebody else: remove it and start again") from None
        raise
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise SettingsError(f"{path} is no file: remove it and start again")
        if found.st_uid != os.geteuid():
            raise SettingsError(_whose(path, found.st_uid, os.geteuid()))
        yield file
    finally:
        os.close(file)


@contextmanager
def _opened(path: Path, owner: int, or_owner: int | None = None) -> Iterator[int]:
    """A folder of one of these, as a descriptor. Raises FileNotFoundError and SettingsError."""
    try:
        folder = os.open(path, FOLDER)
    except OSError as error:
        if path.is_symlink():
            raise SettingsError(
                f"{path} is a link, and none is followed here: name {path.resolve()} itself, or remove it"
            ) from None
        if error.errno == errno.ENOTDIR:
            raise SettingsError(f"{path} is no folder: remove it, or choose another") from None
        if error.errno == errno.EACCES:
            raise SettingsError(f"{path} belongs to somebody else: remove it, or choose another") from None
        raise
    try:
        found = os.fstat(folder).st_uid
        if found not in {owner, or_owner}:
            raise SettingsError(_whose(path, found, owner))
        yield folder
    finally:
        os.close(folder)


def _whose(path: Path, owner: int, wanted: int) -> str:
    return (
        f"{path} belongs to uid {owner} and not to uid {wanted}: remove it or choose another; if what is in"
        f" it is yours, run `chown -R {wanted}` on it"
    )
