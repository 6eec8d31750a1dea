"""People, pets and things of the user's."""

import re

from workers.extraction.reading import NAME, I, Made, Reading, says
from workers.extraction.statement import Statement
from workers.extraction.words import (
    ATTRIBUTES,
    COUNTS,
    FAMILY,
    HOLDINGS,
    OCCUPATIONS,
    PETS,
    THINGS_OF_THE_MOMENT,
    tidy,
)

# --- people and pets ----------------------------------------------------------------------------------


@says(
    rf"^my (?P<pet>{PETS})(?: is)? (?:is )?(?:called|named|name is) (?P<name>{NAME})$",
    rf"^my (?P<pet>{PETS})'s name is (?P<name>{NAME})$",
    rf"^my (?P<pet>{PETS}),? (?P<name>{NAME})\b.*$",
    rf"^.* my (?P<pet>{PETS}) (?P<name>{NAME}) (?:keeps|is|has|loves|just|was|always)\b.*$",
    rf"{I} (?:have|have got|got|adopted|own) (?:a|an|one) (?:[\w-]+ )?(?P<pet>{PETS}) (?:called|named|whose name is) (?P<name>{NAME})$",
)
def pet(r: Reading) -> Made:
    kind, name = r["pet"].lower(), r["name"]
    # "My dog" speaks of the one dog there is, "a dog" of perhaps one more.
    the_one = r.known or re.search(rf"\bmy {kind}\b", r.clause.text, re.IGNORECASE)
    yield Statement(
        text=f"User has a {kind} called {name}",
        predicate="has",
        object=f"{kind} {name}",
        slot=f"name of {kind}" if the_one else None,
        type="relationship",
        confidence=0.95,
    )


@says(
    rf"^(?:his|her|its|their) name is (?P<name>{NAME})\b.*$",
    rf"^(?:he|she|it) is (?:called|named) (?P<name>{NAME})\b.*$",
)
def name_of_the_one_before(r: Reading) -> Made:
    if before := re.search(rf"\b(?:an?|my) (?:[\w-]+ )?(?P<pet>{PETS})\b", r.clause.previous, re.IGNORECASE):
        r.groups["pet"] = before.group("pet")
        yield from pet(r)
    elif before := re.search(rf"\bmy (?P<who>{FAMILY})\b", r.clause.previous, re.IGNORECASE):
        yield _called(before.group("who"), r["name"])


@says(
    rf"^my (?P<who>{FAMILY}) (?P<name>(?-i:[A-Z])[\w'-]+)(?: (?P<rest>(?:is|lives|works|studies|has|loves|hates|plays|likes|was born)\b.+))?$",
    rf"^my (?P<who>{FAMILY})(?: is (?:called|named)|'s name is| name is) (?P<name>{NAME})$",
)
def named_relative(r: Reading) -> Made:
    yield _called(r["who"], r["name"])
    if r["rest"]:
        yield from _of_relative(r["who"], r.groups["rest"], r)


@says(
    rf"^my (?P<who>{FAMILY}) (?P<rest>(?:is|lives|works|studies|has moved to|has|loves|hates|plays|likes|moved|teaches|runs)\b.+)$"
)
def relative(r: Reading) -> Made:
    yield from _of_relative(r["who"], r.groups["rest"], r)


@says(r"^(?:he|she) (?P<rest>(?:lives|works|studies|is an?|moved)\b.+)$")
def the_one_before(r: Reading) -> Made:
    if before := re.search(rf"\bmy (?P<who>{FAMILY})\b", r.clause.previous, re.IGNORECASE):
        yield from _of_relative(before.group("who").lower(), r.groups["rest"], r)


@says(
    rf"{I} (?:have|have got|got|own|am having|bought|adopted) (?P<count>{COUNTS}) (?P<rest>(?:[\w-]+ ){{0,2}}(?:{HOLDINGS})s?)(?:,? (?:called|named) (?P<names>.+))?$",
    rf"{I} (?:have|have got|suffer from) (?P<rest>(?:type [12] )?(?:diabetes|asthma|adhd|dyslexia|arthritis|epilepsy|migraines?))$",
)
def possession(r: Reading) -> Made:
    verb = re.match(rf"{I} (\w+)", r.clause.text, re.IGNORECASE)
    if verb and verb.group(1).lower() in ("bought", "adopted", "got") and r.when and not r.known:
        return  # an experience with a date, told below
    count, rest = r.groups.get("count") or "", re.sub(r"\bkids\b", "children", r["rest"])
    names = f" called {r['names']}" if r["names"] else ""
    what = f"{count.lower()} {rest}".strip()
    kin = re.search(r"child|son|daughter|sister|brother|sibling|twin", rest)
    yield Statement(
        text=f"User has {what}{names}", predicate="has", object=f"{rest} {r['names']}".strip(),
        type="relationship" if kin or re.search(PETS, rest) else "fact",
    )  # fmt: skip


@says(rf"^(?P<names>{NAME}(?:(?:, {NAME})* and {NAME})?)$")
def names_of_those_before(r: Reading) -> Made:
    before = re.match(
        rf"{I} have(?: got)? (?P<count>{COUNTS}) (?P<who>kids|children|sons|daughters|cats|dogs|brothers|sisters)$",
        r.clause.previous,
        re.IGNORECASE,
    )
    if before:
        who = "children" if before.group("who").lower() == "kids" else before.group("who").lower()
        names = re.sub(r"[.!]", "", r.groups["names"])
        yield Statement(
            text=f"User has {before.group('count').lower()} {who} called {names}", predicate="has",
            object=f"{who} {names}", type="relationship",
        )  # fmt: skip


@says(rf"^my (?P<what>{ATTRIBUTES}) is (?:now |actually )?(?P<value>.+)$")
def attribute(r: Reading) -> Made:
    what, value = r["what"].lower(), r["value"]
    if not THINGS_OF_THE_MOMENT.match(value):
        yield Statement(text=f"User's {what} is {value}", predicate="attribute", object=value, slot=what)


LIVING = re.compile(r"(?:lives?|is living|is based|(?:has )?moved)(?: in| to)? (?P<place>.+)$", re.IGNORECASE)
FANCYING = re.compile(
    r"is (?:really |totally )?(?:mad|crazy|nuts|obsessed|passionate) (?:about|with) (?P<what>.+)$",
    re.IGNORECASE,
)
BEING = re.compile(
    r"(?P<verb>is|works|studies|loves|hates|likes|plays|has|teaches|runs) (?P<what>.+)$", re.IGNORECASE
)
PASSING = re.compile(
    r"(?:here|coming|visiting|sick|ill|tired|asking|going|not|so|really|very|being|getting|driving|making|late|right"
    r"|wrong|mad|angry|upset|asleep|away|fine|great|good|ok|left|gone|been|done|said|told|made|finished)\b",
    re.IGNORECASE,
)
"""What a relative is or has done just now."""


def _of_relative(who: str, rest: str, r: Reading) -> Made:
    who, rest = who.lower(), rest.strip()
    if found := LIVING.match(rest):
        yield from _home_of(who, tidy(found.group("place")), r)
    elif found := FANCYING.match(rest):
        yield _relative_does(who, "loves", tidy(found.group("what")))
    elif found := BEING.match(rest):
        verb, what = found.group("verb").lower(), tidy(found.group("what"))
        if what and not PASSING.match(what) and not THINGS_OF_THE_MOMENT.match(what):
            yield _relative_does(who, verb, what)


def _home_of(who: str, place: str, r: Reading) -> Made:
    if place.lower() == "there":
        named = re.findall(r"\b[A-Z][\w'-]+", re.sub(r"^\w+", "", r.clause.previous))
        place = named[0] if named else ""
    if place and place.lower() != "here":
        yield Statement(
            text=f"User's {who} lives in {place}", predicate=f"{who} lives", object=place,
            slot=f"home of {who}", type="relationship",
        )  # fmt: skip


def _relative_does(who: str, verb: str, what: str) -> Statement:
    slot = None
    if verb == "is" and re.fullmatch(r"\d{1,3}(?: years? old)?", what):
        what, slot = f"{what.split(maxsplit=1)[0]} years old", f"age of {who}"
    elif verb in ("works", "is") and re.match(rf"(?:as |an? )?(?:{OCCUPATIONS})", what, re.IGNORECASE):
        slot = f"occupation of {who}"
    return Statement(
        text=f"User's {who} {verb} {what}",
        predicate=f"{who} {verb}",
        object=what,
        slot=slot,
        type="relationship",
    )


def _called(who: str, name: str) -> Statement:
    who = who.lower()
    single = not re.fullmatch(
        r"friend|cousin|aunt|uncle|colleague|neighbou?r|kids?|child(?:ren)?|niece|nephew", who
    )
    return Statement(
        text=f"User's {who} is called {name}", predicate=f"{who} is called", object=name,
        slot=f"name of {who}" if single and who not in ("sister", "brother", "son", "daughter") else None,
        type="relationship",
    )  # fmt: skip
