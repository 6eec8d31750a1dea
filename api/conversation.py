"""Conversations as chat models take them, and as several contracts send them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, cast

import msgspec

from domain.ingestion import Message, Role

MAX_MESSAGES = 1_000
SaidBy = Literal["user", "assistant", "system", "tool", "developer", "function"]
ROLES = {"developer": "system", "function": "tool"}
"""Newer and older names of the same roles."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message: text, or something that has none, such as an image."""

    type: str
    text: str | None = None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation, as chat models take it."""

    role: SaidBy
    content: str | list[Part] | None = None
    """null: the assistant only called tools."""
    timestamp: datetime | None = None
    """When it was said; by default, now."""

    @property
    def text(self) -> str:
        return text_of(self.content) if isinstance(self.content, list) else self.content or ""

    def message(self) -> Message:
        """The turn as the log keeps it: what has no text leaves its kind in brackets."""
        return Message(role=role_of(self.role), text=self.text, at=self.timestamp)


def text_of(parts: Sequence[Part]) -> str:
    """What parts say; of one without a text its type, in brackets."""
    return "\n".join(f"[{part.type}]" if part.text is None else part.text for part in parts)


def role_of(name: SaidBy) -> Role:
    """The role by its one name."""
    return cast("Role", ROLES.get(name, name))
