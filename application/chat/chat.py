"""What chats stand on, beside the engine: the models and tools that are configured."""

import asyncio
from collections import Counter
from typing import Protocol
from uuid import UUID

from application.chat.leases import Leases
from application.chat.plans import Plans
from application.engine import Engine
from application.limits import Limits
from application.refusals import NoChatModel
from domain.conversation import Turn
from providers.models.conversing import ConversingModel
from providers.models.image_model import ImageModel
from providers.sandbox.sandbox import Sandbox
from providers.speech.speech import Voice
from providers.web.page import Browser
from providers.web.search import WebSearch
from runtime.composition import (
    conversing_model_of,
    image_model_of,
    prices_of,
    sandbox_of,
    voice_of,
    web_search_of,
)
from runtime.settings import Settings

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
    """The means of all chats of one API process. None is what is not configured or not installed."""

    model: ConversingModel | None
    search: WebSearch | None
    sandbox: Sandbox | None
    painter: ImageModel | None
    voice: Voice | None

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        browser: Browser | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.settings = settings
        self.plans = Plans(settings, limits or Limits(None))
        self.engine = engine
        self.model = conversing_model_of(settings)
        self.search = web_search_of(settings)
        self.browser = browser or Browser()
        self.sandbox = sandbox_of(settings)
        self.painter = image_model_of(settings)
        self.voice = voice_of(settings)
        self.prices = prices_of(settings)
        self.under_way: set[UnderWay] = set()
        self.leases = Leases(engine.cells.first.conninfo)
        self.sockets: Counter[str] = Counter()
        """Owner → open WebSockets."""

    def talker(self) -> ConversingModel:
        """The chat model. Raises NoChatModel."""
        if self.model is None:
            raise NoChatModel(UNCONFIGURED)
        return self.model

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
        for part in (self.model, self.search, self.browser, self.painter):
            if part:
                await part.close()
        await self.leases.close()
