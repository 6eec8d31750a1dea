"""Making, listing and revoking API keys, and the first one of a new installation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from domain.errors import NotFound
from domain.eventstore.cells import Cells
from domain.ids import KEY_PREFIX, parse, spell
from domain.key import ALL_SCOPES, KEY_BEGINNING, NO_TERMS, Key, KeyScope, Terms, new_secret
from runtime.composition import cells_of
from runtime.settings import Settings, SettingsError

FIRST_OWNER = "default"


def create(
    settings: Settings, name: str, owner: str, scopes: Sequence[str], terms: Terms = NO_TERMS
) -> dict[str, Any]:
    """Make a key; its text is in the answer and nowhere else."""
    unknown = sorted(set(scopes) - set(ALL_SCOPES))
    if unknown:
        raise SettingsError(f"--scopes: {unknown[0]!r} is none of {', '.join(ALL_SCOPES)}")
    if not owner.strip() or "\x00" in owner + name:
        raise SettingsError("--owner: a name without control characters is wanted")
    secret = new_secret(_beginning(terms.dialect) if terms.dialect else KEY_BEGINNING)
    with opened(settings) as cells:
        key = cells.create_key(secret, name, owner, cast("tuple[KeyScope, ...]", tuple(scopes)), terms)
    return {"id": spell(KEY_PREFIX, key.id), "key": secret, "owner": key.owner}


def list_keys(settings: Settings, owner: str | None) -> list[dict[str, Any]]:
    """All keys, or those of one owner, oldest first; never their texts."""
    with opened(settings) as cells:
        return [_told(key) for key in cells.keys(owner)]


def revoke(settings: Settings, key_id: str) -> dict[str, Any]:
    """Revoke a key by its id."""
    id = parse(KEY_PREFIX, key_id)
    try:
        if id is None:
            raise NotFound("no such key")
        with opened(settings) as cells:
            return _told(cells.revoke_key(id))
    except NotFound:
        raise SettingsError(f"there is no key {key_id}; `everlog keys list` shows all") from None


def ensure_first_key(settings: Settings) -> str | None:
    """Make the first key unless there is one; its text, when it was made at random now."""
    with opened(settings) as cells:
        if settings.bootstrap_key:
            cells.create_key(settings.bootstrap_key, "bootstrap", FIRST_OWNER, ALL_SCOPES)
            return None
        if cells.keys():
            return None
        secret = new_secret()
        cells.create_key(secret, "first", FIRST_OWNER, ALL_SCOPES)
        return secret


def _beginning(dialect: str) -> str:
    """How the text of a key begins. Raises SettingsError for a dialect that there is not."""
    from api.spoken import SPOKEN  # which takes long to import, and is seldom wanted

    try:
        return SPOKEN.key_beginning(dialect)
    except KeyError:
        raise SettingsError(f"--dialect: {dialect!r} is none of {', '.join(SPOKEN.all)}") from None


@contextmanager
def opened(settings: Settings) -> Iterator[Cells]:
    """The cells that `settings` name, for one command."""
    cells = cells_of(settings)
    try:
        yield cells
    finally:
        cells.close()


def _told(key: Key) -> dict[str, Any]:
    return {
        "id": spell(KEY_PREFIX, key.id),
        "name": key.name,
        "owner": key.owner,
        "scopes": list(key.scopes),
        "dialect": key.terms.dialect,
        "per_minute": key.terms.per_minute,
        "per_month": key.terms.per_month,
        "plan": key.terms.plan,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }
