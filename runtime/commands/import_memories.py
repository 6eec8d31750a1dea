"""`everlog import`: take in the memories of another service, from its API or from an export file.

A memory's id follows from what it is called there and when it came to be, so running an import again, or on
after it broke off, adds what is missing and nothing twice, and lists have it where its time puts it.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from domain.aggregate import Command
from domain.errors import Contended, NotFound, Refused, VersionConflict
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.memories import Ended, ends_of
from domain.eventstore.states import states_of
from domain.eventstore.writer import Work
from domain.ids import EPOCH, MEMORY_PREFIX, REVERT_PREFIX, dated_id, new_id, parse, spell
from domain.memory import AddMemory, Deleted, Memory, RestoreMemory
from domain.recorded import Context
from domain.scope import Scope
from runtime.commands.keys import opened
from runtime.commands.sources import LIVE, file
from runtime.commands.sources.row import Page, Row, Unusable, read_row
from runtime.settings import Settings, SettingsError

BATCH = 200
"""Memories in one commit; a page of a source is never split further than that, nor joined with the next."""
TRIES = 5
"""Another import of the same source may run at once and be faster with a batch."""
SHOWN = 10
"""Unusable rows that are told of; the others are counted."""
IMPORT_PREFIX = "import_"
KIND = "imported memory"
"""What the ids of imported memories are hashed as."""
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


def import_memories(
    settings: Settings, owner: str, source: str, pages: Iterator[Page], user_id: str | None, as_json: bool
) -> None:
    """Import all rows of `pages`; `user_id` is for those that name none.

    Raises SettingsError when the source or the event store fails; what was imported by then stays.
    """
    report = Report(cause=spell(IMPORT_PREFIX, new_id()), source=source, owner=owner)
    with opened(settings) as cells:
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


def cell_of(cells: Cells, owner: str) -> Cell:
    """The cell of an owner. Raises SettingsError for one that there is not."""
    try:
        return cells.of(owner)
    except NotFound:
        raise SettingsError(
            f"--owner: there is no {owner!r}; `everlog keys create --name N --owner O` makes an owner"
        ) from None


def _import(cell: Cell, report: Report, pages: Iterator[Page], user_id: str | None, as_json: bool) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task(f"importing from {report.source}", total=None)
        for page in pages:
            progress.update(task, total=page.total)
            for at in range(0, len(page.rows), BATCH):
                _take(cell, report, _usable(report, page.rows[at : at + BATCH], user_id))
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


def _take(cell: Cell, report: Report, rows: Sequence[Row]) -> None:
    wanted: dict[str, Row] = {}
    for row in rows:
        wanted.setdefault(_name(report, row), row)
    context = Context(owner=report.owner, actor="operator", cause=report.cause, correlation="")
    for attempt in range(TRIES):
        commands = _commands(cell, report, wanted)
        try:
            cell.writer.submit(Work(context=context, commands=commands)).result()
        except (Contended, VersionConflict):
            if attempt + 1 == TRIES:
                raise
            continue
        report.imported += len(commands)
        report.existed += len(rows) - len(commands)
        return


def _name(report: Report, row: Row) -> str:
    # The user is part of it: two accounts of a service that numbers its memories are imported for two users.
    return msgspec.json.encode([report.owner, report.source, row.user_id, row.id]).decode()


def _ids(name: str, row: Row) -> tuple[UUID, UUID]:
    """The ids that a row may have: by the second in which it came to be, which all of a source's ways to
    tell it agree on, and without a time, as the oldest of all. A time to come is none until it has come.
    """
    undated = dated_id(KIND, name, EPOCH)
    dated = dated_id(KIND, name, row.created.replace(microsecond=0)) if row.created else undated
    return dated, undated


def _commands(cell: Cell, report: Report, wanted: dict[str, Row]) -> list[tuple[UUID, Command[Memory]]]:
    """What adds those of `wanted` that are not there; what a revert took away comes back."""
    named = {name: _ids(name, row) for name, row in wanted.items()}
    ours = {name: parse(MEMORY_PREFIX, row.id) for name, row in wanted.items()}
    with cell.pool.connection() as conn:
        ids = [*chain.from_iterable(named.values()), *filter(None, ours.values())]
        last = ends_of(conn, report.owner, ids)
        known = {name: next((id for id in ids if id in last), ids[0]) for name, ids in named.items()}
        reverted = [id for id in known.values() if id in last and _is_reverted(last[id])]
        before = states_of(conn, cell.log.mapper, Memory, reverted)
    commands: list[tuple[UUID, Command[Memory]]] = []
    for name, row in wanted.items():
        id, own = known[name], ours[name]
        memory = before.get(id)
        # An export of this owner's own memories holds the very ids that they have here.
        is_own = own in last and last[own].type != Deleted.TYPE
        if memory:
            commands.append((id, _restored(report, row, memory)))
        elif id not in last and not is_own:
            commands.append((id, _added(report, row)))
    return commands


def _is_reverted(last: Ended) -> bool:
    return last.type == Deleted.TYPE and last.cause.startswith(REVERT_PREFIX)


def _added(report: Report, row: Row) -> AddMemory:
    scope = Scope(
        owner=report.owner,
        user_id=row.user_id,
        agent_id=row.agent_id,
        run_id=row.run_id,
        project_id=row.project_id,
    )
    imported = {
        "imported_from": report.source,
        "imported_id": row.id if row.has_id else None,
        "imported_created_at": row.created_at,
    }
    return AddMemory(
        text=row.text,
        scope=scope,
        # What the row says of itself counts: after a second import it still names the first source.
        metadata=row.others | {k: v for k, v in imported.items() if v is not None} | row.metadata,
        tags=row.tags,
        traits=row.traits,
        role=row.role,
        created_at=row.created,
    )


def _restored(report: Report, row: Row, memory: Memory) -> RestoreMemory:
    added = _added(report, row)
    to = msgspec.structs.replace(
        memory,
        text=added.text,
        scope=added.scope,
        metadata=added.metadata,
        tags=added.tags,
        traits=added.traits,
    )
    return RestoreMemory(to=to, expected_version=memory.version)


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
