"""MemoryStack: pages by cursor, oldest first, so that what is added meanwhile shifts nothing."""

from collections.abc import Iterator

from runtime.commands.sources.site import Site
from runtime.commands.sources.spellings import Page

PAGE = 100
"""The most that it gives at once."""


def pages(url: str, key: str) -> Iterator[Page]:
    site = Site(url.rstrip("/").removesuffix("/api/v1"), f"Bearer {key}")
    asked = {"limit": PAGE, "order": "asc", "user_id": "all"}
    cursor = None
    while True:
        answer = site.ask("/api/v1/memories", asked | ({"cursor": cursor} if cursor else {}))
        yield Page(site.rows(answer))
        before, cursor = cursor, answer.get("next_cursor") if isinstance(answer, dict) else None
        if not cursor or cursor == before:
            return
