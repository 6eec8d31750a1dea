"""Conditions on rows, those of memories above all, and what each is in SQL.

Whatever grammar a client writes filters in, it ends in these. Columns and operators are ours; what a client
says, names of metadata keys too, is a parameter of the statement.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

Order = Literal[">", ">=", "<", "<="]
Comparison = Literal["="] | Order
TextColumn = Literal["user_id", "agent_id", "run_id", "project_id", "text"]
TimeColumn = Literal["created_at", "updated_at", "happened"]

HAPPENED = "coalesce(((traits ->> 'happened_on')::date + time '{}') AT TIME ZONE 'UTC', created_at)"
MOMENTS: dict[TimeColumn, tuple[str, str]] = {
    "created_at": ("created_at", "created_at"),
    "updated_at": ("updated_at", "updated_at"),
    "happened": (HAPPENED.format("00:00"), HAPPENED.format("23:59:59.999999")),
}
"""The first and the last moment that a column may mean: what a memory speaks of is known by its day."""
CATEGORIES = "traits -> 'categories'"


class Parameters:
    """The values that the conditions of one query name."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, value: Any, type: str) -> str:
        """A parameter that holds `value`, as this type of PostgreSQL's."""
        name = f"c{len(self.values)}"  # no name that the rest of a query has
        self.values[name] = value
        return f"%({name})s::{type}"


class Condition(msgspec.Struct, frozen=True):
    """Holds for a row or does not; for one that lacks what is asked about it does not hold."""

    def sql(self, parameter: Parameters) -> str:
        """An expression that stands beside AND and OR without parentheses, or has its own.

        It may be null, which AND and OR take for false, and `Not` does too.
        """
        raise NotImplementedError


# --- of conditions ----------------------------------------------------------------------------------


class All(Condition, frozen=True):
    conditions: Sequence[Condition]

    def sql(self, parameter: Parameters) -> str:
        return _joined(" AND ", self.conditions, parameter) or "true"


class Some(Condition, frozen=True):
    """At least one of them."""

    conditions: Sequence[Condition]

    def sql(self, parameter: Parameters) -> str:
        return _joined(" OR ", self.conditions, parameter) or "false"


class Not(Condition, frozen=True):
    condition: Condition

    def sql(self, parameter: Parameters) -> str:
        return f"(({self.condition.sql(parameter)}) IS NOT TRUE)"


# --- of scope and text ------------------------------------------------------------------------------


class TextIs(Condition, frozen=True):
    column: TextColumn
    operator: Comparison
    text: str

    def sql(self, parameter: Parameters) -> str:
        return f"{self.column} {self.operator} {parameter(self.text, 'text')}"


class TextIn(Condition, frozen=True):
    column: TextColumn
    texts: Sequence[str]

    def sql(self, parameter: Parameters) -> str:
        return f"{self.column} = ANY({parameter(list(self.texts), 'text[]')})"


class TextContains(Condition, frozen=True):
    column: TextColumn
    part: str
    in_any_case: bool = False

    def sql(self, parameter: Parameters) -> str:
        return _contains(self.column, parameter(self.part, "text"), self.in_any_case)


class TextKnown(Condition, frozen=True):
    column: TextColumn

    def sql(self, parameter: Parameters) -> str:
        return f"{self.column} IS NOT NULL"


# --- of ids and times -------------------------------------------------------------------------------


class IdIn(Condition, frozen=True):
    ids: Sequence[UUID]

    def sql(self, parameter: Parameters) -> str:
        return f"memory_id = ANY({parameter(list(self.ids), 'uuid[]')})"


class TimeIs(Condition, frozen=True):
    """Where a column means a whole day, each moment of it may be the one."""

    column: TimeColumn
    operator: Order
    moment: datetime

    def sql(self, parameter: Parameters) -> str:
        earliest, latest = MOMENTS[self.column]
        moment = latest if self.operator in (">", ">=") else earliest
        return f"{moment} {self.operator} {parameter(self.moment, 'timestamptz')}"


# --- of what kind they are --------------------------------------------------------------------------


class TypeIs(Condition, frozen=True):
    type: str
    otherwise: str
    """What a memory is taken for that has no type."""

    def sql(self, parameter: Parameters) -> str:
        type = f"coalesce(traits ->> 'type', {parameter(self.otherwise, 'text')})"
        return f"{type} = {parameter(self.type, 'text')}"


class CategoryIn(Condition, frozen=True):
    """One of its categories is among these."""

    categories: Sequence[str]

    def sql(self, parameter: Parameters) -> str:
        return f"{CATEGORIES} ?| {parameter(list(self.categories), 'text[]')}"


class CategoryContains(Condition, frozen=True):
    """The name of one of its categories does."""

    part: str
    in_any_case: bool = False

    def sql(self, parameter: Parameters) -> str:
        names = f"jsonb_array_elements_text({CATEGORIES}) AS name"
        part = parameter(self.part, "text")
        return f"EXISTS (SELECT 1 FROM {names} WHERE {_contains('name', part, self.in_any_case)})"


class CategoryKnown(Condition, frozen=True):
    """It has one."""

    def sql(self, parameter: Parameters) -> str:
        return f"jsonb_array_length({CATEGORIES}) > 0"


# --- of metadata ------------------------------------------------------------------------------------


class MetadataHolds(Condition, frozen=True):
    """All of these pairs, and of a list or an object within at least these elements."""

    pairs: dict[str, Any]

    def sql(self, parameter: Parameters) -> str:
        return f"metadata @> {parameter(Jsonb(self.pairs), 'jsonb')}"


class MetadataKnown(Condition, frozen=True):
    """There is some."""

    def sql(self, parameter: Parameters) -> str:
        return "metadata <> '{}'"


class KeyIs(Condition, frozen=True):
    """A key has such a value; greater or less is only what is of the same kind."""

    key: str
    operator: Comparison
    value: Any

    def sql(self, parameter: Parameters) -> str:
        kept, value = f"metadata -> {parameter(self.key, 'text')}", parameter(Jsonb(self.value), "jsonb")
        if self.operator == "=":
            return f"({kept} = {value})"
        # jsonb compares numbers with words, too: by their kinds.
        return f"(jsonb_typeof({kept}) = jsonb_typeof({value}) AND {kept} {self.operator} {value})"


class KeyIn(Condition, frozen=True):
    key: str
    values: Sequence[Any]

    def sql(self, parameter: Parameters) -> str:
        kept = f"metadata -> {parameter(self.key, 'text')}"
        return f"({kept} = ANY({parameter([Jsonb(one) for one in self.values], 'jsonb[]')}))"


class KeyContains(Condition, frozen=True):
    """A list has this element, an object these pairs, or a text this part."""

    key: str
    value: Any
    in_any_case: bool = False
    """Of a part of a text."""

    def sql(self, parameter: Parameters) -> str:
        key = parameter(self.key, "text")
        kept = f"metadata -> {key}"
        held = f"{kept} @> {parameter(Jsonb(self.value), 'jsonb')}"
        if not isinstance(self.value, str):
            return f"({held})"
        within = _contains(f"metadata ->> {key}", parameter(self.value, "text"), self.in_any_case)
        return f"({held} OR jsonb_typeof({kept}) = 'string' AND {within})"


class KeyKnown(Condition, frozen=True):
    """The metadata has this key."""

    key: str

    def sql(self, parameter: Parameters) -> str:
        return f"(metadata -> {parameter(self.key, 'text')} IS NOT NULL)"


def _joined(word: str, conditions: Sequence[Condition], parameter: Parameters) -> str:
    return f"({word.join(one.sql(parameter) for one in conditions)})" if conditions else ""


def _contains(text: str, part: str, in_any_case: bool) -> str:
    if in_any_case:
        text, part = f"lower({text})", f"lower({part})"
    return f"strpos({text}, {part}) > 0"
