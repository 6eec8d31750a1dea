"""Every setting Everlog knows, in one struct: from the environment, over an optional TOML file.

A setting `data_dir` is the variable `EVERLOG_DATA_DIR`, and the key `data_dir` in the file that
`EVERLOG_CONFIG` names. `OPENAI_API_KEY` and `OPENAI_BASE_URL` keep the names every client of theirs uses.
"""

import base64
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

ADDRESSES = ("openai_base_url", "web_search_url", "public_url")
OPENAI_VARIABLES = {"openai_api_key": "OPENAI_API_KEY", "openai_base_url": "OPENAI_BASE_URL"}


class SettingsError(Exception):
    """A setting cannot be used; the message names its variable and what to put there."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of Everlog runs with. `None` means: not configured."""

    data_dir: str = ".everlog"
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    database_url: str | None = None
    """PostgreSQL with pgvector, `postgresql://…`; None starts the embedded server in `data_dir`."""
    api_db_password: str | None = None
    """What `everlog migrate` lets everlog_api log in with; None: it is a role that API processes take."""
    worker_db_password: str | None = None
    """The same of everlog_worker."""
    redis_url: str | None = None
    """Redis or Valkey, `redis://…` or `unix://…`; None starts the embedded server in `data_dir`."""
    bootstrap_key: Annotated[str, msgspec.Meta(min_length=8)] | None = None
    """The first API key (owner `default`, all scopes); None makes a random one at the first start."""
    master_key: str | None = None
    """32 bytes in base64 that wrap every subject's key; None keeps one in `data_dir`/master.key."""
    embedding_model: str | None = None
    """A model of the OpenAI-compatible endpoint; None embeds locally."""
    embedding_midpoint: Annotated[float, msgspec.Meta(gt=-1, lt=1)] | None = None
    """Cosine at which a pair counts as half related, for models that Everlog has no value for."""
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    extractor: Literal["rules", "model"] | None = None
    """What turns conversations into memories; None: the model when `openai_api_key` is set, else rules."""
    chat_model: str = "gpt-4.1-mini"
    """A model of the OpenAI-compatible endpoint, for chat and extraction."""
    local_model: str | None = None
    """A GGUF file, or `smollm2`, that `serve` runs as the chat model; None: none of its own."""
    chat_timeout: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds until one call of the chat model is given up; in a stream, until its next piece."""
    chat_prices: Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?/\d+(\.\d+)?$")] | None = None
    """US dollars a million input and output tokens, `0.40/1.60`; None leaves costs out of the accounts."""
    ingestion_wait: Annotated[float, msgspec.Meta(ge=0, le=300)] = 30.0
    """Seconds that a request waits for its extraction before it is answered 202."""
    chat_context: Annotated[int, msgspec.Meta(ge=1_000)] = 24_000
    """Tokens, by estimate, of what one call of the chat model is told."""
    chat_memory: Literal["enabled_default_on", "enabled_default_off", "disabled"] = "enabled_default_on"
    """Whether chats use and make memories: until somebody switches it off, once they switch it on, never."""
    chat_plan: Literal["free", "premium"] | None = None
    """Daily limits of chats for keys that have no plan of their own; None: no limits."""
    research_rounds: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5
    """How often `/research` may go back to its tools."""
    web_search: Literal["searxng", "serper", "tavily", "brave"] | None = None
    """Who searches the web for chats; None: nobody does."""
    web_search_url: str | None = None
    """The base URL of SearXNG; for the others only where it is not their own."""
    web_search_key: str | None = None
    """The key of the web search; SearXNG wants none."""
    image_model: str | None = None
    """An image model of the OpenAI-compatible endpoint; None: chats make no images."""
    speech_model: str | None = None
    """A speech model of the OpenAI-compatible endpoint; None: the local voice, if it is installed."""
    speech_voice: str = "alloy"
    """A voice of that model."""
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 2_000_000
    """Largest request body accepted; a larger one gets 413."""
    max_upload_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 40_000_000
    """Largest body of a chat with attachments, or of an upload of documents."""
    head_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Seconds until the request line and the headers of a request are complete."""
    body_timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    """Seconds between two pieces of a request's body, or of a frame of a WebSocket."""
    max_connections: Annotated[int, msgspec.Meta(ge=8)] = 2_000
    """Connections of one API process, of which one address has at most a quarter."""
    trusted_proxies: str = ""
    """Addresses and networks, with commas, of proxies whose `X-Forwarded-For` tells who asks."""
    max_failed_keys: Annotated[int, msgspec.Meta(ge=1)] = 20
    """Wrong API keys a minute, of one address or of one beginning, that are looked up and answered 401."""
    worker_threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """Job threads of one worker process; two keep a two-core machine's database responsive."""
    api_processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = min(4, os.cpu_count() or 1)
    """API processes that `serve` starts: Python uses one core each."""
    public_url: str | None = None
    """Where clients reach this server, `https://…`: what shared links begin with; None: as they asked for."""
    cors_origins: str = "app://obsidian.md,app://khoj.dev,capacitor://localhost,http://localhost"
    """Origins, with commas, whose pages may call the API with credentials; `*` allows any without."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    @property
    def has_endpoint(self) -> bool:
        """Whether an OpenAI-compatible endpoint is configured."""
        return bool(self.openai_api_key or self.openai_base_url)


def listed(text: str) -> tuple[str, ...]:
    """What a setting names with commas."""
    return tuple(part for part in map(str.strip, text.split(",")) if part)


def variable_of(name: str) -> str:
    """The environment variable that sets `name`."""
    return OPENAI_VARIABLES.get(name, f"EVERLOG_{name.upper()}")


def load(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Settings from a TOML file, over that the environment, over that `overrides` that are not None.

    Raises SettingsError, naming the variable, for a value that does not fit.
    """
    values: dict[str, Any] = _from_file(environ.get("EVERLOG_CONFIG"))
    for field in msgspec.structs.fields(Settings):
        text = environ.get(variable_of(field.name))
        if text:
            values[field.name] = text
    values.update({name: value for name, value in overrides.items() if value is not None})
    settings = msgspec.convert({name: _checked(name, value) for name, value in values.items()}, Settings)
    require_model(settings)
    return settings


def require_model(settings: Settings) -> None:
    """Raises SettingsError where the model is to extract and none is configured."""
    if settings.extractor == "model" and not (settings.has_endpoint or settings.local_model):
        raise SettingsError("EVERLOG_EXTRACTOR: `model` wants OPENAI_API_KEY or OPENAI_BASE_URL")


def _from_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        values = tomllib.loads(Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"EVERLOG_CONFIG: cannot read {path}: {error}") from None
    unknown = sorted(values.keys() - {field.name for field in msgspec.structs.fields(Settings)})
    if unknown:
        raise SettingsError(f"EVERLOG_CONFIG: {path} sets {unknown[0]!r}, which is no setting")
    return values


def _checked(name: str, value: Any) -> Any:
    annotation = next(f.type for f in msgspec.structs.fields(Settings) if f.name == name)
    try:
        checked = msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        known = _known(annotation)
        words = f"{value!r} is none of {', '.join(known)}" if known else str(error)
        raise SettingsError(f"{variable_of(name)}: {words}") from None
    if name in ADDRESSES and not str(checked).startswith(("http://", "https://")):
        raise SettingsError(f"{variable_of(name)}: an address that begins with http:// or https:// is wanted")
    if name == "trusted_proxies" and (wrong := [each for each in listed(checked) if not _is_network(each)]):
        raise SettingsError(f"EVERLOG_TRUSTED_PROXIES: {wrong[0]!r} is neither an address nor a network")
    if name == "master_key" and not _is_key(checked):
        raise SettingsError("EVERLOG_MASTER_KEY: 32 bytes in base64 are wanted (openssl rand -base64 32)")
    return checked


def _known(annotation: Any) -> list[str]:
    """The words that a setting can be, where there are only some."""
    choices = [each for each in (annotation, *get_args(annotation)) if get_origin(each) is Literal]
    return [str(word) for each in choices for word in get_args(each)]


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False
