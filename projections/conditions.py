"""Filters that clients write as trees, as SQL over the columns that all projections of memories share.

The grammar is mem0's: `{"AND": [{"user_id": "ann"}, {"created_at": {"gte": "2024-07-01"}}]}`. Operators and
columns are looked up; everything else that a client says, names of metadata keys too, is a parameter.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

MAX_DEPTH = 8
"""Of AND, OR and NOT within each other."""
MAX_CONDITIONS = 100
MAX_LISTED = 1_000
"""Values after one `in`."""
MAX_BYTES = 64_000
"""Of the filter as JSON."""

ENTITIES = {"user_id": "user_id", "agent_id": "agent_id", "app_id": "project_id", "run_id": "run_id"}
"""What mem0 calls an entity → its column."""
TEXTS = {**ENTITIES, "keywords": "text"}
HAPPENED = "coalesce(((traits ->> 'happened_on')::date + time '{}') AT TIME ZONE 'UTC', created_at)"
TIMES = {
    "created_at": ("created_at", "created_at"),
    "updated_at": ("updated_at", "updated_at"),
    "timestamp": (HAPPENED.format("00:00"), HAPPENED.format("23:59:59.999999")),
}
"""Field → the first and the last moment that it may mean: what a memory speaks of is known by its day."""

EVERY = "*"
"""Any value at all."""
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OPERATORS = frozenset({"eq", "ne", "in", "nin", "contains", "icontains", *COMPARISONS})


class Unusable(ValueError):
    """A filter that makes no sense, or too much work; the text is meant for the client."""


class Conditions(msgspec.Struct, frozen=True):
    sql: str
    values: dict[str, Any]
    entities: frozenset[str]
    """The entities that the filter names, in mem0's words."""


def compiled(filters: dict[str, Any]) -> Conditions:
    """A filter as one SQL condition with its values. Raises Unusable."""
    if len(msgspec.json.encode(filters)) > MAX_BYTES:
        raise Unusable(f"the filters are larger than {MAX_BYTES} bytes of JSON")
    tree = _Tree()
    return Conditions(tree.all_of(filters, 0), tree.values, frozenset(tree.entities))


class _Tree:
    """One filter on its way to SQL.

    A condition on what a memory lacks is null to SQL, which AND and OR take for false; where it is turned
    around, `IS NOT TRUE` does too.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.entities: set[str] = set()
        self._conditions = 0

    # --- the tree -----------------------------------------------------------------------------------

    def all_of(self, node: Any, depth: int) -> str:
        """An object: all its entries must hold."""
        if not isinstance(node, dict):
            raise Unusable(f"a condition is an object such as {{'user_id': 'ann'}}, not {_short(node)}")
        if depth > MAX_DEPTH:
            raise Unusable(f"the filters are nested deeper than {MAX_DEPTH} levels")
        return _joined(" AND ", [self._entry(key, value, depth) for key, value in node.items()], "true")

    def _entry(self, key: str, value: Any, depth: int) -> str:
        if key in ("AND", "OR", "NOT"):
            inner = [self.all_of(one, depth + 1) for one in (value if isinstance(value, list) else [value])]
            if key == "AND":
                return _joined(" AND ", inner, "true")
            some = _joined(" OR ", inner, "false")
            return some if key == "OR" else f"({some} IS NOT TRUE)"
        if key in ENTITIES:
            self.entities.add(key)
        if key == "metadata":
            return self._document(value)
        told = self._told(key)
        if told is None:
            return self._in_metadata(key, value)
        return _joined(" AND ", [told(operator, one) for operator, one in self._tests(key, value)])

    def _tests(self, field: str, asked: Any) -> list[tuple[str, Any]]:
        """What is asked of a field, as (operator, value)."""
        if isinstance(asked, dict) and asked:
            if unknown := asked.keys() - OPERATORS:
                told = ", ".join(sorted(OPERATORS))
                raise Unusable(f"{_short(field)}: no operator {_short(min(unknown))}; there are {told}")
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

    def _told(self, field: str) -> Callable[[str, Any], str] | None:
        """What makes SQL of an operator and a value of this field; None: it is a key of the metadata."""
        if field in TEXTS:
            return partial(self._text, TEXTS[field])
        if field in TIMES:
            return partial(self._time, TIMES[field])
        return {"categories": self._category, "memory_ids": self._id}.get(field)

    def _value(self, value: Any, type: str) -> str:
        """A parameter that holds `value`."""
        name = f"c{len(self.values)}"  # no name that the rest of a query has
        self.values[name] = value
        return f"%({name})s::{type}"

    # --- fields -------------------------------------------------------------------------------------

    def _text(self, column: str, operator: str, value: Any) -> str:
        if operator in ("eq", "ne") and value in (None, EVERY):
            present = (value == EVERY) == (operator == "eq")
            return f"{column} IS {'NOT ' if present else ''}NULL"
        if operator in ("in", "nin"):
            found = f"{column} = ANY({self._value([_text(one) for one in value], 'text[]')})"
            return found if operator == "in" else f"({found} IS NOT TRUE)"
        given = self._value(_text(value), "text")
        if operator == "contains":
            return f"strpos({column}, {given}) > 0"
        if operator == "icontains":
            return f"strpos(lower({column}), lower({given})) > 0"
        if operator in COMPARISONS:
            return f"{column} {COMPARISONS[operator]} {given}"
        return f"{column} {'=' if operator == 'eq' else 'IS DISTINCT FROM'} {given}"

    def _time(self, moments: tuple[str, str], operator: str, value: Any) -> str:
        if operator == "in":
            return _joined(" OR ", [self._time(moments, "eq", one) for one in value], "false")
        if operator in ("ne", "nin"):
            return f"({self._time(moments, 'eq' if operator == 'ne' else 'in', value)} IS NOT TRUE)"
        if operator == "eq" and value == EVERY:
            return "true"
        if operator == "eq":
            return f"({self._time(moments, 'gte', value)} AND {self._time(moments, 'lte', value)})"
        if operator not in COMPARISONS:
            raise Unusable(f"{operator} is no question to ask of a time")
        earliest, latest = moments
        first, last = _moments(value)
        bound = self._value(first if operator in ("gte", "lt") else last, "timestamptz")
        return f"{latest if operator in ('gt', 'gte') else earliest} {COMPARISONS[operator]} {bound}"

    def _category(self, operator: str, value: Any) -> str:
        every = "traits -> 'categories'"
        if operator == "eq" and value == EVERY:
            return f"jsonb_array_length({every}) > 0"
        if operator in ("ne", "nin"):
            return f"({self._category('eq' if operator == 'ne' else 'in', value)} IS NOT TRUE)"
        if operator == "in":
            return f"{every} ?| {self._value([_text(one) for one in value], 'text[]')}"
        given = self._value(_text(value), "text")
        if operator == "eq":
            return f"{every} ? {given}"
        if operator not in ("contains", "icontains"):
            raise Unusable(f"{operator} is no question to ask of categories")
        name = "name"
        if operator == "icontains":
            name, given = "lower(name)", f"lower({given})"
        names = f"jsonb_array_elements_text({every}) AS name"
        return f"EXISTS (SELECT 1 FROM {names} WHERE strpos({name}, {given}) > 0)"

    def _id(self, operator: str, value: Any) -> str:
        if operator == "eq" and value == EVERY:
            return "true"
        if operator not in ("eq", "ne", "in", "nin"):
            raise Unusable(f"{operator} is no question to ask of memory_ids")
        ids = [id for one in (value if isinstance(value, list) else [value]) if (id := _uuid(one))]
        found = f"memory_id = ANY({self._value(ids, 'uuid[]')})"
        return found if operator in ("eq", "in") else f"({found} IS NOT TRUE)"

    # --- metadata -----------------------------------------------------------------------------------

    def _document(self, asked: Any) -> str:
        """The whole of the metadata: keys with what is asked of each, or an operator with an object."""
        if asked == EVERY:
            return "metadata <> '{}'"
        if not isinstance(asked, dict):
            raise Unusable(f"metadata is compared with an object, not {_short(asked)}")
        return _joined(" AND ", [self._key(key, value) for key, value in asked.items()], "true")

    def _key(self, key: str, value: Any) -> str:
        if key not in ("eq", "contains", "ne") or not isinstance(value, dict):
            return self._in_metadata(key, value)
        self._tests("metadata", {key: value})
        held = f"metadata @> {self._value(Jsonb(value), 'jsonb')}"
        return f"({held} IS NOT TRUE)" if key == "ne" else held

    def _in_metadata(self, key: str, asked: Any) -> str:
        # An object without operators is a value like any other.
        plain = isinstance(asked, dict) and not asked.keys() <= OPERATORS
        tests = self._tests(key, {"eq": asked} if plain else asked)
        return _joined(" AND ", [self._json(key, operator, value) for operator, value in tests])

    def _json(self, key: str, operator: str, value: Any) -> str:
        name = self._value(key, "text")
        kept = f"metadata -> {name}"
        if operator in ("eq", "ne") and value in (None, EVERY):
            present = (value == EVERY) == (operator == "eq")
            return f"({kept} IS {'NOT ' if present else ''}NULL)"
        if operator in ("in", "nin"):
            given = self._value([Jsonb(one) for one in value], "jsonb[]")
            return f"({kept} = ANY({given}))" if operator == "in" else f"({kept} = ANY({given}) IS NOT TRUE)"
        if operator in ("contains", "icontains"):
            return self._within(name, operator, value)
        given = self._value(Jsonb(value), "jsonb")
        if operator in COMPARISONS:
            # jsonb compares numbers with words, too: by their kinds.
            alike = f"jsonb_typeof({kept}) = jsonb_typeof({given})"
            return f"({alike} AND {kept} {COMPARISONS[operator]} {given})"
        return f"({kept} {'=' if operator == 'eq' else 'IS DISTINCT FROM'} {given})"

    def _within(self, name: str, operator: str, value: Any) -> str:
        """In a text of the metadata, or among the elements of a list."""
        kept, words = f"metadata -> {name}", f"metadata ->> {name}"
        held = f"{kept} @> {self._value(Jsonb(value), 'jsonb')}"
        if not isinstance(value, str):
            return f"({held})"
        given = self._value(value, "text")
        if operator == "icontains":
            words, given = f"lower({words})", f"lower({given})"
        return f"({held} OR jsonb_typeof({kept}) = 'string' AND strpos({words}, {given}) > 0)"


def _joined(word: str, conditions: list[str], none: str = "true") -> str:
    return f"({word.join(conditions)})" if conditions else none


def _text(value: Any) -> str:
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


def _uuid(value: Any) -> UUID | None:
    """None for what is no id: then it is no memory's."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _short(value: Any) -> str:
    return repr(value)[:60]
