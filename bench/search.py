"""Search over HTTP against its own floor, in one run: embed the query, then one raw SQL statement.

    python -m bench.search [--memories 1000] [--queries 200] [--json]

The floor embeds the same queries with the same embedder in this process and runs the vector scan and the
keyword match of the same scope as plain SQL on an open connection, with no HTTP, key or catalogue.
"""

import argparse
import http.client
import itertools
import random
import socket
import statistics
import time
from collections.abc import Callable

import msgspec
import numpy as np
import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from rich.progress import track

from bench.stand import Stand, answers, stand
from providers.embedding.local import LocalEmbedder

GOAL = 1.3
USERS = 20
VOCABULARY = [
    "".join(parts)
    for parts in itertools.product("bdfglmnprstv", "aeiou", "bdklmnrst", ["a", "en", "ir", "ost"])
]
"""2,160 made-up words, used as often as words are (Zipf), the thirty most common, stop words, left out."""
RAW = """
    SELECT memory_id, text, metadata, embedding <=> %s AS distance,
           ts_rank(to_tsvector('english', text), plainto_tsquery('english', %s)) AS words
    FROM everlog.search_v1 WHERE owner = 'bench' AND user_id = %s
    ORDER BY distance LIMIT 10"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=1_000, help="of each of 20 users")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = random.Random(7)
    queries = [f"{_words(rng, 5)}? ({n})" for n in range(options.queries)]
    embedder = LocalEmbedder()
    with stand() as made, psycopg.connect(made.settings.database_url or "", autocommit=True) as conn:
        _fill(made, conn, options.memories, rng, options.json)
        register_vector(conn)
        client = socket.create_connection(("127.0.0.1", made.settings.port))
        floors, ours = [], []
        for n, query in enumerate(track(queries, "searching", disable=options.json)):
            user = f"user-{n % USERS}"
            # In turn, so that what slows the machine slows both.
            floors.append(_timed(_floor, conn, embedder, query, user))
            ours.append(_timed(_search, client, made.key, query, user))
    warm = len(queries) // 10
    result = {
        "memories_of_a_user": options.memories,
        "floor_p50_ms": round(1000 * statistics.median(floors[warm:]), 2),
        "search_p50_ms": round(1000 * statistics.median(ours[warm:]), 2),
        "ratio_p50": round(statistics.median(ours[warm:]) / statistics.median(floors[warm:]), 3),
        "goal": GOAL,
    }
    if options.json:
        print(msgspec.json.encode(result).decode())
    else:
        print("\n".join(f"{name:20} {value}" for name, value in result.items()))


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(VOCABULARY, [1 / (n + 30) for n in range(len(VOCABULARY))], k=count))


def _timed(work: Callable[..., None], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def _floor(
    conn: "psycopg.Connection[tuple[object, ...]]", embedder: LocalEmbedder, query: str, user: str
) -> None:
    vector = HalfVector(embedder.embed([query])[0])
    conn.execute(RAW, (vector, query, user)).fetchall()


def _search(client: socket.socket, key: str, query: str, user: str) -> None:
    # A bare socket: the standard library's client alone would add a tenth of what is measured.
    body = msgspec.json.encode({"query": query, "user_id": user, "limit": 10})
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(1 << 16)
    head_of_answer, _, content = answer.partition(b"\r\n\r\n")
    length = int(head_of_answer.lower().partition(b"content-length:")[2].partition(b"\r")[0])
    while len(content) < length:
        content += client.recv(1 << 16)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer)


def _fill(
    made: Stand,
    conn: "psycopg.Connection[tuple[object, ...]]",
    memories: int,
    rng: random.Random,
    quiet: bool,
) -> None:
    """Add the memories through the API, project them, and give them random vectors, which cost the same."""
    made.run("worker")
    answers(f"{made.url}/health/ready")
    client = http.client.HTTPConnection("127.0.0.1", made.settings.port)
    headers = {"Authorization": f"Bearer {made.key}", "Content-Type": "application/json"}
    for user in track(range(USERS), "filling", disable=quiet):
        for start in range(0, memories, 500):
            messages = [
                {"role": "user", "content": f"Note {n}: {_words(rng, 10)}"}
                for n in range(start, min(start + 500, memories))
            ]
            body = msgspec.json.encode({"messages": messages, "user_id": f"user-{user}", "infer": False})
            client.request("POST", "/v1/memories", body, headers)
            if (answer := client.getresponse()).status != 201:
                raise RuntimeError(answer.read())
            answer.read()
    total = USERS * memories
    while conn.execute("SELECT count(*) FROM everlog.search_v1").fetchone() != (total,):
        time.sleep(0.1)
    made.end("worker")
    register_vector(conn)
    points = np.random.default_rng(7).normal(size=(total, 384)).astype(np.float32)
    ids = [id for (id,) in conn.execute("SELECT memory_id FROM everlog.search_v1").fetchall()]
    conn.execute(
        "UPDATE everlog.search_v1 s SET embedding = v.e"
        " FROM unnest(%s::uuid[], %s::halfvec[]) AS v(id, e) WHERE s.memory_id = v.id",
        (ids, [HalfVector(point) for point in points]),
    )
    conn.execute("VACUUM ANALYZE everlog.search_v1")


if __name__ == "__main__":
    main()
