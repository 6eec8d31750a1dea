"""Who asks for something, and on what terms: the same for every door."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from domain.eventstore.receipts import Receipt
from domain.ids import new_id
from domain.key import ALL_SCOPES, NO_TERMS, KeyScope, Terms
from domain.recorded import Context


class Caller(msgspec.Struct, frozen=True):
    """An authenticated key, or whoever else may act for an owner."""

    owner: str
    actor: str
    scopes: tuple[KeyScope, ...]
    terms: Terms = NO_TERMS
    expires_at: datetime | None = None
    """From when on the key is refused."""

    def is_expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at


class Asked(NamedTuple):
    """What a request says about itself."""

    caller: Caller
    request_id: str
    receipt: Receipt | None = None
    """From its Idempotency-Key."""
    min_position: int | None = None

    def context(self, cause: str | None = None) -> Context:
        """Of the events that it leads to. The cause is by default the request alone."""
        caller = self.caller
        return Context(
            owner=caller.owner, actor=caller.actor, cause=cause or str(new_id()), correlation=self.request_id
        )


def asked_by(actor: str, owner: str, correlation: str = "") -> Asked:
    """On behalf of `owner`, by somebody who needs no key: the operator, or a worker."""
    return Asked(Caller(owner, actor, ALL_SCOPES), correlation)
