"""MemoryStack's import and export."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.body import Body
from api.dialects.memorystack.answers import (
    EVERYBODY,
    NOBODY,
    ORIGIN,
    SOURCE_TYPE,
    TAGS,
    FoundAnswer,
    MemoryAnswer,
    answers,
    cursor_after,
    flat,
    place_of,
    selected,
    wrong,
)
from api.dialects.memorystack.repeats import ONCE
from api.request import IdempotencyKey
from application import memories
from application.asked import Asked
from application.engine import Engine
from application.storable import MAX_TEXT, Id, Tag, check_metadata, refuse_nul
from domain.aggregate import Command
from domain.ids import new_id
from domain.memory import AddMemory, Memory, Traits
from domain.recorded import now
from domain.scope import Scope

MAX_IMPORTED = 5_000
"""In one commit, which all other writers of the cell wait for: 1 to 3 s, where 20,000 take 16 s."""
DAY = msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d", max_length=40, examples=["2027-01-31"])


class ImportedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as an export has it; the second names are those of other services' exports."""

    content: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"\S")] | None = None
    memory: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"\S")] | None = None
    id: str | int | None = None
    end_user_id: Id | None = None
    user_id: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    team_id: Id | None = None
    session_id: Id | None = None
    conversation_id: Id | None = None
    agent_name: Id | None = None
    agent_type: Id | None = None
    memory_type: Id | None = None
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    metadata: dict[str, Any] | None = None
    tags: list[Tag] | None = None
    expires_on: Annotated[str, DAY] | None = None
    """The first day on which it is gone (UTC)."""
    expiration_date: Annotated[str, DAY] | None = None
    created_at: str | None = None
    updated_at: str | None = None
    source_type: str | None = None

    def __post_init__(self) -> None:
        if self.content is None and self.memory is None:
            raise ValueError("missing required field `content`")
        if self.user == EVERYBODY:
            raise ValueError(f"`{EVERYBODY}` names every user, so no memory can be theirs")
        if (last := self.expires) and last <= now().date():
            raise ValueError(f"it has expired on {last}")

    @property
    def user(self) -> str | None:
        return self.end_user_id or self.user_id

    @property
    def expires(self) -> date | None:
        """Its day; a time after it makes no difference. Raises ValueError for what is none."""
        day = self.expires_on or self.expiration_date
        return date.fromisoformat(day[:10]) if day else None

    def command(self, owner: str, more: dict[str, Any]) -> AddMemory:
        """Kept verbatim; its former id and times go into the metadata, for here it gets new ones.

        So does what is said with it under names that mean nothing here. Raises ValueError if it is too much.
        """
        former = {
            "original_id": self.id,
            "original_created_at": self.created_at,
            "original_updated_at": self.updated_at if self.updated_at != self.created_at else None,
            "original_source_type": self.source_type if self.source_type != SOURCE_TYPE else None,
            **{name: getattr(self, name) for name in ORIGIN},
        }
        metadata = more | {key: value for key, value in former.items() if value is not None}
        metadata |= self.metadata or {}
        check_metadata(metadata)
        refuse_nul(metadata)
        return AddMemory(
            text=self.content or self.memory or "",
            scope=Scope(
                owner=owner,
                user_id=None if self.user == NOBODY else self.user,
                agent_id=self.agent_id or self.agent_name,
                run_id=self.run_id,
                project_id=self.project_id,
            ),
            metadata=metadata,
            tags=tuple(dict.fromkeys(self.tags or ())),
            traits=Traits(type=self.memory_type, confidence=self.confidence, expires_on=self.expires),
        )


class ImportRequest(Body, frozen=True, kw_only=True):
    memories: Annotated[list[ImportedMemory], msgspec.Meta(min_length=1)]
    """At most 5,000 in one request."""


class Sent(msgspec.Struct, frozen=True):
    """The rows of an import with all that they have."""

    memories: list[dict[str, Any]]


MEANT = {*ImportedMemory.__struct_fields__, *FoundAnswer.__struct_fields__}
"""The names of a row that mean something here; of an answer's fields the rest is made anew."""


class ImportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    imported: int
    created: int
    failed: int
    """Always 0: all are taken, or none."""
    total: int
    memory_ids: list[str]
    """In the order of the request."""


@post(
    "/api/v1/memories/import",
    operation_id="memorystackImport",
    opt={"scope": "memories:write"},
    responses=answers(409, 413, 415, 422),
    dependencies=ONCE,
    status_code=201,
    tags=TAGS,
    summary="Keep memories from elsewhere, or from an export, word for word: all or none",
)
async def take(
    request: Request[Any, Any, Any],
    data: JSONBody[ImportRequest],
    once: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> ImportAnswer:
    repeated = once.receipt.results if once.receipt else ()
    if repeated:  # nothing is read for it: 5,000 memories would keep all writers waiting for 14 s
        return _imported([id for id, _ in repeated])
    if len(data.memories) > MAX_IMPORTED:
        raise wrong(
            "memories", f"At most {MAX_IMPORTED} in one request: send several, such as the pages of an export"
        )
    sent = msgspec.json.decode(await request.body(), type=Sent).memories
    commands: list[tuple[UUID, Command[Memory]]] = []
    for number, (one, raw) in enumerate(zip(data.memories, sent, strict=True)):
        more = {
            f"original_{name}": value
            for name, value in raw.items()
            if name not in MEANT and value not in (None, "", [], {})
        }
        try:
            commands.append((new_id(), one.command(once.caller.owner, more)))
        except ValueError as error:
            raise wrong("memories", f"[{number}]: {error}") from None
    return _imported([result.state.id for result in await engine.execute(once, commands)])


def _imported(ids: Sequence[UUID]) -> ImportAnswer:
    return ImportAnswer(
        success=True,
        imported=len(ids),
        created=len(ids),
        failed=0,
        total=len(ids),
        memory_ids=[str(id) for id in ids],
    )


class ExportRequest(Body, frozen=True, kw_only=True):
    format: Literal["json", "csv"] = "json"
    user_id: Id | None = None
    """A user, `self` or `all`."""
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Of one page; none: everything at once, as the SDK wants it."""
    cursor: str | None = None


class ExportedMemory(MemoryAnswer, frozen=True, kw_only=True):
    tags: Sequence[str]
    run_id: str | msgspec.UnsetType = msgspec.UNSET
    expires_on: date | msgspec.UnsetType = msgspec.UNSET


class ExportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    format: Literal["json", "csv"]
    exported_at: datetime
    count: int
    next_cursor: str | None
    memories: list[ExportedMemory]
    """Empty for `csv`."""
    data: str | None
    """The table for `csv`."""


@post(
    "/api/v1/memories/export",
    operation_id="memorystackExport",
    opt={"scope": "memories:read", "bodiless": True},
    responses=answers(413, 415),
    status_code=200,
    tags=TAGS,
    summary="All memories, oldest first, as import takes them",
)
async def export(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    data: JSONBody[ExportRequest | None] = None,
) -> ExportAnswer:
    wanted = data or ExportRequest()
    after = place_of(wanted.cursor)
    most = wanted.limit and wanted.limit + 1
    page = await memories.all_of(
        engine, asked, selected(asked, wanted.user_id), most, ascending=True, after=after
    )
    told = page[: wanted.limit]
    flat_ones = [_exported(memory) for memory in told]
    return ExportAnswer(
        success=True,
        format=wanted.format,
        exported_at=datetime.now(UTC),
        count=len(told),
        next_cursor=cursor_after(told[-1]) if len(page) > len(told) else None,
        memories=flat_ones if wanted.format == "json" else [],
        data=_table(flat_ones) if wanted.format == "csv" else None,
    )


ROUTES = [export]
UPLOADS = [take]
"""What may be larger than other bodies."""


def _exported(memory: Memory) -> ExportedMemory:
    return ExportedMemory(
        **flat(memory),
        tags=memory.tags,
        run_id=memory.scope.run_id or msgspec.UNSET,
        expires_on=memory.traits.expires_on or msgspec.UNSET,
    )


def _table(told: list[ExportedMemory]) -> str:
    """The memories as CSV (RFC 4180) with a line of names; metadata and tags are JSON."""
    names = [
        "id", "end_user_id", "agent_id", "project_id", "content", "memory_type", "confidence", "metadata",
        "created_at", "updated_at", "run_id", "tags", "expires_on",
    ]  # fmt: skip
    table = io.StringIO()
    writer = csv.DictWriter(table, names, extrasaction="ignore")
    writer.writeheader()
    for memory in told:
        row = msgspec.to_builtins(memory)
        values = {"metadata": memory.metadata, "tags": memory.tags}
        writer.writerow(row | {name: msgspec.json.encode(value).decode() for name, value in values.items()})
    return table.getvalue()
