"""Explaining a memory."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.errors import refusals
from api.ids import id_of
from application import memories
from application.asked import Asked
from application.engine import Engine
from application.explanations import Explanation, explanation
from domain.ids import MEMORY_PREFIX


@get(
    "/v1/memories/{memory_id:str}/explain",
    operation_id="explainMemory",
    opt={"scope": "read"},
    responses=refusals(404),
    summary="Why a memory says what it says",
)
async def explain(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Explanation:
    events = await memories.events_of(engine, asked, id_of(MEMORY_PREFIX, memory_id))
    return await engine.run(asked, explanation, events)


ROUTES = [explain]
