"""POST /api/chat: a question, and its answer whole or piece by piece (seed 004; khoj.md, 1.3 and 2)."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from litestar.response import Response, Stream

from api.dialects.khoj.agents import agent_of
from api.dialects.khoj.conversations import NO_AGENT, clean, latest
from api.dialects.khoj.errors import refusals
from api.dialects.khoj.framing import HEARTBEAT_SECONDS, framing_for, written
from api.dialects.khoj.history import references_of
from api.dialects.khoj.parameters import conversation_of
from api.dialects.khoj.question import Question
from api.errors import Refusal
from application.asked import Asked
from application.chat.answering import Answering
from application.chat.chat import REMOVED, Chat
from application.chat.commands import parse
from application.chat.draft import usage_of
from application.chat.emission import Emission
from application.chat.leases import is_leased
from application.chat.tools.notes import without_filters
from domain.aggregate import Command
from domain.conversation import (
    MAX_TITLE,
    Ask,
    AttachedFile,
    Conversation,
    References,
    Start,
    Started,
    Turn,
    TurnIdUsed,
)
from domain.conversation import Asked as AskedEvent
from domain.errors import NotWaiting
from domain.ids import new_id
from domain.memory import Scope
from domain.recorded import now
from providers.pictures import PictureRefused, pictures_of

BEGINNING = timedelta(seconds=5)
"""From a question in the log to the lease of who answers it: milliseconds, if nothing is in the way."""
STILL_ANSWERED = "this question is still being answered: look into its conversation, or try again"
GREETING = "Please ask your query to get started."
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Emissions = AsyncGenerator[Emission | None, None]


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
    opt={"scope": "write"},
    responses=refusals(404, 409, 413),
    tags=["Khoj Chat"],
    summary="Ask; the answer is streamed unless `stream` is false",
)
async def chat(
    data: JSONBody[Question],
    asked: NamedDependency[Asked],
    chats: NamedDependency[Chat],
    request: Request[Any, Any, Any],
    client: Annotated[str | None, QueryParameter()] = None,
) -> Response[Answer] | Stream:
    emissions = await begin(chats, asked, data, client)
    if not data.streams(client):
        return Response(await _awaited(request, _collected(emissions)), media_type="application/json")
    framing = framing_for(client, request.headers.get("accept", ""))
    return Stream(written(emissions, framing), media_type=framing.media_type, headers=STREAM_HEADERS)


ROUTES = [chat]


class Ready(NamedTuple):
    """A question that may be asked."""

    conversation: UUID
    started: Started | None
    """None: the conversation is there."""
    turn: Turn


class Kept(NamedTuple):
    """A question that is in the log now, in its conversation."""

    conversation: Conversation
    turn: Turn
    before: bool
    """An earlier request with the same Idempotency-Key has asked it, and got its answer."""


async def begin(chats: Chat, asked: Asked, question: Question, client: str | None) -> Emissions:
    """Keep the question and start to answer it. Raises Refusal and NotFound before anything is kept."""
    if is_blank(question):
        return greeting()
    kept = await keep(chats, asked, await check(chats, asked, question, client))
    if kept.before:
        return _again(kept)
    answering = Answering(chats, asked, kept.conversation, kept.turn, question)
    return counted(chats, asked, answering.emissions(HEARTBEAT_SECONDS))


def is_blank(question: Question) -> bool:
    """Whether nothing is asked: neither a word, beside commands and filters, nor about any attachment."""
    _, text = parse(question.q)
    return not (without_filters(text).strip() or question.images or question.files)


async def check(chats: Chat, asked: Asked, question: Question, client: str | None) -> Ready:
    """Whether this can be asked, which then counts as a message. Raises Refusal and NotFound."""
    chats.talker()  # without one there is nothing to begin
    turn = await _turn(question)
    conversation = await _conversation(chats, asked, question, client)
    started = None if conversation else _started(asked, question)
    if conversation and conversation.turn(turn.id):
        turn = renamed(turn)
    await chats.plans.take_message(asked.caller)  # what is refused for other reasons costs nothing
    return Ready(conversation.id if conversation else new_id(), started, turn)


async def keep(chats: Chat, asked: Asked, ready: Ready) -> Kept:
    """Store the question, in a conversation of its own where none is to be gone on with.

    Whoever asks with the id of another question at the same moment asks with a new one.
    """
    try:
        kept = await _keep(chats, asked, ready)
    except TurnIdUsed:
        return await keep(chats, asked, ready._replace(turn=renamed(ready.turn)))
    except Exception:
        await chats.plans.give_back_message(asked.caller)
        raise
    if kept.before:
        await chats.plans.give_back_message(asked.caller)
    return kept


async def _keep(chats: Chat, asked: Asked, ready: Ready) -> Kept:
    id, started, turn = ready
    commands: list[tuple[UUID, Command[Conversation]]] = [(id, Start(started=started))] if started else []
    commands.append((id, Ask(asked=_asked(turn))))
    *_, result = await chats.engine.execute(asked, commands, cause=turn.id)
    stored = result.state
    kept = stored.turn(turn.id) if stored.id == id else None
    return Kept(stored, kept, before=False) if kept else await _kept_before(chats, asked, stored)


async def _kept_before(chats: Chat, asked: Asked, then: Conversation) -> Kept:
    """The question of an earlier request; one that has no whole answer is answered anew.

    Raises NotWaiting while it is being answered, and for one that was removed.
    """
    cell = await chats.engine.cell_of(asked.caller.owner)
    current = await asyncio.to_thread(cell.log.get, Conversation, then.id)
    turn = current.turn(then.turns[-1].id)
    if turn is None:
        raise NotWaiting("this question was asked before, and was removed from its conversation")
    beginning = turn.answer is None and now() - turn.asked_at < BEGINNING
    async with chats.engine.connection(asked.caller.owner) as conn:
        if beginning or await is_leased(conn, (current.id, turn.id)):
            raise NotWaiting(STILL_ANSWERED)
    return Kept(current, turn, before=not turn.open)


# --- what is asked ------------------------------------------------------------------------------------


async def _turn(question: Question) -> Turn:
    command, text = parse(question.q)
    try:
        images = await asyncio.to_thread(pictures_of, question.images or [])
    except PictureRefused as refused:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if refused.kind != "invalid":
            status = HTTPStatus.TOO_MANY_REQUESTS  # as Khoj has it
        raise Refusal(status, "images", str(refused)) from None
    files = [msgspec.convert(msgspec.to_builtins(file), AttachedFile) for file in question.files or ()]
    return Turn(
        id=question.turn_id or str(new_id()),
        question=text,
        asked_at=now(),
        command=command,
        images=tuple(images),
        files=tuple(files),
    )


def _asked(turn: Turn) -> AskedEvent:
    return AskedEvent(
        turn_id=turn.id, question=turn.question, command=turn.command, images=turn.images, files=turn.files
    )


def _started(asked: Asked, question: Question) -> Started:
    scope = Scope(owner=asked.caller.owner, user_id=question.user_id)
    agent = agent_of(question.agent_slug)
    if agent is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, "no-agent", NO_AGENT)
    return Started(scope=scope, agent=agent.slug, title=clean(question.title or "")[:MAX_TITLE] or None)


async def _conversation(
    chats: Chat, asked: Asked, question: Question, client: str | None
) -> Conversation | None:
    """The conversation to go on with; None: a new one is to be started. Raises NotFound."""
    if question.create_new:
        return None
    if question.conversation_id:
        missing = f"Conversation {question.conversation_id} not found"
        return await conversation_of(asked, chats.engine, question.conversation_id, question.user_id, missing)
    # Emacs never names one: without this, each of its messages would be a conversation of its own.
    return await latest(asked, chats.engine, question.user_id) if client == "emacs" else None


def renamed(turn: Turn) -> Turn:
    """The turn with a new id: the one that the client chose for it is another's."""
    return msgspec.structs.replace(turn, id=str(new_id()))


# --- what is answered ---------------------------------------------------------------------------------


async def counted(chats: Chat, asked: Asked, emissions: Emissions) -> Emissions:
    """The same emissions; where nobody says anything before the answer fails, the message does not count.

    Unless that is since the user has deleted it: the model was asked.
    """
    unanswered = True
    async with aclosing(emissions):
        async for emission in emissions:
            if unanswered and emission and emission.type in ("message", "error"):
                unanswered = False
                if emission.type == "error" and emission.data["message"] != REMOVED:
                    await chats.plans.give_back_message(asked.caller)
            yield emission


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


async def _collected(emissions: Emissions) -> Answer:
    """All emissions as one answer. Raises Refusal with 503 when there is none."""
    told: dict[str, Any] = {"metadata": {}, "references": references_of(References()), "usage": {}}
    text: list[str] = []
    assets: dict[str, Any] = {}
    async with aclosing(emissions):
        async for emission in emissions:
            match emission:
                case Emission(type="message", data=piece):
                    text.append(piece)
                case Emission(type="generated_assets", data=made):
                    assets |= made
                case Emission(type="error", data={"message": message}):
                    raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no-answer", message, more=told["metadata"])
                case Emission(type=type, data=data):
                    told[type] = data
    return Answer(
        response="".join(text),
        conversation_id=told["metadata"].get("conversationId"),
        turn_id=told["metadata"].get("turnId"),
        references=told["references"],
        usage=told["usage"],
        images=assets.get("images", []),
        diagram=assets.get("mermaidjsDiagram", []),
    )


async def greeting() -> Emissions:
    for emission in (
        Emission("start_llm_response"),
        Emission("message", GREETING),
        Emission("end_llm_response"),
        Emission("end_response"),
    ):
        yield emission


async def _again(kept: Kept) -> Emissions:
    """The answer that was given before."""
    conversation, turn = kept.conversation, kept.turn
    answer = turn.answer
    assert answer  # noqa: S101 - the caller has looked
    yield Emission("metadata", {"conversationId": str(conversation.id), "turnId": turn.id})
    yield Emission("references", references_of(answer.references))
    if answer.images:
        yield Emission("generated_assets", {"images": list(answer.images)})
    if answer.diagram:
        yield Emission("generated_assets", {"mermaidjsDiagram": answer.diagram})
    yield Emission("start_llm_response")
    yield Emission("message", answer.text)
    yield Emission("end_llm_response")
    yield Emission("usage", usage_of(answer.spent))
    yield Emission("end_response")
