"""`everlog erase`: delete memories for good, after a look at what they are."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import closing

import msgspec

from application import erasure
from application.asked import asked_by
from application.erasure import erasable
from domain.errors import NotFound, Refused
from domain.eventstore.cells import OPERATOR, Cell, Cells
from domain.ids import MEMORY_PREFIX, parse, spell
from domain.memory import EraseMemory, Memory
from runtime.commands.arguments import usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One memory, as the command tells of it."""

    memory_id: str
    owner: str
    versions: int
    erased: bool


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("memory_ids", nargs="+", metavar="MEMORY_ID")
    parser.add_argument("--yes", action="store_true", help="do it; else only show what would be erased")


def run(settings: Settings, options: Namespace) -> None:
    erase(connected(settings), options.memory_ids, options.yes, options.json)


def erase(settings: Settings, memory_ids: Sequence[str], sure: bool, as_json: bool) -> None:
    """Without `sure` only show what would be erased. Raises SettingsError unless all of it can be."""
    with closing(cells_of(settings)) as cells:
        found = [_named(cells, memory_id) for memory_id in dict.fromkeys(memory_ids)]
        for cell, memory in found if sure else []:
            _erase(cell, memory)
    told = [
        Erasure(
            memory_id=spell(MEMORY_PREFIX, memory.id),
            owner=memory.scope.owner,
            versions=memory.version,
            erased=sure,
        )
        for _, memory in found
    ]
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    for (_, memory), one in zip(found, told, strict=True):
        print(f"{one.memory_id}  {one.owner}  v{one.versions}  {'' if sure else memory.text}".rstrip())
    print(
        f"{len(told)} erased"
        if sure
        else f"{len(told)} would be erased; --yes does it, and nothing undoes it"
    )


def _named(cells: Cells, memory_id: str) -> tuple[Cell, Memory]:
    try:
        return erasable(cells, parse(MEMORY_PREFIX, memory_id))
    except NotFound:
        raise SettingsError(
            f"there is no memory {memory_id}, or it is erased already; nothing was erased"
        ) from None


def _erase(cell: Cell, memory: Memory) -> None:
    command = EraseMemory(missing_ok=True)  # somebody else may be faster
    try:
        erasure.erase(cell, asked_by(OPERATOR, memory.scope.owner), [(memory.id, command)])
    except Refused as error:
        raise SettingsError(str(error)) from None
