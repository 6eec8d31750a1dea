"""What chats answer with, and how."""

from typing import Literal

import msgspec

from domain.key import Plan
from providers.models.chat_model import ChatModel
from providers.models.conversing import ConversingModel
from providers.models.image_model import ImageModel
from providers.models.prices import Prices
from providers.sandbox.sandbox import Sandbox
from providers.speech.speech import Voice
from providers.web.page import Browser
from providers.web.search import WebSearch


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """None is what is not configured or not installed."""

    model: ConversingModel | None
    titler: ChatModel | None
    """The same model, for answers in a shape within a few seconds."""
    prices: Prices | None
    """What the model costs."""
    search: WebSearch | None
    browser: Browser
    sandbox: Sandbox | None
    painter: ImageModel | None
    voice: Voice | None

    async def close(self) -> None:
        for part in (self.model, self.search, self.browser, self.painter, self.voice):
            if part:
                await part.close()


class ChatOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says of all chats."""

    context_tokens: int = 24_000
    """By estimate, of what one call of the model is told."""
    memory: Literal["enabled_default_on", "enabled_default_off", "disabled"] = "enabled_default_on"
    """Whether chats use and make memories: until somebody switches it off, once they switch it on, never."""
    research_rounds: int = 5
    """How often `/research` may go back to its tools."""
    plan: Plan | None = None
    """Daily limits for keys that have no plan of their own; None: no limits."""
