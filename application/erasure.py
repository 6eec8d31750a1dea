"""Erasing memories for good: nobody can read them any more, in the log neither."""

import logging
from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from application.asked import Asked
from application.engine import Engine, submit
from domain.aggregate import Commands
from domain.errors import NotFound
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.memories import unerased_of
from domain.eventstore.writer import Result
from domain.memory import Memory
from projections import erasure

log = logging.getLogger(__name__)


def erase(cell: Cell, asked: Asked, commands: Commands[Memory]) -> list[Result[Memory]]:
    """Erase all of these memories or none, and take their words out of the log and what is built of it.

    From the commit of the commands on they are gone; should the rest fail, a worker's sweep does it.
    """
    results = submit(cell, asked, commands).result()
    try:
        take_words_out(cell, asked.caller.owner, [result.state.id for result in results])
    except (psycopg.OperationalError, PoolTimeout):
        log.warning("an erasure is left to the sweep", exc_info=True)
    return results


def take_words_out(cell: Cell, owner: str, ids: Sequence[UUID]) -> None:
    """The second half of an erasure; it may run twice."""
    with cell.pool.connection() as conn:
        erasure.erase(conn, cell.log.mapper, owner, ids)


async def unerased(engine: Engine, asked: Asked, ids: Sequence[UUID]) -> list[UUID]:
    """Of these, the caller's memories that can be erased: also those that are deleted."""
    async with engine.connection(asked.caller.owner) as conn:
        return await unerased_of(conn, asked.caller.owner, ids)


def erasable(cells: Cells, id: UUID | None) -> tuple[Cell, Memory]:
    """A memory that is not erased, and where it lives, whoever owns it. Raises NotFound."""
    for cell in cells.all.values():
        try:
            memory = cell.log.get(Memory, id) if id else None
        except NotFound:
            continue
        if memory and not memory.erased:
            return cell, memory
    raise NotFound("no such memory")
