"""API keys: the operator's making, listing and revoking, the first one, and what callers may do of that."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from application.asked import Caller
from application.refusals import KeyLimited
from domain.errors import Contended, NotFound, Refused
from domain.eventstore.cells import Cells
from domain.ids import KEY_PREFIX, spell
from domain.key import ALL_SCOPES, KEY_BEGINNING, NO_TERMS, Key, KeyScope, Terms, new_secret, opened
from domain.recorded import now

log = logging.getLogger(__name__)

FIRST_OWNER = "default"
BOOTSTRAP = "bootstrap"
"""The name of the key that the variable makes; no other key of the operator's has it."""
MAX_KEYS = 100
"""Of one owner, those not counted that are revoked or expired."""
LIMITED = "this key has limits, and another one would have as much again: ask who runs this server for it"
FULL = f"there are {MAX_KEYS} keys already: delete some first"
TAKEN = "there is a key with this name already: choose another name, or delete that key first"
REVOKED = "EVERLOG_BOOTSTRAP_KEY is a key that was revoked or has expired: it lets nobody in, choose another"
RESERVED = f"{BOOTSTRAP!r} is the name of the key in EVERLOG_BOOTSTRAP_KEY: choose another"
ROTATED_OTHERWISE = "this is the key in EVERLOG_BOOTSTRAP_KEY: change the variable and start anew"
OWN = "this is the key that you ask with: delete it with another one"


class NotUsable(Refused):
    """A name or a text that no key can have here."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was made just now: its text is here and nowhere else."""

    id: str
    key: str
    owner: str


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    owner: str
    scopes: Sequence[KeyScope]
    dialect: str | None
    per_minute: int | None
    per_month: int | None
    plan: str | None
    created_at: str
    """As the others, RFC 3339 in UTC."""
    last_used_at: str | None
    """To the minute."""
    expires_at: str | None
    replaced_by: str | None
    revoked_at: str | None


def create(
    cells: Cells,
    name: str,
    owner: str,
    scopes: tuple[KeyScope, ...],
    terms: Terms = NO_TERMS,
    beginning: str = KEY_BEGINNING,
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a key, whose text begins so, and its owner when new. Raises NotUsable for a name that is taken."""
    if name == BOOTSTRAP:
        raise NotUsable(RESERVED)
    secret = new_secret(beginning)
    key = cells.create_key(secret, name, owner, scopes, terms, expires_at=expires_at)
    return NewKey(id=spell(KEY_PREFIX, key.id), key=secret, owner=key.owner)


def rotate(
    cells: Cells,
    id: UUID,
    overlap: timedelta,
    beginnings: Mapping[str, str],
    expires_at: datetime | None = None,
) -> NewKey:
    """Another text for what a key may do; the old one goes on for the overlap, but never longer than before.

    The new one expires when the old one would have, unless `expires_at` has it otherwise.
    `beginnings`: of the keys of each dialect.

    Raises NotFound, also for a key that is revoked or expired, Contended for one that was rotated, and
    NotUsable for that of the variable.
    """
    old = cells.first.log.key(id)
    if _is_bootstrap(old):
        raise NotUsable(ROTATED_OTHERWISE)
    secret = new_secret(beginnings.get(old.terms.dialect or "", KEY_BEGINNING))
    key = cells.replace_key(id, secret, now() + overlap, expires_at)
    return NewKey(id=spell(KEY_PREFIX, key.id), key=secret, owner=key.owner)


def every(cells: Cells, owner: str | None = None) -> list[KeyAnswer]:
    """All keys, or those of one owner, oldest first; never their texts."""
    used = cells.last_uses(owner)
    return [_answer(key, used.get(key.id)) for key in cells.keys(owner)]


def revoke(cells: Cells, id: UUID) -> KeyAnswer:
    """Raises NotFound."""
    key = cells.revoke_key(id)
    return _answer(key, cells.last_uses(key.owner).get(id))


def ensure_first(cells: Cells, bootstrap: str | None) -> str | None:
    """Make the first key unless there is one; its text, unless it is `bootstrap`, made at random now.

    `bootstrap` is one key: those that it was before are revoked, unless it is itself.
    """
    if bootstrap is None:
        return None if cells.keys() else create(cells, "first", FIRST_OWNER, ALL_SCOPES).key
    key = cells.create_key(bootstrap, BOOTSTRAP, FIRST_OWNER, ALL_SCOPES)
    if not key.is_live(now()):
        log.warning(REVOKED)
        return None
    for other in cells.keys(FIRST_OWNER):
        if other.id != key.id and other.revoked_at is None and _is_bootstrap(other):
            cells.revoke_key(other.id)
    return None


def _is_bootstrap(key: Key) -> bool:
    return key.name == BOOTSTRAP and key.scopes == ALL_SCOPES and key.terms == NO_TERMS


def _answer(key: Key, used_at: datetime | None) -> KeyAnswer:
    return KeyAnswer(
        id=spell(KEY_PREFIX, key.id),
        name=key.name,
        owner=key.owner,
        scopes=key.scopes,
        dialect=key.terms.dialect,
        per_minute=key.terms.per_minute,
        per_month=key.terms.per_month,
        plan=key.terms.plan,
        created_at=key.created_at.isoformat(),
        last_used_at=used_at.isoformat() if used_at else None,
        expires_at=key.expires_at.isoformat() if key.expires_at else None,
        replaced_by=spell(KEY_PREFIX, key.replaced_by) if key.replaced_by else None,
        revoked_at=key.revoked_at.isoformat() if key.revoked_at else None,
    )


# --- by a caller ------------------------------------------------------------------------------------


def create_below(cells: Cells, caller: Caller, name: str, beginning: str) -> str:
    """Make a key for a further client of the caller's; its text, which begins so.

    It is never wider than the caller's: for the same owner, time and terms, and not to administer.

    Raises KeyLimited, and Contended where there are too many or the name is taken.
    """
    if caller.terms.per_minute or caller.terms.per_month:
        raise KeyLimited(LIMITED)
    live = [key for key in cells.keys(caller.owner) if key.is_live(now())]
    if len(live) >= MAX_KEYS:
        raise Contended(FULL)
    if any(key.name == name for key in live):
        raise Contended(TAKEN)
    secret = new_secret(beginning)
    scopes = tuple(scope for scope in caller.scopes if scope != "admin")
    cells.create_key(
        secret, name, caller.owner, scopes, caller.terms, actor=caller.actor, expires_at=caller.expires_at
    )
    return secret


def below(cells: Cells, caller: Caller) -> list[Key]:
    """The owner's keys that may no more than the one that asks; it is one of them."""
    return [
        key
        for key in cells.keys(caller.owner)
        if key.is_live(now())
        and opened(key.scopes) <= opened(caller.scopes)
        and caller.terms in (NO_TERMS, key.terms)
    ]


def revoke_below(cells: Cells, caller: Caller, name: str | None, key: str | None) -> None:
    """Revoke those of `below` with this name, and the one with this id or text.

    Raises NotFound where there is none, and Contended for the key that asks.
    """
    ids = {key, _id_of(cells, key)} if key else set()
    doomed = [one for one in below(cells, caller) if one.name == name or spell(KEY_PREFIX, one.id) in ids]
    if not doomed:
        raise NotFound("no such key")
    if caller.actor in [spell(KEY_PREFIX, one.id) for one in doomed]:
        raise Contended(OWN)
    for one in doomed:
        cells.revoke_key(one.id, actor=caller.actor)


def _id_of(cells: Cells, secret: str) -> str | None:
    """The id of the key with this text, as it is told."""
    try:
        return spell(KEY_PREFIX, cells.key_of(secret).id)
    except NotFound:
        return None
