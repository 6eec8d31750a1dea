"""English statements about oneself: "I now work at Google" says "User works at Google".

A clause that fits no pattern says nothing: better a fact missed than one made up.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from workers.extraction import patterns  # noqa: F401 - importing them makes them known
from workers.extraction.clauses import Clause, clauses
from workers.extraction.reading import read
from workers.extraction.statement import Statement
from workers.extraction.words import uninflected

WRITTEN = re.compile(
    r"(?:the )?user(?P<rest>(?:'s| (?:is|has|was|does|\w+s))\b[^.!?\n]{1,300})\.?", re.IGNORECASE
)
"""One sentence and nothing else, in the words in which applications write facts themselves."""


def statements(message: str, at: datetime) -> Iterator[Statement]:
    """What a message, sent at `at`, says about its sender."""
    if found := WRITTEN.fullmatch(message.strip()):
        if written := known("User" + found.group("rest")):
            yield written
        return
    for clause in clauses(message):
        yield from read(clause, at)


@lru_cache(maxsize=5_000)
def known(text: str) -> Statement | None:
    """A memory's text as the statement that it makes; None where no pattern fits it."""
    first = re.sub(r"^User's\b", "My", text.strip().rstrip("."))
    first = re.sub(r"^User is\b", "I am", first)
    first = re.sub(r"^User has\b", "I have", first)
    first = re.sub(r"^User does not\b", "I do not", first)
    first = re.sub(r"^User cannot\b", "I can not", first)
    first = re.sub(r"^User (\w+?)(s)\b", lambda m: f"I {uninflected(m.group(1) + m.group(2))}", first)
    first = re.sub(r"^User\b", "I", first)
    first = re.sub(r"\btheir\b", "my", first)
    made = read(Clause(first, ""), datetime(2000, 1, 1), known=True)
    return made[0] if made else None
