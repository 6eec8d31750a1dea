"""Finding memories, and passages of documents, by what they say."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from psycopg import AsyncConnection

from application.asked import Asked
from application.engine import Engine
from projections import passages, search
from projections.catalogue import Build
from projections.passages import ANY_MENTIONS, Mentions, Passage
from projections.ranking import Floats
from projections.retrieval import Found, Query
from projections.searched import Searched
from projections.selection import Selection
from providers.embedding.embedder import EmbedderUnavailable

T = TypeVar("T")
Retrieve = Callable[[AsyncConnection[Any], Build, Query, Callable[[Floats], Floats]], Awaitable[Found[T]]]
"""What a projection that holds vectors is asked by."""


async def find(engine: Engine, asked: Asked, query: search.Query) -> Found[search.Hit]:
    """The memories that fit a query best."""
    return await _retrieved(engine, asked, search.SEARCH, search.search, query)


async def themes(
    engine: Engine, asked: Asked, selection: Selection, *, most: int, least: float, named: int, untyped: str
) -> tuple[int, list[search.Theme]]:
    """How many memories are selected, and what they speak of most, as `projections.search.themes` says."""
    async with engine.reading(asked, search.SEARCH) as (conn, build):
        return await search.themes(
            conn, build, selection, most=most, least=least, named=named, untyped=untyped
        )


async def find_passages(
    engine: Engine,
    asked: Asked,
    text: str,
    *,
    user_id: str | None,
    names: Sequence[str] | None,
    limit: int,
    mentions: Mentions = ANY_MENTIONS,
) -> Found[Passage]:
    """What the documents of a user, or of these names alone, say about a text."""
    selection = passages.selection_of(asked.caller.owner, user_id, names, mentions)
    query = Query(selection=selection, text=text, limit=limit)
    return await _retrieved(engine, asked, passages.PASSAGES, passages.search, query)


async def _retrieved(
    engine: Engine, asked: Asked, projection: Searched[Any], retrieve: Retrieve[T], query: Query
) -> Found[T]:
    cell = await engine.cell_of(asked.caller.owner)
    # Embedded before a connection is taken, by the model that was searched last: it hardly ever changes.
    last = cell.name, projection.name
    model = engine.searched_by.get(last)
    if model:
        try:
            query = await _embedded(engine, query, model)
        except EmbedderUnavailable:
            engine.searched_by.pop(last, None)  # the live build may have another by now
            raise
    async with engine.reading(asked, projection) as (conn, build):
        if build.model and build.model != model:
            query = await _embedded(engine, query, build.model)
        found = await retrieve(conn, build, query, engine.embedder(build.model).similarity)
        engine.searched_by[last] = build.model or ""
    return found


async def _embedded(engine: Engine, query: Query, model: str) -> Query:
    if query.mode == "keyword":
        return query
    vectors = await asyncio.to_thread(engine.embedder(model).embed, [query.text])
    return msgspec.structs.replace(query, vector=vectors[0])
