"""What every extractor does: read a conversation, then decide what it changes in what is known."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.ingestion import Decision, Extractor, Received, Usage


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A memory of the conversation's scope, as far as deciding needs it."""

    id: UUID
    version: int
    text: str
    similarity: float = 0.0
    """0..1, to the text that it was recalled for."""


Recall = Callable[[Sequence[str]], list[list[Known]]]
"""For each text the memories of the scope that are most like it, best first."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read, and when it was said."""

    received: Received
    at: datetime

    def said_at(self, index: int) -> datetime:
        """When the message with this index was said."""
        return self.received.messages[index].at or self.at


class Understood(Protocol):
    """A conversation that has been read. Deciding may be repeated, when what is known has changed."""

    def decide(self, recall: Recall) -> list[Decision]:
        """What becomes of each statement. Never changes a memory that `recall` has not shown."""

    def usage(self) -> Usage:
        """What reading and deciding has cost so far."""


class Reader(Protocol):
    """An extractor at work. Raises what the chat model raises, where there is one."""

    identity: Extractor
    local: bool
    """True: milliseconds on this machine. False: over the network."""

    def read(self, conversation: Conversation) -> Understood: ...
