"""Replay against its floor in one run: COPY of the same rows into the same tables, then the same indexes.

    python -m bench.replay [--events 20000] [--rounds 3] [--json]

The vectors are in the cache, as they are at any replay but that to a new model.
"""

import argparse
import statistics
import time
from contextlib import closing
from typing import Any

import msgspec
import numpy as np
import psycopg
from psycopg import Connection
from rich.progress import track

from bench.stand import stand
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory, UpdateMemory
from domain.recorded import Context
from domain.scope import Scope
from projections import ALL, rebuild
from projections.catalogue import builds
from projections.runner import advance, ensure_live
from projections.search import SEARCH
from projections.vectors import store, text_hash
from providers.embedding.local import MODEL
from runtime.composition import cells_of

GOAL = 0.4
OF_MEMORIES = {name: projection for name, projection in ALL.items() if projection.aggregate == "memory"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    total_floor = total_ours = 0.0
    with stand() as made, closing(cells_of(made.settings)) as cells:
        made.end("api")
        cell = cells.of("bench")
        fill(cell, options.events)
        with psycopg.connect(cell.conninfo, autocommit=True) as conn:
            for name, projection in OF_MEMORIES.items():
                ensure_live(conn, projection, MODEL if projection is SEARCH else None)
                _apply_all(conn, cell, name)
            for name in OF_MEMORIES:
                floors, ours = [], []
                for _ in track(range(options.rounds), name, disable=options.json):
                    floors.append(_floor(conn, name))
                    ours.append(_replay(conn, cell, name))
                floor, our = statistics.median(floors), statistics.median(ours)
                total_floor, total_ours = total_floor + floor, total_ours + our
                results.append(_result(name, options.events, floor, our))
    results.append(_result("all", options.events, total_floor, total_ours))
    for result in results:
        if options.json:
            print(msgspec.json.encode(result).decode())
        else:
            print("  ".join(f"{name} {value}" for name, value in result.items()))


def _result(name: str, events: int, floor: float, ours: float) -> dict[str, Any]:
    return {
        "projection": name,
        "events": events,
        "copy_and_index_events_per_second": round(events / floor),
        "replay_events_per_second": round(events / ours),
        "ratio": round(floor / ours, 3),
        "goal": GOAL,
    }


def _replay(conn: Connection[Any], cell: Cell, name: str) -> float:
    version = rebuild.begin(conn, name, MODEL if name == SEARCH.name else None)
    started = time.perf_counter()
    rebuild.replay(cell, ALL[name], version)
    return time.perf_counter() - started


def _floor(conn: Connection[Any], name: str) -> float:
    """Seconds to COPY the rows of the live build into a fresh table of the same form, and to index it."""
    live = next(build for build in builds(conn, name) if build.state == "live")
    columns = ", ".join(
        column
        for (column,) in conn.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position",
            (live.table,),
        )
    )
    spare = msgspec.structs.replace(live, version=live.version + 1_000)
    with conn.cursor().copy(f"COPY {live.table} ({columns}) TO STDOUT (FORMAT BINARY)") as copy:
        rows = b"".join(bytes(block) for block in copy)
    started = time.perf_counter()
    with conn.transaction():
        ALL[name].create(conn, spare)
        with conn.cursor().copy(f"COPY {spare.table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            for at in range(0, len(rows), 1 << 16):
                copy.write(rows[at : at + (1 << 16)])
    ALL[name].index(conn, spare)
    conn.execute(f"ANALYZE {spare.table}")
    seconds = time.perf_counter() - started
    ALL[name].drop(conn, spare)
    return seconds


def fill(cell: Cell, events: int, owner: str = "bench") -> None:
    """Four memories in five stay as added, the fifth is changed once; every text has a cached vector."""
    context = Context(owner=owner, actor="key", cause="bench", correlation="bench")
    futures, texts, number = [], [], 0
    while number < events:
        id, user = new_id(), f"user-{number % 100}"
        text = f"Fact {number}: the user prefers window seats on long flights and an early breakfast"
        commands: list[Any] = [
            (id, AddMemory(text=text, scope=Scope(owner=owner, user_id=user), metadata={"n": number}))
        ]
        if number % 5 == 0:
            text += ", mostly"
            commands.append((id, UpdateMemory(text=text)))
        texts.append(text)
        number += len(commands)
        futures.append(cell.writer.submit(Work(context=context, commands=commands)))
        if len(futures) % 5_000 == 0:
            futures[-1].result(60)
    for future in futures:
        future.result(60)
    points = np.random.default_rng(7).normal(size=(len(texts), 384)).astype(np.float32)
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        store(
            conn, MODEL, {(owner, text_hash(text)): point for text, point in zip(texts, points, strict=True)}
        )


def _apply_all(conn: Connection[Any], cell: Cell, name: str) -> None:
    while True:
        with conn.transaction():
            build = next(build for build in builds(conn, name) if build.state == "live")
            if not advance(conn, cell, ALL[name], build):
                return


if __name__ == "__main__":
    main()
