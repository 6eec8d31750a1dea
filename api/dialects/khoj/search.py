"""GET /api/search: passages of the user's documents (khoj.md, 1.5)."""

from typing import Annotated, Literal
from uuid import UUID, uuid5

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.kinds import COMPUTER, Kind, kind_of
from api.dialects.khoj.parameters import User
from api.shortened import SHORTENED, if_shortened
from application import documents
from application.asked import Asked
from application.engine import Engine
from domain.document import id_of
from projections.passages import Passage

MAX_FOUND = 100
QUERY = (
    'Also with `file:"…"`, `-file:"…"`, `+"word"`, `-"word"`, and `dt:"…"`, `dt>="…"`, `dt<"…"` and the like '
    "for the days that a passage mentions, as `2024-01-31` or `last week`."
)
Wanted = Literal["all", Kind, "docx", "image", "github", "notion"]
"""What clients may look for; of the last four nothing is ever there."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    source: str = COMPUTER
    file: str
    uri: str
    query: str
    compiled: str


class Found(msgspec.Struct, frozen=True, kw_only=True, rename={"corpus_id": "corpus-id"}):
    """A passage of a document."""

    entry: str
    score: float
    """0..1, higher is better."""
    additional: Place
    corpus_id: str


@get(
    "/api/search",
    operation_id="khojSearch",
    opt={"scope": "memories:read", "search": True},
    responses=refusals(),
    response_headers=[SHORTENED],
    tags=["Khoj Chat"],
    summary="Passages of the documents that fit a query best, best first",
)
async def search(
    q: Annotated[str, QueryParameter(description=QUERY)],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    n: Annotated[int, QueryParameter(ge=1, le=MAX_FOUND)] = 5,
    t: Annotated[Wanted, QueryParameter(description="Only documents of this type.")] = "all",
    dedupe: Annotated[bool, QueryParameter(description="Tell the same text once.")] = True,
    user_id: User = None,
) -> Response[list[Found]]:
    which = None if t == "all" else (lambda one: kind_of(one.name, one.media_type) == t)
    found = await documents.find(engine, asked, user_id, q, n, which)
    passages = found.hits
    if dedupe:
        passages = list({passage.text: passage for passage in reversed(passages)}.values())[::-1]
    told = [_entry(passage, q, id_of(asked.caller.owner, user_id, passage.name)) for passage in passages]
    return Response(told, headers=if_shortened(found))


ROUTES = [search]


def _entry(passage: Passage, q: str, document: UUID) -> Found:
    place = Place(file=passage.name, uri=f"file://{passage.name}", query=q, compiled=passage.text)
    id = str(uuid5(document, str(passage.number)))
    return Found(entry=passage.text, score=passage.score, additional=place, corpus_id=id)
