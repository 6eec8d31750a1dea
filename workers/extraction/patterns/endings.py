"""What is no longer so, or is to be forgotten."""

import re

import msgspec

from workers.extraction.reading import AM, NAME, I, Made, Reading, plainly, says
from workers.extraction.statement import Statement
from workers.extraction.words import DIETS, STATES, THINGS_OF_THE_MOMENT, infinitive, stems

# --- what is no longer so -------------------------------------------------------------------------------


@says(
    rf"{I} (?:do not|did not|am not|have not|can not|no longer|never) (?P<what>.+?)(?P<no> any ?more| any longer)\b.*$",
    rf"{I} (?:am |have )?no longer (?P<what>.+)$",
    rf"{I} (?:am|are) no longer (?P<be>.+)$",
)
def no_longer(r: Reading) -> Made:
    clause = f"I am {r.groups['be']}" if r.groups.get("be") else f"I {r.groups['what']}"
    if " no longer" in clause:
        clause = clause.replace(" no longer", "")
    if re.match(r"i (?:am|are|is) no longer", r.clause.text, re.IGNORECASE) or re.match(
        r"(?:i|we) (?:am|are) not", r.clause.text, re.IGNORECASE
    ):
        clause = f"I am {clause.removeprefix('I am ').removeprefix('I ')}"
    yield from _retracted(clause, r)


@says(rf"{I} (?:have )?(?:stopped|quit|gave up|given up) (?P<ing>\w+ing)\b(?P<what>.*)$")
def stopped(r: Reading) -> Made:
    yield from _retracted(f"I {infinitive(r.groups['ing'])}{r.groups['what']}", r)


@says(
    rf"{I} (?:have )?(?:just )?(?:left|quit|resigned from|got fired from|was fired from|got laid off from|was laid off from) (?P<job>my job(?: at (?P<place>.+))?|{NAME})$",
    rf"{I} (?:have |was |got |been )*(?P<job>fired|laid off|let go|made redundant|unemployed|lost my job|between jobs)$",
)
def left_job(r: Reading) -> Made:
    place = r["place"] or ("" if re.match(r"(?:my|their) job|[a-z]", r["job"]) else r["job"])
    yield Statement(
        text=f"User works at {place}".removesuffix(" at "), predicate="works", object=place, slot="employer",
        retracts=True,
    )  # fmt: skip


@says(
    rf"{I} (?:have )?(?:given up on|gave up on|gave up|given up|quit|sold|got rid of|gave away|broke up with|dropped|cancelled|canceled|ended) (?:the |my |our |a |an )?(?P<what>[\w' -]+)$"
)
def gave_up(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        yield Statement(text=f"User {r['what']}", predicate="", object=r["what"], retracts=True)


@says(
    rf"{AM} not (?:actually )?(?P<what>allergic to .+|(?:an? )?(?:{DIETS})|{STATES})$",
    r"^(?P<trip>(?:the|my|our) .+?)(?: is| are)? (?:off|cancelled|canceled|called off)$",
)
def not_so(r: Reading) -> Made:
    if r.groups.get("trip"):
        what = re.sub(r"^(?:the|their) ", "", r["trip"])
        yield Statement(text=f"User {what}", predicate="", object=what, retracts=True)
    for statement in plainly(f"I am {r.groups['what']}", r) if r.groups.get("what") else []:
        yield msgspec.structs.replace(statement, retracts=True)


@says(
    r"^(?:forget|delete|erase|remove|drop|disregard)(?: (?:the fact|what i (?:said|told you)))?(?: about)?(?: that)? (?P<what>(?:i|we|my) .+)$",
    r"^(?:forget|delete|erase|remove)(?: everything)?(?: you know)? about (?P<what>my .+|me .+)$",
    r"^it is (?:not true|wrong|no longer true)(?: any ?more)? that (?P<what>(?:i|we|my) .+)$",
)
def forget(r: Reading) -> Made:
    what = r.groups["what"].strip(" .!")
    statements = [s for s in plainly(what, r) if not s.retracts]
    if statements:
        for statement in statements:
            yield msgspec.structs.replace(statement, retracts=True)
    elif topic := re.match(r"my (?:old )?([\w' -]{2,60})$", what, re.IGNORECASE):
        yield Statement(text=f"User's {topic.group(1)}", predicate="", object=topic.group(1), retracts=True)
    elif stems(what):
        yield Statement(
            text=what, predicate="", object=re.sub(r"^(?:i|we|my)\s", "", what, flags=re.I), retracts=True
        )


def _retracted(clause: str, r: Reading) -> Made:
    clause = re.sub(r"\b(I) (?:am|are) (?=work\b|live\b)", r"\1 ", clause)
    if made := re.match(r"I (?:am )?(?:work|working|employed)(?: (?:there|here))?$", clause, re.IGNORECASE):
        yield Statement(text="User works", predicate="works", object="", slot="employer", retracts=bool(made))
        return
    if re.match(r"I (?:live|living|am living) (?:there|here)$", clause, re.IGNORECASE):
        yield Statement(text="User lives", predicate="lives", object="", slot="home", retracts=True)
        return
    for statement in plainly(clause, r):
        yield msgspec.structs.replace(statement, retracts=True)
