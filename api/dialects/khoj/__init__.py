"""Khoj's contracts: its memories (seed 000) and its chat (seed 004, and what its clients use)."""

from api.dialect import Dialect
from api.dialects.khoj import (
    agents,
    content,
    conversations,
    errors,
    exports,
    files,
    filters,
    history,
    memories,
    options,
    search,
    settings,
    sharing,
    socket,
    speech,
    starters,
    titles,
    tokens,
    turns,
)

DIALECT = Dialect(
    name="khoj",
    # All of /api but MemoryStack's /api/v1/, and of that this one.
    prefixes=["/api/", "/api/v1/user"],
    base="HOST",
    routes=[
        route
        for room in (
            memories,
            conversations,
            exports,
            sharing,
            filters,
            agents,
            settings,
            content,
            files,
            search,
            starters,
            speech,
            titles,
            options,
            tokens,
        )
        for route in room.ROUTES
    ],
    uploads=[*turns.ROUTES, *socket.ROUTES, *content.UPLOADS],
    errors={
        "/api/": errors.shaped,
        "/api/v1/user": errors.shaped,
        "/auth/token": errors.shaped,
        "/api/chat/history": history.shaped,
        "/api/chat/share/history": history.shaped,
    },
)
