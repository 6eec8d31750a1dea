"""What the user likes, prefers, dislikes and wants."""

import re

from workers.extraction.reading import AM, I, Made, Reading, is_name, says
from workers.extraction.statement import Statement
from workers.extraction.words import (
    REQUESTS,
    THINGS_OF_THE_MOMENT,
    infinitive,
    stems,
    tidy,
    uncapitalised,
)

# --- preferences --------------------------------------------------------------------------------------


@says(
    rf"{I} prefer (?P<this>.+?)(?: (?:over|to|rather than|instead of|than) (?P<that>.+))?$",
    rf"{I} would (?:much |far )?rather (?:have |eat |drink )?(?P<this>.+?) (?:than|over) (?P<that>.+)$",
    rf"{I} (?:would )?(?:take|choose|pick) (?P<this>.+?) over (?P<that>.+)$",
    rf"{I} like (?P<this>.+?) (?:better|more) than (?P<that>.+)$",
)
def preference(r: Reading) -> Made:
    this, that = r["this"], r["that"]
    if THINGS_OF_THE_MOMENT.match(this):
        return
    over = f" over {that}" if that else ""
    # One prefers one of two: what is weighed, or the head of a phrase ("dark mode"), has one value.
    weighed = stems(f"{this} {that}") if that else stems(this.split()[-1]) if len(this.split()) == 2 else ()
    slot = f"preference of {' '.join(sorted(weighed))}" if weighed else None
    yield Statement(
        text=f"User prefers {this}{over}", predicate="prefers", object=f"{this}{over}", slot=slot,
        type="preference",
    )  # fmt: skip


@says(
    r"^my (?:all[- ]time |absolute |new )?favou?rite (?P<thing>.+?) (?:is|are|has to be|would be) (?P<value>.+)$",
    r"^(?P<value>.+?) (?:is|are) (?:still |now |definitely )?my (?:all[- ]time |absolute |new )?favou?rite (?P<thing>[\w ]+?)(?: (?:ever|of all time))?$",
)
def favourite(r: Reading) -> Made:
    thing, value = r["thing"], re.sub(r"^(?:now|definitely|still|probably)\s+", "", r["value"])
    if value.lower() in ("it", "that", "this", "they"):
        value = tidy(r.clause.previous.split(",")[-1]) if len(r.clause.previous.split()) <= 3 else ""
    if not value or len(thing.split()) > 3 or thing.lower() in ("one", "ones", "part", "answer"):
        return
    if thing.lower() in ("thing", "hobby", "activity", "pastime", "thing to do"):
        yield _liking("loves", value)
        return
    spelled = "favorite" if "favorite" in r.clause.text.lower() else "favourite"
    value = (
        value if re.match(r"[A-Z]{2}|[A-Z]\w+ [A-Z]", value) or is_name(value, r) else uncapitalised(value)
    )
    slot = "favourite " + " ".join(sorted(stems(thing)))
    yield Statement(
        text=f"User's {spelled} {thing} is {value}", predicate="favourite", object=value, slot=slot,
        type="preference",
    )  # fmt: skip


@says(
    r"^(?:(?:after|since|because of) [\w' ]+? )?(?:it|that) is (?:definitely |now |probably |clearly )?(?P<value>[\w' -]+)$"
)
def rather(r: Reading) -> Made:
    """ "Pizza used to be my favourite food, but now it's ramen": the last clause alone says nothing."""
    before = re.search(r"(?:used to be|was) my favou?rite (?P<thing>\w+(?: \w+)?)$", r.clause.previous)
    if before and not r["value"].startswith(("not ", "my ")):
        thing = before.group("thing")
        yield Statement(
            text=f"User's favourite {thing} is {r['value']}", predicate="favourite", object=r["value"],
            slot="favourite " + " ".join(sorted(stems(thing))), type="preference",
        )  # fmt: skip


@says(
    rf"{I} (?:do not|did not|can not|could not) (?P<verb>like|enjoy|stand|bear|love|care for|abide)(?: the (?:taste|smell|sound) of)? (?P<what>.+)$",
    rf"{I} (?:have (?:come|grown) to |have started to )?(?P<verb>hate|dislike|despise|detest|loathe) (?P<what>.+)$",
    rf"{AM} not (?:really )?(?:a (?:big |huge )?fan of|into|fond of|keen on) (?P<what>.+)$",
    rf"{AM} (?:sick|fed up|tired) (?:of|with) (?P<what>.+)$",
)
def dislike(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        verb = (r.groups.get("verb") or "").lower()
        yield _liking("hates" if verb in ("hate", "despise", "detest", "loathe") else "dislikes", r["what"])


@says(
    rf"{I} (?:have (?:always |come to |grown to )?)?(?P<verb>love|loved|adore|like|enjoy|enjoyed|am loving|am enjoying) (?P<what>.+)$",
    rf"{AM} (?P<verb>(?:really |very |totally |super )?(?:into|fond of|keen on|crazy about|obsessed with|passionate about|mad about|addicted to|hooked on)) (?P<what>.+)$",
    rf"{AM} (?P<verb>(?:a |an )?(?:(?:big|huge|massive|avid|real|lifelong|great) )*(?:fan|lover) of) (?P<what>.+)$",
    rf"{AM} an? (?P<verb>(?:big|huge|massive|avid|real|lifelong|great)) (?P<what>\w+) (?:fan|lover|enthusiast)$",
    rf"{I} can not (?P<verb>get enough of|live without) (?P<what>.+)$",
)
def like(r: Reading) -> Made:
    what, verb = r["what"], r.groups["verb"].lower()
    if THINGS_OF_THE_MOMENT.match(what) or re.match(r"(?:the|a|an) \w+ (?:you|i)\b", what):
        return
    # "Reading in bed" is liked as "to read" is; but "I'd like" never gets here: "would" stands before it.
    yield _liking(
        "likes" if verb in ("like", "enjoy", "enjoyed", "am enjoying", "fond of", "keen on") else "loves",
        what,
    )


# --- goals --------------------------------------------------------------------------------------------


@says(
    rf"{I} (?:want|plan|hope|intend|am planning|am hoping|am aiming|aim|dream|am determined|have decided|have been meaning|am going|would (?:really )?(?:love|like))(?:ed)? to (?P<what>.+)$",
    rf"{I} (?:have been|am) (?P<gerund>(?:dreaming|thinking) (?:of|about)) (?P<ing>\w+ing)\b(?P<what>.*)$",
    rf"{I} (?:have )?(?:always )?(?:wanted|dreamed of|dreamt of) (?:to )?(?P<what>.+)$",
    r"^my (?:(?:big|main|biggest|long[- ]term|ultimate|life) )*(?:goal|dream|plan|ambition|aim)(?: (?:this|for the|for this) year)? is to (?P<what>.+)$",
)
def goal(r: Reading) -> Made:
    what = r["what"]
    if r.groups.get("ing"):
        what = f"{infinitive(r.groups['ing'])} {what}".strip()
    first = what.lower()
    if re.match(rf"(?:{REQUESTS})\b(?! (?:a (?:father|mother|parent)|back to (?:school|university)))", first):
        return
    if THINGS_OF_THE_MOMENT.match(what) or (r.when and r.when.day and not r.known):
        return  # what is planned for a certain day is an errand
    yield Statement(text=f"User wants to {what}", predicate="wants", object=what, type="goal", confidence=0.8)


def _liking(verb: str, what: str) -> Statement:
    return Statement(
        text=f"User {verb} {what}", predicate="likes", object=what, negative=verb in ("hates", "dislikes"),
        type="preference",
    )  # fmt: skip
