"""Who the user is: name, age, work, home, origin, diet, state."""

import re

from workers.extraction.reading import AM, NAME, I, Made, Reading, day_of, says
from workers.extraction.statement import Statement
from workers.extraction.words import (
    DIETS,
    OCCUPATIONS,
    OTHER_STATES,
    PEOPLES,
    STATES,
    THINGS_OF_THE_MOMENT,
    tidy,
    with_article,
)

NOT_A_NAME = rf"(?!(?:{PEOPLES}|Sorry|Not|Sure|Glad|Happy|OK|Done|Back|Here|Good|Fine|Just|So)\b)"


@says(
    rf"^my (?:(?:first|full) )?name is (?:actually )?(?P<name>{NAME}|[a-z]+)$",
    rf"^(?:you can )?call me (?P<name>{NAME})\b.*$",
    rf"{I} (?:go|went) by (?P<name>{NAME})$",
    rf"{AM} (?:called |named )?{NOT_A_NAME}(?P<name>{NAME})$",
    rf"^(?:it is|this is) {NOT_A_NAME}(?P<name>{NAME})(?P<greeting> (?:again|here|speaking))?$",
)
def name(r: Reading) -> Made:
    it_is = re.match(r"it is\b", r.clause.text, re.IGNORECASE)
    if it_is and not r.groups.get("greeting") and not re.search(r"\bname\b", r.clause.previous):
        return
    yield Statement(
        text=f"User's name is {r['name']}", predicate="name", object=r["name"], slot="name", confidence=0.95
    )


@says(
    rf"{AM} (?P<age>\d{{1,3}})(?: years? old| yo)?$",
    rf"{I} (?:just )?turned (?P<age>\d{{1,3}})$",
    r"^my age is (?P<age>\d{1,3})$",
)
def age(r: Reading) -> Made:
    yield Statement(text=f"User is {r['age']} years old", predicate="age", object=r["age"], slot="age")


@says(
    rf"{I} (?:work|am working|am employed|have been working|started working|started work|got a job|have got a job|have a job)"
    r" (?P<as>as an? (?P<job>.+?) )?(?P<at>at|for|with|by) (?P<place>.+)$",
    rf"{I} (?:have )?(?:started|got|landed|accepted|took|found) (?:a |my )?(?:new |first )?(?:job|role|position|work) (?P<at>at|with|for) (?P<place>.+)$",
    rf"{I} (?:have )?(?:joined) (?P<place>{NAME})(?: as an? (?P<job>.+))?$",
    r"^my (?:new )?(?:employer|company|workplace) is (?P<place>.+)$",
)
def employer(r: Reading) -> Made:
    place = re.sub(r"^(?:an? )?(?:(?:new|big|small|little) )+(?=[A-Z])", "", r["place"])
    if THINGS_OF_THE_MOMENT.match(place) or re.match(r"(?:the|a) (?:moment|project|paper|bug)\b", place):
        return
    at = r.groups.get("at") or "at"
    at = "for" if at == "for" else "at"
    job = f" as {with_article(r['job'])}" if r["job"] else ""
    text = f"User works{job} {at} {place}"
    yield Statement(text=text, predicate="works", object=f"{r['job']} {place}".strip(), slot="employer")


@says(
    rf"{I} (?:work|am working|do) (?P<what>(?:night|day|early|late|evening|split) shifts?|nights|part[- ]time|full[- ]time|weekends)$"
)
def hours(r: Reading) -> Made:
    yield Statement(
        text=f"User works {r['what']}", predicate="works hours", object=r["what"], slot="working hours"
    )


@says(
    rf"{I} (?:work|am working|prefer working|worked) (?:remotely|from home)$", r"^working from home is\b.*$"
)
def remotely(r: Reading) -> Made:
    yield Statement(text="User works from home", predicate="works from", object="home")


@says(
    rf"{I} (?:work|am working|am employed|got a job|started(?: working)?) as (?:an? )?(?P<job>.+)$",
    rf"{AM} (?:an? )?(?P<job>{OCCUPATIONS})(?P<rest> (?:at|in|for|from|by) .+)?$",
    r"^my (?:job|occupation|profession|job title) is (?:an? )?(?P<job>.+)$",
    rf"{I} (?:have been |was |got )promoted to (?P<job>.+)$",
)
def occupation(r: Reading) -> Made:
    job, rest = r["job"], r["rest"]
    if re.match(r"(?:big|huge|morning|night|bit|little)\b", job):
        return
    yield Statement(
        text=f"User works as {with_article(job)}{' ' + rest if rest else ''}",
        predicate="works as", object=job, slot="occupation",
    )  # fmt: skip


@says(
    rf"{I} (?:live|am living|reside|am based|have settled|stay|am staying permanently)(?: (?P<kind>(?:with .+? )?in an? .+?))? (?P<at>in|at|near) (?P<place>.+)$",
    rf"{I} (?:have |have just |just )?(?:moved|relocated|emigrated)(?: (?:here|over|house|back|out))?(?: from .+?)? to (?P<place>.+)$",
    r"^my (?:home|home town|city|hometown) is (?P<place>.+)$",
    rf"{I} (?:am|are) in (?P<moved>{NAME})$",
)
def home(r: Reading) -> Made:
    if moved := r["moved"]:
        # Where somebody is, is where they live only after a move.
        if not re.search(r"\b(?:moved|relocated|moving)\b", r.clause.previous, re.IGNORECASE):
            return
        r.groups["place"] = moved
    place = re.sub(r"^(?:my|their) (?:new )?(?:flat|house|place|apartment|home) in ", "", r["place"])
    place = re.sub(r"\s+(?:with|from|for|by)\s.+$", "", place)
    if THINGS_OF_THE_MOMENT.match(place) or place.lower() in ("there", "here"):
        return
    at = r.groups.get("at") or "in"
    yield Statement(
        text=f"User lives {at} {place}", predicate="lives", object=place, slot="home", happened_on=day_of(r)
    )


@says(rf"{I} (?:am|come|am originally|originally come) from (?P<place>{NAME}.*)$")
def origin(r: Reading) -> Made:
    yield Statement(text=f"User is from {r['place']}", predicate="from", object=r["place"], slot="origin")


@says(rf"{I} (?P<verb>grew up|was born|was raised) in (?P<place>.+)$")
def childhood(r: Reading) -> Made:
    verb = r.groups["verb"].lower()
    yield Statement(text=f"User {verb} in {r['place']}", predicate=verb, object=r["place"], slot=verb)


@says(
    rf"{AM} (?:an? )?(?:strict |lifelong )?(?P<diet>{DIETS})\b.*$",
    rf"{I} (?:have )?(?:went|gone|turned) (?P<diet>{DIETS})$",
)
def diet(r: Reading) -> Made:
    diet = r["diet"].lower()
    single = diet in ("vegan", "vegetarian", "pescatarian", "flexitarian", "omnivore")
    yield Statement(
        text=f"User is {diet}", predicate="is", object=diet, slot="diet" if single else None, confidence=0.95
    )


@says(rf"{AM} (?:(?:badly|severely|deathly|highly|very) )?allergic(?: to (?P<what>.+))?$")
def allergy(r: Reading) -> Made:
    what = r["what"]
    if not what or THINGS_OF_THE_MOMENT.match(what):
        before = re.sub(r"\s*(?:pls|please)$", "", r.clause.previous)
        found = re.search(r"\b(?:with|without|have|eat|no) ([a-z]+(?: [a-z]+)?)$", before) or re.match(
            r"([a-z]+) (?:is|are) (?:a )?(?:no|out|bad|dangerous)\b", before
        )
        what = tidy(found.group(1)) if found else ""
    if what and not re.match(r"(?:for|to|with|anything|it)\b", what):
        yield Statement(
            text=f"User is allergic to {what}", predicate="allergic", object=what, confidence=0.95
        )


@says(rf"{I} (?:can not|must not|am not allowed to) (?P<verb>eat|have|drink|tolerate) (?P<what>.+)$")
def intolerance(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        verb = "eat" if r["verb"].lower() == "have" else r["verb"].lower()
        yield Statement(text=f"User cannot {verb} {r['what']}", predicate=f"cannot {verb}", object=r["what"])


@says(
    rf"{I} (?:have |just |finally )*(?:got|am|are|was|became) (?:now )?(?:(?:happily|recently|newly) )?(?P<state>{STATES})\b.*$",
    rf"{I} (?P<state>divorced|separated|married)\b.*$",
)
def status(r: Reading) -> Made:
    state = r["state"].lower()
    yield Statement(
        text=f"User is {state}", predicate="is", object=state, slot="relationship status",
        type="relationship", happened_on=day_of(r),
    )  # fmt: skip


@says(rf"{AM} (?P<what>{PEOPLES}|{OTHER_STATES})$")
def quality(r: Reading) -> Made:
    yield Statement(text=f"User is {r['what']}", predicate="is", object=r["what"])


RHYTHMS = "early riser|early bird|night owl|morning person|evening person|night person"
TEMPERAMENTS = "introvert|extrovert|ambivert"


@says(
    rf"{AM} (?:more of )?(?:definitely |more |rather )?(?P<what>an? (?:(?P<rhythm>{RHYTHMS})|(?P<temper>{TEMPERAMENTS})|expat|beginner|twin|native \w+ speaker))$"
)
def sort_of_person(r: Reading) -> Made:
    slot = "daily rhythm" if r["rhythm"] else "temperament" if r["temper"] else None
    yield Statement(text=f"User is {r['what']}", predicate="is", object=r["what"], slot=slot)


@says(rf"{AM} (?:(?:absolutely|really|quite|very) )?(?:afraid|scared|terrified|frightened) of (?P<what>.+)$")
def fear(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        yield Statement(text=f"User is afraid of {r['what']}", predicate="afraid", object=r["what"])
