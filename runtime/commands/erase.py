"""`everlog erase`: delete memories for good, after a look at what they are."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain.errors import NotFound, Refused
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.writer import Work
from domain.ids import MEMORY_PREFIX, new_id, read, spell
from domain.memory import EraseMemory, Memory
from domain.recorded import Context
from projections import erasure
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One memory, as the command tells of it."""

    memory_id: str
    owner: str
    versions: int
    erased: bool


def erase(settings: Settings, memory_ids: Sequence[str], sure: bool, as_json: bool) -> None:
    """Without `sure` only show what would be erased. Raises SettingsError unless all of it can be."""
    with opened(settings) as cells:
        found = [_find(cells, memory_id) for memory_id in dict.fromkeys(memory_ids)]
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


def _find(cells: Cells, memory_id: str) -> tuple[Cell, Memory]:
    id = read(MEMORY_PREFIX, memory_id)
    for cell in cells.all.values():
        memory = _memory(cell, id) if id else None
        if memory and not memory.erased:
            return cell, memory
    raise SettingsError(f"there is no memory {memory_id}, or it is erased already; nothing was erased")


def _memory(cell: Cell, id: UUID) -> Memory | None:
    try:
        return cell.log.get(Memory, id)
    except NotFound:
        return None


def _erase(cell: Cell, memory: Memory) -> None:
    owner = memory.scope.owner
    context = Context(owner=owner, actor="operator", cause=str(new_id()), correlation="")
    command = EraseMemory(missing_ok=True)  # somebody else may be faster
    try:
        cell.writer.submit(Work(context=context, commands=[(memory.id, command)])).result()
    except Refused as error:
        raise SettingsError(str(error)) from None
    with cell.pool.connection() as conn:
        erasure.erase(conn, cell.log.mapper, owner, [memory.id])
