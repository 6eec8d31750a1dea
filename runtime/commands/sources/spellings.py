"""One memory as another service tells it, whatever it calls its fields."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from application.imports import Row
from application.storable import check_metadata, refuse_nul
from domain.memory import Traits
from domain.recorded import now

MAX_WORD = 255
"""Characters of a type, a category or an entity's name: they are indexed."""
LISTS = ("results", "memories", "items", "data")
"""What services call the list in an answer, or in a file."""
NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "memory_id", "memoryId"),
    "text": ("memory", "text", "content", "raw", "data"),
    "user_id": ("user_id", "userId", "end_user_id"),
    "agent_id": ("agent_id", "agentId"),
    "run_id": ("run_id", "runId"),
    "project_id": ("project_id", "projectId", "app_id"),
    "created_at": ("created_at", "createdAt"),
    "role": ("role",),
}
"""Field of a row → the names that services give it; the first that is there counts."""
TRAITS: dict[str, tuple[str, ...]] = {
    "type": ("type", "memory_type"),
    "confidence": ("confidence",),
    "categories": ("categories",),
    "happened_on": ("happened_on",),
    "entities": ("entities",),
    "relations": ("relations",),
    "expires_on": ("expires_on", "expiration_date"),
}
DATES = ("happened_on", "expires_on")
ORIGIN = ("team_id", "session_id", "conversation_id", "agent_name", "agent_type")
"""What MemoryStack's contract keeps in the metadata here, and filters by."""
UPDATED = ("updated_at", "updatedAt")
READ = {"metadata", "tags", *ORIGIN, *UPDATED, *chain(*NAMES.values(), *TRAITS.values())}
"""The names that are understood here."""
COUNTED_ANEW = {"version", "position", "score"}
"""Everlog's own, and what a memory had in a search: of its place there, not of the memory."""
OTHER_PREFIX = "imported_"
"""Before the name of what has no place here, so that it is taken for nobody's metadata."""
_TRAIT_TYPES = {field.name: field.type for field in msgspec.structs.fields(Traits)}


class Unusable(ValueError):
    """A row that no memory can be made of; its text says why."""


class Page(msgspec.Struct, frozen=True):
    """Some rows as they came, an Unusable in place of one that cannot even be decoded."""

    rows: Sequence[Any]
    total: int | None = None
    """Of all pages, where the source tells."""


def read_row(raw: Any, user_id: str | None) -> Row:
    """The row that `raw` tells of; `user_id` for one that names none. Raises Unusable."""
    if isinstance(raw, Unusable):
        raise raw
    if not isinstance(raw, dict):
        raise Unusable("it is not a JSON object")
    try:
        row = msgspec.convert(_fields(raw, user_id), Row)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Unusable(str(error)) from None
    if row.traits.expired(now().date()):
        raise Unusable(f"it has expired on {row.traits.expires_on}")
    return row


def _fields(raw: dict[str, Any], user_id: str | None) -> dict[str, Any]:
    found = {field: _first(raw, names) for field, names in NAMES.items()}
    if found["text"] is None:
        raise Unusable("it has no text")
    has_id = found["id"] not in (None, "")
    found["id"] = str(found["id"]) if has_id else _hash(raw)
    found["user_id"] = found["user_id"] or user_id
    scopes = {name: _id(found[name]) for name in ("user_id", "agent_id", "run_id", "project_id")}
    metadata = raw.get("metadata") or {}
    if isinstance(metadata, dict):
        origin = {name: raw[name] for name in ORIGIN if raw.get(name) is not None}
        metadata = origin | metadata
    return {
        **found,
        **scopes,
        "has_id": has_id,
        "metadata": metadata,
        "others": _others(raw, metadata),
        "tags": _tags(raw.get("tags")),
        "traits": _traits(raw),
    }


def listed(value: Any) -> list[Any] | None:
    """The rows in an answer or a document; None where there is no list, or a row that has one."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or any(isinstance(value.get(name), str) for name in NAMES["text"]):
        return None
    return next((value[name] for name in LISTS if isinstance(value.get(name), list)), None)


def decoded(text: bytes) -> Any:
    """The value of some JSON, or why it has none."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        return Unusable(f"it is no JSON: {error}")


def _first(raw: dict[str, Any], names: Iterable[str]) -> Any:
    return next((raw[name] for name in names if raw.get(name) is not None), None)


def _others(raw: dict[str, Any], metadata: Any) -> dict[str, Any]:
    """What else a row says; nothing where it does not fit: it is not worth losing the memory for."""
    told = {"updated_at": _first(raw, UPDATED)} | {
        name: value for name, value in raw.items() if name not in READ | COUNTED_ANEW
    }
    others = {OTHER_PREFIX + name: value for name, value in told.items() if value not in (None, "", [], {})}
    try:
        check_metadata({"metadata": metadata, **others})  # not too deep for what comes next
        refuse_nul(others)
    except ValueError:
        return {}
    return others


def _hash(raw: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(raw, order="sorted")).hexdigest()


def _id(value: Any) -> Any:
    """An id as text; some services number their users."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value or None


def _tags(value: Any) -> Any:
    if not isinstance(value, list):
        return [value] if value else []
    return [tag for tag in value if tag]


def _traits(raw: dict[str, Any]) -> Traits:
    """What fits of what the source found out about a memory; the rest is not worth losing the memory for."""
    found: dict[str, Any] = {}
    for name, names in TRAITS.items():
        value = _first(raw, names)
        if name in DATES and isinstance(value, str):
            value = value[:10]  # some send a time with the date
        try:
            converted = msgspec.convert(value, _TRAIT_TYPES[name])
        except msgspec.ValidationError:
            continue
        if value is not None and _fits(value) and (name != "confidence" or 0 <= value <= 1):
            found[name] = converted
    return Traits(**found)


def _fits(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= MAX_WORD
    if isinstance(value, dict):
        return all(_fits(inner) for inner in value.values())
    return not isinstance(value, list) or all(_fits(inner) for inner in value)
