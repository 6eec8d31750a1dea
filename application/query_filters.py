"""What a question asks, apart from the filters in it that limit which passages are looked at.

`file:"…"` and `-file:"…"` name documents, `+"…"` and `-"…"` a word that a passage must or must not hold,
`dt:"…"`, `dt=`, `dt>=`, `dt>`, `dt<=` and `dt<` when the days are that it mentions.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from fnmatch import fnmatchcase
from functools import reduce
from itertools import islice

import msgspec
from dateparser.date import DateDataParser

from domain.recorded import now
from projections.passages import Mentions

FILTER = re.compile(
    r"""(?<!\S)(?:
      (?P<not>-)?file:"(?P<file>[^"\n]{0,500})"
      |(?P<sign>[+-])"(?P<word>[^\s"\x00]{1,100})"
      |dt(?P<order>[<>]=?|==?|:)"(?P<day>[^"\n]{1,40})"
    )""",
    re.IGNORECASE | re.VERBOSE,
)
MAX_FILTERS = 20
"""Of one question; what more it has is text."""
BLANKS = " \t"
A_DAY = timedelta(days=1)
ALWAYS = date.min, date.max
YEAR_FIRST = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})")
NUMBER = re.compile(r"(?!\d{4}$)\d+")
"""Which dateparser takes for a month or a year."""


class Filtered(msgspec.Struct, frozen=True, kw_only=True):
    """A question in its two parts; by default it asks for nothing and leaves nothing out."""

    text: str = ""
    """What is asked, word for word but for the filters and the blanks around them."""
    files: tuple[str, ...] = ()
    """Patterns, one of which a document must fit, if there are any."""
    not_files: tuple[str, ...] = ()
    """Patterns, none of which it may fit."""
    mentions: Mentions = Mentions()


def filtered(text: str, today: date | None = None) -> Filtered:
    """A question apart from its filters. What looks like one, but names no day that there is, is text.

    `today`, by default of UTC, is what `dt>="last week"` counts from.
    """
    today = today or now().date()
    like_filters = islice(FILTER.finditer(text), MAX_FILTERS)
    spans = [(match, span) for match in like_filters if (span := _span(match, today))]
    matches = [match for match, _ in spans]
    return Filtered(
        text=_without(text, matches),
        files=tuple(match["file"] for match in matches if match["file"] is not None and not match["not"]),
        not_files=tuple(match["file"] for match in matches if match["not"]),
        mentions=Mentions(
            words=tuple(match["word"] for match in matches if match["sign"] == "+"),
            not_words=tuple(match["word"] for match in matches if match["sign"] == "-"),
            since=max((first for _, (first, _) in spans), default=date.min),
            until=min((last for _, (_, last) in spans), default=date.max),
        ),
    )


def without_filters(text: str) -> str:
    """What is asked, without the filters."""
    return filtered(text).text


def chosen(documents: Sequence[str], files: Iterable[str], question: str) -> list[str]:
    """The documents that neither the conversation's `files`, if any, nor the question's filters leave out."""
    asked = filtered(question)
    of_conversation = set(files) or set(documents)
    return [
        document
        for document in documents
        if document in of_conversation
        and (not asked.files or any(_names(name, document) for name in asked.files))
        and not any(_names(name, document) for name in asked.not_files)
    ]


def _names(pattern: str, document: str) -> bool:
    """Whether `pattern`, in which `*` stands for anything, is the document's path or the last part of it."""
    glob = pattern.replace("[", "[[]").replace("?", "[?]")
    return fnmatchcase(document, glob) or fnmatchcase(document.rpartition("/")[2], glob)


def _without(text: str, matches: Iterable[re.Match[str]]) -> str:
    """The text with one blank where a filter was."""
    starts, ends = [0], []
    for match in matches:
        ends.append(match.start())
        starts.append(match.end())
    pieces = [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
    return reduce(lambda left, right: f"{left.rstrip(BLANKS)} {right.lstrip(BLANKS)}", pieces).strip()


def _span(match: re.Match[str], today: date) -> tuple[date, date] | None:
    """The first and the last day that a filter lets pass; None: it names no day that there is."""
    if match["day"] is None:
        return ALWAYS
    try:
        first, last = _days(match["day"].strip(), today)
        since = first if match["order"] != ">" else last + A_DAY
        until = last if match["order"] != "<" else first - A_DAY
    except (ValueError, OverflowError):
        return None
    return date.min if "<" in match["order"] else since, date.max if ">" in match["order"] else until


def _days(said: str, today: date) -> tuple[date, date]:
    """The first and the last day of what is said: a day, or a week from Monday on, a month or a year.

    Raises ValueError, or OverflowError.
    """
    if written := YEAR_FIRST.fullmatch(said):  # dateparser makes 13 January of 2024-13-01
        day = date(*map(int, written.groups()))
        return day, day
    day, period = _parsed(said, today)
    match period:
        case "week":
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=6)
        case "month":
            return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
        case "year":
            return day.replace(month=1, day=1), day.replace(month=12, day=31)
    return day, day


def _parsed(said: str, today: date) -> tuple[date, str]:
    """A day of what is said, and how exact that is: `day`, `week`, `month` or `year`. Raises ValueError."""
    settings = {
        "RELATIVE_BASE": datetime.combine(today, time(12)),
        "PREFER_DATES_FROM": "past",
        "DATE_ORDER": "DMY",
    }
    found = DateDataParser(languages=["en"], settings=settings).get_date_data(said)
    if found.date_obj is None or NUMBER.fullmatch(said):
        raise ValueError("names no day")
    return found.date_obj.date(), found.period
