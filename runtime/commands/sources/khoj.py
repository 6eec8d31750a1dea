"""Khoj: all memories of the key's account at once; it knows no pages and names no user."""

from collections.abc import Iterator

from runtime.commands.sources.site import Site
from runtime.commands.sources.spellings import Page


def pages(url: str, key: str) -> Iterator[Page]:
    site = Site(url, f"Bearer {key}")
    rows = site.rows(site.ask("/api/memories"))
    yield Page(rows, len(rows))
