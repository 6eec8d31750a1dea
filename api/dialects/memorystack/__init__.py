"""The MemoryStack contract (seed 003) below /api/v1, as its SDK (memorystack 1.0.4) uses it."""

from api.dialect import Dialect
from api.dialects.memorystack import adding, answers, bulk, maintenance, memories, transfer

DIALECT = Dialect(
    name="memorystack",
    prefixes=["/api/v1/"],
    base="HOST",
    routes=[*adding.ROUTES, *memories.ROUTES, *bulk.ROUTES, *maintenance.ROUTES, *transfer.ROUTES],
    uploads=transfer.UPLOADS,
    errors={"/api/v1/": answers.shaped},
)
