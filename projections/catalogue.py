"""Which builds of which projections there are, and which one is live."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection, Connection

from domain.eventstore.reading import LAST_OF_ACTOR

State = Literal["building", "live", "retired"]


class Build(msgspec.Struct, frozen=True):
    """One build of a projection, as the catalogue holds it."""

    name: str
    version: int
    state: State
    position: int
    loaded: int
    to_load: int | None
    model: str | None
    updated_at: datetime
    error: str | None

    @property
    def table(self) -> str:
        """Of the build's rows."""
        return f"{self.name}_v{self.version}"


COLUMNS = "name, version, state, position, loaded, to_load, model, updated_at, error"
LIVE = f"""
    SELECT {COLUMNS}, ({LAST_OF_ACTOR})
    FROM projections WHERE name = %s AND state = 'live'"""


class NotBuilt(LookupError):
    """A projection has no live build: no worker has started yet."""


async def live(conn: AsyncConnection[Any], name: str, actor: str) -> tuple[Build, int]:
    """The build that queries read now, and the position of the last event that `actor` has written.

    Looked up for each query, so that a switch and a write through any other process are seen at once.
    """
    row = await (await conn.execute(LIVE, (actor, name))).fetchone()
    if row is None:
        raise NotBuilt(f"projection {name} has not been built yet: is a worker running?")
    return Build(*row[:-1]), row[-1]


def builds(conn: Connection[Any], name: str | None = None) -> list[Build]:
    """All builds, of one projection or of every one, oldest first."""
    rows = conn.execute(
        f"SELECT {COLUMNS} FROM projections WHERE name = coalesce(%s, name) ORDER BY name, version", (name,)
    ).fetchall()
    return [Build(*row) for row in rows]


def build(conn: Connection[Any], name: str, version: int) -> Build | None:
    """One build; None when it was dropped, or never was."""
    return next((build for build in builds(conn, name) if build.version == version), None)


def add_build(conn: Connection[Any], name: str, state: State, model: str | None) -> Build:
    """Register a new build."""
    row = conn.execute(
        "INSERT INTO projections (name, version, state, model)"
        " SELECT %(name)s, coalesce(max(version), 0) + 1, %(state)s, %(model)s"
        f" FROM projections WHERE name = %(name)s RETURNING {COLUMNS}",
        {"name": name, "state": state, "model": model},
    ).fetchone()
    assert row  # noqa: S101 - an INSERT of one row returns one
    return Build(*row)


def set_position(conn: Connection[Any], build: Build, position: int) -> None:
    """Move a build to `position`, and tell of it; it advances, so whatever kept it from that is over."""
    conn.execute(
        "WITH moved AS (UPDATE projections SET position = %s, updated_at = now(), error = NULL"
        " WHERE name = %s AND version = %s RETURNING name, position)"
        " SELECT pg_notify(current_schema() || '_told', name || ' ' || position) FROM moved",
        (position, build.name, build.version),
    )


def parked(conn: Connection[Any]) -> dict[tuple[str, int], int]:
    """Name and version of a build → how many events were set aside as it could not apply them."""
    rows = conn.execute("SELECT projection, version, count(*) FROM parked GROUP BY projection, version")
    return {(name, version): count for name, version, count in rows}


def note_error(conn: Connection[Any], name: str, version: int, error: str) -> None:
    """Keep why a build does not get on; its next advance forgets it."""
    conn.execute("UPDATE projections SET error = %s WHERE name = %s AND version = %s", (error, name, version))
