"""Questions to begin with, made of what is remembered of the user.

No model is asked. What fits no sentence for certain is quoted, and a user of whom nothing is remembered gets
none: clients then show their own.
"""

import re
from collections.abc import Sequence
from datetime import date
from hashlib import sha256

from application.asked import Asked
from application.chat.chat import Chat
from application.chat.remembered import remembers
from domain.memory import Memory
from domain.recorded import now
from domain.scope import Scope
from projections import memories
from projections.selection import Selection

STARTERS = 3
RECENT = 30
"""The memories that starters are made of."""
LONGEST = 80
"""Characters of a memory in a question."""

SAYS = {
    "is": "am", "has": "have", "does": "do", "doesn't": "don't", "isn't": "am not", "likes": "like",
    "loves": "love", "enjoys": "enjoy", "prefers": "prefer", "dislikes": "dislike", "hates": "hate",
    "wants": "want", "needs": "need", "plans": "plan", "hopes": "hope", "lives": "live", "works": "work",
    "plays": "play", "speaks": "speak", "studies": "study", "learns": "learn", "teaches": "teach",
    "owns": "own", "uses": "use", "drives": "drive", "eats": "eat", "drinks": "drink", "runs": "run",
    "reads": "read", "writes": "write", "cooks": "cook", "collects": "collect",
}  # fmt: skip
"""What a verb of "the user" is in the mouth of the user."""
SAME = r"was|had|can|can't|could|will|would|must|went|got|began|moved|[a-z]+ed"
"""Verbs that are alike in both."""
ABOUT_USER = re.compile(rf"(?:The )?[Uu]ser (?P<verb>{'|'.join(SAYS)}|{SAME}) (?P<rest>.+)")
BY_USER = re.compile(rf"I (?P<verb>{'|'.join(sorted(set(SAYS.values()), reverse=True))}|{SAME}) (?P<rest>.+)")
OWN = re.compile(
    r"(?:(?:The )?[Uu]ser's|My) (?P<thing>[a-z]+(?: [a-z]+)?)"
    r" (?:is|are|was|were|has|likes|loves|lives|works)\b.*"
)
UNCLEAR = re.compile(
    r"[.!?;:<>\"“”()\[\]{}]|\b(?:they|their|them|themselves|he|him|his|himself|she|her|hers|herself|its?"
    r"|users?|user's|you|your|i|me|my|mine|we|our|us|who|which|but|because)\b"
    rf"|\b(?:{'|'.join(SAYS)})\b|\b(?:and|or|then) [a-z]+s [a-z]",
    re.IGNORECASE,
)
"""What may mean somebody else in another mouth, begin another sentence, or have another verb to change."""
DULL = frozenset({"name", "full name", "first name", "last name"})
"""Nobody asks after their own."""
FRAMES = [
    (re.compile(r"am learning (?!to\b)|learn (?!to\b)|study "), "I {said}. What should I practise next?"),
    (re.compile(r"(?:like|love|enjoy) "), "I {said}. What else might I enjoy?"),
    (re.compile(r"live in "), "I {said}. What is worth doing around here?"),
    (
        re.compile(r"(?:want|plan|hope) to (?:learn|start|write|build|read|run|cook|paint|play|grow) "),
        "I {said}. How do I begin?",
    ),
    (re.compile(""), "Besides that I {said}, what do you remember about me?"),
]
"""What is asked where it begins so; the first that fits counts."""
QUOTED = "What do you remember about this: “{text}”?"


async def starters(chat: Chat, asked: Asked, user_id: str | None) -> list[str]:
    """At most STARTERS questions; others each day."""
    if not await remembers(chat, asked.caller.owner):
        return []
    scope = Scope(owner=asked.caller.owner, user_id=user_id)
    ours = Selection(scope=scope, without_user=user_id is None)
    async with chat.engine.reading(asked, memories.MEMORIES) as (conn, build):
        recent = await memories.listing(conn, build, ours, RECENT)
    return chosen(recent, now().date())


def chosen(recent: Sequence[Memory], day: date) -> list[str]:
    """At most STARTERS questions, each once, the same all day; sentences before quotations."""

    def place(memory: Memory) -> bytes:
        return sha256(f"{day} {memory.id}".encode()).digest()

    texts = [memory.text for memory in sorted(recent, key=place)]
    asked = [question for text in texts if (question := question_on(text))]
    quoted = [question for text in texts if (question := quotation_of(text))]
    return list(dict.fromkeys([*asked, *quoted]))[:STARTERS]


def question_on(text: str) -> str | None:
    """A question on a memory; None where none is certain to be right."""
    line = " ".join(text.replace("’", "'").split()).removesuffix(".")
    if own := OWN.fullmatch(line):
        thing = own["thing"]
        return None if thing in DULL or UNCLEAR.search(thing) else f"What do you remember about my {thing}?"
    said = ABOUT_USER.fullmatch(line) or BY_USER.fullmatch(line)
    if not said or len(line) > LONGEST or UNCLEAR.search(said["rest"]) or not line.isprintable():
        return None
    words = f"{SAYS.get(said['verb'], said['verb'])} {said['rest']}"
    return next(frame.format(said=words) for beginning, frame in FRAMES if beginning.match(words))


def quotation_of(text: str) -> str | None:
    """A question that repeats a memory, shortened; None where there is nothing else to ask, or no text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not line or question_on(text) or OWN.fullmatch(line.replace("’", "'").removesuffix(".")):
        return None
    if len(line) > LONGEST:
        line = line[:LONGEST].rsplit(" ", 1)[0].rstrip(" ,;:.-") + "…"
    return QUOTED.format(text=line.replace("“", "'").replace("”", "'"))
