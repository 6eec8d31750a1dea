"""For those who watch the process: is it alive, can it serve, what does it count."""

import asyncio
import time
from typing import Any

import anyio.to_thread
import msgspec
from litestar import MediaType, Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from api import metrics
from application.engine import Engine
from domain.eventstore.cells import Cell
from domain.eventstore.formats import Incompatible
from domain.eventstore.reading import head
from projections import ALL
from projections.catalogue import Build, builds

FRESH_SECONDS = 1.0
"""How old a page for Prometheus may be."""


class Health(msgspec.Struct, frozen=True):
    status: str
    reason: str | None = None


@get("/health/live", operation_id="live", summary="The process answers", sync_to_thread=False)
def live() -> Health:
    return Health("ok")


@get(
    "/health/ready",
    operation_id="ready",
    responses={503: ResponseSpec(Health, description="Not yet, or not now")},
    summary="The log and all projections can be read",
)
async def ready(engine: NamedDependency[Engine]) -> Response[Health]:
    cells = engine.cells.all.values()
    try:
        for cell in cells:
            await anyio.to_thread.run_sync(cell.require_readable)
        read = [await anyio.to_thread.run_sync(_read, cell) for cell in cells]
    except Incompatible as error:
        return Response(Health("incompatible", str(error)), status_code=503)
    except Exception:
        return Response(Health("unavailable", "the database cannot be reached"), status_code=503)
    for _, _, made in read:
        if not ALL.keys() <= {build.name for build in made}:
            return Response(Health("starting", "a worker has still to make the projections"), status_code=503)
    return Response(Health("ok"))


class Scraped:
    """The page for Prometheus, made once in a while however many ask: it takes a tenth of a second."""

    def __init__(self) -> None:
        self._page = b""
        self._stale_at = 0.0
        self._at_once = asyncio.Lock()

    async def page(self, engine: Engine) -> bytes:
        async with self._at_once:
            if time.monotonic() >= self._stale_at:
                read = [await anyio.to_thread.run_sync(_read, cell) for cell in engine.cells.all.values()]
                heads = {name: last for name, last, _ in read}
                self._page = metrics.page(heads, {name: made for name, _, made in read})
                self._stale_at = time.monotonic() + FRESH_SECONDS
            return self._page


@get("/metrics", operation_id="metrics", summary="Metrics for Prometheus", media_type=MediaType.TEXT)
async def scrape(request: Request[Any, Any, Any], engine: NamedDependency[Engine]) -> bytes:
    scraped: Scraped = request.app.state.scraped
    return await scraped.page(engine)


ROUTES: list[Any] = [live, ready, scrape]


def _read(cell: Cell) -> tuple[str, int, list[Build]]:
    with cell.pool.connection() as conn:
        return cell.name, head(conn), builds(conn)
