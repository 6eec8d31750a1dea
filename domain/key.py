"""The Key aggregate: an API key, known only by its keyed hash, which is also its stream's id."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.recorded import Event, Recorded, register

KeyScope = Literal["read", "write", "admin"]
Plan = Literal["free", "premium"]
"""Of chats, as Khoj sells them."""
ALL_SCOPES: tuple[KeyScope, ...] = ("read", "write", "admin")
KEY_BEGINNING = "ev_"
"""Of the text of a key, unless its dialect has it otherwise."""


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
    name: str
    owner: str
    scopes: tuple[KeyScope, ...]
    terms: Terms = NO_TERMS


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
    revoked_at: datetime | None = None


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
                    scopes=created.scopes,
                    terms=created.terms,
                    created_at=recorded.occurred_at,
                )
            case KeyRevoked() if key:
                key = msgspec.structs.replace(
                    key, version=recorded.originator_version, revoked_at=recorded.occurred_at
                )
    return key


def new_secret(beginning: str = KEY_BEGINNING) -> str:
    """A key's text: how it begins, as its dialect may have it, and 256 random bits."""
    return beginning + secrets.token_urlsafe(32)


def id_of(secret: str, pepper: bytes) -> UUID:
    """The stream of the key with this text: 128 bits of its HMAC-SHA-256 under `pepper`.

    Finding the key by its hash leaves nothing to compare, so nothing to time.
    """
    return UUID(bytes=hmac.new(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:16])
