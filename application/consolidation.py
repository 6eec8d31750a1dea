"""Consolidation: of memories of the same scope that say the same, one is kept."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import anyio.to_thread

from application.asked import Asked
from application.duplicates import groups
from application.engine import Engine
from application.memories import all_of
from domain.aggregate import Command
from domain.errors import Contended, NotFound, VersionConflict
from domain.memory import DeleteMemory, Memory, UpdateMemory
from projections.selection import Selection

MAX_COMPARED = 10_000
"""The newest; compared in 0.3 s, or in 8 s where all of them consist of the same few words."""
TRIES = 10
PAUSE_SECONDS = 0.02
"""What others have written is read a moment later."""


class Consolidated(NamedTuple):
    """What was compared, and what of it said the same."""

    compared: int
    groups: list[list[Memory]]
    """Each begins with the memory that is kept."""


async def consolidate(
    engine: Engine, asked: Asked, selection: Selection, threshold: float, *, dry_run: bool
) -> Consolidated:
    """Delete what another of the selected memories says too (`application.duplicates`), all or nothing.

    A repetition finds what was found first. Raises Contended.
    """
    for attempt in range(TRIES):
        known = await all_of(engine, asked, selection, MAX_COMPARED)
        found = await anyio.to_thread.run_sync(groups, known, threshold)
        if dry_run:
            return Consolidated(len(known), found)
        try:
            return Consolidated(len(known), await _merged(engine, asked, found))
        except (VersionConflict, NotFound):  # changed since they were read: then as they are now
            await asyncio.sleep(PAUSE_SECONDS * (attempt + 1))
    raise Contended("these memories are being changed too fast by others; try again")


async def _merged(engine: Engine, asked: Asked, found: list[list[Memory]]) -> list[list[Memory]]:
    """The groups as they are once their duplicates are deleted; of a repetition those that were found first.

    Raises VersionConflict and NotFound if one of them has changed.
    """
    commands: list[tuple[UUID, Command[Memory]]] = []
    for kept, *duplicates in found:
        # What is kept goes along unchanged, so that a repetition reads the groups from its receipt.
        commands.append((kept.id, UpdateMemory(expected_version=kept.version)))
        commands += [(memory.id, DeleteMemory(expected_version=memory.version)) for memory in duplicates]
    return _grouped([result.state for result in await engine.execute(asked, commands)])


def _grouped(after: Sequence[Memory]) -> list[list[Memory]]:
    """The groups again, from the memories as they are afterwards: one that is kept begins a group."""
    found: list[list[Memory]] = []
    for memory in after:
        if memory.deleted:
            found[-1].append(memory)
        else:
            found.append([memory])
    return found
