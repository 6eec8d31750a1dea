"""Writing rows, as the projections of one row or more an aggregate share it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from psycopg import Connection

from domain.aggregate import State
from projections.catalogue import Build
from projections.changes import Change, last_changes

S = TypeVar("S", bound=State)
Load = Callable[[Connection[Any], Build, Iterable[Sequence[Change[S]]]], None]


def renew(
    conn: Connection[Any], build: Build, key: str, changes: Sequence[Change[S]], load: "Load[S]"
) -> None:
    """Replace the rows of what has changed, found by the column `key`, by those of its last state."""
    last = last_changes(changes)
    conn.execute(f"DELETE FROM {build.table} WHERE {key} = ANY(%s)", ([change.after.id for change in last],))
    load(conn, build, [[change] for change in last])


def storable(row: Iterable[Any]) -> tuple[Any, ...]:
    """`row` without zero bytes, which the log can hold and PostgreSQL's text cannot."""
    return tuple(value.replace("\0", "") if isinstance(value, str) else value for value in row)
