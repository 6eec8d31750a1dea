"""Memoid, and Everlog itself: pages by offset."""

from collections.abc import Iterator

from runtime.commands.sources.site import Site
from runtime.commands.sources.spellings import Page

PAGE = 100


def pages(url: str, key: str) -> Iterator[Page]:
    site = Site(url.rstrip("/").removesuffix("/v1"), f"Bearer {key}")
    offset, before = 0, None
    while True:
        answer = site.ask("/v1/memories", {"limit": PAGE, "offset": offset})
        rows = site.rows(answer)
        total = answer.get("total") if isinstance(answer, dict) else None
        if not rows or rows == before:
            return  # the end, or a server that knows no offset
        yield Page(rows, total)
        offset, before = offset + len(rows), rows
        if total is not None and offset >= total:
            return
