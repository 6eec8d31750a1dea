"""What a projection is: one declaration of its name, its table and the rows that a stream of events makes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from psycopg import Connection

from domain.aggregate import State
from projections.catalogue import Build
from projections.changes import Change, last_changes

S = TypeVar("S", bound=State)

Row = tuple[Any, ...]
"""Values in the order of the columns."""
Stream = Sequence[Change[S]]
"""Changes of one aggregate, in order."""


class Columns:
    """The columns of a table, each with its definition: `Columns(id="uuid NOT NULL", user_id="text")`."""

    def __init__(self, /, **definitions: str) -> None:
        self._definitions = definitions

    def __add__(self, more: "Columns") -> "Columns":
        return Columns(**self._definitions, **more._definitions)

    def __str__(self) -> str:
        """Their names, as SELECT and COPY list them."""
        return ", ".join(self._definitions)

    @property
    def names(self) -> list[str]:
        return list(self._definitions)

    @property
    def types(self) -> list[str]:
        """Their types, as a binary COPY is told them."""
        return [definition.removesuffix(" NOT NULL") for definition in self._definitions.values()]

    @property
    def definitions(self) -> str:
        """As CREATE TABLE takes them."""
        return ", ".join(f"{name} {definition}" for name, definition in self._definitions.items())


class Projection(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """A read model of one kind of aggregate. Each build of it has a table of its own."""

    name: str
    aggregate: str
    """The kind whose changes it is fed, such as `memory`; the column `memory_id` then says which one."""
    columns: Columns
    key: str | None
    """What the primary key consists of; None: there is none."""
    indexes: Sequence[str] = ()
    """Each as it follows the table's name, such as `(owner, user_id)`."""
    rows: Callable[[Stream[S]], Iterable[Row]]
    """The rows that a stream has when its last change was this one. See `of_last_state`."""
    read_at_once: int | None = None
    """Events fetched at a time, where they can be as long as a book; None: as many as of short ones."""
    order: int = 100
    """Whether others are rebuilt, and given vectors, before it: those with less; of the same, by name."""

    def create(self, conn: Connection[Any], build: Build) -> None:
        """Make the table of a build, without the indexes that slow a bulk load."""
        self._create(conn, build, self.columns)

    def _create(self, conn: Connection[Any], build: Build, columns: Columns) -> None:
        conn.execute(f"CREATE TABLE {build.table} ({columns.definitions})")
        conn.execute("SELECT shield_projection(%s)", (build.table,))

    def index(self, conn: Connection[Any], build: Build) -> None:
        """Make the indexes, after a bulk load."""
        if self.key:
            conn.execute(f"ALTER TABLE {build.table} ADD PRIMARY KEY ({self.key})")
        for index in self.indexes:
            conn.execute(f"CREATE INDEX ON {build.table} {index}")

    def drop(self, conn: Connection[Any], build: Build) -> None:
        """Remove the table of a build."""
        conn.execute(f"DROP TABLE IF EXISTS {build.table}")

    def apply(self, conn: Connection[Any], build: Build, changes: Sequence[Change[S]]) -> None:
        """Apply changes in order of position; the caller's transaction also moves the position.

        The rows of what has changed are replaced by those of its last state.
        """
        last = last_changes(changes)
        self._delete(conn, build, [change.after.id for change in last])
        self.load(conn, build, [[change] for change in last])

    def load(self, conn: Connection[Any], build: Build, streams: Iterable[Stream[S]]) -> None:
        """Add the rows of streams, of which the table has none."""
        self.write(conn, build, (row for stream in streams for row in self.rows(stream)))

    def write(self, conn: Connection[Any], build: Build, rows: Iterable[Row]) -> None:
        """Copy rows into the table."""
        with conn.cursor().copy(f"COPY {build.table} ({self.columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(self.columns.types)
            for row in rows:
                copy.write_row(row)

    def forget(self, conn: Connection[Any], build: Build, ids: Sequence[UUID]) -> None:
        """Take the words of aggregates that were erased out of the table."""
        self._delete(conn, build, ids)

    def _delete(self, conn: Connection[Any], build: Build, ids: Sequence[UUID]) -> None:
        conn.execute(f"DELETE FROM {build.table} WHERE {self.aggregate}_id = ANY(%s)", (list(ids),))


def of_last_state(rows: Callable[[S], Iterable[Row]]) -> Callable[[Stream[S]], Iterable[Row]]:
    """The rows of what a stream has come to; none where that is deleted."""

    def of_stream(stream: Stream[S]) -> Iterable[Row]:
        last = stream[-1].after
        return () if getattr(last, "deleted", False) else rows(last)

    return of_stream


def storable(row: Row) -> Row:
    """`row` without zero bytes, which the log can hold and PostgreSQL's text cannot."""
    return tuple(value.replace("\0", "") if isinstance(value, str) else value for value in row)
