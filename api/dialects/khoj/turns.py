"""POST /api/chat: a question, and its answer whole or piece by piece (seed 004; khoj.md, 1.3 and 2)."""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response, Stream

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.events import usage_of
from api.dialects.khoj.framing import HEARTBEAT_SECONDS, framing_for, written
from api.dialects.khoj.question import Asking
from api.dialects.khoj.references import references_of
from api.errors import Refusal
from application.asked import Asked
from application.chat import turns
from application.chat.chat import Chat
from application.chat.emission import AnswerBegins, AnswerEnds, Text, TurnEnds
from application.chat.turns import Emissions

GREETING = "Please ask your query to get started."
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Answer(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"conversation_id": "conversationId", "turn_id": "turnId", "diagram": "mermaidjsDiagram"},
):
    """An answer that is not streamed: what the seed has, and what Khoj's server sends."""

    status: str = "ok"
    response: str
    conversation_id: str | None
    turn_id: str | None
    references: dict[str, Any]
    usage: dict[str, Any]
    images: list[str]
    files: list[Any] = []
    diagram: str | list[Any]


@post(
    "/api/chat",
    operation_id="khojChat",
    status_code=200,
    opt={"scope": "memories:write"},
    responses=refusals(404, 409, 413),
    tags=["Khoj Chat"],
    summary="Ask; the answer is streamed unless `stream` is false",
)
async def chat(
    data: JSONBody[Asking],
    asked: NamedDependency[Asked],
    chats: NamedDependency[Chat],
    request: Request[Any, Any, Any],
    client: Annotated[str | None, QueryParameter()] = None,
) -> Response[Answer] | Stream:
    question = data.question(client)
    if turns.is_blank(question):
        emissions = greeting()
    else:
        emissions = await turns.begin(chats, asked, question, HEARTBEAT_SECONDS)
    if not data.streams(client):
        return Response(await _awaited(request, _answer(emissions)), media_type="application/json")
    framing = framing_for(client, request.headers.get("accept", ""))
    return Stream(written(emissions, framing), media_type=framing.media_type, headers=STREAM_HEADERS)


ROUTES = [chat]


async def greeting() -> Emissions:
    """For who asks nothing."""
    for emission in (AnswerBegins(), Text(GREETING), AnswerEnds(), TurnEnds()):
        yield emission


# --- an answer that is not streamed -------------------------------------------------------------------


async def _answer(emissions: Emissions) -> Answer:
    """Raises NoAnswer."""
    whole = await turns.whole(emissions)
    return Answer(
        response=whole.text,
        conversation_id=str(whole.began.conversation_id) if whole.began else None,
        turn_id=whole.began.turn_id if whole.began else None,
        references=references_of(whole.references),
        usage=usage_of(whole.spent) if whole.spent else {},
        images=list(whole.images),
        diagram=whole.diagram or [],
    )


async def _awaited(request: Request[Any, Any, Any], answer: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer; nobody waits for it any more when the client leaves, which stops it."""
    answering = asyncio.create_task(answer)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "left", "the client left before the answer was there")
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


async def _left(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
