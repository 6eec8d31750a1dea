"""Given events, then rows: projections that are applied where the test is, on the real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from pgvector.psycopg import register_vector, register_vector_async

from domain.aggregate import Command
from domain.eventstore.cells import Cell
from domain.eventstore.roles import AsyncShown, as_role, show
from domain.eventstore.writer import Work
from domain.recorded import Context
from projections import ALL, SEARCHED, catalogue, rebuild
from projections.catalogue import Build
from projections.projection import Projection
from projections.runner import advance, ensure_live, lag
from tests.support.service import Service

MODEL = "local/all-MiniLM-L6-v2-int8"

T = TypeVar("T")


class Given:
    """A log, and all projections of it: what is given is appended, what is asked for is applied first.

    `given((id, AddMemory(…)), (id, DeleteMemory())).then_rows(MEMORIES, "text", memory_id=id)`
    """

    def __init__(self, cell: Cell, conn: psycopg.Connection[Any]) -> None:
        self.cell = cell
        self.conn = conn

    def __call__(
        self,
        *commands: tuple[UUID, Command[Any]],
        owner: str = "default",
        actor: str = "key",
        one_by_one: bool = False,
    ) -> "Given":
        """Events, by the commands that make them; `one_by_one`, each is applied before the next is there."""
        context = Context(owner=owner, actor=actor, cause="command", correlation="request")
        for some in [[one] for one in commands] if one_by_one else [commands]:
            self.cell.writer.submit(Work(context=context, commands=some)).result(60)
            if one_by_one:
                self.apply()
        return self

    def then_rows(
        self, projection: Projection[Any], columns: str, *rows: tuple[Any, ...], **where: Any
    ) -> "Given":
        """Once all is applied, these are the values of the rows with such values, in the order of the key."""
        self.apply(projection)
        assert self.rows(projection, columns, **where) == list(rows)
        return self

    def then_answers(
        self,
        projection: Projection[Any],
        query: Callable[..., Awaitable[T]],
        *args: Any,
        asks: str = "default",
        **named: Any,
    ) -> T:
        """What a query answers an owner, as the API asks it, once all is applied."""
        self.apply(projection)

        async def ask() -> T:
            conninfo = as_role(self.cell.conninfo, "everlog_api")
            async with await AsyncShown.connect(conninfo, autocommit=True) as asking:
                await register_vector_async(asking)
                await show(asking, asks)
                return await query(asking, self.build(projection), *args, **named)

        return asyncio.run(ask())

    def then_a_replay_changes_nothing(self, projection: Projection[Any], model: str | None = None) -> Build:
        """All is applied, and a replay gives the same rows; the build that it made."""
        self.apply(projection)
        before = checksum(self.conn, projection.name)
        assert not before.startswith("0")
        version = rebuild.begin(self.conn, projection.name, model)
        assert rebuild.replay(self.cell, projection, version)
        build = self.build(projection)
        assert (build.version, checksum(self.conn, projection.name)) == (version, before)
        assert lag(self.conn, build) == 0
        return build

    def rows(self, projection: Projection[Any], columns: str, **where: Any) -> list[tuple[Any, ...]]:
        """What has been applied so far."""
        named = " AND ".join(f"{column} IS NOT DISTINCT FROM %({column})s" for column in where) or "true"
        return self.conn.execute(
            f"SELECT {columns} FROM {self.build(projection).table} WHERE {named}"
            f" ORDER BY {projection.key or columns}",
            where,
        ).fetchall()

    def apply(self, *projections: Projection[Any]) -> None:
        """Apply all that is in the log, to all projections unless some are named."""
        for projection in projections or ALL.values():
            while True:
                with self.conn.transaction():
                    if not advance(self.conn, self.cell, projection, self.build(projection)):
                        break

    def build(self, projection: Projection[Any]) -> Build:
        """The live one."""
        return live_build(self.conn, projection.name)

    def lag(self, projection: Projection[Any]) -> int:
        return lag(self.conn, self.build(projection))


@contextmanager
def projecting(cell: Cell, *projections: Projection[Any]) -> Iterator[Given]:
    """Projections of a cell, all unless some are named, with nobody else at work."""
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        register_vector(conn)
        for projection in projections or ALL.values():
            ensure_live(conn, projection, MODEL if projection.name in SEARCHED else None)
        yield Given(cell, conn)


def live_build(conn: psycopg.Connection[Any], name: str) -> Build:
    return next(build for build in catalogue.builds(conn, name) if build.state == "live")


def checksum(conn: psycopg.Connection[Any], name: str) -> str:
    """How many rows the live build has, and one hash over all of them."""
    row = conn.execute(
        "SELECT count(*) || md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), ''))"
        f" FROM {live_build(conn, name).table} r"
    ).fetchone()
    return str(row and row[0])


def replayed(service: Service, name: str) -> None:
    from runtime.commands.replay import replay

    replay(service.settings, name, roll_back=False, as_json=True)
