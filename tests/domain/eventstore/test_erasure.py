"""Erasure: no word of an erased memory is left anywhere, and the log is still whole."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import psycopg
import pytest
from hypothesis import given as any_of
from hypothesis import settings as configured
from hypothesis import strategies as st
from numpy.typing import NDArray

from domain.errors import NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.chain import broken_link
from domain.eventstore.erasure import under_way
from domain.eventstore.reading import EVERYTHING, Filter
from domain.eventstore.writer import Work
from domain.ids import MEMORY_PREFIX, new_id, parse
from domain.ingestion import Decision, Extract, Extracted, Extractor, Ingestion, Message, Receive, Received
from domain.memory import (
    Added,
    AddMemory,
    DeleteMemory,
    Erased,
    EraseMemory,
    Memory,
    MemoryCommand,
    Traits,
    UpdateMemory,
)
from domain.recorded import Context, encode
from domain.review import Proposal, Propose, Proposed, Request, Requested, Review
from domain.scope import Scope
from projections import ALL, SEARCHED, catalogue, erasure, rebuild
from projections.changes import changes_of
from projections.runner import ensure_live
from projections.search import SEARCH
from projections.vectors import text_hash
from runtime.commands.erase import erase as erase_by_command
from runtime.settings import SettingsError
from tests.support.ingestions import conversation, nobody_extracting, tell
from tests.support.memories import add
from tests.support.projections import MODEL, Given, checksum, live_build, replayed
from tests.support.reverts import revert
from tests.support.service import Service, eventually, settled

CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
RULES = Extractor(name="rules-1")


@pytest.fixture
def word() -> str:
    """One that nothing else says."""
    return f"Zorb{uuid4().hex[:10]}"


def traces(cell: Cell, word: str) -> list[str]:
    """Where the database says a word: in events, decrypted, and in all rows as text."""
    word = word.lower()
    found = []
    after = 0
    while page := cell.log.page(after, 500, EVERYTHING):
        after = page[-1][0].position
        for entry, recorded in page:
            assert recorded
            if word in encode(recorded.event).decode().lower():
                found.append(f"{entry.topic} {entry.position}")
    with psycopg.connect(cell.conninfo) as conn:
        conn.execute("SET ROLE NONE")  # whoever may look at all
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        for (table,) in tables.fetchall():
            query = f'SELECT count(*) FROM "{table}" t WHERE position(%s in lower(t::text)) > 0'
            if (conn.execute(query, (word,)).fetchone() or (0,))[0]:
                found.append(table)
    return found


def unbroken(cell: Cell) -> bool:
    with cell.pool.connection() as conn:
        return broken_link(conn) is None


def erase(client: httpx.Client, id: str) -> None:
    answer = client.delete(f"/v1/memories/{id}", params={"erase": True})
    assert (answer.status_code, answer.json()["message"]) == (200, "Memory erased"), answer.text


def done(cell: Cell, *commands: tuple[UUID, Any], cause: str = "command") -> None:
    """All commands in one commit, as one cause."""
    context = Context(owner="default", actor="key", cause=cause, correlation="request")
    cell.writer.submit(Work(context=context, commands=commands)).result(30)


def erased(cell: Cell, *ids: UUID) -> None:
    for id in ids:
        done(cell, (id, EraseMemory()))
    redacted(cell, *ids)


def redacted(cell: Cell, *ids: UUID) -> None:
    with cell.pool.connection() as conn:
        erasure.erase(conn, cell.log.mapper, "default", ids)


@pytest.fixture(scope="module")
def home(service: Service) -> Cell:
    return service.worker.cells.of("default")


# --- over HTTP ----------------------------------------------------------------------------------------


def test_no_word_of_an_erased_memory_is_left_in_the_database(
    service: Service, home: Cell, user: str, word: str
) -> None:
    client = service.client
    sent = {"metadata": {word: word}, "tags": [word], "extract_graph": True}
    id = tell(client, user, f"I work at {word}", **sent)["results"][0]["id"]
    tell(client, user, f"I work at {word}")  # known already: a decision to do nothing
    review = client.post("/v1/reviews", json={"user_id": user}).json()["id"]
    eventually(lambda: client.get(f"/v1/reviews/{review}").json()["status"] == "proposed")
    tell(client, user, f"I now work at {word} International")
    client.put(f"/v1/memories/{id}", json={"memory": f"User loves {word}"})
    eventually(lambda: settled(client))
    assert {"memories_v1", "search_v1", "history_v1"} <= set(traces(home, word))
    with home.pool.connection() as conn:
        hashes = [text_hash(text) for (text,) in conn.execute("SELECT text FROM history_v1").fetchall()]
        query = "SELECT text_hash FROM vectors WHERE text_hash = ANY(%s)"
        before = conn.execute(query, (hashes,)).fetchall()
        mine = text_hash(f"User loves {word}")
        assert (mine,) in before
    assert unbroken(home)

    erase(client, id)
    eventually(lambda: settled(client))
    assert traces(home, word) == []
    with home.pool.connection() as conn:
        after = conn.execute(query, (hashes,)).fetchall()
        assert under_way(conn) == {}
    assert after == []
    assert unbroken(home)


def test_an_erased_memory_is_gone_for_good(service: Service, user: str, word: str) -> None:
    client = service.client
    id = tell(client, user, f"I work at {word}")["results"][0]["id"]
    there = client.get(f"/v1/memories/{id}/history").json()["history"][0]["created_at"]
    erase(client, id)
    for answer in (
        client.get(f"/v1/memories/{id}"),
        client.get(f"/v1/memories/{id}?version=1"),
        client.put(f"/v1/memories/{id}", json={"memory": "back"}),
        client.delete(f"/v1/memories/{id}"),
        client.delete(f"/v1/memories/{id}?erase=true"),
    ):
        assert answer.status_code == 404, answer.text
    then = client.get("/v1/memories", params={"user_id": user, "as_of": there}).json()
    assert (then["results"], then["total"]) == ([], 0)


def test_its_history_says_what_happened_but_not_in_which_words(
    service: Service, user: str, word: str
) -> None:
    client = service.client
    id = tell(client, user, f"I work at {word}")["results"][0]["id"]
    client.put(f"/v1/memories/{id}", json={"metadata": {"a": word}})
    erase(client, id)
    told = client.get(f"/v1/memories/{id}/history").json()["history"]
    assert [(one["event"], one["memory"], one["metadata"], one["erased"]) for one in told] == [
        ("DELETE", "", {}, True),
        ("UPDATE", "", {}, True),
        ("ADD", "", {}, True),
    ]
    explained = client.get(f"/v1/memories/{id}/explain")
    assert explained.json()["erased"] is True
    assert [source["content"] for source in explained.json()["chain"][0]["sources"]] == [""]
    events = client.get("/v1/events", params={"memory_id": id})
    for answer in (explained, events):
        assert word.lower() not in answer.text.lower()
    assert events.json()["results"][-1]["type"] == "memory.erased.v1"


def test_a_memory_that_was_deleted_before_can_be_erased(
    service: Service, home: Cell, user: str, word: str
) -> None:
    id = add(service.client, f"I love {word}", user)
    service.client.delete(f"/v1/memories/{id}")
    assert traces(home, word)
    erase(service.client, id)
    eventually(lambda: not traces(home, word))


def test_no_revert_brings_it_back(service: Service, home: Cell, user: str, word: str) -> None:
    client = service.client
    told = tell(client, user, f"I work at {word}")
    id = told["results"][0]["id"]
    deleted = add(client, f"I love {word}", user)
    client.delete(f"/v1/memories/{deleted}")
    for one in (id, deleted):
        erase(client, one)
        for entry in client.get(f"/v1/memories/{one}/history").json()["history"]:
            assert revert(client, cause=entry["cause"], delete_changed=True)["results"] == []
    assert revert(client, user_id=user, since="2020-01-01T00:00:00Z")["results"] == []
    eventually(lambda: not traces(home, word))


def test_a_review_of_its_conversation_does_not_find_it_again(
    service: Service, home: Cell, user: str, word: str
) -> None:
    client = service.client
    id = tell(client, user, f"I work at {word}", "I love hiking")["results"][0]["id"]
    erase(client, id)
    review = client.post("/v1/reviews", json={"user_id": user}).json()["id"]
    eventually(lambda: client.get(f"/v1/reviews/{review}").json()["status"] == "proposed")
    assert client.get(f"/v1/reviews/{review}").json()["proposals"] == []
    eventually(lambda: not traces(home, word))


def test_an_expected_version_that_is_not_current_keeps_a_memory(service: Service, user: str) -> None:
    id = add(service.client, "I love chess", user)
    path, other = f"/v1/memories/{id}?erase=true", {"If-Match": '"7"'}
    assert service.client.delete(path, headers=other).status_code == 412
    assert service.client.get(f"/v1/memories/{id}").json()["memory"] == "I love chess"


def test_nobody_erases_anothers_memory(service: Service, user: str) -> None:
    id = add(service.client, "I love chess", user)
    assert service.stranger.delete(f"/v1/memories/{id}?erase=true").status_code == 404
    assert service.client.get(f"/v1/memories/{id}").json()["memory"] == "I love chess"


def test_erasing_repeated_under_an_idempotency_key_is_answered_alike(service: Service, user: str) -> None:
    id = add(service.client, "I love chess", user)
    path, once = f"/v1/memories/{id}?erase=true", {"Idempotency-Key": user}
    one, two = (service.client.delete(path, headers=once) for _ in range(2))
    assert (one.status_code, one.json()) == (two.status_code, two.json()) == (200, one.json())


def test_of_two_erasures_at_once_one_finds_nothing_to_do(
    service: Service, home: Cell, user: str, word: str
) -> None:
    told = tell(service.client, user, f"I work at {word}", f"I love {word}")
    ids = [result["id"] for result in told["results"]]
    assert len(ids) == 2
    with ThreadPoolExecutor(8) as pool:
        asked = [id for id in ids for _ in range(4)]
        answers = list(pool.map(lambda id: service.client.delete(f"/v1/memories/{id}?erase=true"), asked))
    assert sorted(answer.status_code for answer in answers) == [200, 200, *[404] * 6]
    eventually(lambda: not traces(home, word))
    assert unbroken(home)


def test_a_crash_before_the_words_are_gone_is_mended_by_the_sweep(
    service: Service, home: Cell, user: str, word: str
) -> None:
    id = parse(MEMORY_PREFIX, add(service.client, f"I love {word}", user))
    assert id
    done(home, (id, EraseMemory()))  # and no more, as if killed
    eventually(lambda: not traces(home, word))
    with home.pool.connection() as conn:
        eventually(lambda: under_way(conn) == {})
    assert unbroken(home)


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if one.aggregate == "memory"])
def test_a_replay_of_the_redacted_log_gives_the_same_rows(
    service: Service, home: Cell, user: str, name: str
) -> None:
    client = service.client
    ids = [tell(client, user, f"I love {what}")["results"][0]["id"] for what in ("chess", "opera", "tea")]
    client.put(f"/v1/memories/{ids[0]}", json={"memory": "User loves Go", "metadata": {"a": 1}})
    client.delete(f"/v1/memories/{ids[0]}")
    erase(client, ids[0])
    erase(client, ids[1])
    eventually(lambda: settled(client))
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        before = checksum(conn, name)
        replayed(service, name)
        assert checksum(conn, name) == before


def test_the_build_that_a_rollback_would_bring_back_loses_the_words_too(
    service: Service, home: Cell, user: str, word: str
) -> None:
    id = add(service.client, f"I love {word}", user)
    eventually(lambda: settled(service.client))
    names = [name for name, one in ALL.items() if one.aggregate == "memory"]
    for name in names:
        replayed(service, name)
    erase(service.client, id)
    eventually(lambda: not traces(home, word))
    for name in names:
        rebuild.roll_back(home, ALL[name])
    eventually(lambda: settled(service.client))
    with home.pool.connection() as conn:
        assert conn.execute("SELECT count(*) FROM parked").fetchone() == (0,)
    assert traces(home, word) == []
    told = service.client.get("/v1/memories", params={"user_id": user}).json()
    assert told["results"] == []


def test_the_command_shows_first_and_erases_when_told_so(
    service: Service, home: Cell, user: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [add(service.client, f"I love {word} {n}", user) for n in range(2)]
    erase_by_command(service.settings, ids, sure=False, as_json=False)
    shown = capsys.readouterr().out
    assert ids[0] in shown
    assert "--yes" in shown
    assert service.client.get(f"/v1/memories/{ids[0]}").status_code == 200
    erase_by_command(service.settings, ids, sure=True, as_json=False)
    assert word not in capsys.readouterr().out
    eventually(lambda: not traces(home, word))
    with pytest.raises(SettingsError, match="erased already"):
        erase_by_command(service.settings, ids, sure=True, as_json=False)


# --- conversations ------------------------------------------------------------------------------------


def conversed(cell: Cell, user: str, *decided: tuple[UUID, tuple[int, ...]], texts: Sequence[str]) -> UUID:
    """A conversation of these user messages, of which each memory is made by some; its id."""
    here = Scope(owner="default", user_id=user)
    messages = tuple(Message(role="user", text=text) for text in texts)
    reply = Message(role="assistant", text=f"so {' and '.join(texts)}")
    id = new_id()
    sent = Received(scope=here, messages=(*messages, reply), metadata={"said": texts[0]}, tags=("chat",))
    done(cell, (id, Receive(received=sent)))
    decisions, commands = [], []
    for memory_id, sources in decided:
        text = " and ".join(texts[source] for source in sources)
        traits = Traits(categories=(text,))
        commands.append((memory_id, AddMemory(text=text, scope=here, metadata=sent.metadata, traits=traits)))
        decisions.append(
            Decision(
                action="ADD",
                text=text,
                reason=f"says {text}",
                memory_id=memory_id,
                sources=sources,
                traits=traits,
            )
        )
    extract = Extract(extracted=Extracted(extractor=RULES, decisions=tuple(decisions)))
    done(cell, *commands, (id, extract), cause=str(id))
    return id


def messages(cell: Cell, id: UUID) -> list[str]:
    return [message.text for message in cell.log.get(Ingestion, id).received.messages]


def test_a_message_stays_as_long_as_a_memory_that_is_there_comes_of_it(cell: Cell, user: str) -> None:
    one, two = new_id(), new_id()
    id = conversed(cell, user, (one, (0, 1)), (two, (1, 2)), texts=["a", "b", "c", "d"])
    erased(cell, one)
    assert messages(cell, id) == ["", "b", "c", "d", "so a and b and c and d"]
    received = cell.log.get(Ingestion, id).received
    assert (received.metadata, received.tags) == ({"said": "a"}, ("chat",))
    extracted = cell.log.get(Ingestion, id).extracted
    assert extracted
    assert [(d.text, d.reason, d.traits.categories, d.memory_id) for d in extracted.decisions] == [
        ("", "", (), one),
        ("b and c", "says b and c", ("b and c",), two),
    ]
    assert cell.log.get(Memory, two).text == "b and c"
    erased(cell, two)
    assert messages(cell, id) == ["", "", "", "d", ""]  # the reply repeated them
    received = cell.log.get(Ingestion, id).received
    assert (received.metadata, received.tags) == ({}, ())
    assert unbroken(cell)


def test_other_users_conversations_and_those_of_other_memories_stay(cell: Cell, user: str) -> None:
    one, two, three = new_id(), new_id(), new_id()
    gone = conversed(cell, user, (one, (0,)), texts=["tea"])
    kept = [
        conversed(cell, user, (two, (0,)), texts=["tea"]),
        conversed(cell, f"{user}-else", (three, (0,)), texts=["tea"]),
    ]
    erased(cell, one)
    assert messages(cell, gone) == ["", ""]
    for id in kept:
        assert messages(cell, id) == ["tea", "so tea"]
    assert [cell.log.get(Memory, id).text for id in (two, three)] == ["tea", "tea"]


def test_what_reviews_have_proposed_of_it_loses_its_words(cell: Cell, user: str, word: str) -> None:
    here = Scope(owner="default", user_id=user)
    one, review = new_id(), new_id()
    id = conversed(cell, user, (one, (0,)), texts=[word, f"and {word} again"])
    update = Decision(action="UPDATE", text=word, before=word, reason=word, memory_id=one, sources=(1,))
    proposed = Proposed(
        extractor=RULES, ingestions=1, proposals=(Proposal(number=1, decision=update, ingestion_id=id),)
    )
    done(cell, (review, Request(requested=Requested(scope=here))))
    done(cell, (review, Propose(proposed=proposed)))
    erased(cell, one)
    assert traces(cell, word) == []
    (left,) = cell.log.get(Review, review).proposed.proposals  # type: ignore[union-attr]
    assert (left.number, left.decision.action, left.decision.memory_id) == (1, "UPDATE", one)


def test_an_extraction_that_saw_the_words_before_leaves_none_behind(cell: Cell, user: str, word: str) -> None:
    """It was under way while the memory was erased, and notes afterwards that this is known already."""
    here = Scope(owner="default", user_id=user)
    one, id = new_id(), new_id()
    done(cell, (one, AddMemory(text=word, scope=here)))
    done(cell, (id, Receive(received=Received(scope=here, messages=(Message(role="user", text=word),)))))
    with cell.pool.connection() as conn:
        conn.execute("UPDATE backlog SET handed_out_at = now() WHERE stream_id = %s", (id,))
        erased(cell, one)
        assert under_way(conn) == {"default": [one]}
        known = Decision(action="NONE", text=word, reason="known", memory_id=one, sources=(0,))
        done(cell, (id, Extract(extracted=Extracted(extractor=RULES, decisions=(known,)))))
        assert traces(cell, word)
        redacted(cell, one)
        assert under_way(conn) == {}
    assert traces(cell, word) == []
    assert unbroken(cell)


# --- the log ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column", ["payload = payload || 'x'::bytea", "actor = 'somebody'", "digest = sha256('x')"]
)
def test_a_row_that_was_tampered_with_breaks_the_chain_at_its_position(
    cell: Cell, user: str, column: str
) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text="tea", scope=Scope(owner="default", user_id=user))))
    position = cell.log.get(Memory, id).position
    done(cell, (id, UpdateMemory(text="coffee")))
    assert unbroken(cell)
    with cell.pool.connection() as conn:
        with conn.transaction(force_rollback=True):
            conn.execute(f"UPDATE events SET {column} WHERE position = %s", (position,))
            assert broken_link(conn) == position
        assert broken_link(conn) is None


def test_what_is_erased_is_encrypted_under_the_same_key_at_the_same_place(
    cell: Cell, user: str, word: str
) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text=word, scope=Scope(owner="default", user_id=user))))
    ((before, _),) = cell.log.page(0, 1, Filter(stream_id=id))
    erased(cell, id)
    (after, left), (_, last) = cell.log.page(0, 2, Filter(stream_id=id))
    assert (after.subject_id, after.event_id, after.position) == (
        before.subject_id,
        before.event_id,
        before.position,
    )
    assert after.state != before.state
    assert left
    assert last
    assert left.event == Added(text="", scope=Scope(owner="default", user_id=user))
    assert last.event == Erased()


def test_a_memory_that_is_not_erased_cannot_be_redacted(cell: Cell, user: str, word: str) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text=word, scope=Scope(owner="default", user_id=user))))
    redacted(cell, id)
    assert cell.log.get(Memory, id).text == word


def test_another_owner_cannot_have_it_redacted(cell: Cell, user: str, word: str) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text=word, scope=Scope(owner="default", user_id=user))), (id, EraseMemory()))
    with cell.pool.connection() as conn:
        erasure.erase(conn, cell.log.mapper, "another", [id])
        assert under_way(conn) == {"default": [id]}
    redacted(cell, id)


changes = st.one_of(
    st.builds(UpdateMemory, text=st.sampled_from(["tea", "coffee"]), metadata=st.just({"a": 1})),
    st.builds(UpdateMemory, tags=st.just(("t",)), traits=st.just(Traits(categories=("drinks",)))),
    st.just(DeleteMemory(missing_ok=True)),
)


@configured(max_examples=8)
@any_of(st.lists(st.tuples(st.integers(0, 3), changes), max_size=8), st.sets(st.integers(0, 3)))
def test_whatever_happened_all_but_the_erased_memories_are_as_they_were(
    cell: Cell, steps: list[tuple[int, MemoryCommand]], gone: set[int]
) -> None:
    here = Scope(owner="default", user_id="anybody")
    ids = [new_id() for _ in range(4)]
    done(cell, *((id, AddMemory(text="water", scope=here)) for id in ids))
    for n, command in steps:
        try:
            done(cell, (ids[n], command))
        except NotFound:
            continue  # deleted before
    before = {id: cell.log.stream(id) for id in ids}
    erased(cell, *(ids[n] for n in sorted(gone)))
    for n, id in enumerate(ids):
        stream = cell.log.stream(id)
        if n not in gone:
            assert stream == before[id]
            continue
        assert [r.event_id for r in stream[:-1]] == [r.event_id for r in before[id]]
        for event in (r.event for r in stream):
            assert not any(getattr(event, name, None) for name in ("text", "metadata", "tags"))
        memory = cell.log.get(Memory, id)
        assert (memory.erased, memory.deleted, memory.text, memory.traits) == (True, True, "", Traits())
    assert unbroken(cell)


def test_many_erasures_and_appends_at_once_lose_nothing(cell: Cell, user: str) -> None:
    here = Scope(owner="default", user_id=user)
    ids = [new_id() for _ in range(12)]
    id = conversed(
        cell, user, *((one, (n,)) for n, one in enumerate(ids)), texts=[f"w{n}" for n in range(12)]
    )
    kept = [new_id() for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        work: list[Callable[[], None]] = [partial(erased, cell, one) for one in ids[:9]]
        work += [partial(done, cell, (one, AddMemory(text="new", scope=here))) for one in kept]
        for future in [pool.submit(each) for each in work]:
            future.result(30)
    assert messages(cell, id)[:12] == [*[""] * 9, "w9", "w10", "w11"]
    assert {cell.log.get(Memory, one).text for one in kept} == {"new"}
    assert unbroken(cell)


# --- what is built from it ----------------------------------------------------------------------------


@pytest.fixture
def conn(cell: Cell) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        for projection in ALL.values():
            ensure_live(conn, projection, MODEL if projection.name in SEARCHED else None)
            Given(cell, conn).apply(projection)
        yield conn


def test_a_projection_that_is_behind_reads_what_is_left_and_parks_nothing(
    cell: Cell, conn: psycopg.Connection[Any], user: str, word: str
) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text=word, scope=Scope(owner="default", user_id=user), tags=(word,))))
    done(cell, (id, UpdateMemory(metadata={"a": word})))
    for projection in (ALL["history"], ALL["memories"]):
        Given(cell, conn).apply(projection)
    done(cell, (id, UpdateMemory(text=f"{word} again")))
    erased(cell, id)
    with conn.transaction():  # events one by one, as after a batch that failed
        for projection in ALL.values():
            position = live_build(conn, projection.name).position
            for entry, _ in cell.log.page(position, 100, Filter(kind=projection.aggregate)):
                projection.apply(
                    conn, live_build(conn, projection.name), changes_of(conn, cell.log.mapper, [entry])
                )
                catalogue.set_position(conn, live_build(conn, projection.name), entry.position)
    assert conn.execute("SELECT count(*) FROM parked").fetchone() == (0,)
    assert traces(cell, word) == []


def test_rows_of_a_memory_whose_events_are_parked_lose_the_words_too(
    cell: Cell, conn: psycopg.Connection[Any], user: str, word: str
) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text=word, scope=Scope(owner="default", user_id=user))))
    for projection in ALL.values():
        Given(cell, conn).apply(projection)
    for name in ("memories", "search", "history", "graph"):
        conn.execute(
            "INSERT INTO parked (projection, version, stream_id, position, error) VALUES (%s, 1, %s, 0, 'x')",
            (name, id),
        )
    done(cell, (id, EraseMemory()))
    for projection in ALL.values():
        Given(cell, conn).apply(projection)
    redacted(cell, id)
    assert traces(cell, word) == []
    conn.execute("DELETE FROM parked")


class SlowEmbedder:
    """Takes so long that something else happens meanwhile."""

    model = MODEL
    local = True

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._meanwhile()
        return np.ones((len(texts), 384), dtype=np.float32)

    def similarity(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return cosines


@pytest.mark.parametrize("seen", [True, False], ids=["seen by search meanwhile", "not seen by search yet"])
def test_a_vector_that_was_being_computed_is_not_left_in_the_cache(
    cell: Cell, conn: psycopg.Connection[Any], user: str, word: str, seen: bool
) -> None:
    here = Scope(owner="default", user_id=user)
    gone, kept = new_id(), new_id()
    done(cell, (gone, AddMemory(text=word, scope=here)), (kept, AddMemory(text=f"{word} kept", scope=here)))
    Given(cell, conn).apply(ALL["search"])

    def meanwhile() -> None:
        erased(cell, gone)
        if seen:
            Given(cell, conn).apply(ALL["search"])

    SEARCH.fill(conn, live_build(conn, "search"), SlowEmbedder(meanwhile), [gone, kept])
    Given(cell, conn).apply(ALL["search"])
    hashes = [text_hash(word), text_hash(f"{word} kept")]
    left = conn.execute("SELECT text_hash FROM vectors WHERE text_hash = ANY(%s)", (hashes,)).fetchall()
    assert left == [(hashes[1],)]


def test_nobody_waits_for_what_is_being_erased(service: Service, home: Cell, user: str, word: str) -> None:
    """Reads, searches and writes of others go on while erasures do; each reads the old words or none."""
    ids = [add(service.client, f"I love {word} {n}", user) for n in range(20)]
    seen: set[str] = set()
    over = threading.Event()

    def read_on() -> None:
        while not over.is_set():
            for id in ids:
                answer = service.client.get(f"/v1/memories/{id}/history")
                assert answer.status_code == 200, answer.text
                seen.update(entry["memory"] for entry in answer.json()["history"])

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_on)
        for id in ids:
            erase(service.client, id)
        over.set()
        reading.result()
    assert all(text == "" or text.startswith(f"I love {word}") for text in seen)
    eventually(lambda: not traces(home, word))


def test_conversations_that_wait_are_not_touched(service: Service, home: Cell, user: str, word: str) -> None:
    id = tell(service.client, user, f"I work at {word}")["results"][0]["id"]
    with nobody_extracting(service, user):
        said = conversation(user, f"I work at {word} still")
        asked = service.client.post("/v1/memories", json=said, headers={"Prefer": "respond-async"})
        assert asked.status_code == 202
        erase(service.client, id)
    eventually(lambda: service.client.get("/v1/memories", params={"user_id": user}).json()["total"] == 1)
    (left,) = service.client.get("/v1/memories", params={"user_id": user}).json()["results"]
    assert left["id"] != id
    assert isinstance(home.log.get(Memory, parse(MEMORY_PREFIX, left["id"]) or new_id()), Memory)
