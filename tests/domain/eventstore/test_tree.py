"""The tree over the log: it grows behind it, and whatever is done to the log shows."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from application.verification import Verified, verify
from domain.eventstore import merkle, tree
from domain.eventstore.cells import Cells, connection_string
from domain.eventstore.checkpoints import Checkpoint, Forged, opened, origin_of, public_key, signed
from domain.eventstore.tree import WIDTH, Tiles
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.key import ALL_SCOPES
from domain.memory import AddMemory, EraseMemory
from domain.recorded import Context
from domain.scope import Scope
from projections import erasure
from tests.support.service import KEY, MASTER

CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
EVENTS = 600
SEED = bytes(range(32))


def add(cells: Cells, count: int) -> None:
    commands = [(new_id(), AddMemory(text=f"fact {n}", scope=Scope(owner="default"))) for n in range(count)]
    cells.first.writer.submit(Work(context=CONTEXT, commands=commands)).result(60)


def grown(conn: Connection[Any], limit: int = 10_000) -> int:
    with conn.transaction():
        return tree.grow(conn, limit)


@pytest.fixture
def cells(new_database: Callable[[], str]) -> Iterator[Cells]:
    """Of a database whose log has a tree, and a checkpoint."""
    with closing(Cells(new_database(), MASTER)) as cells:
        cells.create_key(KEY, "test", "default", ALL_SCOPES)
        add(cells, EVENTS)
        with cells.first.pool.connection() as conn:
            grown(conn)
            tree.sign(conn, cells.first.name, cells.first.secrets.signing)
        yield cells


@pytest.fixture
def conn(cells: Cells) -> Iterator[Connection[Any]]:
    with psycopg.connect(cells.first.conninfo, autocommit=True) as conn:
        yield conn


# --- building ---------------------------------------------------------------------------------------------


def test_the_tree_has_every_leaf_and_its_root_is_that_of_all(cells: Cells, conn: Connection[Any]) -> None:
    leaves = [leaf for (leaf,) in conn.execute("SELECT leaf FROM events ORDER BY position")]
    assert tree.size(conn) == len(leaves) > 2 * WIDTH
    assert merkle.root(Tiles(conn), len(leaves)) == _root(leaves)


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return merkle.above(_root(leaves[:left]), _root(leaves[left:]))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_it_is_the_same_tree_however_it_has_grown(conn: Connection[Any], steps: list[int]) -> None:
    at_once = dict(_tiles(conn))
    conn.execute("DELETE FROM tiles")
    for limit in steps:
        grown(conn, limit)
    grown(conn)
    assert dict(_tiles(conn)) == at_once
    assert grown(conn) == 0


def _tiles(conn: Connection[Any]) -> Iterator[tuple[tuple[int, int], bytes]]:
    for level, index, hashes in conn.execute("SELECT level, index, hashes FROM tiles").fetchall():
        yield (level, index), hashes


def test_events_from_before_there_were_leaves_have_theirs_in_the_tree(conn: Connection[Any]) -> None:
    before = dict(_tiles(conn))
    conn.execute("DELETE FROM tiles")
    conn.execute("UPDATE events SET leaf = NULL WHERE position <= 300")
    grown(conn)
    assert dict(_tiles(conn)) == before


def test_a_tree_of_many_levels_answers_for_each_leaf() -> None:
    """By tiles alone: no database has so many events here."""
    leaves = [merkle.leaf_hash(str(n).encode()) for n in range(WIDTH * WIDTH + 3)]
    tiles = _Kept()
    begin = 0
    for some in (1, 255, 1_000, len(leaves)):
        tiles.kept |= dict(tree._added(tiles, begin, leaves[begin:some]))
        begin = some
    assert max(level for level, _ in tiles.kept) == 2
    made = merkle.root(tiles, len(leaves))
    assert made == _root(leaves)
    for index in (0, 255, 256, 65_535, 65_536, len(leaves) - 1):
        proof = merkle.inclusion(tiles, index, len(leaves))
        assert merkle.includes(leaves[index], index, len(leaves), proof, made)


class _Kept(Tiles):
    """Tiles in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}

    def tile(self, level: int, index: int) -> bytes:
        return self.kept.get((level, index), b"")


def test_erased_words_leave_the_tree_as_it_was(cells: Cells, conn: Connection[Any]) -> None:
    cell = cells.first
    id = new_id()
    for command in (AddMemory(text="a secret", scope=Scope(owner="default")), EraseMemory()):
        cell.writer.submit(Work(context=CONTEXT, commands=[(id, command)])).result(30)
    grown(conn)
    tree.sign(conn, cell.name, cell.secrets.signing)
    erasure.erase(conn, cell.log.mapper, "default", [id])
    found = verify(cell)
    assert (found.fault, found.checkpoints) == (None, 1)


# --- tampering --------------------------------------------------------------------------------------------

AT = 400
TAMPERING = {
    "a byte of a payload": "UPDATE events SET payload = set_byte(payload, 20, get_byte(payload, 20) # 1)",
    "the owner": "UPDATE events SET owner = 'another'",
    "the actor": "UPDATE events SET actor = 'somebody'",
    "the cause": "UPDATE events SET cause = 'nothing'",
    "the request": "UPDATE events SET correlation = 'another'",
    "when it occurred": "UPDATE events SET occurred_at = occurred_at - interval '1 day'",
    "when it was recorded": "UPDATE events SET recorded_at = recorded_at - interval '1 day'",
    "the type": "UPDATE events SET type = 'memory.updated.v1'",
    "the stream": "UPDATE events SET stream_id = gen_random_uuid()",
    "it is gone": "DELETE FROM events",
}


@pytest.mark.parametrize("what", TAMPERING)
def test_whatever_is_changed_is_found_at_its_position(cells: Cells, conn: Connection[Any], what: str) -> None:
    assert verify(cells.first).fault is None
    conn.execute(f"{TAMPERING[what]} WHERE position = {AT}")
    assert (verify(cells.first).fault or "").startswith(f"position {AT}: ")


def test_who_makes_digest_link_and_leaf_anew_is_found_by_the_tree(
    cells: Cells, conn: Connection[Any]
) -> None:
    conn.execute(
        "UPDATE events SET leaf = NULL, digest = NULL, owner = 'another', format = 1 WHERE position = %s",
        (AT,),
    )
    assert (verify(cells.first).fault or "").startswith(f"position {AT}: ")


def test_two_that_changed_places_are_found(cells: Cells, conn: Connection[Any]) -> None:
    conn.execute("UPDATE events SET position = -1 WHERE position = %s", (AT,))
    conn.execute("UPDATE events SET position = %s WHERE position = %s", (AT, AT + 1))
    conn.execute("UPDATE events SET position = %s WHERE position = -1", (AT + 1,))
    assert (verify(cells.first).fault or "").startswith(f"position {AT}: ")


def test_a_cut_tail_shows(cells: Cells, conn: Connection[Any]) -> None:
    (note,) = tree.notes(conn)
    last = tree.size(conn)
    conn.execute("DELETE FROM events WHERE position > %s", (last - 5,))
    gone = f"position {last - 4}: the log ends before it"
    assert (verify(cells.first).fault or "").startswith(gone)
    # Also to whoever has but the checkpoint: all that the database says of it may have been cut, too.
    conn.execute("DELETE FROM checkpoints")
    conn.execute("DELETE FROM tiles")
    assert verify(cells.first).fault is None
    assert (verify(cells.first, [note]).fault or "").startswith(gone)


def test_a_log_that_was_written_anew_is_not_the_one_that_was_signed(
    cells: Cells, conn: Connection[Any], new_database: Callable[[], str]
) -> None:
    (note,) = tree.notes(conn)
    url = new_database()
    with psycopg.connect(connection_string(url, "everlog")) as other:
        for name, wrapped in conn.execute("SELECT name, wrapped FROM secrets").fetchall():
            other.execute("INSERT INTO secrets VALUES (%s, %s)", (name, wrapped))
    with closing(Cells(url, MASTER)) as forged:
        forged.create_key(KEY, "test", "default", ALL_SCOPES)
        add(forged, EVENTS)
        assert verify(forged.first).fault is None
        assert "another root was signed" in (verify(forged.first, [note]).fault or "")


# --- comparing over and over --------------------------------------------------------------------------------


def test_the_log_is_compared_over_and_over_and_the_first_fault_is_kept(conn: Connection[Any]) -> None:
    assert tree.checked(conn) is None
    assert [tree.check(conn, 250, anew) for anew in (True, False, False, True)] == [True, True, False, True]
    check = tree.checked(conn)
    assert check
    assert (check.position, check.fault) == (250, None)
    conn.execute("UPDATE events SET actor = 'somebody' WHERE position = %s", (AT,))
    assert not tree.check(conn, 250)
    conn.execute("UPDATE events SET actor = 'somebody' WHERE position = 3")
    assert not tree.check(conn, 250)
    check = tree.checked(conn)
    assert check
    assert (check.fault or "").startswith(f"position {AT}: ")


def test_a_log_that_is_found_whole_is_compared_anew(cells: Cells, conn: Connection[Any]) -> None:
    tree.note(conn, 0, tree.Fault(7, "it was another"))
    assert verify(cells.first) == Verified(events=EVENTS + 2, checkpoints=1, unreadable=0, fault=None)
    assert tree.checked(conn) is None


# --- checkpoints --------------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_by_whoever_has_the_public_key() -> None:
    made = Checkpoint(origin_of("everlog"), 812, bytes(32))
    note = signed(made, SEED)
    assert note.startswith(
        "everlog/everlog\n812\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— everlog/everlog "
    )
    assert opened(note, public_key("everlog", SEED)) == made


@pytest.mark.parametrize(
    "forge",
    [
        lambda note: note.replace("812", "813"),
        lambda note: note.replace("AAAA", "BAAA", 1),
        lambda note: note.replace("everlog/everlog", "everlog/another"),
        lambda note: note.replace("\n\n", "\nmore\n\n"),
        lambda note: note.partition("— ")[0],
        lambda _: "",
        lambda _: "everlog/everlog\n-1\nAAAA\n\n",
        lambda note: signed(Checkpoint("everlog/everlog", 812, bytes(32)), os.urandom(32)),
    ],
)
def test_a_forged_checkpoint_is_refused(forge: Callable[[str], str]) -> None:
    note = signed(Checkpoint("everlog/everlog", 812, bytes(32)), SEED)
    with pytest.raises(Forged):
        opened(forge(note), public_key("everlog", SEED))


@pytest.mark.parametrize("key", ["", "everlog", "everlog/everlog+00000000+AAAA", "+1+AQ=="])
def test_what_is_no_public_key_is_refused(key: str) -> None:
    with pytest.raises(Forged, match="public key"):
        opened(signed(Checkpoint("everlog/everlog", 1, bytes(32)), SEED), key)


def test_each_minute_has_one_checkpoint_its_last(cells: Cells, conn: Connection[Any]) -> None:
    for _ in range(3):
        add(cells, 1)
        grown(conn)
        last = tree.sign(conn, "everlog", SEED)
    assert tree.last_note(conn) == last
    assert len(tree.notes(conn)) <= 2  # the minute may have ended meanwhile
