"""Dates in what people say: "last Friday" and the moment it was said make a day."""

import re
from datetime import date, datetime, timedelta

import dateparser
import msgspec

UNITS = r"(?:day|week|month|year)s?"
COUNTS = (
    r"(?:\d{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|a\ couple\ of|a\ few)"
)
WEEKDAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
MONTHS = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
NAMED = re.compile(
    rf"""\b(?:
      (?P<day>yesterday|today|tonight|tomorrow|the\ day\ (?:before\ yesterday|after\ tomorrow)
        |(?:(?:last|next|this|this\ coming|this\ past|on)\ )?{WEEKDAYS}
         (?:\ (?:morning|afternoon|evening|night))?
        |{COUNTS}\ (?:days?|weeks?)\ ago|in\ {COUNTS}\ (?:days?|weeks?)
        |(?:on\ )?\d{{4}}-\d\d-\d\d
        |(?:on\ )?(?:the\ )?\d{{1,2}}(?:st|nd|rd|th)?(?:\ of)?\ {MONTHS}(?:,?\ \d{{4}})?
        |(?:on\ )?{MONTHS}\ \d{{1,2}}(?:st|nd|rd|th)?(?:,?\ \d{{4}})?)
      |(?P<week>(?:last|next|this|this\ past|this\ coming)\ (?:week|weekend))
      |(?P<month>(?:last|next|this)\ month|{COUNTS}\ months?\ ago|in\ {COUNTS}\ months?
        |in\ {MONTHS}(?:\ \d{{4}})?|(?:last|next)\ {MONTHS})
      |(?P<year>(?:last|next|this)\ year|{COUNTS}\ years?\ ago|in\ {COUNTS}\ years?|in\ (?:19|20)\d\d)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
PAST = re.compile(r"\b(?:ago|last|yesterday|past)\b", re.IGNORECASE)
WORDS = re.compile(r"^(?:on|in|this(?: coming| past)?|next|last)\s+(?=\w)", re.IGNORECASE)


class When(msgspec.Struct, frozen=True):
    """A time that a text names, as exactly as it names it."""

    said: str
    """The words that say so."""
    phrase: str
    """`on 2026-11-13`, `in the week of 2026-11-09`, `in October 2026` or `in 2025`."""
    day: date | None
    """Set where the text names a day."""


def find(text: str, at: datetime, past: bool) -> When | None:
    """The first time that `text`, said at `at`, names. `past` tells which Friday a bare "Friday" is."""
    found = NAMED.search(text)
    if found is None:
        return None
    said = found.group()
    day = _day(said, at, past)
    if day is None:
        return None
    match found.lastgroup:
        case "day":
            return When(said, f"on {day.isoformat()}", day)
        case "week":
            return When(said, f"in the week of {day - timedelta(days=day.weekday())}", None)
        case "month":
            return When(said, f"in {day:%B %Y}", None)
    return When(said, f"in {day.year}", None)


def _day(said: str, at: datetime, past: bool) -> date | None:
    words = said.lower().replace("a couple of", "two").replace("a few", "three")
    words = words.replace("weekend", "saturday")
    settings = {
        "RELATIVE_BASE": at.replace(tzinfo=None),
        "PREFER_DATES_FROM": "past" if past or PAST.search(said) else "future",
    }
    for phrase in (words, WORDS.sub("", words)):
        try:
            parsed: datetime | None = dateparser.parse(phrase, languages=["en"], settings=settings)
        except (ValueError, OverflowError):  # a day that no calendar has
            return None
        if parsed:
            return parsed.date()
    return None
