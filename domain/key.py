"""The Key aggregate: an API key, known only by its keyed hash, which is also its stream's id."""

import hashlib
import hmac
import secrets
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.recorded import Event, Recorded, register

WideScope = Literal["read", "write", "admin"]
NarrowScope = Literal["memories:read", "log:read", "memories:write", "memories:erase"]
"""What there is to be read and done: what is remembered, the log and histories; changes, and erasures."""
KeyScope = WideScope | NarrowScope
Plan = Literal["free", "premium"]
"""Of chats, as Khoj sells them."""
ALL_SCOPES: tuple[KeyScope, ...] = ("read", "write", "admin")
INCLUDED: Mapping[KeyScope, tuple[NarrowScope, ...]] = {
    "read": ("memories:read", "log:read"),
    "write": ("memories:write", "memories:erase"),
}
"""What the wide ones have always meant, and what the contracts' clients need."""
DELETING: tuple[KeyScope, ...] = ("memories:write", "memories:erase")
"""Of routes that delete, or erase where that is asked for: one of them."""
KEY_BEGINNING = "ev_"
"""Of the text of a key, unless its dialect has it otherwise."""
CHECKSUM_LENGTH = 6
"""Characters: as many as a number of 32 bits takes to the base 62."""
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key is for, and how much of it there is."""

    dialect: str | None = None
    """The published contract that it speaks, by its name; None: any."""
    per_minute: int | None = None
    """Requests; None: as many as the machine takes."""
    per_month: int | None = None
    """Requests of a calendar month, UTC."""
    plan: Plan | None = None
    """How much its chats may do; None: what the server is set to."""


NO_TERMS = Terms()


@register
class KeyCreated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "key.created.v1"
    LATER_FIELDS: ClassVar[Mapping[str, int]] = {"expires_at": 2, "narrow_scopes": 2}
    name: str
    owner: str
    scopes: tuple[WideScope, ...]
    narrow_scopes: tuple[NarrowScope, ...] = ()
    terms: Terms = NO_TERMS
    expires_at: datetime | None = None


@register
class KeyReplaced(Event, frozen=True, kw_only=True):
    """Another key does from now on what this one did, which ends with the overlap."""

    TYPE: ClassVar[str] = "key.replaced.v1"
    FORMAT: ClassVar[int] = 2
    by: UUID
    expires_at: datetime


@register
class KeyRevoked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "key.revoked.v1"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    version: int
    name: str
    owner: str
    scopes: tuple[KeyScope, ...]
    terms: Terms = NO_TERMS
    created_at: datetime
    expires_at: datetime | None = None
    """From when on it is refused; None: never."""
    replaced_by: UUID | None = None
    revoked_at: datetime | None = None

    def is_expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at

    def is_live(self, at: datetime) -> bool:
        """Whether it lets anybody in: neither revoked nor expired."""
        return self.revoked_at is None and not self.is_expired(at)


def project(key: Key | None, events: Iterable[Recorded]) -> Key | None:
    """The key after `events` of its stream."""
    for recorded in events:
        match recorded.event:
            case KeyCreated() as created:
                key = Key(
                    id=recorded.originator_id,
                    version=recorded.originator_version,
                    name=created.name,
                    owner=created.owner,
                    scopes=(*created.scopes, *created.narrow_scopes),
                    terms=created.terms,
                    created_at=recorded.occurred_at,
                    expires_at=created.expires_at,
                )
            case KeyReplaced() as replaced if key:
                key = msgspec.structs.replace(
                    key,
                    version=recorded.originator_version,
                    expires_at=replaced.expires_at,
                    replaced_by=replaced.by,
                )
            case KeyRevoked() if key:
                key = msgspec.structs.replace(
                    key, version=recorded.originator_version, revoked_at=recorded.occurred_at
                )
    return key


def told_apart(scopes: Iterable[KeyScope]) -> tuple[tuple[WideScope, ...], tuple[NarrowScope, ...]]:
    """The wide ones, which were stored from the beginning, and the narrow ones."""
    wide: list[WideScope] = []
    narrow: list[NarrowScope] = []
    for scope in scopes:
        if scope == "read" or scope == "write" or scope == "admin":  # noqa: PLR1714 - mypy narrows by these
            wide.append(scope)
        else:
            narrow.append(scope)
    return tuple(wide), tuple(narrow)


@cache
def opened(scopes: tuple[KeyScope, ...]) -> frozenset[KeyScope]:
    """All that these scopes open, themselves included."""
    return frozenset(scopes).union(*(INCLUDED.get(scope, ()) for scope in scopes))


def new_secret(beginning: str = KEY_BEGINNING) -> str:
    """A key's text: how it begins, as its dialect may have it, 256 random bits, and a checksum of both.

    The checksum is for programs that look for keys in what gets published. No key is judged by it.
    """
    text = beginning + secrets.token_urlsafe(32)
    return text + checksum(text)


def checksum(text: str) -> str:
    """CRC-32 of the text to the base 62, the most significant digit first."""
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits


def id_of(secret: str, pepper: bytes) -> UUID:
    """The stream of the key with this text: 128 bits of its HMAC-SHA-256 under `pepper`.

    Finding the key by its hash leaves nothing to compare, so nothing to time.
    """
    return UUID(bytes=hmac.new(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:16])


def mark_of(id: UUID) -> bytes:
    """Eight bytes that tell keys apart and find none: by them wrong texts are known without a look-up."""
    return hashlib.sha256(id.bytes).digest()[:8]
