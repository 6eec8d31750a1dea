"""Identifiers: time-ordered UUIDs (RFC 9562, version 7) and the spellings the contracts give them."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

NAMESPACE = UUID("5d3f7a52-7a5e-5b0e-9c1e-0e7e10607e57")
"""Names that determine an id (an owner's, a key's) are hashed under this namespace."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MEMORY_PREFIX = "mem_"
KEY_PREFIX = "key_"
INGESTION_PREFIX = "ing_"
PROJECT_PREFIX = "proj_"
REVIEW_PREFIX = "rev_"
REVERT_PREFIX = "revert_"

_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """A version 7 UUID, strictly greater than every earlier one of this process."""
    global _last  # noqa: PLW0603 - the counter is the point: ids of one process never go back
    with _lock:
        # 48 bits of milliseconds, 12 bits of their fraction (RFC 9562, 6.2, method 3).
        tick = (time.time_ns() << 12) // 1_000_000
        _last = tick = max(tick, _last + 1)
    milliseconds, fraction = tick >> 12, tick & 0xFFF
    random = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random)


def named_id(kind: str, name: str) -> UUID:
    """The one id that `name` has among things of `kind`."""
    return uuid5(NAMESPACE, f"{kind}:{name}")


def dated_id(kind: str, name: str, at: datetime) -> UUID:
    """The one id that `name` of the moment `at`, from 1970 on, has among things of `kind`.

    A version 7 UUID: it stands among those of `new_id` as if it had been made at that moment.
    """
    tick = ((at - EPOCH) // timedelta(microseconds=1) << 12) // 1000
    # Of the name's own id 62 bits remain, and the two that say which variant of UUID it is.
    rest = named_id(kind, name).int & ((1 << 64) - 1)
    return UUID(int=tick >> 12 << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | rest)


def spell(prefix: str, id: UUID) -> str:
    """`prefix` and the id's 32 hex digits, as in `mem_0190…`."""
    return prefix + id.hex


def parse(prefix: str, text: str) -> UUID | None:
    """The id that `text` spells, with or without prefix; None when it spells none."""
    digits = text.removeprefix(prefix)
    # UUID() also takes braces and `urn:uuid:`; an id has one spelling with dashes and one without.
    if len(digits) not in (32, 36):
        return None
    try:
        return UUID(digits)
    except ValueError:
        return None
