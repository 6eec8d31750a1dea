"""What chats can do here, for `everlog doctor`: the models and tools that are configured, and the missing."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import urlsplit

from providers.models.chat_model import ModelGarbage, ModelUnavailable
from providers.models.conversing import ConversingModel
from providers.models.streamed_answer import Piece, Used
from providers.sandbox import sandbox
from providers.speech.speech import RemoteVoice
from providers.web.search import WebSearch
from runtime.commands.doctor import loopback
from runtime.commands.doctor.finding import Finding, examined
from runtime.composition import conversing_model_of, image_model_of, voice_of, web_search_of
from runtime.servers import local_model
from runtime.settings import Settings

ANSWER_SECONDS = 20.0
QUESTION = [{"role": "user", "content": "Answer with one word: hello."}]
ANSWER_TOKENS = 200
"""Reasoning models think some tokens before the one word."""
SHORTEST_SECONDS = 0.05
"""What comes faster was held back and tells nothing about speed."""
QUERY = "weather"
OF_YOUR_OWN = (
    "run one of your own: EVERLOG_LOCAL_MODEL=/path/to/model.gguf after `./everlog install local`"
    " (EVERLOG_LOCAL_MODEL=smollm2 is a small one to try it with), or set OPENAI_API_KEY"
)


def findings(settings: Settings) -> list[Finding]:
    """Look at each; only what is configured is asked anything, beside the list of models on loopback."""
    return [
        examined(
            "chat",
            lambda: _chat(settings),
            "check OPENAI_BASE_URL, OPENAI_API_KEY and EVERLOG_CHAT_MODEL; a local model first has to load",
        ),
        examined(
            "web search",
            lambda: _web_search(settings),
            "check EVERLOG_WEB_SEARCH, EVERLOG_WEB_SEARCH_URL and EVERLOG_WEB_SEARCH_KEY",
        ),
        _code(),
        _images(settings),
        examined("speech", lambda: _speech(settings), "check EVERLOG_SPEECH_MODEL"),
    ]


def _chat(settings: Settings) -> Finding:
    model = conversing_model_of(settings)
    if model:
        return asyncio.run(_answering(model, _address(settings)))
    if settings.local_model:
        return _local(settings)
    servers = asyncio.run(loopback.look(loopback.PORTS))
    lines = [f"{server.server} answers: set {server.line()}" for server in servers]
    return Finding(
        name="chat",
        state="off",
        detail="no chat model: chat answers 503",
        next="\n".join(lines) or OF_YOUR_OWN,
    )


def _local(settings: Settings) -> Finding:
    local_model.require_file(settings)
    return Finding(
        name="chat",
        state="off",
        detail=f"EVERLOG_LOCAL_MODEL is {settings.local_model}; it runs while `serve` does",
        next="start `./everlog serve`; where it runs, start it again with this setting",
    )


def _address(settings: Settings) -> str:
    """Host and port alone: there may be a password before them."""
    parts = urlsplit(settings.openai_base_url or "https://api.openai.com")
    return f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"


async def _answering(model: ConversingModel, address: str) -> Finding:
    heard: list[float] = []
    tokens = 0
    try:
        async with asyncio.timeout(ANSWER_SECONDS), aclosing(_asked(model)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Used):
                    tokens = piece.output_tokens
                else:
                    heard.append(time.monotonic())
    except (TimeoutError, ModelGarbage) as error:
        if not heard:  # else it is only slow, or thinks longer than it may here
            raise ModelUnavailable(str(error) or f"no answer within {ANSWER_SECONDS:g} s") from None
    finally:
        await model.close()
    return Finding(
        name="chat", state="ok", detail=f"{model.name} at {address} answers{_speed(heard, tokens)}"
    )


def _asked(model: ConversingModel) -> AsyncGenerator[Piece, None]:
    return model.stream(QUESTION, max_tokens=ANSWER_TOKENS)


def _speed(heard: list[float], tokens: int) -> str:
    """From the first piece to the last, where the endpoint counts tokens and sends them as they come."""
    seconds = heard[-1] - heard[0] if heard else 0.0
    return (
        f", {(tokens - 1) / seconds:.0f} tokens a second"
        if tokens > 1 and seconds >= SHORTEST_SECONDS
        else ""
    )


def _web_search(settings: Settings) -> Finding:
    search = web_search_of(settings)
    if search is None:
        return Finding(
            name="web search",
            state="off",
            detail="chats search no web",
            next="set EVERLOG_WEB_SEARCH=searxng and EVERLOG_WEB_SEARCH_URL, or a service and its key",
        )
    count = asyncio.run(_results(search))
    return Finding(name="web search", state="ok", detail=f"{settings.web_search} answers, results: {count}")


async def _results(search: WebSearch) -> int:
    try:
        return len(await search.search(QUERY, 1))
    finally:
        await search.close()


def _code() -> Finding:
    if sandbox.available():
        return Finding(name="code", state="ok", detail="chats run Python in a WebAssembly sandbox")
    return Finding(
        name="code",
        state="off",
        detail="chats run no code",
        next="`./everlog install code`, with the other extras that you use",
    )


def _images(settings: Settings) -> Finding:
    if image_model_of(settings):
        return Finding(
            name="images", state="ok", detail=f"{settings.image_model}; not asked: a picture may cost"
        )
    return Finding(
        name="images",
        state="off",
        detail="chats paint nothing",
        next="set EVERLOG_IMAGE_MODEL, a model at OPENAI_BASE_URL or of OPENAI_API_KEY",
    )


def _speech(settings: Settings) -> Finding:
    voice = voice_of(settings)
    if voice is None:
        return Finding(
            name="speech",
            state="off",
            detail="nothing is read aloud",
            next="`./everlog install speech`, with the other extras that you use, or EVERLOG_SPEECH_MODEL",
        )
    asyncio.run(voice.close())
    remote = isinstance(voice, RemoteVoice)
    detail = f"{settings.speech_model}; not asked: speech may cost" if remote else "the local voice"
    return Finding(name="speech", state="ok", detail=detail)
