"""`everlog replay`: ask the workers to rebuild projections, and show how they get on."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import psycopg
from psycopg import Connection
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from domain.eventstore.cells import Cell
from projections import ALL, SEARCHED, catalogue, rebuild
from projections.catalogue import Build
from runtime.commands.arguments import usual
from runtime.composition import cells_of, embedders_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError
from workers import broker

LOOK_SECONDS = 0.1
TAKEN_SECONDS = 30.0
"""Without a worker that takes the job by then, or goes on with it, there is none."""


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("projection", nargs="?", metavar="PROJECTION", help="all of them by default")
    parser.add_argument(
        "--rollback", action="store_true", help="make the build before the live one live again"
    )


def run(settings: Settings, options: Namespace) -> None:
    replay(connected(settings, queue=True), options.projection, options.rollback, options.json)


def replay(settings: Settings, projection: str | None, roll_back: bool, as_json: bool) -> None:
    """Rebuild one projection, or all, and wait for the switch. Reads go on from the live build meanwhile."""
    if projection is not None and projection not in ALL:
        raise SettingsError(f"there is no projection {projection!r}; there are {', '.join(ALL)}")
    names = [projection] if projection else list(ALL)
    with closing(cells_of(settings)) as cells:
        for cell in cells.all.values():
            with psycopg.connect(cell.conninfo, autocommit=True) as conn:
                done = _roll_back(cell, names) if roll_back else _replay(settings, conn, cell, names, as_json)
            if as_json:
                print(msgspec.json.encode({"cell": cell.name, "projections": done}).decode())


def _roll_back(cell: Cell, names: Sequence[str]) -> list[dict[str, Any]]:
    done = []
    for name in names:
        try:
            version = rebuild.roll_back(cell, ALL[name])
        except rebuild.NothingToRollBack as error:
            raise SettingsError(str(error)) from None
        _say(f"{name}: version {version} is live again")
        done.append({"name": name, "version": version})
    return done


def _replay(
    settings: Settings, conn: Connection[Any], cell: Cell, names: Sequence[str], as_json: bool
) -> list[dict[str, Any]]:
    assert settings.redis_url  # noqa: S101 - the command sees to it
    queue = broker.connect(settings.redis_url)
    done = []
    for name in names:
        model = embedders_of(settings).default if name in SEARCHED else None
        version = rebuild.begin(conn, name, model)
        broker.enqueue(queue, broker.REPLAY, cell.name, name, version)
        started = time.monotonic()
        build = _follow(conn, name, version, as_json)
        seconds = time.monotonic() - started
        rate = (build.to_load or 0) / seconds
        _say(
            f"{name}: version {version} is live, {build.to_load or 0:,} events in {seconds:.1f} s"
            f" ({rate:,.0f} a second); --rollback brings the one before back"
        )
        done.append({"name": name, "version": version, "events": build.to_load, "seconds": round(seconds, 3)})
    queue.close()
    return done


def _say(text: str) -> None:
    print(text, file=sys.stderr)


class _Speed(ProgressColumn):
    """Events a second; nothing while none is known, as at the first look."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} events/s" if task.speed else "")


def _follow(conn: Connection[Any], name: str, version: int, as_json: bool) -> Build:
    """Show a replay until it is live. Raises SettingsError when it fails or nobody takes it."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        _Speed(), TimeRemainingColumn(),
    )  # fmt: skip
    deadline, done = time.monotonic() + TAKEN_SECONDS, None
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task(name, total=None)
        while True:
            build = catalogue.build(conn, name, version)
            if build is None:
                raise SettingsError(f"the replay of {name} was dropped by a later one")
            if build.error:
                raise SettingsError(f"the replay of {name} failed: {build.error}")
            if build.to_load is not None:
                progress.update(task, total=build.to_load, completed=build.loaded)
            if build.state != "building":
                return build
            if done != build.loaded:
                deadline, done = time.monotonic() + TAKEN_SECONDS, build.loaded
            elif time.monotonic() > deadline:
                _require_worker(conn, build)
                deadline = time.monotonic() + TAKEN_SECONDS
            time.sleep(LOOK_SECONDS)


def _require_worker(conn: Connection[Any], build: Build) -> None:
    """Raises SettingsError where nobody is at a replay, such as when its worker was killed."""
    if rebuild.under_way(conn, build.name):
        return
    if build.to_load is None:
        raise SettingsError("no worker took the replay; is `everlog worker` running?")
    raise SettingsError(
        f"no worker goes on with the replay of {build.name}; `everlog worker` starts one, which takes it up"
    )
