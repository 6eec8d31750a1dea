"""API appends a second against raw single-row commits on the same server, in turn, in one run.

    python -m bench.append [--seconds 4] [--rounds 5] [--clients 32] [--json]

The floor: 8 connections, each committing one row of an event's size and columns at a time, no locks.
"""

import argparse
import statistics
import threading
import time

import msgspec
import psycopg
from rich.progress import track

from bench.load import post
from bench.stand import Stand, stand

FLOOR_CONNECTIONS = 8
GOAL = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    floors, rates = [], []
    with stand() as made:
        _prepare(made)
        api(made, options.clients, 1)
        for _ in track(range(options.rounds), "appending", disable=options.json):
            floors.append(floor(made, options.seconds))
            rates.append(api(made, options.clients, options.seconds))
    ratios = [rate / least for rate, least in zip(rates, floors, strict=True)]
    result = {
        "raw_commits_per_second": round(statistics.median(floors)),
        "api_appends_per_second": round(statistics.median(rates)),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "goal": GOAL,
    }
    print(msgspec.json.encode(result).decode() if options.json else _told(result))


def api(made: Stand, clients: int, seconds: float) -> float:
    """Appends a second through the API, one memory a request."""

    def body(n: int) -> bytes:
        return (
            b'{"messages":[{"role":"user","content":"Fact %d: the user prefers window seats on long'
            b' flights and an early breakfast before leaving"}],"user_id":"user-%d","infer":false,'
            b'"metadata":{"source":"chat","turn":%d}}'
        ) % (n, n % 200, n)

    return post(made.url, made.key, "/v1/memories", body, clients, seconds).rate


def floor(made: Stand, seconds: float) -> float:
    """Single-row commits a second into a table with an event's columns and its two first indexes."""
    counts = [0] * FLOOR_CONNECTIONS
    payload = bytes(430)

    def commit(number: int) -> None:
        with psycopg.connect(made.settings.database_url or "", autocommit=True) as conn:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                conn.execute(
                    "INSERT INTO bench_floor (stream_id, version, type, payload, owner)"
                    " VALUES (gen_random_uuid(), 1, 'memory.added.v1', %s, 'bench')",
                    (payload,),
                )
                counts[number] += 1

    threads = [threading.Thread(target=commit, args=(n,)) for n in range(FLOOR_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def _prepare(made: Stand) -> None:
    with psycopg.connect(made.settings.database_url or "", autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE bench_floor (position bigserial PRIMARY KEY, stream_id uuid, version bigint,"
            " type text, payload bytea, owner text, UNIQUE (stream_id, version))"
        )


def _told(result: dict[str, object]) -> str:
    return "\n".join(f"{name:24} {value}" for name, value in result.items())


if __name__ == "__main__":
    main()
