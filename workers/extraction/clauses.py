"""A message as clauses: its own words only, split where one statement ends and the next begins."""

import re

import msgspec

# --- what is not the speaker's own statement ----------------------------------------------------------

FOREIGN = re.compile(
    r"""```.*?(?:```|\Z)                                  # code
      |<!--.*?(?:-->|\Z) | <[a-zA-Z/][^<>]{0,200}>        # markup
      |^\s*>.*?$                                          # a quoted mail
      |^\s*-{3,}\s*$.*?(?:^\s*-{3,}\s*$|\Z)               # a pasted document
      |"[^"]*(?:"|\Z) | “[^”]*(?:”|\Z)                    # somebody's words
      |^\s*(?:system|assistant|developer|ai|note\ to\ [\w ]{1,30})\s*:.*?$   # words put into another's mouth
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
    r"^\W*(?:if|unless|imagine|suppose|pretend|assume|say|let'?s say|what if|as if|act as|in my (?:story|novel|game))\b",
    re.IGNORECASE,
)
QUESTION = re.compile(
    r"^\W*(?:what|why|who|whom|whose|which|where|when(?! i )|how|do|does|did|is|are|am|was|were|can|could|would"
    r"|will|should|shall|may|have you|has)\b",
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
    rf"""\s*[,:]\s+(?!(?-i:[A-Z])[\w'-]+(?:\s(?-i:[A-Z])[\w'-]+)?(?:\s*[.!?,]|$|\sand\s(?-i:[A-Z])))   # not within a name: Portland, Maine
      (?:(?:and|but|so|or|because|since|except|though|although|which\ means|while)\s+)?
      |\s+(?:and|but|so|because|since|except|though|although|while|as)\s+(?=(?:i|we|my|it|he|she|they|her|his)\b)
      |\s+(?:and|but)\s+(?=(?:(?:i\s)?(?:really|also|now)\s+)?(?:{VERBS})\b)
      |\s+(?=but\b)|\s*\((?=\w)|\)\s*""",
    re.IGNORECASE | re.VERBOSE,
)
FILLERS = re.compile(
    r"""^(?:(?:and|but|so|or|well|oh|ok|okay|hey|hi(?:\ there|\ again)?|hello|yeah|yes|yep|no|nah|nope|btw|plus|also
      |by\ the\ way|anyway|honestly|actually|frankly|seriously|it\ turns\ out|turns\ out(?:\ that)?|apparently
      |guess\ what|big\ news|news|update|fyi|just\ so\ you\ know|(?:just\ )?to\ let\ you\ know|for\ the\ record
      |(?:as|like)\ i(?:'ve)?\ (?:said|mentioned|told\ you)|as\ you(?:\ may)?\ know|did\ i\ mention(?:\ that)?
      |remember(?:\ that)?|note(?:\ that)?|keep\ in\ mind(?:\ that)?|(?:do\ not|don't|never)\ forget(?:\ that)?
      |please|pls|kindly|could\ you|can\ you|would\ you|you\ can|i\ think(?:\ that)?|i\ guess|i\ suppose|i\ mean
      |i\ (?:have\ to|must|should)\ (?:say|admit)(?:\ that)?|i\ (?:just\ )?realised(?:\ that)?|to\ be\ honest|tbh
      |ugh|wow|whoa|haha|lol|hmm+|first(?:\ of\ all)?|because|cause|since|though|although|even\ though|whereas
      |while|as|that|lately|recently|nowadays|these\ days|currently|now|finally|one\ more\ thing|don't\ worry
      |speaking\ of\ which|sorry|unfortunately|sadly|luckily|thankfully|fun\ fact|good\ news|bad\ news)
      [\s,:!.]+)+""",
    re.IGNORECASE | re.VERBOSE,
)

TYPOS = (
    (re.compile(r"[‘’ʼ`]"), "'"),
    (re.compile(r"\b(do|did|does|is|are|was|were|have|has|had|would|could|should|ca|wo)nt\b", re.IGNORECASE), r"\1n't"),
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
            r"(?<=\w)'s(?= (?:an?|the|in|on|at|from|called|named|left|gone|moved|getting|living|working"
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
MAX_CLAUSE = 400
"""Characters of a clause that can still be a plain statement."""


class Clause(msgspec.Struct, frozen=True):
    """One clause with its contractions written out."""

    text: str
    previous: str
    """The clause before it in the message; a pronoun may mean what stands there."""


def own_words(message: str) -> str:
    """The message without code, quotations, pasted documents and whatever it asks to work on."""
    return TEXT_TO_WORK_ON.sub(" ", FOREIGN.sub(" ", message))


def clauses(message: str) -> list[Clause]:
    """The declarative clauses of a message."""
    found: list[Clause] = []
    previous = ""
    for sentence in _sentences(own_words(message)):
        if HYPOTHETICAL.match(sentence):
            continue
        parts = [part for part in CLAUSE_END.split(sentence.rstrip(" .!?…")) if part.strip()]
        for n, part in enumerate(parts):
            asked = sentence.endswith("?") and (n == len(parts) - 1 or QUESTION.match(part))
            text = _plain(part)
            if text and not (asked or QUESTION.match(text)) and len(text) <= MAX_CLAUSE:
                found.append(Clause(text, previous))
            previous = text or previous
    return found


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
    return re.sub(r"\s+", " ", text).strip()
