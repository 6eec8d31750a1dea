"""A memory's history: what it said after each change, and who made it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.ids import MEMORY_PREFIX, spell
from domain.memory import CHANGE_NAMES, Memory, evolve
from domain.recorded import Recorded


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One change, with the keys of the contract's text and those of its SDK."""

    id: str
    memory_id: str
    event: str
    memory: str
    prev_memory: str | None
    new_memory: str | None
    metadata: dict[str, Any]
    tags: Sequence[str]
    version: int
    actor: str
    cause: str
    request_id: str
    extractor: str | None
    changed_at: datetime
    created_at: datetime
    position: int
    erased: bool | msgspec.UnsetType = msgspec.UNSET
    """Only where the memory is erased, and this version without its words."""


def versions(events: Sequence[Recorded]) -> list[Version]:
    """A stream as the contract tells it, newest first."""
    memory: Memory | None = None
    told: list[Version] = []
    for recorded in events:
        before, memory = memory, evolve(memory, recorded)
        told.append(
            Version(
                id=str(recorded.event_id),
                memory_id=spell(MEMORY_PREFIX, memory.id),
                event=CHANGE_NAMES[type(recorded.event)],
                memory=memory.text,
                prev_memory=before.text if before and not before.deleted else None,
                new_memory=None if memory.deleted else memory.text,
                metadata=memory.metadata,
                tags=memory.tags,
                version=memory.version,
                actor=recorded.context.actor,
                cause=recorded.context.cause,
                request_id=recorded.context.correlation,
                extractor=getattr(recorded.event, "extractor", None),
                changed_at=recorded.occurred_at,
                created_at=recorded.occurred_at,
                position=recorded.position,
            )
        )
    if memory and memory.erased:
        told = [msgspec.structs.replace(version, erased=True) for version in told]
    return told[::-1]
