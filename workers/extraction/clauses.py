"""A message as clauses: its own words only, split where one statement ends and the next begins."""

import re
from collections.abc import Iterator

import msgspec

# --- what is not the speaker's own statement ----------------------------------------------------------

FOREIGN = re.compile(
    r"""```.*?(?:```|\Z)                                  # code
      |<!--.*?(?:-->|\Z) | <[a-zA-Z/][^<>]{0,200}>        # markup
      |^[\ \t]*>.*?$                                          # a quoted mail
      |^[\ \t]*-{3,}[\ \t]*$.*?(?:^[\ \t]*-{3,}[\ \t]*$|\Z)               # a pasted document
      |"[^"]*(?:"|\Z) | “[^”]*(?:”|\Z)                    # somebody's words
      |^[\ \t]*(?:system|assistant|developer|ai|note\ to\ [\w ]{1,30})\s*:.*?$   # put into another's mouth
      |https?://\S+""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE | re.DOTALL,
)
TEXT_TO_WORK_ON = re.compile(
    r"\b(?:translate|summari[sz]e|rewrite|rephrase|proofread|paraphrase|edit|correct|fix|shorten)\b[^.!?\n]{0,120}"
    r"(?::|\n).*\Z",
    re.IGNORECASE | re.DOTALL,
)
"""What follows such a request is material, no statement about the speaker."""
HYPOTHETICAL = re.compile(
    r"^\W*(?:if|unless|imagine|suppose|pretend|assume|say|let'?s say|what if|as if|act as"
    r"|in my (?:story|novel|game))\b",
    re.IGNORECASE,
)
QUESTION = re.compile(
    r"^\W*(?:what|why|who|whom|whose|which|where|when(?! i )|how|do|does|did|is|are|am|was|were|can|could"
    r"|would|will|should|shall|may|have you|has)\b",
    re.IGNORECASE,
)

# --- splitting ----------------------------------------------------------------------------------------

ABBREVIATIONS = re.compile(r"\b(St|Dr|Mr|Mrs|Ms|Prof|Inc|Ltd|vs|e\.g|i\.e|approx)\.(?=\s)")
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n+|\s+[-–—]+\s+|[—;]|\.{2,}")
VERBS = (
    "love|like|enjoy|adore|hate|dislike|prefer|live|work|play|speak|study|own|drive|teach|collect|want"
    "|am|have|was|went|visited|moved|can"
)
CLAUSE_END = re.compile(
    rf"""\s*[,:]\s+
      (?:(?:and|but|so|or|because|since|except|though|although|which\ means|while)\s+)?
      |\s+(?:and|but|so|because|since|except|though|although|while|as)\s+(?=(?:i|we|my|it|he|she|they|her|his)\b)
      |\s+(?:and|but)\s+(?=(?:(?:i\s)?(?:really|also|now)\s+)?(?:{VERBS})\b)
      |\s+(?:but|because|whereas)\s+|\s+so\s+(?!much\b|many\b|far\b|that\b|long\b|called\b|you\ know\b)
      |\s*\((?=\w)|\)\s*""",
    re.IGNORECASE | re.VERBOSE,
)
LAST_OF_NAME = re.compile(r"(?:\b(?:in|to|from|is|at|lives?) (?:[A-Z][\w'-]+ ?)+|\d[\w' ]+)$")
REST_OF_NAME = re.compile(r"(?!I\b)[A-Z][\w'-]+(?: [A-Z][\w'-]+)?")
FILLERS = re.compile(
    r"""^(?:(?:and|but|so|or|well|oh|ok|okay|hey|hi(?:\ there|\ again)?|hello|yeah|yes|yep|no|nah|nope|btw
      |plus|also|by\ the\ way|anyway|honestly|actually|frankly|seriously|it\ turns\ out
      |turns\ out(?:\ that)?|apparently|guess\ what|big\ news|news|update|fyi|just\ so\ you\ know
      |(?:just\ )?to\ let\ you\ know|for\ the\ record|(?:as|like)\ i(?:'ve)?\ (?:said|mentioned|told\ you)
      |as\ you(?:\ may)?\ know|did\ i\ mention(?:\ that)?|remember(?:\ that)?|note(?:\ that)?
      |keep\ in\ mind(?:\ that)?|(?:do\ not|don't|never)\ forget(?:\ that)?|please|pls|kindly|could\ you
      |can\ you|would\ you|you\ can|i\ think(?:\ that)?|i\ guess|i\ suppose|i\ mean
      |i\ (?:have\ to|must|should)\ (?:say|admit)(?:\ that)?|i\ (?:just\ )?realised(?:\ that)?
      |to\ be\ honest|tbh|ugh|wow|whoa|haha|lol|hmm+|first(?:\ of\ all)?|quick\ (?:one|note|update)
      |because|cause|since|though|although|even\ though|whereas|while|as|that|lately|recently|nowadays
      |these\ days|currently|now|finally|one\ more\ thing|don't\ worry|speaking\ of\ which|sorry
      |unfortunately|sadly|luckily|thankfully|fun\ fact|good\ news|bad\ news)
      [\s,:!.]+)+""",
    re.IGNORECASE | re.VERBOSE,
)
TRAILERS = re.compile(
    r"[\s,]+(?:now|these days|nowadays|at the moment|currently|lol|tbh|haha|btw|by the way|of course|actually"
    r"|though|already|as well|too|after all|honestly|you know|x+d|[:;]-?[)(DP3]|<3)[\s!.]*$",
    re.IGNORECASE,
)
"""What may follow any statement without changing it."""
POLITE_ORDER = re.compile(
    r"^\W*(?:could|can|would|will) you (?:please |just |kindly )*(?:forget|delete|remove|erase)\b",
    re.IGNORECASE,
)
"""A question by its mark only."""

TYPOS = (
    (re.compile(r"[‘’ʼ`]"), "'"),
    (
        re.compile(
            r"\b(do|did|does|is|are|was|were|have|has|had|would|could|should|ca|wo)nt\b", re.IGNORECASE
        ),
        r"\1n't",
    ),
    (re.compile(r"\bi ?m\b", re.IGNORECASE), "I'm"),
    (re.compile(r"\bive\b", re.IGNORECASE), "I've"),
    (re.compile(r"\bits(?= (?:my|[A-Z]))"), "it's"),
)
CONTRACTIONS = (
    (re.compile(r"\bcan(?:'t|not)\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwon't\b", re.IGNORECASE), "will not"),
    (re.compile(r"n't\b", re.IGNORECASE), " not"),
    (re.compile(r"\b(I)'m\b", re.IGNORECASE), r"\1 am"),
    (re.compile(r"\b(I|we|you|they)'ve\b", re.IGNORECASE), r"\1 have"),
    (re.compile(r"\b(I|we|you|they|he|she)'d\b", re.IGNORECASE), r"\1 would"),
    (re.compile(r"\b(I|we|you|they|he|she|it)'ll\b", re.IGNORECASE), r"\1 will"),
    (re.compile(r"\b(we|you|they)'re\b", re.IGNORECASE), r"\1 are"),
    (re.compile(r"\b(he|she|it|that|there|name|who|what|where)'s\b", re.IGNORECASE), r"\1 is"),
    (
        re.compile(
            r"(?<=\w)'s(?= (?:left|gone|moved|got|been|become|started|finished|retired|joined|had)\b)"
        ),
        " has",
    ),
    (re.compile(r"(\bfavou?rite [a-z]+)'s\b", re.IGNORECASE), r"\1 is"),
    (
        re.compile(
            r"(?<=\w)'s(?= (?:an?|the|in|on|at|from|called|named|getting|living|working|off|cancelled"
            r"|studying|allergic|\d+|vegan|vegetarian|pregnant|married|single)\b)",
            re.IGNORECASE,
        ),
        " is",
    ),
    (re.compile(r"\bgonna\b", re.IGNORECASE), "going to"),
    (re.compile(r"\bwanna\b", re.IGNORECASE), "want to"),
    (re.compile(r"\bgotta\b", re.IGNORECASE), "got to"),
)
ADVERBS = re.compile(
    r"\b(I|we|am|are|have|would|is|do|can)\s+(?:(?:really|absolutely|actually|just|totally|definitely|honestly|also"
    r"|still|currently|now|finally|always|usually|often|kinda|kind of|sort of|so|very|literally|genuinely"
    r"|recently|both|all|already|completely|truly|simply|mostly|mainly|generally|personally)\s+)+",
    re.IGNORECASE,
)
SPACES = re.compile(r"[^\S\n]+")
BLANK_LINES = re.compile(r"\s*\n\s*")
MAX_SENTENCE = 1_000
"""Characters; nobody says anything plain in more."""
MAX_CLAUSE = 400
"""Characters of a clause that can still be a plain statement."""


class Clause(msgspec.Struct, frozen=True):
    """One clause with its contractions written out."""

    text: str
    previous: str
    """The clause before it in the message; a pronoun may mean what stands there."""


def own_words(message: str) -> str:
    """The message without code, quotations, pasted documents and whatever it asks to work on."""
    text = TEXT_TO_WORK_ON.sub(" ", FOREIGN.sub(" ", SPACES.sub(" ", message)))
    # What was taken out leaves gaps, and patterns that begin with blanks take long over wide ones.
    return BLANK_LINES.sub("\n", SPACES.sub(" ", text))


def clauses(message: str) -> Iterator[Clause]:
    """The declarative clauses of a message."""
    previous = ""
    for sentence in _sentences(own_words(message)):
        if HYPOTHETICAL.match(sentence) or len(sentence) > MAX_SENTENCE:
            continue
        parts = _parts(sentence)
        for n, part in enumerate(parts):
            last = n == len(parts) - 1 and not POLITE_ORDER.match(part)
            asked = sentence.endswith("?") and (last or QUESTION.match(FILLERS.sub("", part)))
            text = _plain(part)
            if text and not (asked or QUESTION.match(text)) and len(text) <= MAX_CLAUSE:
                yield Clause(text, previous)
            previous = text or previous


def _parts(sentence: str) -> list[str]:
    """The sentence split where clauses end; "Portland, Maine" is one name."""
    parts: list[str] = []
    for part in CLAUSE_END.split(sentence.rstrip(" .!?…")):
        if parts and LAST_OF_NAME.search(parts[-1]) and REST_OF_NAME.fullmatch(part.strip()):
            parts[-1] += f", {part.strip()}"
        elif part.strip():
            parts.append(part)
    return parts


def _sentences(text: str) -> list[str]:
    for pattern, replacement in TYPOS:
        text = pattern.sub(replacement, text)
    text = ABBREVIATIONS.sub(r"\1", text)
    return [part.strip() for part in SENTENCE_END.split(text) if part and part.strip()]


def _plain(part: str) -> str:
    text = FILLERS.sub("", part.strip(" \t,:-!.")).strip(" \t,:-!.")
    for pattern, replacement in CONTRACTIONS:
        text = pattern.sub(replacement, text)
    text = FILLERS.sub("", ADVERBS.sub(r"\1 ", text))
    while (shorter := TRAILERS.sub("", text)) != text:
        text = shorter
    text = re.sub(r"^our\b", "my", text, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", text).strip()
