"""A conversation as Khoj's messages (khoj.md, 5.1): two a turn, each with every key."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from api.dialects.khoj import errors
from api.dialects.khoj.errors import KhojError, refusals
from api.dialects.khoj.references import references_of
from api.errors import Problem
from application.chat.agents import Agent, agent_of
from domain.conversation import Answered, Turn


class HistoryAgent(msgspec.Struct, frozen=True, kw_only=True):
    slug: str
    name: str
    color: str
    icon: str
    is_creator: bool
    persona: str
    is_hidden: bool


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one side said. `context` and `onlineContext` are never null, which breaks Emacs."""

    by: Literal["you", "khoj"]
    message: str
    created: str
    """`YYYY-MM-DD HH:MM:SS`, UTC."""
    turn_id: str
    """The same for a question and its answer."""
    intent: dict[str, Any] | None = None
    context: list[dict[str, str]] = []
    online_context: dict[str, Any] = {}
    code_context: dict[str, Any] = {}
    research_context: None = None
    operator_context: None = None
    memories: list[dict[str, str]] = []
    images: list[str] | None = None
    query_files: list[dict[str, Any]] | None = None
    excalidraw_diagram: None = None
    mermaidjs_diagram: str | None = None
    automation_id: None = None
    train_of_thought: list[dict[str, str]] = []


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, or what is public of one."""

    conversation_id: str | int
    """Of what is public a number, as Khoj has it."""
    slug: str
    agent: HistoryAgent | None
    """None: it is gone."""
    is_owner: bool
    chat: list[Message]


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"
    response: Shown


class HistoryMissing(msgspec.Struct, frozen=True, kw_only=True):
    """Without `detail`: where that is, Obsidian tells its user to set up a chat model."""

    status: Literal["error"] = "error"
    error: str
    message: str


# --- messages ---------------------------------------------------------------------------------------


def timestamp(moment: datetime) -> str:
    """A moment as all of Khoj's chat writes it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def messages_of(turns: Iterable[Turn]) -> list[Message]:
    """Oldest first. A turn that waits for its answer has one message."""
    messages: list[Message] = []
    for turn in turns:
        messages.append(_question(turn))
        if turn.answer:
            messages.append(_answer(turn, turn.answer))
    return messages


def chosen(messages: list[Message], n: int | None) -> list[Message]:
    """The last `n` messages; below 0, all but the last -n; all where it is 0 or None."""
    if not n:
        return messages
    return messages[-n:] if n > 0 else messages[:n]


def shown(
    id: str | int, slug: str, agent_slug: str, turns: Sequence[Turn], n: int | None, *, is_owner: bool
) -> HistoryAnswer:
    agent = agent_of(agent_slug)
    return HistoryAnswer(
        response=Shown(
            conversation_id=id,
            slug=slug,
            agent=_agent(agent) if agent else None,
            is_owner=is_owner,
            chat=chosen(messages_of(turns), n),
        )
    )


def _agent(agent: Agent) -> HistoryAgent:
    return HistoryAgent(
        slug=agent.slug, name=agent.name, color=agent.color, icon=agent.icon, is_creator=False, persona="",
        is_hidden=False,
    )  # fmt: skip


def _question(turn: Turn) -> Message:
    files = [
        {"name": file.name, "content": file.content, "file_type": file.file_type, "size": file.size}
        for file in turn.files
    ]
    return Message(
        by="you",
        message=turn.said,
        created=timestamp(turn.asked_at),
        turn_id=turn.id,
        images=list(turn.images) or None,
        query_files=files or None,
    )


def _answer(turn: Turn, answer: Answered) -> Message:
    references = references_of(answer.references)
    return Message(
        by="khoj",
        message=answer.text,
        created=timestamp(turn.answered_at or turn.asked_at),
        turn_id=turn.id,
        intent=_intent(turn.question, references["inferredQueries"]),
        context=references["context"],
        online_context=references["onlineContext"],
        code_context=references["codeContext"],
        memories=references["memories"],
        images=list(answer.images) or None,
        mermaidjs_diagram=answer.diagram,
        train_of_thought=[{"type": step.type, "data": step.data} for step in answer.steps],
    )


def _intent(question: str, inferred: list[str]) -> dict[str, Any]:
    """Khoj stores underscores, its clients read dashes."""
    return {
        "type": "remember",
        "query": question,
        "memory_type": "notes",
        "memory-type": "notes",
        "inferred_queries": inferred,
        "inferred-queries": inferred,
    }


# --- errors -----------------------------------------------------------------------------------------


def shaped(problem: Problem, more: Mapping[str, Any]) -> tuple[int, KhojError | HistoryMissing]:
    status, error = errors.shaped(problem, more)
    missing = HistoryMissing(error=error.message, message=error.message)
    return status, missing if status == 404 else error


REFUSALS = refusals() | {404: ResponseSpec(HistoryMissing, generate_examples=False, description="Not Found")}
