"""What happened, what is planned, habits and skills."""

import re

from workers.extraction.reading import NAME, I, Made, Reading, day_of, is_name, says
from workers.extraction.statement import Statement
from workers.extraction.words import (
    HAPPENED,
    THINGS_OF_THE_MOMENT,
    inflected,
    tidy,
)

# --- what happened, what is planned ---------------------------------------------------------------------


@says(
    r"^my (?P<what>(?:[\w'-]+ ){0,3}[\w'-]+?) is (?P<phrase>(?:on|in) (?:\d{4}-\d\d-\d\d|the week of .+|[A-Z]\w+ \d{4}|\d{4}))$",
    r"^my (?P<what>(?:[\w'-]+ ){0,3}[\w'-]+?)(?:'s| is| are)(?: coming up| due| scheduled for| set for)?$",
    rf"{I} (?:have|have got) an? (?P<what>(?:[\w-]+ ){{0,2}}(?:interview|exam|test|wedding|appointment|flight|operation|surgery|deadline|race|concert|recital|viva|hearing|trip|holiday|presentation|marathon|conference))(?: coming up| scheduled| booked)?$",
)
def event(r: Reading) -> Made:
    phrase = r.when.phrase if r.when else r["phrase"] if r.known else ""
    if phrase and not r["what"].lower().startswith(("name", "favourite", "favorite")):
        what = re.sub(r"'s$", "", r["what"])
        yield Statement(
            text=f"User's {what} is {phrase}", predicate="event", object=f"{what} {phrase}",
            slot=f"date of {what.lower()}", type="experience", happened_on=day_of(r),
        )  # fmt: skip


@says(rf"{I} (?:have )?(?P<verb>{HAPPENED})(?P<what> .+)?$")
def happening(r: Reading) -> Made:
    verb, what = r.groups["verb"].lower(), r["what"]
    lasting = re.match(r"visited|graduated|adopted|climbed|published|launched|won", verb)
    named = is_name(re.sub(r"^(?:to|from) ", "", what), r)
    if THINGS_OF_THE_MOMENT.match(what) or not (
        r.when or r.known or (lasting and (named or verb == "graduated"))
    ):
        return
    if verb in ("had", "saw", "met", "lost", "started", "went to", "finished") and not (
        named or re.search(r"\b(?:baby|surgery|operation|job|school|university|degree|phd|book)\b", what)
    ):
        return
    if verb in ("started",) and re.search(r"\bjob\b", what):
        return
    phrase = f" {r.when.phrase}" if r.when else ""
    yield Statement(
        text=f"User {verb} {what}".strip() + phrase, predicate=verb, object=what, type="experience",
        happened_on=day_of(r),
    )  # fmt: skip


@says(
    r"^(?:when )?(?:i|we) (?:have )?(?P<verb>lived|worked|studied) (?P<where>(?:in|at|for|as) .+?)(?P<span> for (?:\w+ )+?(?:years?|months?|decades?|weeks?))?(?: (?:i|we)\b.*)?$"
)
def formerly(r: Reading) -> Made:
    where = re.split(r" (?:i|we) ", r.groups["where"])[0]
    span = r.groups.get("span") or ""
    verb = r.groups["verb"].lower()
    if is_name(re.sub(r"^(?:in|at|for|as) ", "", where), r):
        when = f" {r.when.phrase}" if r.when else ""
        yield Statement(
            text=f"User {verb} {tidy(where)}{span}{when}", predicate=verb, object=tidy(where),
            type="experience",
        )  # fmt: skip


# --- habits and skills ----------------------------------------------------------------------------------


@says(
    rf"{I} (?:do not|never) (?P<verb>eat|drink|smoke|drive|use|watch|own|speak|play|cook|wear) (?P<what>.+)$",
    rf"{I} (?:do not|never) (?P<verb>smoke|drink|drive|cook)(?P<what>)$",
)
def abstains(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        verb = r.groups["verb"].lower()
        text = f"User does not {verb} {r['what']}".strip()
        yield Statement(text=text, predicate=inflected(verb), object=r["what"] or verb, negative=True)


@says(
    rf"{I} (?:am |have been )?(?P<verb>studying|learning|training for|writing|building|renovating|saving up for|practising|practicing|expecting) (?P<what>.+)$"
)
def undertaking(r: Reading) -> Made:
    what, verb = r["what"], r.groups["verb"].lower()
    if THINGS_OF_THE_MOMENT.match(what) or re.match(
        r"an? (?:email|essay|letter|function|script|regex|report|reply|message|test|query|post)\b", what
    ):
        return
    if verb == "studying":
        yield Statement(text=f"User studies {what}", predicate="studies", object=what)
    else:
        yield Statement(text=f"User is {verb} {what}", predicate=verb, object=what, confidence=0.8)


@says(
    rf"{I} (?:am|are) (?P<verb>flying|travelling|traveling|going|moving|driving|sailing) to (?P<where>{NAME}.*)$"
)
def journey(r: Reading) -> Made:
    if r.when:
        verb = r.groups["verb"].lower()
        yield Statement(
            text=f"User is {verb} to {r['where']} {r.when.phrase}", predicate="journey", object=r["where"],
            type="experience", happened_on=r.when.day,
        )  # fmt: skip


@says(rf"{I} use (?P<what>{NAME}(?: (?:on|for|at) .+)?)$")
def tool(r: Reading) -> Made:
    yield Statement(text=f"User uses {r['what']}", predicate="uses", object=r["what"])


@says(
    rf"{I} (?P<verb>play|speak|study|teach|drive|own|collect|practise|practice|eat|drink|smoke|run|cook|cycle|commute|volunteer|coach|sing|paint|use|watch|read|write|ride|do|grow|bake|brew|swim|surf|ski|knit|dance|code|program|go) (?P<what>.+)$",
    rf"{I} can (?P<verb>speak|play|drive) (?P<what>.+)$",
)
def habit(r: Reading) -> Made:
    what, verb = r["what"], r.groups["verb"].lower()
    loose = verb in ("use", "watch", "read", "write", "do", "go", "run", "cook", "grow")
    regular = re.search(
        r"\b(?:every|each|daily|weekly|mornings?|evenings?|weekends?|on (?:mon|tues|wednes|thurs|fri|satur|sun)days?|twice|once|regularly)\b",
        what,
    )
    if THINGS_OF_THE_MOMENT.match(what) or (r.when and not r.known) or (loose and not (regular or r.known)):
        return
    yield Statement(text=f"User {inflected(verb)} {what}", predicate=inflected(verb), object=what)
