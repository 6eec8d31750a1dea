"""Memories: as they are, were and are listed; changing them by what they are; erasing them."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from application.asked import Asked
from application.engine import Engine
from domain.errors import Contended, NotFound, VersionConflict
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.memories import numbered
from domain.eventstore.reading import head_now
from domain.eventstore.writer import Result
from domain.ids import MEMORY_PREFIX, spell
from domain.memory import Entity, Memory, Relation, UpdateMemory, is_of_memory, project
from domain.recorded import Recorded, now
from projections import history, memories, search
from projections.memories import Holder
from projections.selection import Selection

READ_AT_ONCE = 1_000
CHANGE_TRIES = 50
"""Each time that somebody else changes it first, that one is through."""
CHANGE_PAUSE_SECONDS = 0.002


class FlatMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory; what few have is told only of those that have it."""

    id: str
    memory: str
    user_id: str | None
    agent_id: str | None
    run_id: str | None
    project_id: str | None
    metadata: dict[str, Any]
    tags: Sequence[str]
    type: str | None
    confidence: float | None
    categories: Sequence[str]
    happened_on: date | None
    expires_on: date | None = None
    entities: Sequence[Entity] = ()
    relations: Sequence[Relation] = ()
    version: int
    created_at: datetime
    updated_at: datetime


class Page(NamedTuple):
    """A page of memories, and the position of the log up to which it holds."""

    memories: list[Memory]
    total: int
    """Of all that are selected."""
    position: int


async def get(engine: Engine, asked: Asked, id: UUID, version: int | None = None) -> Memory:
    """A memory as it is now, or was at `version`. Raises NotFound, also for one that has expired."""
    current = await engine.state(asked, Memory, id)
    if current.scope.owner != asked.caller.owner or current.erased or _expired(current):
        raise NotFound("no such memory")
    memory = current if version is None else await engine.state(asked, Memory, id, version)
    if memory.deleted:
        raise NotFound("no such memory")
    return memory


def _stream(cell: Cell, id: UUID) -> list[Recorded]:
    return cell.log.stream(id)


async def events_of(engine: Engine, asked: Asked, id: UUID) -> list[Recorded]:
    """All events of a memory, also of a deleted one. Raises NotFound, also for one that has expired."""
    events = await engine.run(asked, _stream, id)
    if not events or events[0].context.owner != asked.caller.owner or not is_of_memory(events[0]):
        raise NotFound("no such memory")
    memory = project(None, events)
    if memory and _expired(memory):
        raise NotFound("no such memory")
    return events


def found_in(cells: Cells, id: UUID | None) -> tuple[Cell, list[Recorded]]:
    """The cell that a memory lives in, and all its events, whoever owns it. Raises NotFound."""
    for cell in cells.all.values():
        events = cell.log.stream(id) if id else []
        if events and is_of_memory(events[0]):
            return cell, events
    raise NotFound("no such memory")


async def listing(
    engine: Engine,
    asked: Asked,
    selection: Selection,
    limit: int,
    *,
    ascending: bool = False,
    after: UUID | None = None,
) -> list[Memory]:
    """What is selected, newest first unless `ascending`; `after` is the last memory of the page before."""
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        return await memories.listing(conn, build, selection, limit, ascending=ascending, after=after)


async def all_of(
    engine: Engine,
    asked: Asked,
    selection: Selection,
    most: int | None,
    *,
    ascending: bool = False,
    after: UUID | None = None,
) -> list[Memory]:
    """What is selected, newest first unless `ascending`; at most `most`."""
    found: list[Memory] = []
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        while True:
            limit = READ_AT_ONCE if most is None else min(READ_AT_ONCE, most - len(found))
            page = await memories.listing(conn, build, selection, limit, ascending=ascending, after=after)
            found += page
            if len(page) < limit or len(found) == most:
                return found
            after = page[-1].id


async def page(
    engine: Engine,
    asked: Asked,
    selection: Selection,
    limit: int,
    offset: int = 0,
    as_of: datetime | None = None,
) -> Page:
    """One page, newest first, counted; as it was at a moment, if one is given."""
    async with engine.reading(asked, history.HISTORY if as_of else memories.MEMORIES) as (conn, build):
        if as_of:
            found, total = await history.as_of(conn, build, selection, as_of, limit, offset)
        else:
            found = await memories.listing(conn, build, selection, limit, offset)
            total = await memories.count(conn, build, selection)
    return Page(found, total, build.position)


async def ids_in(engine: Engine, asked: Asked, selection: Selection) -> list[UUID]:
    """The ids of all memories that are selected, those included that were added until now."""
    async with engine.connection(asked.caller.owner) as conn:
        last = await head_now(conn)
    async with engine.reading(asked, memories.MEMORIES, last) as (conn, build):
        return await memories.ids(conn, build, selection)


async def around_agent(
    engine: Engine,
    asked: Asked,
    agent_id: str,
    limit: int,
    *,
    teams: bool,
    projects: bool,
    after: UUID | None = None,
) -> list[Memory]:
    """An agent's memories, and those of the teams and projects that it has written for, newest first."""
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        selection = memories.around_agent(build, asked.caller.owner, agent_id, teams=teams, projects=projects)
        return await memories.listing(conn, build, selection, limit, after=after)


async def holders(engine: Engine, asked: Asked, limit: int, offset: int) -> tuple[list[Holder], int]:
    """A page of those that the caller's owner has memories of, and how many there are."""
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        return await memories.holders(conn, build, asked.caller.owner, limit, offset)


async def vectors_of(engine: Engine, asked: Asked, ids: Sequence[UUID]) -> dict[UUID, list[float]]:
    """What those of these memories that have one are compared by."""
    async with engine.reading(asked, search.SEARCH) as (conn, build):
        return await search.vectors_of(conn, build, ids)


async def in_numbers(engine: Engine, asked: Asked, selection: Selection) -> list[tuple[int, str, datetime]]:
    """What is selected, in the order in which it began: its number, its text, and since when it is.

    A memory's number is the position of its first event.
    """
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        return await memories.numbered(conn, build, selection)


async def with_number(engine: Engine, asked: Asked, number: int) -> UUID:
    """The id of the memory that has this number, deleted or not. Raises NotFound."""
    async with engine.connection(asked.caller.owner) as conn:
        id = await numbered(conn, asked.caller.owner, number)
    if id is None:
        raise NotFound("no such memory")
    return id


async def change(
    engine: Engine, asked: Asked, id: UUID, change: Callable[[Memory], UpdateMemory]
) -> Result[Memory]:
    """Change a memory by what follows from its state; anew where somebody was faster.

    Raises NotFound and Contended.
    """
    for attempt in range(CHANGE_TRIES):
        command = change(await get(engine, asked, id))
        try:
            (result,) = await engine.execute(asked, [(id, command)])
        except VersionConflict:
            await asyncio.sleep(random.uniform(0, CHANGE_PAUSE_SECONDS * (attempt + 1)))  # noqa: S311
        else:
            return result
    raise Contended("this memory is being changed too fast by others; try again")


def _expired(memory: Memory) -> bool:
    """Whether it is hidden already; a worker erases it within a minute."""
    return memory.traits.expired(now().date())


def fields_of(memory: Memory) -> dict[str, Any]:
    """Those of a FlatMemory."""
    scope = memory.scope
    return {
        "id": spell(MEMORY_PREFIX, memory.id),
        "memory": memory.text,
        "user_id": scope.user_id,
        "agent_id": scope.agent_id,
        "run_id": scope.run_id,
        "project_id": scope.project_id,
        "metadata": memory.metadata,
        "tags": memory.tags,
        "type": memory.traits.type,
        "confidence": memory.traits.confidence,
        "categories": memory.traits.categories,
        "happened_on": memory.traits.happened_on,
        "expires_on": memory.traits.expires_on,
        "entities": memory.traits.entities,
        "relations": memory.traits.relations,
        "version": memory.version,
        "created_at": memory.created_at,
        "updated_at": memory.updated_at,
    }
