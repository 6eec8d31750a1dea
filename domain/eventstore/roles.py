"""Roles of the database, and row-level security as a second wall between owners (docs/decisions/roles.md).

The API's role sees the rows of one owner at a time. Each connection that its pools hand out is told which.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

SHOW = "SELECT set_config('everlog.owner', %s, false)"
_OWNER: ContextVar[str] = ContextVar("owner", default="")
_SET_UP = """
    SELECT coalesce((SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('events')), false)
           AND (SELECT bool_and(pg_has_role(
                           oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET'
                                     ELSE 'MEMBER' END))
                FROM pg_roles WHERE rolname = ANY(%s))"""


class Roles(NamedTuple):
    """As whom a program is connected; None: as whoever its address names."""

    reading: str | None = None
    writing: str | None = None
    """For the thread that commits, which decides on commands of several owners at a time."""


OF_PROGRAM = {
    "api": Roles("everlog_api", "everlog_writer"),
    "worker": Roles("everlog_worker", "everlog_worker"),
}
"""Operators' commands go by no role: they are for all owners."""


def roles_of(program: str, conninfo: str) -> Roles:
    """Those of a program, unless this database is known to lack them."""
    roles = OF_PROGRAM.get(program, Roles())
    with suppress(psycopg.OperationalError):  # nobody answers: they were set up, most likely
        if roles.reading and not set_up(conninfo, roles):
            return Roles()
    return roles


def set_up(conninfo: str, roles: Roles) -> bool:
    """Whether a cell's tables are shielded, and whoever connects may take these roles."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        return conn.execute(_SET_UP, (list(set(roles)),)).fetchone() == (True,)


def beginning(conninfo: str, **settings: str) -> str:
    """Connections that begin with these settings of PostgreSQL's, beside those that are there."""
    options = conninfo_to_dict(conninfo).get("options") or ""
    more = " ".join(f"-c{name}={value}" for name, value in settings.items())
    return make_conninfo(conninfo, options=f"{options} {more}")


def as_role(conninfo: str, role: str | None) -> str:
    """Connections that begin in this role."""
    return conninfo if role is None else beginning(conninfo, role=role)


@contextmanager
def on_behalf_of(owner: str) -> Iterator[None]:
    """Within it, connections of a cell's pool show the rows of this owner."""
    token = _OWNER.set(owner)
    try:
        yield
    finally:
        _OWNER.reset(token)


class Shown(Connection[Any]):
    """A connection that knows whose rows it shows; None: it may be anybody's."""

    owner: str | None = ""


class AsyncShown(AsyncConnection[Any]):
    """As `Shown`."""

    owner: str | None = ""


class ShownPool(ConnectionPool[Connection[Any]]):
    """Hands out connections that show the rows of whom it is on behalf of, and of nobody else."""

    def __init__(self, conninfo: str, **options: Any) -> None:
        super().__init__(conninfo, connection_class=Shown, **options)

    def getconn(self, timeout: float | None = None) -> Connection[Any]:
        conn = super().getconn(timeout)
        assert isinstance(conn, Shown)  # noqa: S101 - made in __init__
        owner = _OWNER.get()
        if conn.owner == owner:
            return conn
        conn.owner = None  # should this be broken off, nobody knows
        try:
            conn.execute(SHOW, (owner,))
        except BaseException:
            self.putconn(conn)
            raise
        conn.owner = owner
        return conn


async def show(conn: AsyncShown, owner: str) -> None:
    """Have a connection show the rows of this owner."""
    if conn.owner != owner:
        conn.owner = None  # should this be broken off, nobody knows
        await conn.execute(SHOW, (owner,))
        conn.owner = owner
