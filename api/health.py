"""For those who watch the process: is it alive, can it serve, what does it count."""

from typing import Any

import anyio.to_thread
import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from api import metrics
from application.engine import Engine
from application.status import status_of
from domain.eventstore.cells import Cell
from domain.eventstore.formats import Incompatible
from domain.eventstore.reading import head
from projections import ALL
from projections.catalogue import Build, builds


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
        statuses = [await anyio.to_thread.run_sync(status_of, cell) for cell in cells]
    except Incompatible as error:
        return Response(Health("incompatible", str(error)), status_code=503)
    except Exception:
        return Response(Health("unavailable", "the database cannot be reached"), status_code=503)
    for status in statuses:
        if not ALL.keys() <= {p.name for p in status.projections}:
            return Response(Health("starting", "a worker has still to make the projections"), status_code=503)
    return Response(Health("ok"))


@get("/metrics", operation_id="metrics", summary="Metrics for Prometheus", media_type=MediaType.TEXT)
async def scrape(engine: NamedDependency[Engine]) -> bytes:
    read = [await anyio.to_thread.run_sync(_read, cell) for cell in engine.cells.all.values()]
    return metrics.page({name: last for name, last, _ in read}, {name: made for name, _, made in read})


ROUTES: list[Any] = [live, ready, scrape]


def _read(cell: Cell) -> tuple[str, int, list[Build]]:
    with cell.pool.connection() as conn:
        return cell.name, head(conn), builds(conn)
