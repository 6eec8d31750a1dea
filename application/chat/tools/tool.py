"""What every tool declares, and what it works with."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

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


class Tool(ABC):
    """One way to find something out, or to make something: all that is known of it is declared here."""

    command: str
    """As in `/notes`; also its name for the model."""
    help: str = ""
    """For the user: what the command does. Empty: it is no command, and offered to research alone."""
    option: str = ""
    """For who makes an agent: what an agent with it can do."""
    makes: bool = False
    """Whether it makes something that the user sees beside the answer; else it finds something out."""
    order: int = 100
    """Which others are offered before it: those with less; of the same, by name."""
    description: str
    """For the model: what it does and when to use it."""
    arguments: type[msgspec.Struct]

    def available(self, chat: Chat) -> bool:
        """Whether it is configured and installed."""
        return True

    async def useful(self, desk: Desk) -> bool:
        """Whether it can do anything for this user at the moment; asked once a turn, at its beginning."""
        return True

    def missing(self) -> str:
        """What the user is told who asks for it by command while it is not there for them, and what to do."""
        return f"Nothing can be done with /{self.command} here."

    def guess(self, question: str) -> Any:
        """Arguments made of the question itself, for models that cannot call tools; None: it needs one."""
        return None

    @abstractmethod
    async def run(self, desk: Desk, arguments: Any) -> Outcome:
        """Raises ToolFailed."""
