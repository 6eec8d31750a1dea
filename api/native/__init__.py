"""Everlog's own API below /v1: a superset of Memoid's contract (seed 002), whose clients work unchanged.

Memoid's are the memories (adding, listing, memory, history, batch), the graph, projects and usage; reasons,
ingestions, reviews, reverts, the log, and what else their answers tell are Everlog's own.
"""

from api.dialect import SHARED, Dialect
from api.native import (
    adding,
    batch,
    graph,
    history,
    ingestions,
    listing,
    log,
    memory,
    projects,
    proofs,
    reverts,
    reviews,
    usage,
)

PARTS = [
    adding, listing, memory, history, batch, graph, projects, ingestions, usage, reverts, reviews, log,
    proofs,
]  # fmt: skip

DIALECT = Dialect(
    name="memoid",
    prefixes=[SHARED],
    base="HOST",
    routes=[route for part in PARTS for route in part.ROUTES],
)
