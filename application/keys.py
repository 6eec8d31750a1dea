"""API keys: making, listing and revoking them, and the first one of a new installation."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain.eventstore.cells import Cells
from domain.ids import KEY_PREFIX, spell
from domain.key import ALL_SCOPES, KEY_BEGINNING, NO_TERMS, Key, KeyScope, Terms, new_secret

FIRST_OWNER = "default"


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
    """As `revoked_at`, RFC 3339 in UTC."""
    revoked_at: str | None


def create(
    cells: Cells,
    name: str,
    owner: str,
    scopes: tuple[KeyScope, ...],
    terms: Terms = NO_TERMS,
    beginning: str = KEY_BEGINNING,
) -> NewKey:
    """Make a key, whose text begins so, and its owner when new."""
    secret = new_secret(beginning)
    key = cells.create_key(secret, name, owner, scopes, terms)
    return NewKey(id=spell(KEY_PREFIX, key.id), key=secret, owner=key.owner)


def every(cells: Cells, owner: str | None = None) -> list[KeyAnswer]:
    """All keys, or those of one owner, oldest first; never their texts."""
    return [_answer(key) for key in cells.keys(owner)]


def revoke(cells: Cells, id: UUID) -> KeyAnswer:
    """Raises NotFound."""
    return _answer(cells.revoke_key(id))


def ensure_first(cells: Cells, bootstrap: str | None) -> str | None:
    """Make the first key unless there is one; its text, unless it is `bootstrap`, made at random now."""
    if bootstrap:
        cells.create_key(bootstrap, "bootstrap", FIRST_OWNER, ALL_SCOPES)
        return None
    return None if cells.keys() else create(cells, "first", FIRST_OWNER, ALL_SCOPES).key


def _answer(key: Key) -> KeyAnswer:
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
        revoked_at=key.revoked_at.isoformat() if key.revoked_at else None,
    )
