"""The MemoryStack contract (seed 003) below /api/v1, as its SDK (memorystack 1.0.4) uses it."""

from api.dialects.memorystack import adding, bulk, maintenance, memories, transfer

UPLOADS = transfer.UPLOADS
ROUTES = [
    *adding.ROUTES,
    *memories.ROUTES,
    *bulk.ROUTES,
    *maintenance.ROUTES,
    *transfer.ROUTES,
]
