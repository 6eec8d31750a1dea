"""mem0's filters: `{"AND": [{"user_id": "ann"}, {"created_at": {"gte": "2024-07-01"}}]}`, as conditions."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from projections.conditions import (
    All,
    CategoryContains,
    CategoryIn,
    CategoryKnown,
    Comparison,
    Condition,
    IdIn,
    KeyContains,
    KeyIn,
    KeyIs,
    KeyKnown,
    MetadataHolds,
    MetadataKnown,
    Not,
    Order,
    Some,
    TextColumn,
    TextContains,
    TextIn,
    TextIs,
    TextKnown,
    TimeColumn,
    TimeIs,
)

MAX_DEPTH = 8
"""Of AND, OR and NOT within each other."""
MAX_CONDITIONS = 100
MAX_LISTED = 1_000
"""Values after one `in`."""
MAX_BYTES = 64_000
"""Of the filter as JSON."""

ENTITIES: dict[str, TextColumn] = {
    "user_id": "user_id",
    "agent_id": "agent_id",
    "app_id": "project_id",
    "run_id": "run_id",
}
"""What mem0 calls an entity → its column."""
TEXTS: dict[str, TextColumn] = {**ENTITIES, "keywords": "text"}
TIMES: dict[str, TimeColumn] = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "timestamp": "happened",
}

EVERY = "*"
"""Any value at all."""
ORDERS: dict[str, Order] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
COMPARISONS: dict[str, Comparison] = {"eq": "=", **ORDERS}
OPERATORS = frozenset({"ne", "in", "nin", "contains", "icontains", *COMPARISONS})
ANYTHING = All(())


class Unusable(ValueError):
    """A filter that makes no sense, or too much work; the text is meant for the client."""


class Meaning(NamedTuple):
    condition: Condition
    entities: frozenset[str]
    """The entities that the filter names, in mem0's words."""


def meaning_of(filters: dict[str, Any]) -> Meaning:
    """What a filter asks for. Raises Unusable."""
    if len(msgspec.json.encode(filters)) > MAX_BYTES:
        raise Unusable(f"the filters are larger than {MAX_BYTES} bytes of JSON")
    tree = _Tree()
    return Meaning(tree.all_of(filters, 0), frozenset(tree.entities))


class _Tree:
    """One filter on its way to a condition."""

    def __init__(self) -> None:
        self.entities: set[str] = set()
        self._conditions = 0

    def all_of(self, node: Any, depth: int) -> Condition:
        """An object: all its entries must hold."""
        if not isinstance(node, dict):
            raise Unusable(f"a condition is an object such as {{'user_id': 'ann'}}, not {_short(node)}")
        if depth > MAX_DEPTH:
            raise Unusable(f"the filters are nested deeper than {MAX_DEPTH} levels")
        return All([self._entry(key, value, depth) for key, value in node.items()])

    def _entry(self, key: str, value: Any, depth: int) -> Condition:
        if key in ("AND", "OR", "NOT"):
            inner = [self.all_of(one, depth + 1) for one in (value if isinstance(value, list) else [value])]
            if key == "AND":
                return All(inner)
            return Some(inner) if key == "OR" else Not(Some(inner))
        if key in ENTITIES:
            self.entities.add(key)
        if key == "metadata":
            return self._document(value)
        condition_on = _field(key)
        if condition_on is None:
            return self._in_metadata(key, value)
        return All([condition_on(operator, one) for operator, one in self._tests(key, value)])

    def _tests(self, field: str, asked: Any) -> list[tuple[str, Any]]:
        """What is asked of a field, as (operator, value)."""
        if isinstance(asked, dict) and asked:
            if unknown := asked.keys() - OPERATORS:
                known = ", ".join(sorted(OPERATORS))
                raise Unusable(f"{_short(field)}: no operator {_short(min(unknown))}; there are {known}")
            tests = list(asked.items())
        else:
            tests = [("in" if isinstance(asked, list) else "eq", asked)]
        self._conditions += len(tests)
        if self._conditions > MAX_CONDITIONS:
            raise Unusable(f"the filters have more than {MAX_CONDITIONS} conditions")
        for operator, value in tests:
            if operator in ("in", "nin") and not (isinstance(value, list) and len(value) <= MAX_LISTED):
                raise Unusable(f"{_short(field)}: {operator} takes a list of at most {MAX_LISTED} values")
        return tests

    # --- metadata -----------------------------------------------------------------------------------

    def _document(self, asked: Any) -> Condition:
        """The whole of the metadata: keys with what is asked of each, or an operator with an object."""
        if asked == EVERY:
            return MetadataKnown()
        if not isinstance(asked, dict):
            raise Unusable(f"metadata is compared with an object, not {_short(asked)}")
        return All([self._key(key, value) for key, value in asked.items()])

    def _key(self, key: str, value: Any) -> Condition:
        if key not in ("eq", "contains", "ne") or not isinstance(value, dict):
            return self._in_metadata(key, value)
        self._tests("metadata", {key: value})
        held = MetadataHolds(value)
        return Not(held) if key == "ne" else held

    def _in_metadata(self, key: str, asked: Any) -> Condition:
        # An object without operators is a value like any other.
        plain = isinstance(asked, dict) and not asked.keys() <= OPERATORS
        tests = self._tests(key, {"eq": asked} if plain else asked)
        return All([_json(key, operator, value) for operator, value in tests])


# --- one field --------------------------------------------------------------------------------------


def _field(name: str) -> Callable[[str, Any], Condition] | None:
    """What makes a condition of an operator and a value; None: it is a key of the metadata."""
    if name in TEXTS:
        return partial(_text, TEXTS[name])
    if name in TIMES:
        return partial(_time, TIMES[name])
    return {"categories": _category, "memory_ids": _id}.get(name)


def _text(column: TextColumn, operator: str, value: Any) -> Condition:
    if _asks_whether_known(operator, value):
        return _known(TextKnown(column), operator, value)
    if operator in ("ne", "nin"):
        return Not(_text(column, _turned(operator), value))
    if operator == "in":
        return TextIn(column, [_string(one) for one in value])
    if operator in ("contains", "icontains"):
        return TextContains(column, _string(value), operator == "icontains")
    return TextIs(column, COMPARISONS[operator], _string(value))


def _time(column: TimeColumn, operator: str, value: Any) -> Condition:
    if operator in ("ne", "nin"):
        return Not(_time(column, _turned(operator), value))
    if operator == "in":
        return Some([_time(column, "eq", one) for one in value])
    if operator == "eq" and value == EVERY:
        return ANYTHING
    if operator not in COMPARISONS:
        raise Unusable(f"{operator} is no question to ask of a time")
    first, last = _moments(value)
    if operator == "eq":
        return All((TimeIs(column, ">=", first), TimeIs(column, "<=", last)))
    return TimeIs(column, ORDERS[operator], first if operator in ("gte", "lt") else last)


def _category(operator: str, value: Any) -> Condition:
    if operator in ("ne", "nin"):
        return Not(_category(_turned(operator), value))
    if operator == "eq" and value == EVERY:
        return CategoryKnown()
    if operator in ("eq", "in"):
        return CategoryIn([_string(one) for one in (value if operator == "in" else [value])])
    part = _string(value)
    if operator not in ("contains", "icontains"):
        raise Unusable(f"{operator} is no question to ask of categories")
    return CategoryContains(part, operator == "icontains")


def _id(operator: str, value: Any) -> Condition:
    if operator == "eq" and value == EVERY:
        return ANYTHING
    if operator not in ("eq", "ne", "in", "nin"):
        raise Unusable(f"{operator} is no question to ask of memory_ids")
    found = IdIn(list(_uuids(value if isinstance(value, list) else [value])))
    return found if operator in ("eq", "in") else Not(found)


def _json(key: str, operator: str, value: Any) -> Condition:
    if _asks_whether_known(operator, value):
        return _known(KeyKnown(key), operator, value)
    if operator in ("ne", "nin"):
        return Not(_json(key, _turned(operator), value))
    if operator == "in":
        return KeyIn(key, value)
    if operator in ("contains", "icontains"):
        return KeyContains(key, value, operator == "icontains")
    return KeyIs(key, COMPARISONS[operator], value)


def _turned(operator: str) -> str:
    return {"ne": "eq", "nin": "in"}[operator]


def _asks_whether_known(operator: str, value: Any) -> bool:
    return operator in ("eq", "ne") and value in (None, EVERY)


def _known(condition: Condition, operator: str, value: Any) -> Condition:
    return condition if (value == EVERY) == (operator == "eq") else Not(condition)


# --- values -----------------------------------------------------------------------------------------


def _string(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unusable(f"a text is wanted, not {_short(value)}")
    return str(value)


def _moments(value: Any) -> tuple[datetime, datetime]:
    """The first and the last moment that a date, a time (RFC 3339, else UTC) or Unix seconds mean."""
    try:
        if isinstance(value, str) and len(value) == len("2024-07-01"):
            day = date.fromisoformat(value)
            return datetime.combine(day, time.min, UTC), datetime.combine(day, time.max, UTC)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value, UTC)
        else:
            raise ValueError
    except (ValueError, OverflowError, OSError):
        raise Unusable(f"a time such as 2024-07-01T10:30:00Z is wanted, not {_short(value)}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment, moment


def _uuids(values: Iterable[Any]) -> Iterable[UUID]:
    """Of these, what is an id; what is none is no memory's."""
    for value in values:
        try:
            if isinstance(value, str):
                yield UUID(value)
        except ValueError:
            continue


def _short(value: Any) -> str:
    return repr(value)[:60]
