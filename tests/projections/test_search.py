"""Search: exact where a scope is small, right where it is large, by words and by meaning."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from domain.eventstore.roles import SHOW, as_role
from domain.ids import new_id
from domain.memory import AddMemory
from domain.scope import Scope
from projections import retrieval, search
from projections.search import SEARCH
from projections.selection import Selection
from providers.embedding.local import LocalEmbedder
from tests.support.memories import add
from tests.support.projections import Given
from tests.support.service import KEY, Service, client_of, eventually

Vector = NDArray[np.float32]

TOPICS = [
    "hiking in the mountains",
    "cooking italian food",
    "playing the piano",
    "python programming",
    "cats",
]


@pytest.fixture(scope="module", params=[20, pytest.param(100, marks=pytest.mark.slow)])
def people(request: pytest.FixtureRequest, service: Service) -> list[str]:
    """Users with 100 memories each."""
    users = [f"person-{user}-of-{request.param}" for user in range(request.param)]
    for user, name in enumerate(users):
        messages = [
            {"role": "user", "content": f"Note {n} of person {user}: {TOPICS[n % 5]} number {n * 7 + user}"}
            for n in range(100)
        ]
        body = {"messages": messages, "user_id": name, "infer": False}
        assert service.client.post("/v1/memories", json=body).status_code == 201
    eventually(lambda: _waiting(service) == 0)
    return users


def _waiting(service: Service) -> int:
    return sum(p["vectors_waiting"] for p in service.client.get("/v1/status").json()["projections"])


def test_one_user_among_many_gets_60_of_60_also_on_the_100th_call(
    client: httpx.Client, people: list[str]
) -> None:
    for call in range(100):
        mode = ("hybrid", "vector")[call % 2]
        user = people[call % len(people)]
        body = {"query": "music", "user_id": user, "limit": 60, "mode": mode}
        hits = client.post("/v1/search", json=body).json()["results"]
        assert len(hits) == 60, call
        assert {hit["user_id"] for hit in hits} == {user}
        scores = [hit["score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert "piano" in hits[0]["memory"]


def test_recall_at_10_against_an_exact_scan(service: Service, people: list[str]) -> None:
    embedder = LocalEmbedder()
    found = wanted = 0
    with psycopg.connect(service.worker.cells.of("default").conninfo, autocommit=True) as conn:
        register_vector(conn)
        queries = ["a walk outdoors", "pasta", "instruments", "software", "pets"] * 4
        for user, query in zip(people, queries, strict=False):
            vector = HalfVector(embedder.embed([query])[0])
            exact = conn.execute(
                "SELECT memory_id FROM search_v1 WHERE user_id = %s ORDER BY embedding <=> %s LIMIT 10",
                (user, vector),
            ).fetchall()
            body = {"query": query, "user_id": user, "mode": "vector", "limit": 10}
            hits = service.client.post("/v1/search", json=body).json()["results"]
            found += len({f"mem_{id.hex}" for (id,) in exact} & {hit["id"] for hit in hits})
            wanted += 10
    assert found / wanted >= 0.99


def test_words_find_what_meaning_does_not_and_the_other_way_round(client: httpx.Client, user: str) -> None:
    word = add(client, "The spare key is under Xq7-Zorblax", user)
    meaning = add(client, "User enjoys long walks in nature", user)
    for n in range(30):
        add(client, f"User met colleague number {n} for lunch", user)

    def first(query: str, mode: str) -> str | None:
        hits = client.post("/v1/search", json={"query": query, "user_id": user, "mode": mode}).json()[
            "results"
        ]
        return hits[0]["id"] if hits else None

    assert first("Zorblax", "keyword") == first("Zorblax", "hybrid") == word
    assert first("hiking outdoors", "keyword") is None
    assert first("hiking outdoors", "vector") == first("hiking outdoors", "hybrid") == meaning


def test_a_threshold_of_one_half_parts_related_from_unrelated(client: httpx.Client, user: str) -> None:
    related = add(client, "The user mentioned they prefer Python for data science work", user)
    add(client, "It rained all day in Lisbon", user)
    query = "What programming languages does the user prefer?"
    hits = client.post("/v1/search", json={"query": query, "user_id": user, "threshold": 0.5}).json()[
        "results"
    ]
    assert [hit["id"] for hit in hits] == [related]
    assert hits[0]["score"] >= 0.6
    assert (
        client.post("/v1/search", json={"query": query, "user_id": user}).json()["results"][1]["score"] < 0.5
    )


def test_filters_compose(client: httpx.Client, user: str) -> None:
    one = add(
        client, "likes tea", user, tags=["a", "b"], metadata={"k": 1, "deep": {"x": [1]}}, agent_id="bot"
    )
    add(client, "likes coffee", user, tags=["a"], metadata={"k": 2})

    def found(**filters: Any) -> set[str]:
        body = {"query": "likes", "user_id": user, **filters}
        return {hit["id"] for hit in client.post("/v1/search", json=body).json()["results"]}

    assert len(found()) == len(found(tags=["a"])) == 2
    assert found(tags=["a", "b"]) == found(metadata={"k": 1}) == found(agent_id="bot") == {one}
    assert found(metadata={"deep": {"x": [1]}}, tags=["b"], agent_id="bot") == {one}
    assert found(tags=["b"], metadata={"k": 2}) == found(run_id="none") == set()


def test_a_changed_text_is_found_by_its_new_meaning_and_a_deleted_one_not_at_all(
    client: httpx.Client, user: str
) -> None:
    id = add(client, "User plays the piano", user)
    client.put(f"/v1/memories/{id}", json={"memory": "User repairs old cars"})
    body = {"query": "vehicles", "user_id": user, "mode": "vector", "threshold": 0.5}
    assert [hit["id"] for hit in client.post("/v1/search", json=body).json()["results"]] == [id]
    body["query"] = "music"
    assert client.post("/v1/search", json=body).json()["results"] == []
    client.delete(f"/v1/memories/{id}")
    body["query"] = "vehicles"
    assert client.post("/v1/search", json=body).json()["results"] == []


def test_a_vector_of_an_old_text_never_lands_on_a_newer_one(given: Given) -> None:
    id = new_id()
    given((id, _memory("the old text", "ann"))).apply(SEARCH)
    build = given.build(SEARCH)

    class Slow(LocalEmbedder):
        def embed(self, texts: Any) -> Any:
            # While the old text is being embedded, the row gets another.
            meanwhile.execute("UPDATE search_v1 SET text_hash = 'new' WHERE memory_id = %s", (id,))
            return super().embed(texts)

    with psycopg.connect(given.cell.conninfo, autocommit=True) as meanwhile:
        assert SEARCH.fill(given.conn, build, Slow(), [id]) == 0
    assert [waiting for waiting, _ in SEARCH.waiting(given.conn, build, 10)] == [id]


def test_a_large_scope_answers_by_its_indexes(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "EXACT_ROWS", 500)
    monkeypatch.setattr(retrieval, "COMMON_ROWS", 100)
    rng = np.random.default_rng(7)
    embedder = LocalEmbedder()
    ids = [new_id() for _ in range(3_000)]
    given(
        *(
            (id, _memory(f"Entry {n} on {TOPICS[n % 5]} word{n}", f"large-{n % 2}"))
            for n, id in enumerate(ids)
        )
    ).apply(SEARCH)
    # Vectors of no model: embedding 3,000 texts would take half a minute and show nothing more.
    points = rng.normal(size=(3_000, 384)).astype(np.float32)
    given.conn.execute(
        "UPDATE search_v1 s SET embedding = v.e FROM unnest(%s::uuid[], %s::halfvec[]) AS v(id, e)"
        " WHERE s.memory_id = v.id",
        (ids, [HalfVector(point) for point in points]),
    )
    retrieval.index_large_scopes(given.conn, given.build(SEARCH))
    indexes = given.conn.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'search_v1'").fetchall()
    assert {("search_v1_hnsw",), ("search_v1_terms",)} <= set(indexes)

    def ask(vector: Vector, text: str, mode: search.Mode) -> list[search.Hit]:
        query = search.Query(
            selection=Selection(scope=Scope(owner="default", user_id="large-1")),
            text=text,
            vector=vector,
            limit=60,
            mode=mode,
        )
        return given.then_answers(SEARCH, search.search, query, embedder.similarity).hits

    given.conn.execute("ANALYZE search_v1")
    for role in ("everlog_worker", "everlog_api"):
        assert plan(given, role, retrieval.WORDED, fetched=["word7"], most=10) == {"search_v1_terms"}
        assert plan(given, role, retrieval.NEAREST, vector=HalfVector(points[0]), dimensions=384,
                    candidates=10) == {"search_v1_hnsw"}  # fmt: skip

    found = 0
    for n in range(10):
        vector = points[2 * n + 1] / np.linalg.norm(points[2 * n + 1])
        hits = ask(vector, "entry", "vector")
        assert len(hits) == 60
        assert hits[0].memory.id == ids[2 * n + 1]
        mine = points[1::2]
        order = np.argsort(-(mine @ vector) / np.linalg.norm(mine, axis=1))[:10]
        found += len({ids[2 * i + 1] for i in order} & {hit.memory.id for hit in hits[:10]})
    assert found / 100 >= 0.95
    hits = ask(points[0], "piano word1777", "hybrid")
    assert hits[0].memory.text.endswith("word1777")
    hits = ask(points[0], "piano", "keyword")
    assert hits
    assert all("piano" in hit.memory.text for hit in hits)


def plan(given: Given, role: str, statement: str, **values: Any) -> set[str]:
    """The indexes that a search of a large scope uses."""
    where, parameters = Selection(scope=Scope(owner="default", user_id="large-1")).where()
    names = {"table": "search_v1", "key": "memory_id", "where": where}
    text = f"EXPLAIN {statement.format(**names, **values)}"
    with psycopg.connect(as_role(given.cell.conninfo, role)) as conn:
        register_vector(conn)
        conn.execute(SHOW, ("default",))
        lines = [line for (line,) in conn.execute(text, {**parameters, **values})]
    print("\n".join(lines))
    return {name for line in lines for name in re.findall(r"Scan (?:using|on) (search_v1_\w+)", line)}


# --- queries that are long --------------------------------------------------------------------------


@pytest.mark.parametrize("exact_rows", [20_000, 50])
def test_of_a_long_query_the_rarest_lexemes_of_the_scope_count(
    given: Given, monkeypatch: pytest.MonkeyPatch, exact_rows: int
) -> None:
    monkeypatch.setattr(retrieval, "EXACT_ROWS", exact_rows)
    monkeypatch.setattr(retrieval, "LEXEMES", 20)
    user = f"long-{exact_rows}"
    ids = [new_id() for _ in range(100)]
    texts = [f"Entry shared0 shared{n % 30 + 1} only{n}" for n in range(100)]
    given(*((id, _memory(text, user)) for id, text in zip(ids, texts, strict=True))).apply(SEARCH)

    def ask(text: str) -> retrieval.Found[search.Hit]:
        selection = Selection(scope=Scope(owner="default", user_id=user))
        query = search.Query(selection=selection, text=text, limit=100, mode="keyword")
        return given.then_answers(SEARCH, search.search, query, LocalEmbedder().similarity)

    shared = [f"shared{n}" for n in range(31)]
    unheard = [f"unheard{n}" for n in range(500)]
    long = ask(" ".join([*shared, *unheard, "only7"]))
    assert long.shortened
    assert long.hits[0].memory.id == ids[7]
    assert len(long.hits) < 100  # the word that all have is none of the rarest
    short = ask(" ".join(shared[:19]))
    assert not short.shortened
    assert len(short.hits) == 100
    nothing = ask(" ".join(unheard))
    assert (nothing.hits, nothing.shortened) == ([], True)


def test_what_is_left_out_of_a_long_query_still_lowers_its_score(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"filler{n} filler{n + 1} word{n}" for n in range(50)]
    given(*((new_id(), _memory(text, "left-out")) for text in texts)).apply(SEARCH)
    selection = Selection(scope=Scope(owner="default", user_id="left-out"))
    text = " ".join(["word7", *(f"unheard{n}" for n in range(400))])
    query = search.Query(selection=selection, text=text, limit=1, mode="keyword")
    (short,) = given.then_answers(SEARCH, search.search, query, LocalEmbedder().similarity).hits
    monkeypatch.setattr(retrieval, "LEXEMES", 1_000)
    (whole,) = given.then_answers(SEARCH, search.search, query, LocalEmbedder().similarity).hits
    assert short.score == pytest.approx(whole.score, rel=1e-3)


def test_a_query_of_90_000_characters_holds_up_nobody_and_says_that_it_was_shortened(
    service: Service, user: str
) -> None:
    for batch in range(10):
        messages = [{"role": "user", "content": f"common w{batch}x{n}"} for n in range(100)]
        body = {"messages": messages, "user_id": user, "infer": False}
        assert service.client.post("/v1/memories", json=body).status_code == 201
    query = "common " + " ".join(f"w{n:05}" for n in range(13_000))
    wanted = {"query": query, "user_id": user, "mode": "keyword"}
    with ThreadPoolExecutor(1) as pool, client_of(service.url, KEY) as other:
        searching = pool.submit(other.post, "/v1/search", json=wanted)
        longest = 0.0
        while not searching.done():
            began = time.monotonic()
            assert service.client.get("/health/live").status_code == 200
            longest = max(longest, time.monotonic() - began)
    answer = searching.result()
    assert answer.status_code == 200
    assert answer.headers["Everlog-Query-Shortened"] == "256"
    assert len(answer.json()["results"]) == 10
    assert longest < 2  # of some 10 ms; the loop was blocked for 7 seconds
    usual = service.client.post("/v1/search", json={"query": "common", "user_id": user, "mode": "keyword"})
    assert "Everlog-Query-Shortened" not in usual.headers


def _memory(text: str, user: str) -> AddMemory:
    return AddMemory(text=text, scope=Scope(owner="default", user_id=user))
