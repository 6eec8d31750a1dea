"""The *passages* projection: what is needed to find a passage of a document by its words and its meaning."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any
from uuid import uuid5

import msgspec
from psycopg import AsyncConnection

from domain.document import Document
from projections import documents, retrieval
from projections.catalogue import Build
from projections.conditions import Condition, Parameters
from projections.projection import Columns, Row, of_last_state, storable
from projections.ranking import Floats
from projections.retrieval import Found, Query
from projections.searched import Searched
from projections.selection import Selection
from providers.documents.documents import passages_of


def _rows(document: Document) -> Iterator[Row]:
    owner, user_id = document.scope.owner, document.scope.user_id
    name, whole = storable((document.name, document.text))
    for number, text in enumerate(passages_of(name, whole)):
        id = uuid5(document.id, str(number))
        yield id, document.id, number, owner, user_id, name, text, document.position


PASSAGES: Searched[Document] = Searched(
    name="passages",
    aggregate="document",
    columns=Columns(
        passage_id="uuid NOT NULL",
        document_id="uuid NOT NULL",
        number="integer NOT NULL",  # from 0, in the order of the document
        owner="text NOT NULL",
        user_id="text",  # null: the owner's own
        name="text NOT NULL",  # of the document
        text="text NOT NULL",
        position="bigint NOT NULL",
    ),
    key="passage_id",
    indexes=("(document_id)", "(owner, user_id, name)"),
    rows=of_last_state(_rows),
    order=70,
    read_at_once=documents.READ_AT_ONCE,
)


# --- queries ----------------------------------------------------------------------------------------


MONTH, DAY = "(0?[1-9]|1[0-2])", "(0?[1-9]|[12][0-9]|3[01])"
NAMES = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    "|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
DATES = (
    f"(?<![0-9])([0-9]{{4}})[-/]{MONTH}[-/]{DAY}(?![0-9])"
    f"|(?<![0-9]){DAY}[-/.]{MONTH}[-/.]([0-9]{{4}})(?![0-9])"
    rf"|\m(?:{DAY}(?:st|nd|rd|th)? )?({NAMES})(?: {DAY}(?:st|nd|rd|th)?)?,? ([0-9]{{4}})\M"
)
"""Of a text in small letters: 2024-01-31, 31.01.2024, 31 January 2024, Jan 31st, 2024; January 2024 is its
first day, as for Khoj. Each `regexp_matches` has year, month, day, then day, month, year, then day, month's
name, day, year. PostgreSQL's dialect."""
# Compared as texts: a cast would fail at the 31st of February.
MENTIONED = f"""
    SELECT FROM regexp_matches(lower(text), '{DATES}', 'g') AS said(found)
    WHERE concat_ws('-',
        coalesce(found[1], found[6], found[10]),
        lpad(coalesce(found[2], found[5],
            ((strpos('janfebmaraprmayjunjulaugsepoctnovdec', left(found[8], 3)) + 2) / 3)::text), 2, '0'),
        lpad(coalesce(found[3], found[4], found[7], found[9], '1'), 2, '0')
    ) COLLATE "C" BETWEEN"""
HELD = "NOT EXISTS (SELECT FROM unnest({words}) AS word WHERE strpos(lower(text), lower(word)) = 0)"
NOT_HELD = "NOT EXISTS (SELECT FROM unnest({words}) AS word WHERE strpos(lower(text), lower(word)) > 0)"


class Mentions(Condition, frozen=True, kw_only=True):
    """What the text of a passage must hold, and must not; by default anything will do."""

    words: tuple[str, ...] = ()
    """Each must be there, in any case, also as a part of another word."""
    not_words: tuple[str, ...] = ()
    """None may be there."""
    since: date = date.min
    """With `until`: one day that the text mentions must be between them, both included."""
    until: date = date.max

    def sql(self, parameter: Parameters) -> str:
        asked = []
        if self.words:
            asked.append(HELD.format(words=parameter(list(self.words), "text[]")))
        if self.not_words:
            asked.append(NOT_HELD.format(words=parameter(list(self.not_words), "text[]")))
        if (self.since, self.until) != (date.min, date.max):
            since, until = (parameter(day.isoformat(), "text") for day in (self.since, self.until))
            asked.append(f"EXISTS ({MENTIONED} {since} AND {until})")
        return " AND ".join(asked) or "true"


ANY_MENTIONS = Mentions()


def selection_of(
    owner: str, user_id: str | None, names: Sequence[str] | None, mentions: Mentions
) -> Selection:
    """The passages of a user's documents, or of these names alone, that hold what is asked for."""
    of_documents = documents.selection_of(owner, user_id, names)
    return msgspec.structs.replace(of_documents, conditions=(*of_documents.conditions, mentions))


class Passage(msgspec.Struct, frozen=True):
    """A found passage."""

    name: str
    """Of its document."""
    number: int
    """From 0, in the order of the document."""
    text: str
    score: float
    """0..1, what it is ranked by."""


async def search(
    conn: AsyncConnection[Any], build: Build, query: Query, similarity: Callable[[Floats], Floats]
) -> Found[Passage]:
    """The passages that fit the query best, none below its threshold."""
    fits, shortened = await retrieval.best(conn, PASSAGES, build, query, similarity)
    cursor = await conn.execute(
        f"SELECT passage_id, name, number, text FROM {build.table} WHERE passage_id = ANY(%s)",
        (list(fits),),
    )
    found = {id: (name, number, text) for id, name, number, text in await cursor.fetchall()}
    hits = [Passage(*found[id], fit.score) for id, fit in fits.items() if id in found]
    return Found(hits, build.position, shortened)
