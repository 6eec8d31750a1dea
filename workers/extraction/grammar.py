"""English statements about oneself, as patterns: "I now work at Google" says "User works at Google".

A clause that fits no pattern says nothing: better a fact missed than one made up.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import lru_cache
from typing import Literal

import msgspec
import snowballstemmer

from workers.extraction import dates
from workers.extraction.clauses import Clause

Type = Literal["preference", "fact", "experience", "goal", "relationship"]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What one clause says about the user."""

    text: str
    """In the third person: "User works at Google"."""
    predicate: str
    """What is said, without of what: `works`, `likes`, `has`."""
    object: str
    slot: str | None = None
    """What there is only one of: a new value takes the place of the old one."""
    negative: bool = False
    """Dislikes rather than likes, does not rather than does."""
    retracts: bool = False
    """Says that this is no longer so."""
    type: Type = "fact"
    confidence: float = 0.9
    happened_on: date | None = None


# --- words --------------------------------------------------------------------------------------------

FAMILY = (
    "wife|husband|partner|girlfriend|boyfriend|fianc[eé]e?|spouse|mother|mum|mom|father|dad|parents|sister|brother"
    "|son|daughter|child|baby|kids?|children|grandmother|grandma|grandfather|grandpa|aunt|uncle|cousin|niece|nephew"
    "|twins?|(?:best )?friend|flatmate|roommate|boss|manager|neighbour|neighbor|colleague"
)
PETS = "dog|puppy|cat|kitten|parrot|bird|hamster|rabbit|horse|pony|turtle|tortoise|goldfish|snake|lizard|guinea pig"
OCCUPATIONS = (
    r"(?:[\w-]+ ){0,3}(?:[a-z]+(?:ist|ician|ologist|eer|ographer|aker)|teacher|nurse|doctor|developer|lawyer|chef"
    r"|cook|student|writer|designer|accountant|manager|programmer|painter|farmer|driver|officer|director|lecturer"
    r"|professor|researcher|consultant|assistant|analyst|architect|surgeon|vet|pilot|plumber|electrician|builder"
    r"|carpenter|actor|actress|singer|barber|baker|butcher|waiter|waitress|bartender|cashier|clerk|librarian"
    r"|firefighter|soldier|editor|translator|interpreter|photographer|musician|nanny|freelancer|entrepreneur|founder"
    r"|ceo|cto|intern|apprentice|banker|broker|trader|barista|tailor|tutor|trainer|coach|priest|judge|paramedic"
    r"|midwife|carer|cleaner|mechanic|technician|welder|roofer|gardener|hairdresser|producer|composer|dancer|model)"
)
DIETS = "vegan|vegetarian|pescatarian|flexitarian|coeliac|celiac|lactose intolerant|gluten[- ]free|diabetic|omnivore"
STATES = "married|single|divorced|engaged|separated|widowed"
OTHER_STATES = "pregnant|retired|unemployed|self[- ]employed|left[- ]handed|colou?r[- ]?blind|deaf|blind|autistic|dyslexic"
PEOPLES = (
    "American|Argentinian|Australian|Austrian|Belgian|Brazilian|British|Canadian|Chilean|Chinese|Colombian|Croatian|Czech"
    "|Danish|Dutch|Egyptian|English|Finnish|French|German|Greek|Hungarian|Indian|Indonesian|Iranian|Irish|Israeli|Italian"
    "|Jamaican|Japanese|Kenyan|Korean|Lebanese|Mexican|Moroccan|Nigerian|Norwegian|Pakistani|Persian|Polish|Portuguese"
    "|Romanian|Russian|Scottish|Serbian|Spanish|Swedish|Swiss|Syrian|Thai|Turkish|Ukrainian|Vietnamese|Welsh"
    "|Muslim|Christian|Jewish|Hindu|Buddhist|Catholic|Sikh|atheist"
)
HOLDINGS = (
    rf"{PETS}|kids?|children|child|sons?|daughters?|sisters?|brothers?|siblings?|twins|car|motorbike|motorcycle|bike"
    r"|boat|house|flat|apartment|garden|farm|allergy|degree|phd|master's|mba|diabetes|asthma|adhd|dyslexia|arthritis"
    r"|migraines?|epilepsy|business|company|shop|blog|podcast|youtube channel|piano|guitar|violin|tattoos?"
)
ATTRIBUTES = (
    r"name|(?:first|last|middle|full) name|nickname|age|address|home address|birthday|date of birth|email|email address"
    r"|e-mail|phone|phone number|mobile|job|job title|occupation|profession|hobby|timezone|time zone|native language"
    r"|mother tongue|first language|nationality|diet|budget|height|weight|shoe size|blood type|pronouns|star sign|goal"
    r"|dream|biggest fear|hometown|car|major|religion"
)
COUNTS = r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|\d{1,2}|some|twin|identical twin)"
REQUESTS = (
    "know|see|ask|hear|thank|understand|make sure|get|say|tell|check|find|use|add|talk|start|go|do|try|change|show|share"
    "|discuss|give|order|confirm|clarify|be|have|take|look|think|order|print|convert|create|write|generate|format|fix|you"
)
"""What somebody wants of the assistant, or wants only now."""
THINGS_OF_THE_MOMENT = re.compile(
    r"^(?:it|this|that|these|those|them|you|him|her|us|the (?:idea|way|sound|first|second|last|new|one|other)|how|what"
    r"|your|when|where|if|one|both|all|something|someone|nothing|anything|everything|more|some|to see|to know)\b",
    re.IGNORECASE,
)

TAIL = re.compile(
    r"""[\s,]+(?:any\ ?more|any\ longer|now|these\ days|nowadays|at\ the\ moment|currently|so\ much|a\ lot|very\ much|lol|tbh
      |haha|btw|after\ all|again|please|pls|though|right\ now|as\ well|too|for\ (?:ages|years|now|a\ while|some\ time)
      |in\ my\ (?:spare|free)\ time|for\ a\ living|by\ the\ way|any\ day|instead|actually|really|anyway|honestly|already
      |more\ than\ (?:anything|ever)|of\ course|i\ think|i\ guess|at\ all|in\ general|the\ most|and\ all|and\ so\ on
      |:\)|;\)|:D|xD|here|back|one\ day|some\ ?day|eventually)[\s!.]*$""",
    re.IGNORECASE | re.VERBOSE,
)
CUT = re.compile(
    r"\s+(?:because|since|when|while|which|who|where|but|so|except|after|before|even|if|unless|until|whenever|though"
    r"|although|ever since|now that|as (?:i|it|he|she|they|we)|and (?:i|it|he|she|they|we|my|so|then|now|getting))\b.*$",
    re.IGNORECASE,
)
PRONOUNS = (
    (re.compile(r"\bmy\b", re.IGNORECASE), "their"),
    (re.compile(r"\bour\b", re.IGNORECASE), "their"),
    (re.compile(r"\bmyself\b", re.IGNORECASE), "themselves"),
    (re.compile(r"\bmine\b", re.IGNORECASE), "theirs"),
    (re.compile(r"\bme\b", re.IGNORECASE), "them"),
)
STOP_WORDS = frozenset(
    "user user's a an the in at of for to on with and their is are has have been be as by from very really own s it its"
    " called named years year old over than does not".split()
)
SPELLINGS = {"favorite": "favourite", "color": "colour", "movi": "film", "flavor": "flavour"}
_stemmer = snowballstemmer.stemmer("english")


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    stem = str(_stemmer.stemWord(SPELLINGS.get(word, word)))
    return SPELLINGS.get(stem, stem)


def stems(text: str) -> frozenset[str]:
    """The stems of the words that carry what a text says."""
    words = re.findall(r"[\w'+#]+", text.lower().replace("'s", " "))
    return frozenset(_stem(word) for word in words if word not in STOP_WORDS)


def inflected(verb: str) -> str:
    """The third person singular of a verb."""
    first, _, rest = verb.partition(" ")
    irregular = {"have": "has", "am": "is", "do": "does", "go": "goes", "are": "is"}
    if first in irregular:
        third = irregular[first]
    elif first.endswith(("s", "sh", "ch", "x", "z", "o")):
        third = first + "es"
    elif re.search(r"[^aeiou]y$", first):
        third = first[:-1] + "ies"
    else:
        third = first + "s"
    return f"{third} {rest}".strip()


def tidy(value: str) -> str:
    """The object of a statement without what trails behind it."""
    value = CUT.sub("", value.strip(" ,.!"))
    while (shorter := TAIL.sub("", value)) != value:
        value = shorter
    for pattern, replacement in PRONOUNS:
        value = pattern.sub(replacement, value)
    return value.strip(" ,.!")


# --- patterns -----------------------------------------------------------------------------------------

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
        for pattern in patterns:
            PATTERNS.append((re.compile(pattern, re.IGNORECASE), make))
        return make

    return remember


I = r"^(?:i|we)"  # noqa: E741 - it is the word
AM = rf"{I} (?:am|are|have become|became)"
NAME = r"(?-i:[A-Z][\w'-]+(?: [A-Z][\w'-]+){0,2})"
NOT_A_NAME = rf"(?!(?:{PEOPLES}|Sorry|Not|Sure|Glad|Happy|OK|Done|Back|Here|Good|Fine)\b)"


@says(
    rf"^my (?:(?:first|full) )?name is (?:actually )?(?P<name>{NAME}|[a-z]+)$",
    rf"^(?:you can )?call me (?P<name>{NAME})\b.*$",
    rf"{I} (?:go|went) by (?P<name>{NAME})$",
    rf"{AM} (?:called |named )?{NOT_A_NAME}(?P<name>{NAME})$",
    rf"^(?:it is|this is) {NOT_A_NAME}(?P<name>{NAME})(?: (?:again|here|speaking))?$",
)
def name(r: Reading) -> Made:
    yield Statement(
        text=f"User's name is {r['name']}", predicate="name", object=r["name"], slot="name", confidence=0.95
    )


@says(rf"{AM} (?P<age>\d{{1,3}})(?: years? old| yo)?$", rf"{I} (?:just )?turned (?P<age>\d{{1,3}})$", r"^my age is (?P<age>\d{1,3})$")
def age(r: Reading) -> Made:
    yield Statement(text=f"User is {r['age']} years old", predicate="age", object=r["age"], slot="age")


@says(
    rf"{I} (?:work|am working|am employed|have been working|started working|started work|got a job|have got a job|have a job)"
    r" (?P<as>as an? (?P<job>.+?) )?(?P<at>at|for|with|by) (?P<place>.+)$",
    rf"{I} (?:have )?(?:started|got|landed|accepted|took|found) (?:a |my )?(?:new |first )?(?:job|role|position|work) (?P<at>at|with|for) (?P<place>.+)$",
    rf"{I} (?:have )?(?:joined) (?P<place>{NAME})(?: as an? (?P<job>.+))?$",
    rf"^my (?:new )?(?:employer|company|workplace) is (?P<place>.+)$",
)
def employer(r: Reading) -> Made:
    place = re.sub(rf"^(?:an? )?(?:(?:new|big|small|little) )+(?=[A-Z])", "", r["place"])
    if THINGS_OF_THE_MOMENT.match(place) or re.match(r"(?:the|a) (?:moment|project|paper|bug)\b", place):
        return
    at = r.groups.get("at") or "at"
    at = "for" if at == "for" else "at"
    job = f" as {_a(r['job'])}" if r["job"] else ""
    text = f"User works{job} {at} {place}"
    yield Statement(text=text, predicate="works", object=f"{r['job']} {place}".strip(), slot="employer")


@says(rf"{I} (?:work|am working|prefer working|worked) (?:remotely|from home)$", r"^working from home is\b.*$")
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
        text=f"User works as {_a(job)}{' ' + rest if rest else ''}",
        predicate="works as", object=job, slot="occupation",
    )  # fmt: skip


@says(
    rf"{I} (?:live|am living|reside|am based|have settled|stay|am staying permanently)(?: (?P<kind>(?:with .+? )?in an? .+?))? (?P<at>in|at|near) (?P<place>.+)$",
    rf"{I} (?:have |have just |just )?(?:moved|relocated|emigrated)(?: (?:here|over|house|back|out))?(?: from .+?)? to (?P<place>.+)$",
    r"^my (?:home|home town|city|hometown) is (?P<place>.+)$",
)
def home(r: Reading) -> Made:
    place = re.sub(r"^(?:my|their) (?:new )?(?:flat|house|place|apartment|home) in ", "", r["place"])
    place = re.sub(r"\s+(?:with|from|for|by)\s.+$", "", place)
    if THINGS_OF_THE_MOMENT.match(place) or place.lower() in ("there", "here"):
        return
    at = r.groups.get("at") or "in"
    yield Statement(
        text=f"User lives {at} {place}", predicate="lives", object=place, slot="home", happened_on=_day(r)
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
        found = re.search(r"\b(?:with|without|have|eat|no|to) ([a-z]+(?: [a-z]+)?)$", r.clause.previous)
        what = tidy(re.sub(r"\s*(?:pls|please)$", "", found.group(1))) if found else ""
    if what:
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
        type="relationship", happened_on=_day(r),
    )  # fmt: skip


@says(rf"{AM} (?P<what>{PEOPLES}|{OTHER_STATES})$")
def quality(r: Reading) -> Made:
    yield Statement(text=f"User is {r['what']}", predicate="is", object=r["what"])


@says(rf"{AM} (?P<what>an? (?:early riser|night owl|morning person|introvert|extrovert|expat|beginner|twin|vegan|native \w+ speaker))$")
def sort_of_person(r: Reading) -> Made:
    yield Statement(text=f"User is {r['what']}", predicate="is", object=r["what"])


@says(rf"{AM} (?:(?:absolutely|really|quite|very) )?(?:afraid|scared|terrified|frightened) of (?P<what>.+)$")
def fear(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        yield Statement(text=f"User is afraid of {r['what']}", predicate="afraid", object=r["what"])


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
    value = value if re.match(r"[A-Z]{2}|[A-Z]\w+ [A-Z]", value) or _is_name(value, r) else _uncapitalised(value)
    slot = "favourite " + " ".join(sorted(stems(thing)))
    yield Statement(
        text=f"User's {spelled} {thing} is {value}", predicate="favourite", object=value, slot=slot,
        type="preference",
    )  # fmt: skip


@says(r"^(?:it|that) is (?:definitely |now |probably |clearly )?(?P<value>[\w' -]+)$")
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
    yield _liking("likes" if verb in ("like", "enjoy", "enjoyed", "am enjoying", "fond of", "keen on") else "loves", what)


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
        what = f"{_infinitive(r.groups['ing'])} {what}".strip()
    first = what.lower()
    if re.match(rf"(?:{REQUESTS})\b(?! (?:a (?:father|mother|parent)|back to (?:school|university)))", first):
        return
    if THINGS_OF_THE_MOMENT.match(what) or (r.when and r.when.day and not r.known):
        return  # what is planned for a certain day is an errand
    yield Statement(text=f"User wants to {what}", predicate="wants", object=what, type="goal", confidence=0.8)


# --- people and pets ----------------------------------------------------------------------------------


@says(
    rf"^my (?P<pet>{PETS})(?: is)? (?:is )?(?:called|named|name is) (?P<name>{NAME})$",
    rf"^my (?P<pet>{PETS})'s name is (?P<name>{NAME})$",
    rf"^my (?P<pet>{PETS}),? (?P<name>{NAME})\b.*$",
    rf"^.* my (?P<pet>{PETS}) (?P<name>{NAME}) (?:keeps|is|has|loves|just|was|always)\b.*$",
    rf"{I} (?:have|have got|got|adopted|own) (?:a|an|one) (?:[\w-]+ )?(?P<pet>{PETS}) (?:called|named|whose name is) (?P<name>{NAME})$",
)
def pet(r: Reading) -> Made:
    text = f"User has a {r['pet'].lower()} called {r['name']}"
    yield Statement(
        text=text, predicate="has", object=f"{r['pet'].lower()} {r['name']}", type="relationship",
        confidence=0.95,
    )  # fmt: skip


@says(rf"^(?:his|her|its|their) name is (?P<name>{NAME})\b.*$", rf"^(?:he|she|it) is (?:called|named) (?P<name>{NAME})\b.*$")
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


@says(rf"^my (?P<who>{FAMILY}) (?P<rest>(?:is|lives|works|studies|has|loves|hates|plays|likes|moved|teaches|runs)\b.+)$")
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
    before = re.match(rf"{I} have(?: got)? (?P<count>{COUNTS}) (?P<who>kids|children|sons|daughters|cats|dogs|brothers|sisters)$", r.clause.previous, re.IGNORECASE)
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


# --- what happened, what is planned ---------------------------------------------------------------------


@says(
    r"^my (?P<what>(?:[\w'-]+ ){0,3}[\w'-]+?)(?:'s| is| are)(?: coming up| due| scheduled for| set for)?$",
    rf"{I} (?:have|have got) an? (?P<what>(?:[\w-]+ ){{0,2}}(?:interview|exam|test|wedding|appointment|flight|operation|surgery|deadline|race|concert|recital|viva|hearing|trip|holiday|presentation|marathon|conference))(?: coming up| scheduled| booked)?$",
)
def event(r: Reading) -> Made:
    if r.when and not r["what"].lower().startswith(("name", "favourite", "favorite")):
        what = re.sub(r"'s$", "", r["what"])
        yield Statement(
            text=f"User's {what} is {r.when.phrase}", predicate="event", object=what, slot=f"date of {what.lower()}",
            type="experience", happened_on=r.when.day,
        )  # fmt: skip


HAPPENED = (
    "visited|adopted|bought|graduated|finished|completed|ran|broke|lost|married|retired|launched|published|won|passed|failed"
    "|climbed|attended|started|quit|sold|met|saw|had|welcomed|hiked|flew to|travelled to|traveled to|went to|drove to|signed up"
)


@says(rf"{I} (?:have )?(?P<verb>{HAPPENED})(?P<what> .+)?$")
def happening(r: Reading) -> Made:
    verb, what = r.groups["verb"].lower(), r["what"]
    lasting = re.match(r"visited|graduated|adopted|climbed|published|launched|won", verb)
    named = _is_name(re.sub(r"^(?:to|from) ", "", what), r)
    if THINGS_OF_THE_MOMENT.match(what) or not (r.when or (lasting and (named or verb == "graduated"))):
        return
    if verb in ("had", "saw", "met", "lost", "started", "went to", "finished") and not (named or re.search(r"\b(?:baby|surgery|operation|job|school|university|degree|phd|book)\b", what)):
        return
    if verb in ("started",) and re.search(r"\bjob\b", what):
        return
    phrase = f" {r.when.phrase}" if r.when else ""
    yield Statement(
        text=f"User {verb} {what}".strip() + phrase, predicate=verb, object=what, type="experience",
        happened_on=_day(r),
    )  # fmt: skip


@says(rf"^(?:when )?(?:i|we) (?:have )?(?P<verb>lived|worked|studied) (?P<where>(?:in|at|for|as) .+?)(?P<span> for (?:\w+ )+?(?:years?|months?|decades?|weeks?))?(?: (?:i|we)\b.*)?$")
def formerly(r: Reading) -> Made:
    where = re.split(r" (?:i|we) ", r.groups["where"])[0]
    span = r.groups.get("span") or ""
    verb = r.groups["verb"].lower()
    if _is_name(re.sub(r"^(?:in|at|for|as) ", "", where), r):
        when = f" {r.when.phrase}" if r.when else ""
        yield Statement(
            text=f"User {verb} {tidy(where)}{span}{when}", predicate=verb, object=tidy(where),
            type="experience",
        )  # fmt: skip


# --- habits and skills ----------------------------------------------------------------------------------


@says(rf"{I} (?:do not|never) (?P<verb>eat|drink|smoke|drive|use|watch|own|speak|play|cook|wear) (?P<what>.+)$", rf"{I} (?:do not|never) (?P<verb>smoke|drink|drive|cook)(?P<what>)$")
def abstains(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        verb = r.groups["verb"].lower()
        text = f"User does not {verb} {r['what']}".strip()
        yield Statement(text=text, predicate=inflected(verb), object=r["what"] or verb, negative=True)


@says(rf"{I} (?:am |have been )?(?P<verb>studying|learning|training for|writing|building|renovating|saving up for|practising|practicing|expecting) (?P<what>.+)$")
def undertaking(r: Reading) -> Made:
    what, verb = r["what"], r.groups["verb"].lower()
    if THINGS_OF_THE_MOMENT.match(what) or re.match(r"an? (?:email|essay|letter|function|script|regex|report|reply|message|test|query|post)\b", what):
        return
    if verb == "studying":
        yield Statement(text=f"User studies {what}", predicate="studies", object=what)
    else:
        yield Statement(text=f"User is {verb} {what}", predicate=verb, object=what, confidence=0.8)


@says(
    rf"{I} (?P<verb>play|speak|study|teach|drive|own|collect|practise|practice|eat|drink|smoke|run|cook|cycle|commute|volunteer|coach|sing|paint|use|watch|read|write|ride|do|grow|bake|brew|swim|surf|ski|knit|dance|code|program|go) (?P<what>.+)$",
    rf"{I} can (?P<verb>speak|play|drive) (?P<what>.+)$",
)
def habit(r: Reading) -> Made:
    what, verb = r["what"], r.groups["verb"].lower()
    loose = verb in ("use", "watch", "read", "write", "do", "go", "run", "cook", "grow")
    regular = re.search(r"\b(?:every|each|daily|weekly|mornings?|evenings?|weekends?|on (?:mon|tues|wednes|thurs|fri|satur|sun)days?|twice|once|regularly)\b", what)
    if THINGS_OF_THE_MOMENT.match(what) or (r.when and not r.known) or (loose and not (regular or r.known)):
        return
    yield Statement(text=f"User {inflected(verb)} {what}", predicate=inflected(verb), object=what)


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
    if re.match(r"i (?:am|are|is) no longer", r.clause.text, re.IGNORECASE) or re.match(r"(?:i|we) (?:am|are) not", r.clause.text, re.IGNORECASE):
        clause = f"I am {clause.removeprefix('I am ').removeprefix('I ')}"
    yield from _retracted(clause, r)


@says(rf"{I} (?:have )?(?:stopped|quit|gave up|given up) (?P<ing>\w+ing)\b(?P<what>.*)$")
def stopped(r: Reading) -> Made:
    yield from _retracted(f"I {_infinitive(r.groups['ing'])}{r.groups['what']}", r)


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


@says(rf"{I} (?:have )?(?:given up on|gave up on|gave up|given up|quit|sold|got rid of|gave away|broke up with|dropped|cancelled|canceled) (?:the |my |our |a |an )?(?P<what>[\w' -]+)$")
def gave_up(r: Reading) -> Made:
    if not THINGS_OF_THE_MOMENT.match(r["what"]):
        yield Statement(text=f"User {r['what']}", predicate="", object=r["what"], retracts=True)


@says(
    r"^(?:forget|delete|erase|remove|drop|disregard)(?: (?:the fact|what i (?:said|told you)))?(?: about)?(?: that)? (?P<what>(?:i|we|my) .+)$",
    r"^(?:forget|delete|erase|remove)(?: everything)?(?: you know)? about (?P<what>my .+|me .+)$",
    r"^it is (?:not true|wrong|no longer true)(?: any ?more)? that (?P<what>(?:i|we|my) .+)$",
)
def forget(r: Reading) -> Made:
    what = r.groups["what"].strip(" .!")
    statements = [s for s in _statements(what, r) if not s.retracts]
    if statements:
        for statement in statements:
            yield msgspec.structs.replace(statement, retracts=True)
    elif topic := re.match(r"my (?:old )?([\w' -]{2,60})$", what, re.IGNORECASE):
        yield Statement(text=f"User's {topic.group(1)}", predicate="", object=topic.group(1), retracts=True)
    elif stems(what):
        yield Statement(text=what, predicate="", object=re.sub(r"^(?:i|we|my)\s", "", what, flags=re.I), retracts=True)


# --- reading --------------------------------------------------------------------------------------------


def statements(clause: Clause, at: datetime) -> list[Statement]:
    """What a clause, said at `at`, says about its speaker."""
    return _read(clause, at, known=False)


@lru_cache(maxsize=5_000)
def known(text: str) -> Statement | None:
    """A memory's text as the statement that it makes; None where no pattern fits it."""
    first = re.sub(r"^User's\b", "My", text.strip().rstrip("."))
    first = re.sub(r"^User is\b", "I am", first)
    first = re.sub(r"^User has\b", "I have", first)
    first = re.sub(r"^User does not\b", "I do not", first)
    first = re.sub(r"^User cannot\b", "I can not", first)
    first = re.sub(r"^User (\w+?)(s)\b", lambda m: f"I {_uninflected(m.group(1) + m.group(2))}", first)
    first = re.sub(r"^User\b", "I", first)
    first = re.sub(r"\btheir\b", "my", first)
    made = _read(Clause(first, ""), datetime(2000, 1, 1), known=True)
    return made[0] if made else None


def _read(clause: Clause, at: datetime, known: bool) -> list[Statement]:
    when = None if known else dates.find(clause.text, at, past=_past(clause.text))
    forms = [clause]
    if when:
        without = re.sub(r"\s+", " ", clause.text.replace(when.said, " ")).strip(" ,")
        forms = [Clause(without, clause.previous), clause]
    for form in forms:
        for pattern, make in PATTERNS:
            if found := pattern.match(form.text):
                made = list(make(Reading(dict(found.groupdict(default="")), form, when, known)))
                if made:
                    return made
    return []


def _past(text: str) -> bool:
    return bool(re.search(rf"\b(?:{HAPPENED}|was|were|turned|got|moved|did)\b", text, re.IGNORECASE))


def _statements(text: str, r: Reading) -> list[Statement]:
    return _read(Clause(text, r.clause.previous), datetime(2000, 1, 1), known=True)


def _retracted(clause: str, r: Reading) -> Made:
    clause = re.sub(r"\b(I) (?:am|are) (?=work\b|live\b)", r"\1 ", clause)
    if made := re.match(r"I (?:am )?(?:work|working|employed)(?: (?:there|here))?$", clause, re.IGNORECASE):
        yield Statement(
            text="User works", predicate="works", object="", slot="employer", retracts=bool(made)
        )
        return
    if re.match(r"I (?:live|living|am living) (?:there|here)$", clause, re.IGNORECASE):
        yield Statement(text="User lives", predicate="lives", object="", slot="home", retracts=True)
        return
    for statement in _statements(clause, r):
        yield msgspec.structs.replace(statement, retracts=True)


def _of_relative(who: str, rest: str, r: Reading) -> Made:
    who, rest = who.lower(), rest.strip()
    if found := re.match(r"(?:lives?|is living|is based|moved|has moved) (?:there)$", rest, re.IGNORECASE):
        place = re.findall(r"(?-i:\b[A-Z][\w'-]+)", re.sub(r"^\w+", "", r.clause.previous))
        if place:
            rest = f"lives in {place[0]}"
    if found := re.match(r"(?:lives?|is living|is based) in (?P<place>.+)|(?:has )?moved to (?P<to>.+)", rest, re.IGNORECASE):
        place_name = tidy(found.group("place") or found.group("to"))
        if place_name.lower() not in ("there", "here"):
            yield Statement(
                text=f"User's {who} lives in {place_name}", predicate="lives", object=place_name,
                slot=f"home of {who}", type="relationship",
            )  # fmt: skip
        return
    if found := re.match(r"is (?P<event>.+)$", rest, re.IGNORECASE) and r.when and None:
        return
    if found := re.match(
        rf"(?P<verb>is|works|studies|loves|hates|likes|plays|has|teaches|runs) (?P<what>.+)$", rest, re.IGNORECASE
    ):
        what, verb = tidy(found.group("what")), found.group("verb").lower()
        transient = re.match(
            r"(?:here|coming|visiting|sick|ill|tired|asking|going|not|so|really|very|being|getting|driving|making|late|right"
            r"|wrong|mad|angry|upset|asleep|away|fine|great|good|ok)\b", what, re.IGNORECASE,
        )  # fmt: skip
        if transient or THINGS_OF_THE_MOMENT.match(what) or not what:
            return
        slot = None
        if verb == "is" and re.fullmatch(r"\d{1,3}(?: years? old)?", what):
            what, slot = f"{what.split()[0]} years old", f"age of {who}"
        elif verb in ("works", "is") and re.match(rf"(?:as |an? )?(?:{OCCUPATIONS})", what, re.IGNORECASE):
            slot = f"occupation of {who}"
        yield Statement(
            text=f"User's {who} {verb} {what}", predicate=f"{who} {verb}", object=what, slot=slot, type="relationship"
        )


def _called(who: str, name: str) -> Statement:
    who = who.lower()
    single = not re.fullmatch(r"friend|cousin|aunt|uncle|colleague|neighbou?r|kids?|child(?:ren)?|niece|nephew", who)
    return Statement(
        text=f"User's {who} is called {name}", predicate=f"{who} is called", object=name,
        slot=f"name of {who}" if single and who not in ("sister", "brother", "son", "daughter") else None,
        type="relationship",
    )  # fmt: skip


def _liking(verb: str, what: str) -> Statement:
    return Statement(
        text=f"User {verb} {what}", predicate="likes", object=what, negative=verb in ("hates", "dislikes"),
        type="preference",
    )  # fmt: skip


def _a(noun: str) -> str:
    if re.match(r"(?:an?|the|one) ", noun, re.IGNORECASE):
        return noun
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _day(r: Reading) -> date | None:
    return r.when.day if r.when else None


def _is_name(value: str, r: Reading) -> bool:
    return bool(re.match(r"(?:the )?[A-Z]", value)) and not r.clause.text.startswith(value)


def _uncapitalised(value: str) -> str:
    return value[:1].lower() + value[1:]


def _infinitive(gerund: str) -> str:
    stem = re.sub(r"ing$", "", gerund.lower())
    if re.search(r"([bdgmnprt])\1$", stem) and not stem.endswith(("ll", "ss")):
        return stem[:-1]
    return stem + "e" if re.search(r"(?:v|c|[^aeiou][aeiou]k|iv|us|yp|danc|smok|bak|mak|tak|writ|hik|cycl|liv|rid|skat|clos|driv)$", stem) else stem


def _uninflected(verb: str) -> str:
    irregular = {"has": "have", "is": "am", "does": "do", "goes": "go", "was": "was", "studies": "study"}
    if verb in irregular:
        return irregular[verb]
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    if verb.endswith(("shes", "ches", "xes", "zes", "sses")):
        return verb[:-2]
    return verb.removesuffix("s")
