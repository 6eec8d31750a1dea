"""MemoryStack's import and export, and reading a whole selection for them."""

import csv
import io
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.body import MAX_TEXT, Body, Id, check_metadata
from api.dialects.memorystack.answers import (
    NOBODY,
    TAGS,
    MemoryAnswer,
    answers,
    cursor_after,
    flat,
    place_of,
    selected,
)
from api.dialects.memorystack.repeats import ONCE
from api.engine import Asked, Engine
from api.request import IdempotencyKey
from domain.aggregate import Command
from domain.ids import new_id
from domain.memory import AddMemory, Memory, Scope, Traits
from projections import memories
from projections.selection import Selection

MAX_IMPORTED = 5_000
PAGE = 1_000


class ImportedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as an export has it; the second names are those of other services' exports."""

    content: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"\S")] | None = None
    memory: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"\S")] | None = None
    id: str | int | None = None
    end_user_id: Id | None = None
    user_id: Id | None = None
    agent_id: Id | None = None
    project_id: Id | None = None
    memory_type: Id | None = None
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    metadata: dict[str, Any] | None = None
    created_at: str | None = None

    def __post_init__(self) -> None:
        check_metadata(self.metadata)
        if self.content is None and self.memory is None:
            raise ValueError("missing required field `content`")

    def command(self, owner: str) -> AddMemory:
        """Kept verbatim; its former id and time go into the metadata, for here it gets new ones."""
        user = self.end_user_id or self.user_id
        former = {"original_id": self.id, "original_created_at": self.created_at}
        return AddMemory(
            text=self.content or self.memory or "",
            scope=Scope(
                owner=owner,
                user_id=None if user == NOBODY else user,
                agent_id=self.agent_id,
                project_id=self.project_id,
            ),
            metadata={key: value for key, value in former.items() if value is not None}
            | (self.metadata or {}),
            traits=Traits(type=self.memory_type, confidence=self.confidence),
        )


class ImportRequest(Body, frozen=True, kw_only=True):
    memories: Annotated[list[ImportedMemory], msgspec.Meta(min_length=1, max_length=MAX_IMPORTED)]


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
    opt={"scope": "write"},
    responses=answers(409, 413, 415, 422),
    dependencies=ONCE,
    status_code=201,
    tags=TAGS,
    summary="Keep memories from elsewhere, or from an export, word for word: all or none",
)
async def take(
    data: JSONBody[ImportRequest],
    once: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> ImportAnswer:
    commands: list[tuple[UUID, Command]] = [
        (new_id(), one.command(once.caller.owner)) for one in data.memories
    ]
    results = await engine.execute(once, commands)
    count = len(results)
    return ImportAnswer(
        success=True,
        imported=count,
        created=count,
        failed=0,
        total=count,
        memory_ids=[str(result.state.id) for result in results],
    )


class ExportRequest(Body, frozen=True, kw_only=True):
    format: Literal["json", "csv"] = "json"
    user_id: Id | None = None
    """A user, `self` or `all`."""
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Of one page; none: everything at once, as the SDK wants it."""
    cursor: str | None = None


class ExportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    format: Literal["json", "csv"]
    exported_at: datetime
    count: int
    next_cursor: str | None
    memories: list[MemoryAnswer]
    """Empty for `csv`."""
    data: str | None
    """The table for `csv`."""


@post(
    "/api/v1/memories/export",
    operation_id="memorystackExport",
    opt={"scope": "read", "bodiless": True},
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
    page = await all_of(asked, engine, selected(asked, wanted.user_id), most, ascending=True, after=after)
    told = page[: wanted.limit]
    flat_ones = [MemoryAnswer(**flat(memory)) for memory in told]
    return ExportAnswer(
        success=True,
        format=wanted.format,
        exported_at=datetime.now(UTC),
        count=len(told),
        next_cursor=cursor_after(told[-1]) if len(page) > len(told) else None,
        memories=flat_ones if wanted.format == "json" else [],
        data=_table(flat_ones) if wanted.format == "csv" else None,
    )


ROUTES = [take, export]


def _table(told: list[MemoryAnswer]) -> str:
    """The memories as CSV (RFC 4180) with a line of names; metadata is JSON."""
    names = [
        "id", "end_user_id", "agent_id", "project_id", "content", "memory_type", "confidence", "metadata",
        "created_at", "updated_at",
    ]  # fmt: skip
    table = io.StringIO()
    writer = csv.DictWriter(table, names, extrasaction="ignore")
    writer.writeheader()
    for memory in told:
        row = msgspec.to_builtins(memory)
        writer.writerow(row | {"metadata": msgspec.json.encode(memory.metadata).decode()})
    return table.getvalue()


async def all_of(
    asked: Asked,
    engine: Engine,
    selection: Selection,
    most: int | None,
    *,
    ascending: bool = False,
    after: UUID | None = None,
) -> list[Memory]:
    """The memories of a selection, page by page; at most `most`."""
    found: list[Memory] = []
    async with engine.reading(asked, memories.name) as (conn, build):
        while True:
            limit = PAGE if most is None else min(PAGE, most - len(found))
            page = await memories.listing(
                conn, build.version, selection, limit, ascending=ascending, after=after
            )
            found += page
            if len(page) < limit or len(found) == most:
                return found
            after = page[-1].id
