"""Words and their forms: lists of what people are, have and do, stems, and the third person."""

import re
from functools import lru_cache

import snowballstemmer

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
HAPPENED = (
    "visited|adopted|bought|graduated|finished|completed|ran|broke|lost|married|retired|launched|published|won|passed|failed"
    "|climbed|attended|started|quit|sold|met|saw|had|welcomed|hiked|flew to|travelled to|traveled to|went to|drove to|signed up"
)
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
    [
        "user",
        "user's",
        "a",
        "an",
        "the",
        "in",
        "at",
        "of",
        "for",
        "to",
        "on",
        "with",
        "and",
        "their",
        "is",
        "are",
        "has",
        "have",
        "been",
        "be",
        "as",
        "by",
        "from",
        "very",
        "really",
        "own",
        "s",
        "it",
        "its",
        "called",
        "named",
        "years",
        "year",
        "old",
        "over",
        "than",
        "does",
        "not",
    ]
)
SPELLINGS = {"favorite": "favourite", "color": "colour", "movi": "film", "flavor": "flavour"}
_stemmer = snowballstemmer.stemmer("english")


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    stem = str(_stemmer.stemWord(SPELLINGS.get(word, word)))
    return SPELLINGS.get(stem, stem)


@lru_cache(maxsize=20_000)
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


def with_article(noun: str) -> str:
    if re.match(r"(?:an?|the|one) ", noun, re.IGNORECASE):
        return noun
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def uncapitalised(value: str) -> str:
    return value[:1].lower() + value[1:]


def infinitive(gerund: str) -> str:
    stem = re.sub(r"ing$", "", gerund.lower())
    if re.search(r"([bdgmnprt])\1$", stem) and not stem.endswith(("ll", "ss")):
        return stem[:-1]
    return (
        stem + "e"
        if re.search(
            r"(?:v|c|[^aeiou][aeiou]k|iv|us|yp|danc|smok|bak|mak|tak|writ|hik|cycl|liv|rid|skat|clos|driv)$",
            stem,
        )
        else stem
    )


def uninflected(verb: str) -> str:
    irregular = {"has": "have", "is": "am", "does": "do", "goes": "go", "was": "was", "studies": "study"}
    if verb in irregular:
        return irregular[verb]
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    if verb.endswith(("shes", "ches", "xes", "zes", "sses")):
        return verb[:-2]
    return verb.removesuffix("s")
