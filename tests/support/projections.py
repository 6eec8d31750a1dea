"""Ways to apply a log to projections, and to look at what they hold."""

from typing import Any
from uuid import UUID

import psycopg

from domain.aggregate import Command, State
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.recorded import Context
from projections import catalogue
from projections.catalogue import Build, builds
from projections.projection import Projection
from projections.runner import advance
from tests.support.service import Service


def checksum(conn: psycopg.Connection[Any], name: str) -> str:
    """One hash over all rows of the live build."""
    version = next(b.version for b in builds(conn, name) if b.state == "live")
    row = conn.execute(
        "SELECT count(*) || md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), ''))"
        f" FROM {name}_v{version} r"
    ).fetchone()
    return str(row and row[0])


def replayed(service: Service, name: str) -> None:
    from runtime.commands.replay import replay

    replay(service.settings, name, roll_back=False, as_json=True)


CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
MODEL = "local/all-MiniLM-L6-v2-int8"


def given(cell: Cell, *commands: tuple[UUID, Command[State]]) -> None:
    """Events, by the commands that make them."""
    for command in commands:
        cell.writer.submit(Work(context=CONTEXT, commands=[command])).result(30)


def build_of(conn: psycopg.Connection[Any], name: str) -> Build:
    return next(build for build in catalogue.builds(conn, name) if build.state == "live")


def applied(conn: psycopg.Connection[Any], cell: Cell, projection: Projection[Any]) -> None:
    """Apply all that is in the log."""
    while True:
        with conn.transaction():
            if not advance(conn, cell, projection, build_of(conn, projection.name)):
                return
