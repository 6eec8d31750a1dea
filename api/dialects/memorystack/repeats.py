"""The two-minute rule of MemoryStack, whose client repeats a broken write without saying so.

What changes nothing when it is done twice needs no such rule.
"""

import hashlib
from typing import Any

from litestar import Request
from litestar.di import NamedDependency, Provide

from application import repeats
from application.asked import Asked, Caller
from application.engine import Engine

REPEAT_SECONDS = 120


async def provide_once(
    request: Request[Any, Caller, Any], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Asked:
    """What is asked, with a receipt that a repetition of the request shares."""
    return await _once(request, asked, engine, of_all=False)


async def provide_once_of_all(
    request: Request[Any, Caller, Any], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Asked:
    """The same for a request on all memories, which is another one as soon as any of them has changed."""
    return await _once(request, asked, engine, of_all=True)


ONCE = {"once": Provide(provide_once)}
ONCE_OF_ALL = {"once": Provide(provide_once_of_all)}


async def _once(request: Request[Any, Caller, Any], asked: Asked, engine: Engine, *, of_all: bool) -> Asked:
    if asked.receipt:
        return asked  # its Idempotency-Key says more
    told = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    told.update(await request.body())
    return await repeats.once(engine, asked, told.digest(), REPEAT_SECONDS, of_all=of_all)
