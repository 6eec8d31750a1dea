"""What chats stand on, beside the engine: the models and tools that are configured."""

import asyncio
from typing import Protocol
from uuid import UUID

from application.chat.leases import Leases
from application.chat.means import ChatOptions, Means
from application.chat.plans import Plans
from application.engine import Engine
from application.limits import Limits
from application.refusals import NoChatModel
from domain.conversation import Turn
from providers.models.conversing import ConversingModel

UNCONFIGURED = (
    "no chat model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL and EVERLOG_CHAT_MODEL, or"
    " EVERLOG_LOCAL_MODEL, and start Everlog again (`everlog doctor` looks for models on its machine)"
)


REMOVED = "This question was deleted, and with it what there was of an answer."
ENDING = "Everlog is being stopped; what there is of this answer is kept. Ask again in a moment."


class UnderWay(Protocol):
    """A turn that is being answered."""

    turn: Turn
    task: "asyncio.Task[None]"

    @property
    def conversation_id(self) -> UUID: ...

    def stop(self, words: str | None = None) -> None:
        """Keep what there is, then end; with `words`, who listens is told why."""


class Chat:
    """All chats of one API process."""

    def __init__(self, engine: Engine, means: Means, options: ChatOptions, limits: Limits) -> None:
        """It closes the means when it is closed."""
        self.engine = engine
        self.means = means
        self.options = options
        self.plans = Plans(options.plan, limits)
        self.under_way: set[UnderWay] = set()
        self.leases = Leases(engine.cells.first.conninfo)

    def talker(self) -> ConversingModel:
        """The chat model. Raises NoChatModel."""
        if self.means.model is None:
            raise NoChatModel(UNCONFIGURED)
        return self.means.model

    def stop(self, conversation_id: UUID, turn_id: str | None = None) -> None:
        """End what is answered in a conversation that was deleted, or the one turn that was."""
        for each in list(self.under_way):
            if each.conversation_id == conversation_id and turn_id in (None, each.turn.id):
                each.stop(REMOVED)

    async def end_turns(self) -> None:
        """Stop what is under way; each turn keeps what it has."""
        turns = list(self.under_way)
        for turn in turns:
            turn.stop(ENDING)
        await asyncio.gather(*(turn.task for turn in turns), return_exceptions=True)

    async def close(self) -> None:
        """Let go of all."""
        await self.end_turns()
        await self.means.close()
        await self.leases.close()
