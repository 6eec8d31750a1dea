"""mem0's platform: pages by number, of all that belongs to any user, agent, app or run."""

from collections.abc import Iterator

from runtime.commands.sources.site import Site
from runtime.commands.sources.spellings import Page

PAGE = 100
EVERYBODY = {"OR": [{name: "*"} for name in ("user_id", "agent_id", "app_id", "run_id")]}
"""It answers nothing without an id in the filters; `*` is any (docs.mem0.ai, memory filters)."""


def pages(url: str, key: str) -> Iterator[Page]:
    site = Site(url, f"Token {key}")
    number, before = 1, None
    while True:
        answer = site.ask("/v3/memories/", {"page": number, "page_size": PAGE}, body={"filters": EVERYBODY})
        rows = site.rows(answer)
        if rows == before:
            return  # a server that knows no pages
        yield Page(rows, answer.get("count") if isinstance(answer, dict) else None)
        # `next` is an address: whether there is one is all that we take from it.
        if not rows or not isinstance(answer, dict) or not answer.get("next"):
            return
        number, before = number + 1, rows
