"""What chat's requests name: each thing in the query string, as Khoj's clients do, or in a JSON body."""

from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
from litestar.params import QueryParameter

from api.errors import REQUIRED, Refusal
from application.asked import Asked
from application.chat import conversations
from application.engine import Engine
from application.storable import Id
from domain.conversation import Conversation
from domain.errors import NotFound

MISSING = "Conversation not found"
MAX_MESSAGES = 2**31 - 1
"""Of one answer: more than any conversation has."""

Value = Annotated[str | None, QueryParameter()]
User = Annotated[str | None, QueryParameter(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
"""Whose conversations it is about. It goes into rows, and PostgreSQL's text cannot hold U+0000."""
Messages = Annotated[
    int | None,
    QueryParameter(
        ge=-MAX_MESSAGES, le=MAX_MESSAGES, description="The last n messages; below 0, all but the last -n."
    ),
]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may name; None is what it does not."""

    user_id: Id | None = None


class OfConversation(Parameters, frozen=True, kw_only=True):
    conversation_id: str | None = None


_P = TypeVar("_P", bound=Parameters)
_T = TypeVar("_T")


def combined(query: _P, body: _P | None) -> _P:
    """What a request says by its query string and, where that is silent, by its body."""
    if body is None:
        return query
    said = {name: value for name, value in msgspec.structs.asdict(query).items() if value is not None}
    return msgspec.structs.replace(body, **said)


def required(name: str, value: _T | None) -> _T:
    """Raises Refusal with 422 where nothing was sent."""
    if value is None:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid",
            f"{name} is missing: send it in the query string or in a JSON body",
            errors=[{"key": name, "source": "query", "message": REQUIRED}],
        )
    return value


async def conversation_of(
    asked: Asked, engine: Engine, conversation_id: str, user_id: str | None, missing: str = MISSING
) -> Conversation:
    """The caller's conversation with this id; where a user is named, only one of theirs.

    Raises NotFound, with the text `missing`, for any other id.
    """
    try:
        return await conversations.get(engine, asked, conversation_id, user_id)
    except NotFound:
        raise NotFound(missing) from None
