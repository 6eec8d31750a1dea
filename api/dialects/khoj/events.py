"""What a turn tells, as the events of Khoj's streams (khoj.md, 2.2 and 2.3)."""

from typing import Any, Literal

import msgspec

from api.dialects.khoj.references import references_of
from application.chat import emission as told
from application.chat.emission import Emission
from domain.conversation import Spent

Type = Literal[
    "metadata",
    "status",
    "thought",
    "references",
    "generated_assets",
    "start_llm_response",
    "message",
    "end_llm_response",
    "usage",
    "error",
    "end_response",
]


class Event(msgspec.Struct, frozen=True):
    """One event of a stream. Each framing has its own way to write it."""

    type: Type
    data: Any = ""


def event_of(emission: Emission) -> Event:  # noqa: PLR0911 - a line for each kind
    match emission:
        case told.Began():
            ids = {"conversationId": str(emission.conversation_id), "turnId": emission.turn_id}
            return Event("metadata", ids)
        case told.Status():
            return Event("status", emission.text)
        case told.Thought():
            return Event("thought", emission.text)
        case told.Found():
            return Event("references", references_of(emission.references))
        case told.Painted():
            return Event("generated_assets", {"images": emission.images})
        case told.Drawn():
            return Event("generated_assets", {"mermaidjsDiagram": emission.diagram})
        case told.AnswerBegins():
            return Event("start_llm_response")
        case told.Text():
            return Event("message", emission.text)
        case told.AnswerEnds():
            return Event("end_llm_response")
        case told.Accounted():
            return Event("usage", usage_of(emission.spent))
        case told.Failed():
            return Event("error", {"message": emission.message})
        case told.TurnEnds():
            return Event("end_response")


def usage_of(spent: Spent) -> dict[str, int | float]:
    """As Khoj's clients read it."""
    return {
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "thought_tokens": spent.thought_tokens,
        "cache_read_tokens": spent.cache_read_tokens,
        "cache_write_tokens": 0,
        "cost": spent.cost or 0.0,
    }
