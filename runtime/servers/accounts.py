"""Whom the embedded servers run as: ourselves, or in root's place somebody without other business."""

import grp
import os
import pwd
from typing import NamedTuple

NAME = "everlog"
"""The host's account of this name is theirs, where it has one; we never make it."""
FREE_IDS = range(60706, 61184)
"""Else they have a number without a name: in a gap between systemd's ranges."""


class Account(NamedTuple):
    uid: int
    gid: int


def ours() -> Account:
    return Account(os.geteuid(), os.getegid())


def of_servers() -> Account:
    """Whom PostgreSQL and Valkey run as, the same at each start."""
    if os.geteuid() != 0:
        return ours()
    try:
        own = pwd.getpwnam(NAME)
    except KeyError:
        free = next(number for number in FREE_IDS if not _named(number))
        return Account(free, free)
    return Account(own.pw_uid, own.pw_gid)


def of_initdb() -> Account:
    """Whom initdb runs as, which refuses a user without a name: `nobody`, but in the servers' own group.

    Where that group alone gets in, other processes of `nobody` do not; nor can they look into initdb, as the
    kernel asks for the same group, too.
    """
    servers = of_servers()
    if os.geteuid() != 0 or _named(servers.uid):
        return servers
    return Account(pwd.getpwnam("nobody").pw_uid, servers.gid)


def earlier() -> set[int]:
    """The uids that data of earlier starts may belong to: once it was `nobody`, and `NAME` may be new."""
    return {*FREE_IDS, pwd.getpwnam("nobody").pw_uid} if os.geteuid() == 0 else set()


def _named(number: int) -> bool:
    for name_of in (pwd.getpwuid, grp.getgrgid):
        try:
            name_of(number)
        except KeyError:
            continue
        return True
    return False
