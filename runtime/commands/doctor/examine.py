"""`everlog doctor`: what is configured, what answers, what is missing, and what to do about it."""

import msgspec
import psycopg
from redis import Redis

from domain.eventstore.cells import DEFAULT_CELLS, connection_string, named, require_compatible
from domain.eventstore.roles import OF_PROGRAM, set_up
from runtime.commands.doctor.chats import findings
from runtime.commands.doctor.finding import Finding, examined
from runtime.composition import chat_model_of, embedders_of, readers_of
from runtime.servers.running import connected, conversing
from runtime.settings import Settings, SettingsError

TIMEOUT_SECONDS = 5


def examine(settings: Settings) -> list[Finding]:
    """Look at each part; nothing secret is in what is found."""
    return [*_service(settings), *findings(conversing(settings))]


def _service(settings: Settings) -> list[Finding]:
    try:
        settings = conversing(connected(settings, queue=True))
    except SettingsError as error:
        return [Finding(name="service", state="fails", detail=str(error)), _master_key(settings)]
    return [
        examined(
            "database", lambda: _database(settings), "check EVERLOG_DATABASE_URL and that the server runs"
        ),
        examined("queue", lambda: _queue(settings), "check EVERLOG_REDIS_URL and that the server runs"),
        _master_key(settings),
        examined(
            "embedder",
            lambda: _embedder(settings),
            "check OPENAI_BASE_URL, OPENAI_API_KEY and the model's name",
        ),
        examined(
            "extractor",
            lambda: _extractor(settings),
            "check OPENAI_BASE_URL, OPENAI_API_KEY and EVERLOG_CHAT_MODEL",
        ),
    ]


def _database(settings: Settings) -> Finding:
    database_url = named(settings.database_url or "", "doctor")
    with psycopg.connect(database_url, connect_timeout=TIMEOUT_SECONDS) as conn:
        server = conn.info.server_version // 10_000
        row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None:
        return Finding(
            name="database",
            state="fails",
            detail=f"PostgreSQL {server} answers, but has no pgvector",
            next="run `everlog migrate`; if it cannot make the extension, install pgvector 0.8.4 or newer",
        )
    require_compatible(database_url, "doctor")
    detail = f"PostgreSQL {server} with pgvector {row[0]}"
    return Finding(name="database", state="ok", detail=detail, next=_without_roles(database_url))


def _without_roles(database_url: str) -> str | None:
    """What to do where the API is not kept from the rows of other owners by the database, too."""
    here = connection_string(database_url, DEFAULT_CELLS[0])
    if all(set_up(here, roles) for roles in OF_PROGRAM.values()):
        return None
    names = ", ".join(sorted({name for roles in OF_PROGRAM.values() for name in roles if name}))
    return (
        "let the database hold owners apart, too: give its user CREATEROLE, or make the roles"
        f" {names} and grant them to it; then run `everlog migrate`"
    )


def _queue(settings: Settings) -> Finding:
    with Redis.from_url(settings.redis_url or "", socket_timeout=TIMEOUT_SECONDS) as redis:
        redis.ping()
    return Finding(name="queue", state="ok", detail="answers")


def _master_key(settings: Settings) -> Finding:
    kept = "EVERLOG_MASTER_KEY" if settings.master_key else f"{settings.data_dir}/master.key"
    return Finding(
        name="master key", state="ok", detail=f"from {kept}; without it the log cannot be read: keep a copy"
    )


def _embedder(settings: Settings) -> Finding:
    embedder = embedders_of(settings).of()
    dimensions = embedder.embed(["hello"]).shape[1]
    more = (
        None
        if settings.embedding_model
        else "set EVERLOG_EMBEDDING_MODEL and OPENAI_API_KEY for a larger model"
    )
    return Finding(
        name="embedder", state="ok", detail=f"{embedder.model}, {dimensions} dimensions", next=more
    )


class _Greeting(msgspec.Struct):
    greeting: str


def _extractor(settings: Settings) -> Finding:
    identity = readers_of(settings).of().identity
    if identity.model is None:
        return Finding(
            name="extractor",
            state="ok",
            detail=f"{identity}: English statements by grammar, no model",
            next="set OPENAI_API_KEY and EVERLOG_CHAT_MODEL for one that understands more",
        )
    model = chat_model_of(settings)
    model.structured("Answer with a greeting.", "Hello.", _Greeting, max_tokens=200)
    return Finding(name="extractor", state="ok", detail=f"{identity}; the model answers")
