"""`/notes`: passages of the documents that the user has synced."""

import asyncio
from typing import Annotated

import msgspec
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from application import documents, finding
from application.chat.lookups import LOOK_UP_SECONDS, UNREACHABLE
from application.chat.tools.telling import as_json, listed, phrases
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from application.query_filters import chosen, filtered, without_filters
from application.refusals import Behind
from domain.conversation import Note, References
from projections.passages import Passage
from providers.embedding.embedder import EmbedderUnavailable

CANNOT_SEARCH = (EmbedderUnavailable, Behind, OperationalError, PoolTimeout)
"""What keeps any search from its answer, but passes."""

NONE_SYNCED = (
    "Nothing is synced yet, so there are no notes to search. Upload documents (text, Markdown, PDF, HTML) "
    "with `PATCH /api/content`, or sync them with a Khoj client."
)
NONE_CHOSEN = (
    "None of the user's documents is among the files that this conversation or question is limited to."
)


class Queries(msgspec.Struct, frozen=True):
    queries: Annotated[
        list[str],
        msgspec.Meta(description="One to three different searches, each a short phrase of its own."),
    ]


class Notes(Tool):
    command = "notes"
    order = 10
    help = "Search only in your notes and documents."
    option = "Search the user's documents."
    description = (
        "Searches the documents and notes that the user has synced, by meaning and by words. Use it for "
        "questions on what the user wrote, read or keeps: journals, plans, reports, people, projects."
    )
    arguments: type[msgspec.Struct] = Queries

    async def useful(self, desk: Desk) -> bool:
        """Whether there are documents; also where that cannot be told."""
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return bool(await documents.names(desk.chat.engine, desk.asked, desk.user_id))
        except UNREACHABLE:
            return True

    def missing(self) -> str:
        return NONE_SYNCED

    def guess(self, question: str) -> Queries:
        return Queries([without_filters(question)])

    async def run(self, desk: Desk, arguments: Queries) -> Outcome:
        queries = phrases(map(without_filters, arguments.queries))
        if not queries:
            raise ToolFailed("The search in the documents needs at least one query.")
        try:
            return await _searched(desk, queries)
        except CANNOT_SEARCH:
            raise ToolFailed("The documents cannot be searched at the moment: try again soon.") from None


async def _searched(desk: Desk, queries: list[str]) -> Outcome:
    there = await documents.names(desk.chat.engine, desk.asked, desk.user_id)
    if not there:
        raise ToolFailed(NONE_SYNCED)
    names = chosen(there, desk.files, desk.question)
    if not names:
        raise ToolFailed(NONE_CHOSEN)
    desk.say(f"**Searching Documents for:** {listed(queries)}")
    notes = await _notes(desk, queries, None if len(names) == len(there) else names)
    files = dict.fromkeys(note.file for note in notes)
    desk.say(f"**Found {len(notes)} Notes Across {len(files)} Files**:{listed(files)}")
    return Outcome(
        told=as_json([{"file": note.file, "text": note.text} for note in notes]),
        references=References(notes=tuple(notes)),
    )


async def _notes(desk: Desk, queries: list[str], names: list[str] | None) -> list[Note]:
    """Each passage once, of the query that found it first."""

    mentions = filtered(desk.question).mentions

    async def found_by(query: str) -> list[Passage]:
        passages = await finding.find_passages(
            desk.chat.engine,
            desk.asked,
            query,
            user_id=desk.user_id,
            names=names,
            mentions=mentions,
            limit=desk.notes,
        )
        return passages.hits

    found = await asyncio.gather(*map(found_by, queries))
    first: dict[tuple[str, int], Note] = {}
    for query, some in zip(queries, found, strict=True):
        for passage in some:
            first.setdefault(
                (passage.name, passage.number), Note(query=query, text=passage.text, file=passage.name)
            )
    return list(first.values())


NOTES = Notes()
