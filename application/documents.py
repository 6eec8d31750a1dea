"""Documents that users have sent: kept, removed, listed, read, and searched."""

from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

from application import finding
from application.asked import Asked
from application.engine import Engine
from application.files import ReadFile
from application.query_filters import chosen, filtered
from domain.aggregate import Command, Commands
from domain.document import Document, DocumentIndexed, IndexDocument, RemoveDocument, id_of
from domain.errors import Contended, NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.reading import head_now
from domain.eventstore.states import states_of
from domain.ids import new_id
from domain.scope import Scope
from projections import documents
from projections.documents import Listed
from projections.passages import Passage
from projections.retrieval import Found

BATCH = 200
"""Commands that are done in one step."""
TRIES = 3
ALL = 2**31 - 1
QUERY_CHARACTERS = 2_000

Which = Callable[[Listed], bool]


# --- looking ----------------------------------------------------------------------------------------


class Page(NamedTuple):
    """Some of a user's documents, in order of their names."""

    documents: list[Document]
    total: int
    """Of all that the user has."""


async def names(engine: Engine, asked: Asked, user_id: str | None) -> list[str]:
    """The names of a user's documents, sorted; with None those of the owner's own."""
    async with engine.reading(asked, documents.DOCUMENTS) as (conn, build):
        return await documents.names(conn, build, asked.caller.owner, user_id)


async def count(engine: Engine, asked: Asked, user_id: str | None) -> int:
    """How many documents a user has."""
    async with engine.reading(asked, documents.DOCUMENTS) as (conn, build):
        return await documents.count(conn, build, asked.caller.owner, user_id)


async def listing(engine: Engine, asked: Asked, user_id: str | None, at_least: int = 0) -> list[Listed]:
    """All of a user's documents without their texts, in order of their names."""
    async with engine.reading(asked, documents.DOCUMENTS, at_least) as (conn, build):
        return await documents.listing(conn, build, asked.caller.owner, user_id, ALL)


async def page(engine: Engine, asked: Asked, user_id: str | None, limit: int, offset: int) -> Page:
    """One page, with their texts."""
    owner = asked.caller.owner
    async with engine.reading(asked, documents.DOCUMENTS) as (conn, build):
        listed = await documents.listing(conn, build, owner, user_id, limit, offset)
        total = await documents.count(conn, build, owner, user_id)
    found = await engine.run(asked, _states, [id_of(owner, user_id, one.name) for one in listed])
    return Page(found, total)


async def get(engine: Engine, asked: Asked, user_id: str | None, name: str) -> Document:
    """The user's document of this name, with its text. Raises NotFound."""
    owner = asked.caller.owner
    found = await engine.run(asked, _states, [id_of(owner, user_id, name)])
    if not found or found[0].scope.owner != owner:
        raise NotFound("no such document")
    return found[0]


async def find(
    engine: Engine, asked: Asked, user_id: str | None, q: str, limit: int, which: Which | None = None
) -> Found[Passage]:
    """Passages that fit a query best: of the user's documents that its filters let pass and, with
    `which`, that these are.
    """
    wanted = filtered(q)
    query = wanted.text[:QUERY_CHARACTERS]
    among: list[str] | None = None
    if which or wanted.files or wanted.not_files:
        there = await listing(engine, asked, user_id)
        among = chosen([one.name for one in there if which is None or which(one)], (), q)
    if not query or among == []:
        return Found([], 0, shortened=False)
    return await finding.find_passages(
        engine, asked, query, user_id=user_id, names=among, mentions=wanted.mentions, limit=limit
    )


def _states(cell: Cell, ids: list[UUID]) -> list[Document]:
    """The documents with these ids that are there, in their order."""
    with cell.pool.connection() as conn:
        states = states_of(conn, cell.log.mapper, Document, ids)
    return [one for id in ids if (one := states.get(id)) and not one.deleted]


# --- keeping and removing ---------------------------------------------------------------------------


async def keep(
    engine: Engine,
    asked: Asked,
    user_id: str | None,
    files: Iterable[ReadFile],
    doomed: Which | None = None,
) -> list[str]:
    """Index files and remove what is doomed, in one step; the names that were removed. Raises Contended."""
    scope = Scope(owner=asked.caller.owner, user_id=user_id)
    index: list[tuple[UUID, Command[Document]]] = [
        (id_of(scope.owner, user_id, one.name), IndexDocument(indexed=_indexed(scope, one))) for one in files
    ]
    for _ in range(TRIES):
        gone = await _doomed(engine, asked, user_id, doomed) if doomed else []
        remove = [(id_of(scope.owner, user_id, name), RemoveDocument()) for name in gone]
        try:
            states = await _execute(engine, asked, [*index, *remove])
        except NotFound:
            continue  # somebody else has just removed one of them
        return [one.name for one in states if one.deleted]
    raise Contended("these documents are being removed by others too; try again")


async def remove(engine: Engine, asked: Asked, user_id: str | None, doomed: Which) -> list[str]:
    """Remove what is doomed; the names. Raises Contended."""
    return await keep(engine, asked, user_id, [], doomed)


def _indexed(scope: Scope, file: ReadFile) -> DocumentIndexed:
    return DocumentIndexed(
        scope=scope, name=file.name, text=file.text, media_type=file.media_type, size=file.size
    )


async def _doomed(engine: Engine, asked: Asked, user_id: str | None, doomed: Which) -> list[str]:
    """Looked for among all documents that were added until now, by whomever."""
    async with engine.connection(asked.caller.owner) as conn:
        last = await head_now(conn)
    return [one.name for one in await listing(engine, asked, user_id, last) if doomed(one)]


async def _execute(engine: Engine, asked: Asked, commands: Commands[Document]) -> list[Document]:
    """All in one step, or where there are very many in several; the documents as they are then."""
    batches = [commands[at : at + BATCH] for at in range(0, len(commands), BATCH)]
    if not batches and asked.receipt:
        batches = [commands]  # what an earlier request with this key has done is to be answered
    if len(batches) > 1:
        # A receipt stands for one step; sent again, all of these come to the same.
        asked = asked._replace(receipt=None)
    cause = str(new_id())
    results = [result for batch in batches for result in await engine.execute(asked, batch, cause=cause)]
    return [result.state for result in results]
