"""What every tool declares, and what it works with."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from application.asked import Asked
from application.chat.chat import Chat
from domain.conversation import References


class Desk(msgspec.Struct, kw_only=True):
    """What the tools of one turn work with."""

    chat: Chat
    asked: Asked
    user_id: str | None
    question: str
    notes: int
    """How many passages to look for."""
    files: tuple[str, ...]
    """The documents that the conversation is limited to; none: all of the user's."""
    addresses: set[str]
    """URLs that the user wrote or a search of this turn found: no others are read, lest a text that the
    model reads could make it carry what it knows to an address of somebody's choice."""
    say: Callable[[str], None]
    """Tells the user what is being done: a short bold title, then detail, in Markdown."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool found or made."""

    told: str
    """For the model: JSON, so that nothing within it can pass for something else."""
    references: References = References()
    images: tuple[str, ...] = ()
    diagram: str | None = None


class ToolFailed(Exception):
    """A tool could not do it; the words are for the user and for the model, which answers without."""


class Tool(Protocol):
    """One way to find something out, or to make something."""

    command: str
    """As in `/notes`; also its name for the model."""
    description: str
    """For the model: what it does and when to use it."""
    arguments: type[msgspec.Struct]

    def available(self, chat: Chat) -> bool:
        """Whether it is configured and installed."""

    def missing(self) -> str:
        """What the user is told who asks for it by command while it is not available, and what to do."""

    def guess(self, question: str) -> Any:
        """Arguments made of the question itself, for models that cannot call tools; None: it needs one."""

    async def run(self, desk: Desk, arguments: Any) -> Outcome:
        """Raises ToolFailed."""
