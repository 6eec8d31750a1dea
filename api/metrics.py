"""Counters for Prometheus. Nothing personal: routes, not paths; counts, not owners."""

from functools import cache

from litestar.types import Scope
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from projections.catalogue import Build

REGISTRY = CollectorRegistry()
REQUESTS = Counter("everlog_requests", "Requests answered", ("method", "route", "status"), registry=REGISTRY)
SECONDS = Histogram(
    "everlog_request_seconds", "Time until the answer began", ("method", "route"), registry=REGISTRY
)
REFUSED = Counter(
    "everlog_refused", "Connections and requests refused before any route", ("kind",), registry=REGISTRY
)
OPEN = Gauge("everlog_open_connections", "Connections of this process that are open", registry=REGISTRY)
HEAD = Gauge("everlog_log_head", "Last position of the log", ("cell",), registry=REGISTRY)
POSITION = Gauge(
    "everlog_projection_position",
    "Position that the live build of a projection has reached",
    ("cell", "projection"),
    registry=REGISTRY,
)


def count(scope: Scope, status: int, seconds: float) -> None:
    """Note one answered request under its route template."""
    handler = scope.get("route_handler")
    requests, latency = _series(scope["method"], min(handler.paths) if handler else "none", status)  # type: ignore[typeddict-item]
    requests.inc()
    latency.observe(seconds)


@cache
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, str(status)), SECONDS.labels(method, route)


def page(heads: dict[str, int], builds: dict[str, list[Build]]) -> bytes:
    """All metrics in Prometheus' text format."""
    for cell, head in heads.items():
        HEAD.labels(cell).set(head)
        for build in builds[cell]:
            if build.state == "live":
                POSITION.labels(cell, build.name).set(build.position)
    return generate_latest(REGISTRY)
