"""Everlog's own API below /v1: a superset of Memoid's contract (seed 002), whose clients work unchanged."""

from api.dialect import SHARED, Dialect
from api.native import batch, explain, graph, ingestions, log, memories, projects, reverts, reviews, usage

DIALECT = Dialect(
    name="memoid",
    prefixes=[SHARED],
    base="HOST",
    routes=[
        route
        for room in (memories, batch, graph, projects, ingestions, explain, usage, reverts, reviews, log)
        for route in room.ROUTES
    ],
)
