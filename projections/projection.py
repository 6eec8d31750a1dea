"""What every projection declares: its name, the tables of one build, and how changes become rows."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from psycopg import Connection

from projections.catalogue import Build
from projections.changes import Change


class Projection(Protocol):
    """A read model. All its SQL names tables with the version of the build they belong to."""

    name: str
    aggregate: str
    """The kind whose changes it is fed: `memory`."""

    def create(self, conn: Connection[Any], version: int) -> None:
        """Make the tables of a build, without the indexes that slow a bulk load."""

    def index(self, conn: Connection[Any], version: int) -> None:
        """Make the indexes, after a bulk load."""

    def drop(self, conn: Connection[Any], version: int) -> None:
        """Remove the tables of a build."""

    def apply(self, conn: Connection[Any], build: Build, changes: Sequence[Change[Any]]) -> None:
        """Apply changes in order of position; the caller's transaction also moves the position."""

    def load(self, conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Any]]]) -> None:
        """Fill empty tables from whole streams."""
