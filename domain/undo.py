"""Undoing some of a memory's events: what the memory would be without them. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal
from uuid import UUID

import msgspec

from domain.memory import DeleteMemory, Memory, MemoryCommand, RestoreMemory, alike, project
from domain.recorded import Recorded


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """What undoing means for one memory."""

    memory_id: UUID
    action: Literal["DELETE", "RESTORE", "UPDATE", "NONE", "CONFLICT"]
    """CONFLICT: others have built on what is to be undone, and it cannot be taken out from under them."""
    before: Memory
    after: Memory | None
    """None: deleted."""

    def command(self) -> MemoryCommand | None:
        """What makes it so; None where there is nothing to do."""
        if self.action == "DELETE":
            return DeleteMemory(expected_version=self.before.version)
        if self.action in ("RESTORE", "UPDATE") and self.after:
            return RestoreMemory(to=self.after, expected_version=self.before.version)
        return None


def undo(events: Sequence[Recorded], undone: AbstractSet[UUID]) -> Undo:
    """A memory without the events whose ids are `undone`; changes that others made since are kept.

    Nothing is undone of an erased memory: there is nothing left that it could become.
    """
    before = project(None, events)
    assert before is not None  # noqa: S101 - a stream has events
    if before.erased:
        return Undo(memory_id=before.id, action="NONE", before=before, after=None)
    kept = [recorded for recorded in events if recorded.event_id not in undone]
    try:
        after = project(None, kept)
    except ValueError:
        left: Literal["NONE", "CONFLICT"] = "NONE" if before.deleted else "CONFLICT"
        return Undo(memory_id=before.id, action=left, before=before, after=None)
    if after is None or after.deleted:
        action: Literal["DELETE", "NONE"] = "NONE" if before.deleted else "DELETE"
        return Undo(memory_id=before.id, action=action, before=before, after=None)
    if before.deleted:
        return Undo(memory_id=before.id, action="RESTORE", before=before, after=after)
    same = alike(_content(before), _content(after))
    return Undo(memory_id=before.id, action="NONE" if same else "UPDATE", before=before, after=after)


def _content(memory: Memory) -> tuple[object, ...]:
    return memory.text, memory.metadata, memory.tags, memory.traits, memory.scope
