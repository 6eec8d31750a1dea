"""The history of a memory (Memoid's contract), and why each change was made."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.errors import refusals
from api.ids import id_of
from application import memories
from application.asked import Asked
from application.engine import Engine
from application.explanations import Explanation, explanation
from application.versions import Version, versions
from domain.ids import MEMORY_PREFIX


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    history: list[Version]


@get(
    "/v1/memories/{memory_id:str}/history",
    operation_id="getMemoryHistory",
    opt={"scope": "log:read"},
    responses=refusals(404),
    summary="Every change of a memory, newest first",
)
async def get_history(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> HistoryAnswer:
    return HistoryAnswer(
        history=versions(await memories.events_of(engine, asked, id_of(MEMORY_PREFIX, memory_id)))
    )


@get(
    "/v1/memories/{memory_id:str}/explain",
    operation_id="explainMemory",
    opt={"scope": "log:read"},
    responses=refusals(404),
    summary="Why a memory says what it says",
)
async def explain(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Explanation:
    events = await memories.events_of(engine, asked, id_of(MEMORY_PREFIX, memory_id))
    return await engine.run(asked, explanation, events)


ROUTES = [get_history, explain]
