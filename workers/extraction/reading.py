"""Reading a clause: the patterns it may fit, in order, and the statements that they make of it."""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime

import msgspec

from workers.extraction import dates
from workers.extraction.clauses import Clause
from workers.extraction.statement import Statement
from workers.extraction.words import HAPPENED, tidy

Made = Iterator[Statement]
Make = Callable[["Reading"], Made]


class Reading(msgspec.Struct):
    """A clause that fits a pattern, with what is needed to say it in the third person."""

    groups: dict[str, str]
    clause: Clause
    when: dates.When | None
    known: bool = False
    """A memory is being read, not a message: dates are part of its text."""

    def __getitem__(self, name: str) -> str:
        return tidy(self.groups.get(name) or "")


PATTERNS: list[tuple[re.Pattern[str], Make]] = []


def says(*patterns: str) -> Callable[[Make], Make]:
    """The clause patterns that a function turns into statements. Earlier ones win."""

    def remember(make: Make) -> Make:
        PATTERNS.extend((re.compile(pattern, re.IGNORECASE), make) for pattern in patterns)
        return make

    return remember


I = r"^(?:i|we)"  # noqa: E741 - it is the word
AM = rf"{I} (?:am|are|have become|became)"
NAME = r"(?-i:[A-Z][\w'-]+(?: [A-Z][\w'-]+){0,2})"


OF_ONESELF = re.compile(
    r"\b(?:i|we|my|it is|that is)\b|^(?:this|he|she|his|her|its|their|call|you can call|forget|delete|erase"
    r"|remove|drop|disregard|working from)\b|^(?:the|our)\b.{1,60}\b(?:off|cancell?ed)$",
    re.IGNORECASE,
)
"""What every clause has that any pattern fits: most clauses have none of it and are passed over at once."""
GOES_ON = re.compile(r"(?:i|we) have\b", re.IGNORECASE)
"""After "I have two kids", names alone say something."""


def read(clause: Clause, at: datetime, known: bool = False) -> list[Statement]:
    """What a clause, said at `at`, says; `known`: it is a memory, whose dates belong to its text."""
    if not (OF_ONESELF.search(clause.text) or GOES_ON.match(clause.previous)):
        return []
    when = None if known else dates.find(clause.text, at, past=_past(clause.text))
    forms = [clause]
    if when:
        without = re.sub(r"\s+", " ", dates.NAMED.sub(" ", clause.text)).strip(" ,")
        forms = [Clause(without, clause.previous), clause]
    for form in forms:
        for pattern, make in PATTERNS:
            if found := pattern.match(form.text):
                made = list(make(Reading(dict(found.groupdict(default="")), form, when, known)))
                if made:
                    return made
    return []


def plainly(text: str, r: "Reading") -> list[Statement]:
    """What a part of a clause says, as if it stood alone and at no time."""
    return read(Clause(text, r.clause.previous), datetime(2000, 1, 1), known=True)


def day_of(r: "Reading") -> date | None:
    return r.when.day if r.when else None


def is_name(value: str, r: "Reading") -> bool:
    return bool(re.match(r"(?:the )?[A-Z]", value)) and not r.clause.text.startswith(value)


def _past(text: str) -> bool:
    return bool(re.search(rf"\b(?:{HAPPENED}|was|were|turned|got|moved|did)\b", text, re.IGNORECASE))
