"""The composition root: what is made out of the settings is made here, and handed on.

What takes long to import is imported where it is made: most commands need little of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from providers.models.endpoint import Endpoint
from providers.models.prices import Prices
from runtime.settings import Settings, SettingsError, listed, require_model

if TYPE_CHECKING:
    from litestar.types import ASGIApp

    from api.server import ServerOptions
    from application.chat.chat import Chat
    from application.chat.means import ChatOptions, Means
    from application.engine import Engine
    from domain.eventstore.cells import Cells
    from providers.embedding.embedders import Embedders
    from providers.models.chat_model import ChatModel
    from providers.models.conversing import ConversingModel
    from providers.models.image_model import ImageModel
    from providers.sandbox.sandbox import Sandbox
    from providers.speech.speech import Voice
    from providers.web.page import Browser
    from providers.web.search import WebSearch
    from workers.extraction.readers import Readers
    from workers.process import WorkerProcess


# --- the log ------------------------------------------------------------------------------------------


def cells_of(settings: Settings, program: str = "command") -> "Cells":
    """`program` is what their connections call themselves. Raises Incompatible."""
    from domain.eventstore.cells import Cells
    from domain.eventstore.cipher import master_key

    assert settings.database_url  # noqa: S101 - the commands see to it
    master = master_key(settings.master_key, Path(settings.data_dir))
    return Cells(settings.database_url, master, program=program)


# --- models -------------------------------------------------------------------------------------------


def endpoint_of(settings: Settings) -> Endpoint:
    return Endpoint(settings.openai_base_url, settings.openai_api_key)


def embedders_of(settings: Settings) -> "Embedders":
    from providers.embedding.embedders import Embedders

    return Embedders(endpoint_of(settings), settings.embedding_model, settings.embedding_midpoint)


def chat_model_of(settings: Settings, longest: float | None = None) -> "ChatModel":
    """`longest`: seconds that one call may take where the settings leave it more."""
    from providers.models.chat_model import ChatModel

    timeout = min(settings.chat_timeout, longest or settings.chat_timeout)
    return ChatModel(endpoint_of(settings), settings.chat_model, timeout)


def conversing_model_of(settings: Settings) -> "ConversingModel | None":
    """None where no chat model is configured."""
    from providers.models.conversing import ConversingModel

    if not settings.has_endpoint:
        return None
    return ConversingModel(endpoint_of(settings), settings.chat_model, settings.chat_timeout)


def prices_of(settings: Settings) -> Prices | None:
    """None: nobody told. Raises SettingsError."""
    if settings.chat_prices is None:
        return None
    try:
        return Prices.parsed(settings.chat_prices)
    except ValueError:
        raise SettingsError(
            "EVERLOG_CHAT_PRICES: US dollars a million input and output tokens are wanted, such as 0.40/1.60"
        ) from None


def readers_of(settings: Settings) -> "Readers":
    """The extractors. Raises SettingsError."""
    from workers.extraction.model import ModelReader
    from workers.extraction.readers import Readers

    require_model(settings)
    configured = settings.has_endpoint or settings.local_model
    model = ModelReader(chat_model_of(settings), prices_of(settings)) if configured else None
    return Readers(model, settings.extractor or ("model" if settings.openai_api_key else "rules"))


# --- chats --------------------------------------------------------------------------------------------


def image_model_of(settings: Settings) -> "ImageModel | None":
    """None where no image model is configured."""
    from providers.models.image_model import ImageModel

    if not (settings.image_model and settings.has_endpoint):
        return None
    return ImageModel(endpoint_of(settings), settings.image_model)


def voice_of(settings: Settings) -> "Voice | None":
    """None where no speech model is configured and no local voice installed."""
    from providers.speech.speech import RemoteVoice, local_voice

    if not (settings.speech_model and settings.has_endpoint):
        return local_voice()
    return RemoteVoice(endpoint_of(settings), settings.speech_model, settings.speech_voice)


def web_search_of(settings: Settings) -> "WebSearch | None":
    """None: no web search is configured."""
    from providers.web.search import WebSearch

    if settings.web_search is None:
        return None
    return WebSearch(settings.web_search, settings.web_search_url, settings.web_search_key)


def sandbox_of(settings: Settings) -> "Sandbox | None":
    """None where the extra `code` is not installed."""
    from providers.sandbox.sandbox import Sandbox, available

    return Sandbox(Path(settings.data_dir)) if available() else None


def means_of(settings: Settings, browser: "Browser | None" = None) -> "Means":
    """`browser` None: one that opens none but public addresses. Raises SettingsError."""
    from application.chat.means import Means
    from application.chat.titles import SECONDS
    from providers.web.page import Browser

    return Means(
        model=conversing_model_of(settings),
        titler=chat_model_of(settings, SECONDS) if settings.has_endpoint else None,
        prices=prices_of(settings),
        search=web_search_of(settings),
        browser=browser or Browser(),
        sandbox=sandbox_of(settings),
        painter=image_model_of(settings),
        voice=voice_of(settings),
    )


def chat_options_of(settings: Settings) -> "ChatOptions":
    from application.chat.means import ChatOptions

    return ChatOptions(
        context_tokens=settings.chat_context,
        memory=settings.chat_memory,
        research_rounds=settings.research_rounds,
        plan=settings.chat_plan,
    )


# --- processes ----------------------------------------------------------------------------------------


def worker_of(settings: Settings) -> "WorkerProcess":
    """Raises SettingsError."""
    from runtime.checkpoints import Published
    from workers import broker
    from workers.process import WorkerProcess

    assert settings.redis_url  # noqa: S101 - the commands see to it
    readers, embedders = readers_of(settings), embedders_of(settings)
    queue = broker.connect(settings.redis_url)
    return WorkerProcess(
        cells_of(settings, "worker"),
        queue,
        readers,
        embedders,
        settings.worker_threads,
        Published(Path(settings.data_dir) / "checkpoints"),
    )


class Api(NamedTuple):
    """An application, and what serving it takes."""

    app: "ASGIApp"
    options: "ServerOptions"
    chats: "Chat"


def api_of(settings: Settings, browser: "Browser | None" = None) -> Api:
    """Chats read pages with `browser`, as `means_of` takes it. Raises SettingsError."""
    from api.app import create_app
    from application.chat.chat import Chat
    from application.limits import Limits

    means = means_of(settings, browser)
    engine, limits, options = engine_of(settings), Limits(settings.redis_url), server_options_of(settings)
    chats = Chat(engine, means, chat_options_of(settings), limits)
    return Api(create_app(engine, chats, limits, options), options, chats)


def serve_api(settings: Settings) -> None:
    """Serve until told to stop by SIGTERM or SIGINT. Raises SettingsError."""
    from api.server import serve

    serve(*api_of(settings))


def key_beginnings() -> dict[str, str]:
    """How the texts of keys begin that are made for a dialect, by its name."""
    from api.spoken import SPOKEN

    return {name: dialect.key_beginning for name, dialect in SPOKEN.all.items()}


def engine_of(settings: Settings) -> "Engine":
    from application.engine import Engine

    cells, embedders = cells_of(settings, "api"), embedders_of(settings)
    return Engine(cells, embedders, settings.ingestion_wait, settings.has_endpoint)


def server_options_of(settings: Settings) -> "ServerOptions":
    from api.server import ServerOptions

    return ServerOptions(
        host=settings.host,
        port=settings.port,
        public_url=settings.public_url,
        cors_origins=listed(settings.cors_origins),
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        max_connections=settings.max_connections,
        trusted_proxies=listed(settings.trusted_proxies),
        max_failed_keys=settings.max_failed_keys,
    )
