"""Where memories are imported from: export files, and the live APIs of other services, one file each."""

from collections.abc import Callable, Iterator

from runtime.commands.sources import khoj, mem0, memoid, memorystack
from runtime.commands.sources.spellings import Page

LIVE: dict[str, Callable[[str, str], Iterator[Page]]] = {
    "mem0": mem0.pages,
    "memoid": memoid.pages,
    "memorystack": memorystack.pages,
    "khoj": khoj.pages,
}
"""Name of a service → what reads all its memories, given its URL and a key."""
NAMES = (*LIVE, "jsonl")
"""All sources; `jsonl` is what `everlog export` writes, and anything of that kind."""
