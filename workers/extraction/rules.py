"""The offline extractor: English first-person statements by grammar, decided by slots and words.

It knows the plain ways to say common things, invents nothing, and misses what is said in other ways.
"""

import re
from collections.abc import Sequence
from itertools import islice
from uuid import UUID

import msgspec

from domain.ids import new_id
from domain.ingestion import Action, Decision, Extractor, Usage
from domain.memory import Entity, Relation, Traits
from workers.extraction.extractor import Conversation, Known, Recall
from workers.extraction.grammar import known, statements
from workers.extraction.statement import Statement
from workers.extraction.words import PETS, stems

SAME_WORDS = 0.8
"""Share of common stems from which two objects of a predicate are the same."""
OPPOSED_WORDS = 0.6
SAME_MEANING = 0.998
"""Similarity of two texts that say the same in other words: a cosine of about 0.77 in the local model."""
MAX_STATEMENTS = 500
"""Of one conversation; more is no conversation."""


class Said(msgspec.Struct, frozen=True):
    """A statement and the message that makes it."""

    statement: Statement
    index: int


class Rules:
    """Reads about 100 kB a second and asks nobody."""

    identity = Extractor(name="rules-1")
    local = True

    def read(self, conversation: Conversation) -> "UnderstoodByRules":
        said = (
            Said(statement, index)
            for index, message in enumerate(conversation.received.messages)
            if message.role == "user"
            for statement in statements(message.text, conversation.said_at(index))
        )
        return UnderstoodByRules(conversation, list(islice(said, MAX_STATEMENTS)))


class UnderstoodByRules:
    """The statements of a conversation, in order."""

    def __init__(self, conversation: Conversation, said: list[Said]) -> None:
        self._received = conversation.received
        self._said = said

    def usage(self) -> Usage:
        return Usage()

    def decide(self, recall: Recall) -> list[Decision]:
        drafts = Drafts()
        recalled = recall([said.statement.text for said in self._said]) if self._said else []
        for said, known_ones in zip(self._said, recalled, strict=True):
            action, about, reason = judge(said.statement, drafts.standing(known_ones))
            traits = self._traits(said.statement)
            drafts.take(action, about, said, traits, reason)
        return drafts.decisions()

    def _traits(self, statement: Statement) -> Traits:
        categories = tuple(
            name
            for name, description in self._received.categories.items()
            if stems(f"{name} {description}") & stems(statement.text)
        )
        graph = self._received.extract_graph
        return Traits(
            type=statement.type,
            confidence=statement.confidence,
            categories=categories,
            happened_on=statement.happened_on,
            entities=entities_of(statement) if graph else (),
            relations=relations_of(statement) if graph else (),
        )


class Drafts:
    """The decisions so far. A later statement of a conversation sees what the earlier ones have changed."""

    def __init__(self) -> None:
        self._changed: dict[UUID, Decision] = {}
        self._without: list[Decision] = []

    def standing(self, recalled: Sequence[Known]) -> list[Known]:
        """What is known by now: as recalled, with the changes decided since."""
        shown = {one.id for one in recalled}
        added = [
            Known(id=id, version=0, text=decision.text)
            for id, decision in self._changed.items()
            if decision.action == "ADD" or (decision.action == "UPDATE" and id not in shown)
        ]
        stands = [
            msgspec.structs.replace(one, text=self._changed[one.id].text) if one.id in self._changed else one
            for one in recalled
            if one.id not in self._changed or self._changed[one.id].action == "UPDATE"
        ]
        return stands + added

    def take(self, action: Action, about: Known | None, said: Said, traits: Traits, reason: str) -> None:
        """Add one decision to the others."""
        id = about.id if about else self._ended(said.statement) if action == "ADD" else None
        if id is None and action == "ADD":
            id = new_id()
        before = self._changed.get(id) if id else None
        if action == "NONE" or id is None:
            none = Decision(
                action="NONE",
                text=said.statement.text,
                reason=reason,
                memory_id=id,
                sources=(said.index,),
                traits=traits,
            )
            self._without.append(none)
            return
        if action == "DELETE" and before and before.action == "ADD":
            del self._changed[id]  # said and taken back in one conversation
            return
        ended = before is not None and before.action == "DELETE"
        if before and before.action == "ADD":
            action = "ADD"
        elif ended:
            action, reason = "UPDATE", f"the user ends one {said.statement.slot} and names the next"
        was = before.before if before else about.text if about else None
        decision = Decision(
            action=action,
            text=was or "" if action == "DELETE" else said.statement.text,
            reason=reason,
            memory_id=id,
            version=before.version if before else about.version if about else None,
            before=was,
            sources=(*(before.sources if before else ()), said.index),
            traits=traits,
        )
        self._changed[id] = decision

    def _ended(self, statement: Statement) -> UUID | None:
        """The memory of the same slot that was just said to be no longer so."""
        for id, decision in self._changed.items():
            if decision.action == "DELETE" and statement.slot:
                old = known(decision.before or "")
                if old and old.slot == statement.slot:
                    return id
        return None

    def decisions(self) -> list[Decision]:
        return [*self._changed.values(), *self._without]


# --- judging ------------------------------------------------------------------------------------------


def judge(statement: Statement, known_ones: Sequence[Known]) -> tuple[Action, Known | None, str]:
    """What one statement does to what is known: the action, the memory concerned, and why."""
    read = [(one, known(one.text)) for one in known_ones]
    if statement.retracts:
        for one, other in read:
            if _is_retracted(statement, one, other):
                return "DELETE", one, "the user says that this is no longer so"
        return "NONE", None, "nothing known is taken back by this"
    for one, other in read:
        if _in_the_same_words(statement, one, other):
            return "NONE", one, "this is known in the same words"
    rivals = [one for one, other in read if other and statement.slot and other.slot == statement.slot]
    for one, other in read:
        # Of two dogs, "my dog is called Bo" does not say which.
        if other is not None and not (one in rivals and len(rivals) > 1):
            judged = _judge_slot(statement, other) or _judge_words(statement, other)
            if judged:
                return judged[0], one, judged[1]
    for one, other in read:
        if other is None and _means_the_same(statement, one):
            return "NONE", one, "this is known in other words"
    return "ADD", None, "nothing known says this"


def _in_the_same_words(statement: Statement, one: Known, other: Statement | None) -> bool:
    if stems(one.text) != stems(statement.text) or _negation(one.text) != _negation(statement.text):
        return False
    return other is None or not _reordered(statement, other)


def _judge_slot(new: Statement, old: Statement) -> tuple[Action, str] | None:
    if not new.slot or new.slot != old.slot:
        return None
    if stems(new.object) <= stems(old.object) and new.negative == old.negative and not _reordered(new, old):
        return "NONE", f"the {new.slot} is known"
    return "UPDATE", f"there is one {new.slot}, and this is the new one"


def _judge_words(new: Statement, old: Statement) -> tuple[Action, str] | None:
    new_words, old_words = stems(new.object), stems(old.object)
    if not new_words or not old_words or (new.slot and new.slot == old.slot):
        return None
    if (new.predicate, old.predicate) == ("cannot eat", "allergic") and new_words <= old_words:
        return "NONE", "this follows from what is known"
    if new.predicate.split()[:1] != old.predicate.split()[:1]:
        return None
    common = len(new_words & old_words) / len(new_words | old_words)
    if new.negative != old.negative:
        return ("UPDATE", "the user says the opposite now") if common >= OPPOSED_WORDS else None
    if new_words <= old_words or common >= SAME_WORDS:
        return "NONE", "this is known"
    return ("UPDATE", "this says more than what is known") if old_words < new_words else None


def _reordered(new: Statement, old: Statement) -> bool:
    """Whether the same words say the reverse: tea over coffee, coffee over tea."""
    return " over " in new.text and new.object.lower() != old.object.lower()


def _is_retracted(statement: Statement, one: Known, other: Statement | None) -> bool:
    words = stems(statement.object)
    if statement.slot and not words:
        return other is not None and other.slot == statement.slot
    if not words or not words <= stems(one.text):
        return False
    if not statement.predicate or other is None:
        return True
    return other.predicate.split()[:1] == statement.predicate.split()[:1]


def _means_the_same(statement: Statement, one: Known) -> bool:
    if one.similarity < SAME_MEANING or _negation(one.text) != _negation(statement.text):
        return False
    return _names(one.text) == _names(statement.text)


def _negation(text: str) -> bool:
    return bool(re.search(r"\b(?:not|no|never|hates?|dislikes?|n't)\b", text, re.IGNORECASE))


def _names(text: str) -> set[str]:
    """Names and numbers: texts that differ in these are about different things."""
    return set(re.findall(r"(?<!^)\b(?:[A-Z][\w'-]+|\d+)\b", text))


# --- the graph ----------------------------------------------------------------------------------------

KINDS = {
    "home": "place", "origin": "place", "employer": "organization", "name": "person", "grew up": "place",
    "was born": "place",
}  # fmt: skip


def entities_of(statement: Statement) -> tuple[Entity, ...]:
    """The names in a statement, and the user."""
    named = [Entity(name, _kind(statement)) for name in _proper(statement.object)]
    return (Entity("User", "person"), *named) if named else ()


def relations_of(statement: Statement) -> tuple[Relation, ...]:
    """How the user stands to what the statement names; to all of its object where that is one thing."""
    verb = statement.text.removeprefix("User's ").removeprefix("User ")
    for name in _proper(statement.object) or [statement.object]:
        before = verb.split(name)[0] if name and name in verb else ""
        relation = re.sub(r"\W+", "_", before.lower()).strip("_")
        if relation and statement.text.startswith("User "):
            return (Relation("User", relation, name),)
        if relation:
            return (Relation("User", f"has_{relation.removesuffix('_is')}", name),)
    return ()


def _kind(statement: Statement) -> str:
    if statement.slot and statement.slot.split(" of ")[0] in KINDS:
        return KINDS[statement.slot.split(" of ")[0]]
    if re.search(rf"\b(?:{PETS})\b", statement.text):
        return "pet"
    return "person" if "called" in statement.text else "thing"


def _proper(text: str) -> list[str]:
    return re.findall(r"\b[A-Z][\w'-]*(?:(?: of| de| the)? [A-Z][\w'-]*)*", text)
