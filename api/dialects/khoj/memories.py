"""The Khoj contract for memories (seed 000).

A memory's number is the position of its first event in the log: unique, rising, and never another's.
"""

import re
from datetime import datetime
from http import HTTPStatus

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.body import Body
from api.dialects.khoj.errors import MISSING, refusals
from api.dialects.khoj.parameters import User
from api.errors import Refusal
from application import memories
from application.asked import Asked
from application.engine import Engine
from application.storable import check_text
from domain.errors import NotFound
from domain.ids import new_id
from domain.memory import AddMemory, DeleteMemory, UpdateMemory
from domain.scope import Scope
from projections.selection import Selection

MAX_ID = 2**63 - 1
"""PostgreSQL's bigint: no number above it is a memory's."""


class RawMemory(Body, frozen=True, kw_only=True):
    raw: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(self.raw)


class KhojMemory(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    raw: str
    created_at: datetime


@get(
    "/api/memories",
    operation_id="khojListMemories",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj"],
    summary="All memories, oldest first",
)
async def listing(
    asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> list[KhojMemory]:
    """Of all users of the key, as Khoj knows no users within one; of one where `user_id` names them."""
    selection = Selection(scope=Scope(owner=asked.caller.owner, user_id=user_id))
    rows = await memories.in_numbers(engine, asked, selection)
    return [KhojMemory(id=number, raw=text, created_at=created) for number, text, created in rows]


@post(
    "/api/memories",
    operation_id="khojAddMemory",
    opt={"scope": "memories:write"},
    responses=refusals(413),
    tags=["Khoj"],
    summary="Add a memory, word for word",
)
async def add(
    data: JSONBody[RawMemory],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> KhojMemory:
    command = AddMemory(text=data.raw, scope=Scope(owner=asked.caller.owner, user_id=user_id))
    (result,) = await engine.execute(asked, [(new_id(), command)])
    added = result.state
    return KhojMemory(id=added.position, raw=added.text, created_at=added.created_at)


@put(
    "/api/memories/{memory_id:str}",
    operation_id="khojUpdateMemory",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409, 413),
    tags=["Khoj"],
    summary="Change a memory's text; its number stays",
)
async def update(
    memory_id: FromPath[str],
    data: JSONBody[RawMemory],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> KhojMemory:
    number = _number(memory_id)
    stream_id = await memories.with_number(engine, asked, number)
    (result,) = await engine.execute(asked, [(stream_id, UpdateMemory(text=data.raw))])
    return KhojMemory(id=number, raw=result.state.text, created_at=result.state.created_at)


@delete(
    "/api/memories/{memory_id:str}",
    operation_id="khojDeleteMemory",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409),
    tags=["Khoj"],
    summary="Delete a memory; its history stays",
)
async def delete_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> None:
    stream_id = await memories.with_number(engine, asked, _number(memory_id))
    await engine.execute(asked, [(stream_id, DeleteMemory())])


ROUTES = [listing, add, update, delete_one]


def _number(text: str) -> int:
    """Raises Refusal with 422 for what is no integer, and NotFound for one that is too large."""
    if not re.fullmatch(r"-?[0-9]+", text):
        fault = {"key": "memory_id", "source": "path", "message": "Expected `integer`, got `string`"}
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "memory_id is not an integer", errors=[fault]
        )
    # Python itself refuses to read thousands of digits.
    number = int(text) if len(text) <= len(str(MAX_ID)) else MAX_ID + 1
    if not 0 < number <= MAX_ID:
        raise NotFound(MISSING)
    return number
