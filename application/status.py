"""How far a cell is: its log, the projections of it, and what waits for extraction."""

from typing import Any, Literal

import msgspec
from psycopg import Connection

from domain.eventstore import backlog, tree
from domain.eventstore.cells import Cell
from domain.eventstore.reading import head
from projections import SEARCHED, catalogue
from projections.catalogue import Build

FAILED = "failed; the operator's `everlog status` shows why"
"""What owners are told of a projection: the error itself may quote whoever's events it failed at."""


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: int
    position: int
    lag: int
    """Events of the log that are not applied yet."""
    state: Literal["live", "building", "retired", "degraded", "failed"]
    parked: int
    """Events set aside because they could not be applied."""
    vectors_waiting: int
    """Rows without a vector; a text that the model refuses waits for none."""
    model: str | None
    error: str | None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations and reviews that wait for extraction."""

    waiting: int
    put_off: int
    """Of those, how many have failed before and are tried again."""
    error: str | None
    """What the last of these that are the caller's own ran into; for the operator, of all."""


class LogCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Of the log with the tree that is built over it, over and over."""

    position: int
    """The position that it has come to."""
    fault: str | None
    """Where the log is not as it was written, and why."""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    head: int
    log: LogCheck
    extraction: Backlog
    projections: list[ProjectionStatus]


def status_of(cell: Cell, owner: str | None = None) -> StatusAnswer:
    """The log's head and each build of a cell, as far as an owner may know; None: for the operator."""
    with cell.pool.connection() as conn:
        check = tree.checked(conn)
        last, parked = head(conn), catalogue.parked(conn)
        extent = backlog.extent(conn, owner)
        builds = [
            _status(build, last, parked.get((build.name, build.version), 0), _without_vector(conn, build))
            for build in catalogue.builds(conn)
        ]
    if owner is not None:
        builds = [msgspec.structs.replace(one, error=one.error and FAILED) for one in builds]
    return StatusAnswer(
        head=last,
        log=LogCheck(position=check.position if check else 0, fault=check.fault if check else None),
        extraction=Backlog(waiting=extent.waiting, put_off=extent.put_off, error=extent.error),
        projections=builds,
    )


def _status(build: Build, last: int, parked: int, without_vector: int) -> ProjectionStatus:
    return ProjectionStatus(
        name=build.name,
        version=build.version,
        position=build.position,
        lag=max(0, last - build.position),
        state=_state(build, parked),
        parked=parked,
        vectors_waiting=without_vector,
        model=build.model,
        error=build.error,
    )


def _state(build: Build, parked: int) -> Literal["live", "building", "retired", "degraded", "failed"]:
    if build.error:
        return "failed"
    return "degraded" if parked and build.state == "live" else build.state


def _without_vector(conn: Connection[Any], build: Build) -> int:
    searched = SEARCHED.get(build.name) if build.state == "live" else None
    return searched.count_waiting(conn, build) if searched else 0
