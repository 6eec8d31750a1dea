"""Conditions: given memories, then those for which one holds; and nothing said in one is ever SQL."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.eventstore.cells import Cell
from domain.ids import new_id
from domain.memory import AddMemory, Traits
from domain.scope import Scope
from projections import memories
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
    Parameters,
    Some,
    TextColumn,
    TextContains,
    TextIn,
    TextIs,
    TextKnown,
    TimeColumn,
    TimeIs,
    TypeIs,
)
from projections.memories import MEMORIES
from projections.selection import Selection
from tests.support.projections import Given, projecting

DAY = datetime(2023, 11, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
AGES_AGO = datetime(1990, 1, 1, tzinfo=UTC)
GIVEN: dict[str, dict[str, Any]] = {
    "a": {
        "text": "Invoice_2024 is due",
        "scope": Scope(owner="default", user_id="ann"),
        "metadata": {"n": 5, "labels": ["x", "y"], "deep": {"er": 1, "and": 2}},
        "traits": Traits(categories=("finance",), type="goal"),
    },
    "b": {
        "text": "User loves Pizza",
        "scope": Scope(owner="default", user_id="bob", agent_id="cook"),
        "metadata": {"n": "high", "where": "Chat"},
        "traits": Traits(categories=("food", "work"), happened_on=DAY.date()),
    },
    "c": {"text": "Nothing is known of it", "scope": Scope(owner="default")},
}


class Stored(NamedTuple):
    given: Given
    ids: dict[str, UUID]


@pytest.fixture(scope="module")
def stored(cell: Cell) -> Iterator[Stored]:
    ids = {name: new_id() for name in GIVEN}
    with projecting(cell) as given:
        given(*((ids[name], AddMemory(**fields)) for name, fields in GIVEN.items()))
        yield Stored(given, ids)


def holding(stored: Stored, *conditions: Condition) -> str:
    """The names of the memories for which all these conditions hold."""
    selection = Selection(scope=Scope(owner="default"), conditions=conditions)
    found = stored.given.then_answers(MEMORIES, memories.ids, selection)
    return "".join(sorted(name for name, id in stored.ids.items() if id in found))


@pytest.mark.parametrize(
    "condition, names",
    [
        (TextIs("user_id", "=", "ann"), "a"),
        (TextIs("user_id", ">", "ann"), "b"),
        (TextIs("user_id", "<=", "ann"), "a"),
        (TextIn("user_id", ("ann", "bob", "eve")), "ab"),
        (TextIn("user_id", ()), ""),
        (TextContains("text", "Pizza"), "b"),
        (TextContains("text", "pizza"), ""),
        (TextContains("text", "pizza", in_any_case=True), "b"),
        (TextContains("text", "%"), ""),
        (TextContains("text", "_2024"), "a"),
        (TextKnown("agent_id"), "b"),
        (TextKnown("text"), "abc"),
        # A time is a moment; what happened on a day may have been at any.
        (TimeIs("created_at", ">", AGES_AGO), "abc"),
        (TimeIs("updated_at", "<", AGES_AGO), ""),
        (TimeIs("happened", ">=", DAY + HOUR), "abc"),
        (TimeIs("happened", "<=", DAY + HOUR), "b"),
        (TimeIs("happened", "<", DAY), ""),
        (TimeIs("happened", ">", DAY + 24 * HOUR), "ac"),
        (TypeIs("goal", otherwise="fact"), "a"),
        (TypeIs("fact", otherwise="fact"), "bc"),
        (CategoryIn(("food", "finance")), "ab"),
        (CategoryIn(()), ""),
        (CategoryContains("oo"), "b"),
        (CategoryContains("FIN"), ""),
        (CategoryContains("FIN", in_any_case=True), "a"),
        (CategoryKnown(), "ab"),
        (MetadataHolds({"n": 5}), "a"),
        (MetadataHolds({"deep": {"er": 1}}), "a"),
        (MetadataHolds({}), "abc"),
        (MetadataKnown(), "ab"),
        (KeyIs("n", "=", 5.0), "a"),
        (KeyIs("n", ">", 4), "a"),
        (KeyIs("n", "<", "z"), "b"),
        (KeyIs("deep", "=", {"er": 1}), ""),
        (KeyIn("n", (5, "high", None)), "ab"),
        (KeyIn("n", ()), ""),
        (KeyContains("labels", "x"), "a"),
        (KeyContains("deep", {"er": 1}), "a"),
        (KeyContains("where", "ha"), "b"),
        (KeyContains("where", "HA"), ""),
        (KeyContains("where", "HA", in_any_case=True), "b"),
        (KeyKnown("n"), "ab"),
        (KeyKnown("nothing"), ""),
        # Of conditions.
        (All(()), "abc"),
        (Some(()), ""),
        (All((TextKnown("user_id"), KeyIs("n", "=", 5))), "a"),
        (Some((TextIs("user_id", "=", "ann"), TextIs("agent_id", "=", "cook"))), "ab"),
        (Not(All((TextKnown("user_id"), Some((KeyKnown("labels"), KeyKnown("where")))))), "c"),
    ],
)
def test_for_what_a_condition_holds_and_for_all_others_its_opposite(
    stored: Stored, condition: Condition, names: str
) -> None:
    assert holding(stored, condition) == names
    assert holding(stored, Not(condition)) == "".join(sorted(GIVEN.keys() - set(names)))
    assert holding(stored, Not(Not(condition))) == names
    assert holding(stored, condition, condition) == names
    assert holding(stored, condition, Not(condition)) == ""


def test_by_their_ids(stored: Stored) -> None:
    assert holding(stored, IdIn((stored.ids["a"], new_id(), stored.ids["c"]))) == "ac"
    assert holding(stored, Not(IdIn(()))) == "abc"


SAID = st.sampled_from(["'; DROP TABLE events; --", "%(owner)s", "%s", "{table}", '"', "\\", "$1"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10
)
JSON = SAID | st.integers(-9, 9) | st.booleans() | st.none() | st.lists(SAID, max_size=2)
PAIRS = st.dictionaries(SAID, JSON, max_size=2)
TIMES = st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC))


def one_of(alias: Any) -> st.SearchStrategy[Any]:
    """The values of a Literal, or of several."""
    return st.sampled_from([value for one in get_args(alias) for value in (get_args(one) or (one,))])


SIMPLE: list[st.SearchStrategy[Condition]] = [
    st.builds(TextIs, one_of(TextColumn), one_of(Comparison), SAID),
    st.builds(TextIn, one_of(TextColumn), st.lists(SAID, max_size=3)),
    st.builds(TextContains, one_of(TextColumn), SAID, st.booleans()),
    st.builds(TextKnown, one_of(TextColumn)),
    st.builds(IdIn, st.lists(st.uuids(), max_size=2)),
    st.builds(TimeIs, one_of(TimeColumn), one_of(Order), TIMES),
    st.builds(TypeIs, SAID, SAID),
    st.builds(CategoryIn, st.lists(SAID, max_size=3)),
    st.builds(CategoryContains, SAID, st.booleans()),
    st.builds(CategoryKnown),
    st.builds(MetadataHolds, PAIRS),
    st.builds(MetadataKnown),
    st.builds(KeyIs, SAID, one_of(Comparison), JSON),
    st.builds(KeyIn, SAID, st.lists(JSON, max_size=3)),
    st.builds(KeyContains, SAID, JSON | PAIRS, st.booleans()),
    st.builds(KeyKnown, SAID),
]
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(SIMPLE),
    lambda inner: (
        st.builds(All, st.lists(inner, max_size=3))
        | st.builds(Some, st.lists(inner, max_size=3))
        | st.builds(Not, inner)
    ),
    max_leaves=6,
)


@for_all(CONDITIONS)
def test_any_condition_can_be_asked_and_what_is_said_in_it_is_a_parameter(
    stored: Stored, condition: Condition
) -> None:
    parameter = Parameters()
    sql = condition.sql(parameter)
    assert set(re.findall(r"%\((c\d+)\)s", sql)) == parameter.values.keys()
    left = re.sub(r"%\(c\d+\)s", "", sql)
    assert not re.search(r"[%;\"$\\{]", left.replace("'{}'", "")), sql
    assert holding(stored, condition, Not(condition)) == ""
    assert holding(stored, Some((condition, Not(condition)))) == "abc"


def test_the_kinds_of_conditions_are_all_tried_here() -> None:
    tried = {strategy.example().__class__ for strategy in SIMPLE} | {All, Some, Not}
    assert tried >= {one for one in Condition.__subclasses__() if one.__module__ == Condition.__module__}
