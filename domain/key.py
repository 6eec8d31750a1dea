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
ALL_SCOPES: tuple[KeyScope, ...] = ("read", "write", "admin")


@register
class KeyCreated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "key.created.v1"
    name: str
    owner: str
    scopes: tuple[KeyScope, ...]


@register
class KeyRevoked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "key.revoked.v1"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    version: int
    name: str
    owner: str
    scopes: tuple[KeyScope, ...]
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
                    created_at=recorded.occurred_at,
                )
            case KeyRevoked() if key:
                key = msgspec.structs.replace(
                    key, version=recorded.originator_version, revoked_at=recorded.occurred_at
                )
    return key


def new_secret() -> str:
    """A key's text: `ev_` and 256 random bits."""
    return "ev_" + secrets.token_urlsafe(32)


def id_of(secret: str, pepper: bytes) -> UUID:
    """The stream of the key with this text: 128 bits of its HMAC-SHA-256 under `pepper`.

    Finding the key by its hash leaves nothing to compare, so nothing to time.
    """
    return UUID(bytes=hmac.new(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:16])
