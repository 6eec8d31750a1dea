"""mem0's filters: what they select in the real database, and what no client can make of them."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from api.dialects.mem0.filters import MAX_CONDITIONS, MAX_DEPTH, MAX_LISTED, Unusable, meaning_of
from domain.eventstore.cells import Cell
from domain.ids import new_id
from domain.memory import AddMemory, Traits
from domain.scope import Scope
from projections import memories
from projections.conditions import Parameters
from projections.memories import MEMORIES as MEMORIES_NOW
from projections.selection import Selection
from tests.support.projections import Given, projecting

OWNER = "default"
NOW = datetime.now(UTC)
TODAY, TOMORROW, YESTERDAY = ((NOW + timedelta(days=days)).date().isoformat() for days in (0, 1, -1))

MEMORIES: dict[str, dict[str, Any]] = {
    "invoice": {
        "text": "Invoice_2024 is due",
        "scope": Scope(owner=OWNER, user_id="ann", run_id="r1"),
        "metadata": {"source": "email", "priority": 5, "labels": ["a", "b"], "done": False},
        "traits": Traits(categories=("finance", "work")),
    },
    "pizza": {
        "text": "User loves Pizza",
        "scope": Scope(owner=OWNER, user_id="ann", agent_id="cook"),
        "metadata": {"source": "chat", "priority": 1.5},
        "traits": Traits(categories=("food",), happened_on=date(2023, 11, 14)),
    },
    "bot": {
        "text": "Agent answers in German",
        "scope": Scope(owner=OWNER, agent_id="cook", project_id="shop"),
        "metadata": {"source": "Chat", "priority": "high", "about": {"deep": {"er": 1}}},
    },
    "plain": {"text": "Nobody's note", "scope": Scope(owner=OWNER)},
}


class Stored(NamedTuple):
    given: Given
    ids: dict[str, UUID]


@pytest.fixture(scope="module")
def stored(cell: Cell) -> Iterator[Stored]:
    """MEMORIES, and one of another owner that fits every filter."""
    ids = {name: new_id() for name in MEMORIES}
    with projecting(cell) as given:
        given(*((ids[name], AddMemory(**fields)) for name, fields in MEMORIES.items()))
        another = AddMemory(text="Pizza", scope=Scope(owner="another", user_id="ann"))
        given((new_id(), another), owner="another")
        yield Stored(given, ids)


def selected(stored: Stored, filters: dict[str, Any]) -> set[str]:
    """The names of the memories that a filter selects."""
    meaning = meaning_of(filters)
    selection = Selection(scope=Scope(owner=OWNER), conditions=(meaning.condition,))
    names = {id: name for name, id in stored.ids.items()}
    return {names[id] for id in stored.given.then_answers(MEMORIES_NOW, memories.ids, selection)}


ALL = set(MEMORIES)


@pytest.mark.parametrize(
    "filters, names",
    [
        # Entities, as mem0's documentation asks for them.
        ({}, ALL),
        ({"user_id": "ann"}, {"invoice", "pizza"}),
        ({"AND": [{"user_id": "ann"}]}, {"invoice", "pizza"}),
        ({"AND": [{"user_id": "ann"}, {"run_id": "*"}]}, {"invoice"}),
        ({"user_id": "ann", "agent_id": "cook"}, {"pizza"}),
        ({"OR": [{"user_id": "ann"}, {"agent_id": "cook"}]}, {"invoice", "pizza", "bot"}),
        ({"app_id": {"in": ["shop", "other"]}}, {"bot"}),
        ({"app_id": ["shop"]}, {"bot"}),
        ({"user_id": {"eq": "ann"}}, {"invoice", "pizza"}),
        ({"user_id": {"ne": "ann"}}, {"bot", "plain"}),
        ({"user_id": {"nin": ["ann"]}}, {"bot", "plain"}),
        ({"AND": [{"agent_id": "*"}, {"agent_id": {"ne": "old"}}]}, {"pizza", "bot"}),
        ({"user_id": None}, {"bot", "plain"}),
        ({"user_id": {"ne": None}}, {"invoice", "pizza"}),
        ({"user_id": {"ne": "*"}}, {"bot", "plain"}),
        ({"user_id": {"icontains": "AN"}}, {"invoice", "pizza"}),
        ({"user_id": {"gt": "bob"}}, set()),
        # NOT holds where the condition says nothing, too.
        ({"NOT": {"user_id": "ann"}}, {"bot", "plain"}),
        ({"NOT": [{"user_id": "ann"}, {"agent_id": "cook"}]}, {"plain"}),
        ({"NOT": {"NOT": {"user_id": "ann"}}}, {"invoice", "pizza"}),
        (
            {"NOT": {"OR": [{"categories": {"in": ["food"]}}, {"categories": {"in": ["work"]}}]}},
            {"bot", "plain"},
        ),
        ({"AND": []}, ALL),
        ({"OR": []}, set()),
        ({"user_id": {"in": []}}, set()),
        # Categories.
        ({"categories": {"in": ["finance", "health"]}}, {"invoice"}),
        ({"categories": "work"}, {"invoice"}),
        ({"categories": {"contains": "finan"}}, {"invoice"}),
        ({"categories": {"icontains": "FINAN"}}, {"invoice"}),
        ({"categories": {"ne": "food"}}, {"invoice", "bot", "plain"}),
        ({"categories": "*"}, {"invoice", "pizza"}),
        # Words.
        ({"keywords": {"icontains": "pizza"}}, {"pizza"}),
        ({"keywords": {"contains": "pizza"}}, set()),
        ({"keywords": {"contains": "Invoice_2024"}}, {"invoice"}),
        ({"keywords": {"contains": "%"}}, set()),
        # Times: a day is a whole day, whatever is asked of it.
        ({"created_at": {"gte": TODAY, "lte": TODAY}}, ALL),
        ({"created_at": TODAY}, ALL),
        ({"created_at": {"ne": TODAY}}, set()),
        ({"created_at": {"in": [YESTERDAY, TODAY]}}, ALL),
        ({"created_at": {"gt": YESTERDAY}}, ALL),
        ({"created_at": {"gt": TODAY}}, set()),
        ({"created_at": {"lt": TODAY}}, set()),
        ({"updated_at": {"lt": TOMORROW}}, ALL),
        ({"updated_at": {"gte": "2024-07-01T00:00:00Z"}}, ALL),
        ({"updated_at": {"gte": "2024-07-01T00:00:00"}}, ALL),
        ({"created_at": {"lte": "9999-12-31"}}, ALL),
        ({"created_at": {"gt": "9999-12-31"}}, set()),
        ({"created_at": "9999-12-31"}, set()),
        ({"created_at": {"gte": "0001-01-01"}}, ALL),
        # When something happened is known by its day; where it is not known at all, by its creation.
        ({"timestamp": {"lt": "2023-11-14"}}, set()),
        ({"timestamp": {"lt": "2023-11-15"}}, {"pizza"}),
        ({"timestamp": {"lte": "2023-11-14"}}, {"pizza"}),
        ({"timestamp": {"gte": "2023-11-14", "lt": "2023-11-15"}}, {"pizza"}),
        ({"timestamp": {"gt": "2023-11-14"}}, ALL - {"pizza"}),
        ({"timestamp": "2023-11-14"}, {"pizza"}),
        ({"timestamp": {"ne": "2023-11-14"}}, ALL - {"pizza"}),
        ({"timestamp": {"in": ["2023-11-14", TODAY]}}, ALL),
        ({"timestamp": 1_700_000_000}, {"pizza"}),
        ({"timestamp": {"gte": 1_700_000_000, "lte": 1_700_000_000}}, {"pizza"}),
        ({"timestamp": {"lt": "2023-11-14T00:00:00Z"}}, set()),
        ({"timestamp": {"gt": "2023-11-14T23:59:59.999999Z"}}, ALL - {"pizza"}),
        ({"timestamp": "*"}, ALL),
        ({"created_at": "*"}, ALL),
        # Metadata, by its name or by its keys alone.
        ({"metadata": {"source": "email"}}, {"invoice"}),
        ({"OR": [{"metadata": {"source": "email"}}, {"metadata": {"source": "chat"}}]}, {"invoice", "pizza"}),
        ({"metadata": {"contains": {"source": "email"}}}, {"invoice"}),
        ({"metadata": {"ne": {"source": "email"}}}, ALL - {"invoice"}),
        ({"metadata": "*"}, ALL - {"plain"}),
        ({"source": "email"}, {"invoice"}),
        ({"source": {"ne": "email"}}, ALL - {"invoice"}),
        ({"source": {"in": ["email", "chat"]}}, {"invoice", "pizza"}),
        ({"source": {"contains": "hat"}}, {"pizza", "bot"}),
        ({"source": {"icontains": "CHA"}}, {"pizza", "bot"}),
        ({"source": "*"}, ALL - {"plain"}),
        ({"source": None}, {"plain"}),
        ({"labels": {"contains": "a"}}, {"invoice"}),
        ({"labels": {"contains": "c"}}, set()),
        ({"done": False}, {"invoice"}),
        ({"done": {"ne": True}}, ALL),
        ({"priority": {"gt": 1}}, {"invoice", "pizza"}),
        ({"priority": {"gte": 5}}, {"invoice"}),
        ({"priority": {"lt": 5.0}}, {"pizza"}),
        ({"priority": {"lt": "z"}}, {"bot"}),
        ({"priority": 5.0}, {"invoice"}),
        ({"about": {"deep": {"er": 1}}}, {"bot"}),
        ({"metadata": {"about": {"deep": {"er": 1}}}}, {"bot"}),
    ],
)
def test_what_a_filter_selects(stored: Stored, filters: dict[str, Any], names: set[str]) -> None:
    assert selected(stored, filters) == names


def test_memories_by_their_ids(stored: Stored) -> None:
    ids = [str(stored.ids["bot"]), stored.ids["pizza"].hex, "mem_1"]
    assert selected(stored, {"memory_ids": ids}) == {"bot", "pizza"}
    assert selected(stored, {"memory_ids": {"in": ids}}) == {"bot", "pizza"}
    assert selected(stored, {"memory_ids": {"nin": ids}}) == {"invoice", "plain"}


def test_it_says_which_entities_are_named() -> None:
    filters = {"AND": [{"OR": [{"user_id": "a"}, {"NOT": {"app_id": "b"}}]}, {"source": "c"}]}
    assert meaning_of(filters).entities == {"user_id", "app_id"}
    assert meaning_of({"metadata": {"user_id": "ann"}}).entities == set()


@pytest.mark.parametrize(
    "filters, said",
    [
        ({"AND": ["user_id"]}, "object"),
        ({"AND": "user_id"}, "object"),
        ({"user_id": {"like": "a%"}}, "no operator 'like'"),
        ({"user_id": {">=": "a"}}, "no operator"),
        ({"user_id": {"in": "ann"}}, "list"),
        ({"user_id": {"in": ["a"] * (MAX_LISTED + 1)}}, "list"),
        ({"user_id": {"eq": ["a"]}}, "text"),
        ({"user_id": {}}, "text"),
        ({"user_id": True}, "text"),
        ({"created_at": {"gte": "last week"}}, "time"),
        ({"created_at": {"gte": True}}, "time"),
        ({"created_at": {"gte": 1e300}}, "time"),
        ({"created_at": {"contains": "2024"}}, "time"),
        ({"categories": {"gt": "a"}}, "categories"),
        ({"memory_ids": {"gt": "a"}}, "memory_ids"),
        ({"metadata": ["a"]}, "object"),
        ({"AND": [{"user_id": "a"}] * (MAX_CONDITIONS + 1)}, str(MAX_CONDITIONS)),
        ({"keywords": {"contains": "x" * 70_000}}, "larger"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(filters: dict[str, Any], said: str) -> None:
    with pytest.raises(Unusable, match=re.escape(said)):
        meaning_of(filters)


def test_a_tree_is_only_so_deep() -> None:
    tree: dict[str, Any] = {"user_id": "ann"}
    for _ in range(MAX_DEPTH):
        tree = {"AND": [tree]}
    meaning_of(tree)
    with pytest.raises(Unusable, match="deeper"):
        meaning_of({"NOT": tree})


HOSTILE = st.sampled_from(
    ["'; DROP TABLE events; --", "%(owner)s", "%s", "{table}", '"', "\\", "$1", "x' OR 1=1"]
)
WORDS = HOSTILE | st.text(max_size=10)
LEAVES = WORDS | st.integers() | st.booleans() | st.none() | st.lists(WORDS, max_size=3)
FIELDS = WORDS | st.sampled_from(
    ["user_id", "categories", "keywords", "metadata", "memory_ids", "created_at", "timestamp"]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
TIMES = st.dates().map(str) | st.datetimes().map(str) | st.integers() | FLOATS
TESTS = (
    LEAVES
    | TIMES
    | st.dictionaries(
        st.sampled_from(["eq", "ne", "in", "nin", "contains", "icontains", "gt", "lte"]) | WORDS,
        LEAVES | TIMES,
        max_size=2,
    )
)
TREES = st.recursive(
    st.dictionaries(FIELDS, TESTS, max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["AND", "OR", "NOT"]), st.lists(inner, max_size=3) | inner, max_size=2
    ),
    max_leaves=6,
)


@for_all(TREES)
def test_no_word_of_a_client_is_in_the_sql(tree: dict[str, Any]) -> None:
    """The SQL consists of our own words and the names of parameters, all of which have values."""
    parameter = Parameters()
    try:
        sql = meaning_of(tree).condition.sql(parameter)
    except Unusable:
        return
    left = re.sub(r"%\(c\d+\)s", "", sql)
    assert not re.search(r"[%;\"$\\{]", left.replace("'{}'", "")), sql
    assert set(re.findall(r"'([^']*)'", left)) <= {
        "categories", "string", "{}", "happened_on", "00:00", "23:59:59.999999", "UTC",
    }  # fmt: skip
    words = set(re.findall(r"[A-Za-z_]+", left))
    assert words <= {
        "AND", "OR", "NOT", "IS", "TRUE", "NULL", "DISTINCT", "FROM", "ANY", "EXISTS", "SELECT", "AS",
        "WHERE", "true", "false", "text", "jsonb", "uuid", "timestamptz", "name", "lower", "strpos",
        "jsonb_typeof",
        "jsonb_array_length", "jsonb_array_elements_text", "user_id", "agent_id", "run_id", "project_id",
        "created_at", "updated_at", "memory_id", "metadata", "traits", "categories", "string",
        "coalesce", "happened_on", "date", "time", "AT", "TIME", "ZONE", "UTC",
    }  # fmt: skip
    assert set(re.findall(r"%\((c\d+)\)s", sql)) == parameter.values.keys()


@for_all(TREES)
def test_whatever_is_not_refused_can_be_asked(stored: Stored, tree: dict[str, Any]) -> None:
    """The API has refused U+0000 and lone surrogates by then: they are no text to PostgreSQL."""
    if re.search(r"\\u0000|\\ud[89a-f]", msgspec.json.encode(tree).decode("utf-8", "replace")):
        return
    try:
        selected(stored, tree)
    except Unusable:
        return
    except psycopg.DataError as error:  # such as a year that PostgreSQL does not know
        assert "out of range" in str(error)
