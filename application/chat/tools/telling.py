"""What tools say: a few lines for the user, and JSON of bounded length for the model."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec

MAX_CHARACTERS = 8_000
"""Characters that one call tells the model: about 2,000 tokens."""
MAX_PHRASE = 1_000
"""Of what is searched for: a question may be as long as a book."""
MAX_LINE = 300
FEW = 3
"""Queries or pages of one call."""
WHOLE = {"file", "url"}
"""What is of no use when it is cut."""

Item = Mapping[str, str]


def as_json(items: Sequence[Item], most: int = MAX_CHARACTERS) -> str:
    """A JSON array of at most `most` characters: the longest texts are cut, if need be the last left out."""
    while items and len(_json(items, 0)) > most:
        items = items[:-1]
    longest = bisect_right(range(most + 1), most, key=lambda length: len(_json(items, length))) - 1
    return _json(items, longest)


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "…"


def few(texts: Iterable[str]) -> list[str]:
    """The first few that differ and say anything."""
    return list(dict.fromkeys(filter(None, map(str.strip, texts))))[:FEW]


def phrases(texts: Iterable[str]) -> list[str]:
    """The first few, as a search takes them."""
    return few(plain(text).strip()[:MAX_PHRASE] for text in texts)


def plain(text: str) -> str:
    """Without NUL, which PostgreSQL keeps in no text and no JSON."""
    return text.replace("\x00", " ")


def listed(lines: Iterable[str]) -> str:
    """A Markdown list; each item stays one line."""
    return "".join(f"\n- {cut(' '.join(plain(line).split()), MAX_LINE)}" for line in lines)


def fenced(text: str, language: str) -> str:
    """A Markdown block that `text` cannot leave."""
    longest = max(map(len, re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{plain(text)}\n{fence}"


def _json(items: Sequence[Item], longest: int) -> str:
    return msgspec.json.encode([_cut(item, longest) for item in items]).decode()


def _cut(item: Item, longest: int) -> Item:
    return {name: text if name in WHOLE else cut(text, longest) for name, text in item.items()}
