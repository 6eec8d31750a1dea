"""The extractor that asks a chat model: first for the facts of a conversation, then what they change.

What a model answers is a proposal. It can only name messages and memories by numbers of the question, and
every rule of the prompts that protects a memory is checked again here.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import islice
from typing import TypeVar
from uuid import UUID

import msgspec

from domain.ids import new_id
from domain.ingestion import Action, Decision, Extractor, Received, Role, Usage
from domain.memory import Entity, Relation, Traits
from providers.models.chat_model import ChatModel, Spent
from providers.models.prices import Prices
from workers.extraction.extractor import Conversation, Known, Recall
from workers.extraction.prompt import Prompt, prompt
from workers.extraction.words import stems

FACTS = prompt("facts-1")
DECIDE = prompt("decide-1")

WINDOW_CHARS = 24_000
"""Of text read in one call; longer, and models begin to overlook what stands in the middle."""
LINE_CHARS = 100
"""What a message takes beside its text."""
CONTEXT_LINES = 4
CONTEXT_CHARS = 1_000
"""Of each message before a window: its end."""
MAX_WINDOWS = 50
"""Of one conversation, about 1.2 million characters. What comes after them is not read."""
FACTS_AT_ONCE = 30
"""Decided in one call."""
MAX_MEMORIES = 30
"""Shown in one call: for each of its facts at least the one that is most like it."""
ANSWER_TOKENS = 8_000

MAX_TEXT = 500
"""Characters of a fact; what is longer is none."""
MAX_MEMORY_TEXT = 2_000
"""A longer memory is a document that somebody put there; no fact rewrites or deletes it."""
MAX_REASON = 200
MAX_DELETIONS = 5
"""By one conversation. Whoever wants more gone says so once more, or deletes it."""

TYPES = ("preference", "fact", "experience", "goal", "relationship")

Shape = TypeVar("Shape", bound=msgspec.Struct)


# --- what the model answers ---------------------------------------------------------------------------


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One fact, as the conversation states it."""

    text: str
    source: int
    retraction: bool = False
    type: str = "fact"
    confidence: float = 1.0
    happened_on: str | None = None
    categories: list[str] = []
    entities: list[Entity] = []
    relations: list[Relation] = []


class Statements(msgspec.Struct, frozen=True):
    """All facts that the conversation states."""

    facts: list[Statement]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one fact does to the memories."""

    fact: int
    reason: str = ""
    memory: int | None = None
    action: Action
    text: str | None = None


class Verdicts(msgspec.Struct, frozen=True):
    """One decision for each fact."""

    decisions: list[Verdict]


# --- the extractor ------------------------------------------------------------------------------------


class ModelReader:
    """Asks a chat model. Safe for many threads. `prices` None: nobody told what it costs."""

    local = False

    def __init__(self, chat: ChatModel, prices: Prices | None = None) -> None:
        self._chat = chat
        self._prices = prices
        self.identity = Extractor(
            name="model",
            model=self._chat.name,
            prompts={step.step: step.version for step in (FACTS, DECIDE)},
        )

    def read(self, conversation: Conversation) -> "UnderstoodByModel":
        """Raises ModelUnavailable, ModelRefused or ModelGarbage, as does deciding."""
        received = conversation.received
        calls = Calls(self._chat, self._prices)
        facts: dict[str, Fact] = {}
        readable = (window for window in windows(conversation) if window.sources())
        for window in islice(readable, MAX_WINDOWS):
            answer = calls.ask(FACTS, _facts_question(received, window), Statements)
            for statement in answer.facts:
                fact = checked(statement, window, received)
                if fact:
                    facts.pop(fact.text, None)  # of stating and taking back the same, the last counts
                    facts[fact.text] = fact
        return UnderstoodByModel(list(facts.values()), calls)


class UnderstoodByModel:
    """The facts of a conversation, in the order in which they were last said."""

    def __init__(self, facts: "list[Fact]", calls: "Calls") -> None:
        self._facts = facts
        self._calls = calls

    def usage(self) -> Usage:
        return self._calls.usage

    def decide(self, recall: Recall) -> list[Decision]:
        """One decision for each fact, in their order."""
        recalled = recall([fact.text for fact in self._facts]) if self._facts else []
        decisions: list[Decision] = []
        for begin in range(0, len(self._facts), FACTS_AT_ONCE):
            batch = slice(begin, begin + FACTS_AT_ONCE)
            decisions += self._decide(self._facts[batch], most_alike(recalled[batch]))
        return _deleting_little(self._facts, _one_change_each(self._facts, decisions))

    def _decide(self, facts: "Sequence[Fact]", memories: Sequence[Known]) -> list[Decision]:
        if not memories:
            return [_added(fact, "nothing known is like it") for fact in facts]
        answer = self._calls.ask(DECIDE, _decide_question(facts, memories), Verdicts)
        verdicts = {verdict.fact: verdict for verdict in answer.decisions}
        return [
            decision(fact, verdicts[number], memories)
            if number in verdicts
            else _added(fact, "the model decided nothing about it")
            for number, fact in enumerate(facts)
        ]


class Calls:
    """The calls made for one conversation, and what they have used."""

    def __init__(self, chat: ChatModel, prices: Prices | None) -> None:
        self._chat = chat
        self._prices = prices
        self.usage = Usage(cost=0.0 if prices else None)

    def ask(self, step: Prompt, question: dict[str, object], shape: type[Shape]) -> Shape:
        # One JSON document: no message can end its place in it and pose as something else.
        data = msgspec.json.encode(question).decode()
        answer, spent = self._chat.structured(step.text, data, shape, ANSWER_TOKENS)
        self.usage = self._with(spent)
        return answer

    def _with(self, spent: Spent) -> Usage:
        read = self.usage.input_tokens + spent.input_tokens
        written = self.usage.output_tokens + spent.output_tokens
        cost = None
        if self._prices:
            cost = self._prices.cost(read, written)
        return Usage(calls=self.usage.calls + 1, input_tokens=read, output_tokens=written, cost=cost)


# --- reading ------------------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or a part of a long one, as it is shown to the model."""

    index: int
    role: Role
    said_at: str
    weekday: str
    text: str


class Window(msgspec.Struct, frozen=True):
    """What one call reads, and what came just before it."""

    context: list[Line]
    lines: list[Line]

    def sources(self) -> set[int]:
        """The messages that facts can come from."""
        return {line.index for line in self.lines if line.role == "user"}

    def said(self, source: int) -> str:
        """All up to a message, by whomever."""
        return "\n".join(line.text for line in [*self.context, *self.lines] if line.index <= source)


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that has passed the checks."""

    text: str
    source: int
    retraction: bool
    traits: Traits
    said: str = ""
    """What was said up to its source, as far as the model was shown it at once."""


def windows(conversation: Conversation) -> Iterator[Window]:
    """The conversation in pieces that one call can read."""
    lines = list(_lines(conversation))
    begin, chars = 0, 0
    for end, line in enumerate(lines):
        more = LINE_CHARS + len(line.text)
        if chars + more > WINDOW_CHARS:
            yield _window(lines, begin, end)
            begin, chars = end, 0
        chars += more
    yield _window(lines, begin, len(lines))


def _window(lines: Sequence[Line], begin: int, end: int) -> Window:
    before = lines[max(0, begin - CONTEXT_LINES) : begin]
    context = [msgspec.structs.replace(line, text=line.text[-CONTEXT_CHARS:]) for line in before]
    return Window(context, list(lines[begin:end]))


def _lines(conversation: Conversation) -> Iterator[Line]:
    for index, message in enumerate(conversation.received.messages):
        at = conversation.said_at(index)
        said_at, weekday = at.isoformat(timespec="minutes"), f"{at:%A}"
        for part in parts(message.text):
            yield Line(index=index, role=message.role, said_at=said_at, weekday=weekday, text=part)


def parts(text: str) -> list[str]:
    """A text in parts that fit a window, cut between words where there are any; none of a blank one."""
    most = WINDOW_CHARS - LINE_CHARS
    return [part for part in re.findall(rf"(?s).{{1,{most}}}(?!\S)|.{{1,{most}}}", text) if part.strip()]


def _facts_question(received: Received, window: Window) -> dict[str, object]:
    return {
        "operator": {"instructions": received.instructions, "categories": received.categories},
        "extract_graph": received.extract_graph,
        "context": window.context,
        "messages": window.lines,
    }


def checked(statement: Statement, window: Window, received: Received) -> Fact | None:
    """The fact that is stated; None where it is no fact, or the user has not said it."""
    text = clean(statement.text, MAX_TEXT)
    if not text or statement.source not in window.sources():
        return None
    traits = Traits(
        type=statement.type if statement.type in TYPES else "fact",
        confidence=min(1.0, max(0.0, statement.confidence)),
        categories=tuple(name for name in received.categories if name in statement.categories),
    )
    if not statement.retraction:  # the details of what is no longer so are nobody's
        traits = msgspec.structs.replace(traits, happened_on=_day(statement.happened_on))
        if received.extract_graph:
            entities, relations = _entities(statement.entities), _relations(statement.relations)
            traits = msgspec.structs.replace(traits, entities=entities, relations=relations)
    said = window.said(statement.source) if statement.retraction else ""
    return Fact(text=text, source=statement.source, retraction=statement.retraction, traits=traits, said=said)


def _entities(entities: Sequence[Entity]) -> tuple[Entity, ...]:
    types = {clean(entity.name): clean(entity.type) or "thing" for entity in entities}
    return tuple(Entity(name, type) for name, type in types.items() if name)


def _relations(relations: Sequence[Relation]) -> tuple[Relation, ...]:
    cleaned = (Relation(clean(r.source), clean(r.relation), clean(r.target)) for r in relations)
    return tuple(r for r in dict.fromkeys(cleaned) if r.source and r.relation and r.target)


def clean(text: str | None, most: int = MAX_TEXT) -> str:
    """A text on one line without NUL, which PostgreSQL does not store; empty for one that is too long."""
    one_line = " ".join((text or "").replace("\0", "").split())
    return one_line if len(one_line) <= most else ""


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


# --- deciding -----------------------------------------------------------------------------------------


def most_alike(recalled: Sequence[Sequence[Known]]) -> list[Known]:
    """Of what was recalled for each fact, first all that are the best for one, then the second best…"""
    ranked = [(rank, -one.similarity, one) for ones in recalled for rank, one in enumerate(ones)]
    memories: dict[UUID, Known] = {}
    for _, _, one in sorted(ranked, key=lambda item: item[:2]):
        if len(one.text) <= MAX_MEMORY_TEXT:
            memories.setdefault(one.id, one)
    return list(memories.values())[:MAX_MEMORIES]


def _decide_question(facts: Sequence[Fact], memories: Sequence[Known]) -> dict[str, object]:
    return {
        "facts": [
            {"fact": number, "text": fact.text, "retraction": fact.retraction}
            for number, fact in enumerate(facts)
        ],
        "memories": [{"memory": number, "text": one.text} for number, one in enumerate(memories)],
    }


def decision(fact: Fact, verdict: Verdict, memories: Sequence[Known]) -> Decision:
    """What a verdict comes to when it is held to the rules."""
    number = verdict.memory
    about = memories[number] if number is not None and 0 <= number < len(memories) else None
    reason = clean(verdict.reason[:MAX_REASON]) or "the model gives no reason"
    if verdict.action == "NONE":
        return _unchanged(fact, reason, about)
    if verdict.action == "ADD":
        return _added(fact, reason, clean(verdict.text))
    if verdict.action == "DELETE":
        return _deleted(fact, reason, about)
    return _updated(fact, reason, about, clean(verdict.text, MAX_MEMORY_TEXT))


def _deleted(fact: Fact, reason: str, about: Known | None) -> Decision:
    if not fact.retraction:
        return _unchanged(fact, "the model would delete what nothing takes back", about)
    if about is None:
        return _unchanged(fact, "the model would delete a memory that it was not shown")
    return _changed("DELETE", fact, reason, about, about.text)


def _updated(fact: Fact, reason: str, about: Known | None, text: str) -> Decision:
    if about is None:
        return _added(fact, "the model would update a memory that it was not shown")
    if not fact.retraction:  # whose own words are what is no longer so
        text = text or fact.text
    if text in ("", about.text):
        return _unchanged(fact, "the model would update a memory to nothing new", about)
    return _changed("UPDATE", fact, reason, about, text)


def _added(fact: Fact, reason: str, text: str = "") -> Decision:
    if fact.retraction:
        return _unchanged(fact, "nothing known is taken back by this")
    return Decision(
        action="ADD",
        text=text or fact.text,
        reason=reason,
        memory_id=new_id(),
        sources=(fact.source,),
        traits=fact.traits,
    )


def _changed(action: Action, fact: Fact, reason: str, about: Known, text: str) -> Decision:
    return Decision(
        action=action,
        text=text,
        reason=reason,
        memory_id=about.id,
        version=about.version,
        before=about.text,
        sources=(fact.source,),
        traits=fact.traits,
    )


def _unchanged(fact: Fact, reason: str, about: Known | None = None) -> Decision:
    return Decision(
        action="NONE",
        text=fact.text,
        reason=reason,
        memory_id=about.id if about else None,
        sources=(fact.source,),
        traits=fact.traits,
    )


def _deleting_little(facts: Sequence[Fact], decisions: Sequence[Decision]) -> list[Decision]:
    """Of the deletions the first few, and after the first only of what the conversation speaks of.

    A model that obeys a text which somebody has pasted may take back all that it is shown. The first needs no
    word in common, as "forget what I said about my job" or another language has none.
    """
    held: list[Decision] = []
    deleted = 0
    for fact, made in zip(facts, decisions, strict=True):
        reason = ""
        if made.action == "DELETE" and deleted >= MAX_DELETIONS:
            reason = f"one conversation deletes at most {MAX_DELETIONS} memories"
        elif made.action == "DELETE" and deleted and not (stems(made.text) - {"user"}) & stems(fact.said):
            reason = "the model would delete what the conversation does not speak of"
        deleted += made.action == "DELETE" and not reason
        held.append(_unchanged(fact, reason) if reason else made)
    return held


def _one_change_each(facts: Sequence[Fact], decisions: Sequence[Decision]) -> list[Decision]:
    """Of decisions that change the same memory the last; the others change nothing."""
    last = {made.memory_id: n for n, made in enumerate(decisions) if made.action != "NONE"}
    return [
        made
        if made.action == "NONE" or last[made.memory_id] == n
        else _unchanged(facts[n], "a later statement changes the same memory")
        for n, made in enumerate(decisions)
    ]
