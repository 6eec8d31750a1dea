"""`everlog import`: take in the memories of another service, from its API or from an export file.

Running one again, or on after it broke off, adds what is missing and nothing twice.
"""

import os
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from application.asked import asked_by
from application.imports import Row, take
from domain.errors import Refused
from domain.eventstore.cells import OPERATOR, Cell
from domain.ids import new_id, spell
from runtime.commands.arguments import cell_of, of_owner, usual
from runtime.commands.sources import LIVE, NAMES, file
from runtime.commands.sources.spellings import Page, Unusable, read_row
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError

BATCH = 200
"""Memories in one commit; a page of a source is never split further than that, nor joined with the next."""
SHOWN = 10
"""Unusable rows that are told of; the others are counted."""
IMPORT_PREFIX = "import_"
KEY_VARIABLE = "EVERLOG_IMPORT_KEY"


class Report(msgspec.Struct, kw_only=True):
    """What an import has done."""

    cause: str
    """Of all its events."""
    source: str
    owner: str
    imported: int = 0
    existed: int = 0
    """Imported before, or twice in the source, where the first counts. Also those deleted here since, unless
    a revert did that."""
    unusable: int = 0
    reasons: list[str] = msgspec.field(default_factory=list)
    """Why, of the first unusable rows."""
    complete: bool = False

    @property
    def rows(self) -> int:
        return self.imported + self.existed + self.unusable


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("--from", dest="source", required=True, choices=NAMES, help="what wrote them")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--file", metavar="PATH", help="an export: JSON, or JSON lines")
    place.add_argument("--url", help="the base address of the service's API")
    parser.add_argument("--key", help="of that API; better in EVERLOG_IMPORT_KEY, where nobody else sees it")
    parser.add_argument("--user-id", metavar="USER_ID", help="for memories that name no user")
    of_owner(parser)


def run(settings: Settings, options: Namespace) -> None:
    pages = pages_of(options.source, options.file, options.url, options.key)
    import_memories(connected(settings), options.owner, options.source, pages, options.user_id, options.json)


def import_memories(
    settings: Settings, owner: str, source: str, pages: Iterator[Page], user_id: str | None, as_json: bool
) -> None:
    """Import all rows of `pages`; `user_id` is for those that name none.

    Raises SettingsError when the source or the event store fails; what was imported by then stays.
    """
    report = Report(cause=spell(IMPORT_PREFIX, new_id()), source=source, owner=owner)
    with closing(cells_of(settings)) as cells:
        cell = cell_of(cells, owner)
        try:
            _import(cell, report, pages, user_id, as_json)
        except Refused as error:
            raise SettingsError(str(error)) from None
        finally:
            _show(report, as_json)


def pages_of(source: str, path: str | None, url: str | None, key: str | None) -> Iterator[Page]:
    """What a source has, by file or by address. Raises SettingsError for what does not go together."""
    if path is not None:
        return file.pages(Path(path))
    if url is None:
        raise SettingsError("name --file, or --url and --key")
    if source not in LIVE:
        raise SettingsError(f"--from {source} reads a --file; of an Everlog that runs, --from memoid does")
    key = key or os.environ.get(KEY_VARIABLE)
    if not key:
        raise SettingsError(f"--key: not given, and {KEY_VARIABLE} is not set")
    return LIVE[source](url, key.strip())


def _import(cell: Cell, report: Report, pages: Iterator[Page], user_id: str | None, as_json: bool) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task(f"importing from {report.source}", total=None)
        for page in pages:
            progress.update(task, total=page.total)
            for at in range(0, len(page.rows), BATCH):
                rows = _usable(report, page.rows[at : at + BATCH], user_id)
                taken = take(cell, asked_by(OPERATOR, report.owner), report.source, rows, report.cause)
                report.imported += taken
                report.existed += len(rows) - taken
                progress.update(task, completed=report.rows)
    report.complete = True


def _usable(report: Report, raws: Sequence[Any], user_id: str | None) -> list[Row]:
    rows = []
    first = report.rows + 1
    for number, raw in enumerate(raws, first):
        try:
            rows.append(read_row(raw, user_id))
        except Unusable as error:
            report.unusable += 1
            if len(report.reasons) < SHOWN:
                report.reasons.append(f"row {number}: {error}")
    return rows


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    print(
        f"{report.imported:,} memories imported, {report.existed:,} were there before,"
        f" {report.unusable:,} could not be used"
    )
    for reason in report.reasons:
        print(f"    {reason}")
    if report.unusable > len(report.reasons):
        print(f"    and {report.unusable - len(report.reasons):,} more")
    if not report.complete:
        print("the import broke off; run it again and it goes on")
    if report.imported:
        whose = "" if report.owner == "default" else f" --owner {shlex.quote(report.owner)}"
        print(f"`everlog revert --cause {report.cause}{whose} --apply` takes it back")
