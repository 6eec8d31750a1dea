"""Re-extraction: read past conversations again, and propose what another extractor would have made of them.

The new reading starts from what other causes left in the scope, goes through the conversations in order, and
is compared in the end with what their first reading left. What others have changed or deleted since a
conversation stays as they left it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from psycopg import Connection

from application.refusals import Behind
from domain.errors import NotWaiting
from domain.eventstore.cells import Cell
from domain.eventstore.memories import caused_by
from domain.eventstore.reading import Filter, read_log, read_streams
from domain.eventstore.states import states_of
from domain.ids import REVERT_PREFIX
from domain.ingestion import Decision, Ingestion, Usage
from domain.memory import Memory
from domain.recorded import stored_names
from domain.review import Proposal, Propose, Proposed, Requested, Review
from domain.scope import Scope
from projections.catalogue import builds
from projections.search import SEARCH
from providers.embedding.embedder import Embedder
from providers.models.chat_model import ModelGarbage, ModelRefused
from workers.extraction.extractor import Conversation, Known, Reader, Understood
from workers.ingestions import append, decided
from workers.means import Means
from workers.recall import RECALLED

READ_EVENTS = 20
"""A conversation may be as large as a request."""
THE_SAME_THING = 0.95
"""Similarity from which a memory of the new reading takes the place of one of the old: a cosine of 0.5."""


class Read(msgspec.Struct, frozen=True):
    """A past conversation, and what the extractor understands of it now."""

    ingestion: Ingestion
    understood: Understood


class Born(msgspec.Struct):
    """A memory that the new reading would have made, as it would be in the end."""

    decision: Decision
    ingestion: Ingestion | None = None
    """The last conversation that says so; None for what no conversation says any more."""


def propose(cell: Cell, means: Means, review_id: UUID) -> None:
    """Read again what a review asks for and append its proposals. Raises what models and recall raise."""
    review = cell.log.get(Review, review_id)
    if review.status != "waiting":
        raise NotWaiting(f"this review is already {review.status}")
    asked = review.requested
    reader = means.readers.of(asked.extractor)
    with cell.pool.connection() as conn:
        ingestions = list(ingestions_of(conn, cell, asked))
        model = next((b.model for b in builds(conn, SEARCH.name) if b.state == "live"), None)
    if model is None:
        raise Behind("search has not been built yet")
    # Models take their time: no connection waits for them.
    reads = [read for ingestion in ingestions if (read := _read(reader, ingestion))]
    with cell.pool.connection() as conn:
        old, withdrawn = _left_by(conn, cell, {read.ingestion.id for read in reads})
    reading = Rereading(cell, means, means.embedders.of(model), old, withdrawn)
    for read in reads:
        reading.go_on(read)
    proposed = Proposed(
        extractor=reader.identity,
        ingestions=len(reads),
        proposals=tuple(reading.proposals()),
        usage=_total(read.understood.usage() for read in reads),
    )
    append(cell, review, [(review_id, Propose(proposed=proposed))])


def ingestions_of(conn: Connection[Any], cell: Cell, asked: Requested) -> Iterator[Ingestion]:
    """The conversations that a review asks for, oldest first."""
    subject_id = cell.subjects.find(conn, asked.scope.owner, asked.scope.user_id)
    if subject_id is None:
        return
    only = Filter(
        owner=asked.scope.owner,
        subject_id=subject_id,
        since=asked.since,
        until=asked.until,
        types=stored_names("ingestion.received."),
    )
    after = 0
    while entries := read_log(conn, after, READ_EVENTS, only):
        after = entries[-1].position
        ids = [entry.originator_id for entry in entries]
        ingestions = states_of(conn, cell.log.mapper, Ingestion, ids)
        for id in ids:
            if ingestions[id].status != "waiting" and asked.scope.holds(ingestions[id].scope):
                yield ingestions[id]


def _read(reader: Reader, ingestion: Ingestion) -> Read | None:
    try:
        conversation = Conversation(received=ingestion.received, at=ingestion.received_at)
        return Read(ingestion, reader.read(conversation))
    except (ModelRefused, ModelGarbage):
        return None  # what cannot be read again keeps what it has


def _left_by(
    conn: Connection[Any], cell: Cell, ingestions: set[UUID]
) -> tuple[dict[UUID, Memory], list[Memory]]:
    """The memories that these conversations alone have made, and those of them that others have deleted."""
    names = {str(id) for id in ingestions}
    ids = caused_by(conn, names)
    causes: defaultdict[UUID, set[str]] = defaultdict(set)
    ended: dict[UUID, str] = {}
    for entry in read_streams(conn, ids):
        causes[entry.originator_id].add(entry.context.cause)
        ended[entry.originator_id] = entry.context.cause
    memories = states_of(conn, cell.log.mapper, Memory, ids).values()
    old = {m.id: m for m in memories if causes[m.id] <= names and not m.deleted}
    # What a revert has undone may be proposed anew: a better reading is why people revert.
    others = [m for m in memories if m.deleted and not causes[m.id] <= names]
    return old, [m for m in others if not ended[m.id].startswith(REVERT_PREFIX)]


class Rereading:
    """The new reading as it goes on, beside what the first one left."""

    def __init__(
        self,
        cell: Cell,
        means: Means,
        embedder: Embedder,
        old: dict[UUID, Memory],
        withdrawn: list[Memory],
    ) -> None:
        self._cell = cell
        self._means = means
        self._embedder = embedder
        self._old = old
        self._withdrawn = {memory.id: memory for memory in withdrawn}
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._born: dict[UUID, Born] = {}
        self._changed: dict[UUID, Born] = {}
        """Decisions on memories of other causes."""

    def go_on(self, read: Read) -> None:
        """Decide the next conversation against what the earlier ones would have left."""
        scope = read.ingestion.scope
        with self._cell.pool.connection() as conn:
            subject_id = self._cell.subjects.find(conn, scope.owner, scope.user_id)
        assert subject_id  # noqa: S101 - an ingestion is encrypted under its subject's key
        received = read.ingestion.received
        decisions = decided(received, read.understood, lambda texts: self._recall(scope, subject_id, texts))
        for decision in decisions:
            if decision.action != "NONE":
                self._take(decision, read.ingestion)

    def _take(self, decision: Decision, ingestion: Ingestion) -> None:
        id = decision.memory_id
        assert id  # noqa: S101 - only a NONE may concern no memory
        born = self._born.get(id)
        if decision.action == "ADD":
            self._born[id] = Born(decision, ingestion)
        elif born and decision.action == "DELETE":
            del self._born[id]
        elif born:
            changed = {"text": decision.text, "traits": decision.traits, "reason": decision.reason}
            born.decision, born.ingestion = msgspec.structs.replace(born.decision, **changed), ingestion
        elif self._cell.log.get(Memory, id).updated_at < ingestion.received_at:
            self._changed[id] = Born(decision, ingestion)

    def _recall(self, scope: Scope, subject_id: UUID, texts: Sequence[str]) -> list[list[Known]]:
        stored = self._means.recaller.recall(self._cell, scope, subject_id, texts)
        imagined = [
            Known(id=id, version=0, text=born.decision.text)
            for id, born in self._born.items()
            if _scope(born) == scope
        ]
        likeness = self._likeness(list(texts), [one.text for one in imagined])
        return [
            [
                *(k for one in known if one.id not in self._old and (k := self._as_changed(one))),
                *_nearest_of(imagined, row),
            ]
            for known, row in zip(stored, likeness, strict=True)
        ]

    def _as_changed(self, one: Known) -> Known | None:
        changed = self._changed.get(one.id)
        if changed is None:
            return one
        if changed.decision.action == "DELETE":
            return None
        return msgspec.structs.replace(one, text=changed.decision.text)

    def _likeness(self, texts: list[str], others: list[str]) -> NDArray[np.float64]:
        """(n, m): the similarity of each text to each of the others."""
        if not texts or not others:
            return np.zeros((len(texts), len(others)))
        cosines = self._embedded(texts) @ self._embedded(others).T
        return self._embedder.similarity(cosines.astype(np.float64))

    def _embedded(self, texts: list[str]) -> NDArray[np.float32]:
        """(n, dims). Each text is embedded once, however many conversations it is compared with."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._vectors))
        if missing:
            self._vectors |= dict(zip(missing, self._embedder.embed(missing), strict=True))
        return np.stack([self._vectors[text] for text in texts])

    def proposals(self) -> Iterator[Proposal]:
        """What would have to change for the new reading to be what is known."""
        for number, born in enumerate([*self._differences(), *self._changed.values()], start=1):
            yield Proposal(
                number=number,
                decision=born.decision,
                ingestion_id=born.ingestion.id if born.ingestion else None,
            )

    def _differences(self) -> Iterator[Born]:
        """ADDs, UPDATEs and DELETEs that lead from what the first reading left to what this one would."""
        old = dict(self._old)
        fresh: list[Born] = []
        for born in self._born.values():
            if same := _same_words(born, old):
                del old[same]
            elif not _same_words(born, self._withdrawn):
                fresh.append(born)
        for born in fresh:
            nearest = self._nearest(born, old)
            if nearest is None:
                yield born
                continue
            before = old.pop(nearest)
            changed = msgspec.structs.replace(
                born.decision,
                action="UPDATE",
                memory_id=before.id,
                version=before.version,
                before=before.text,
            )
            yield Born(changed, born.ingestion)
        for memory in old.values():
            yield Born(_gone(memory))

    def _nearest(self, born: Born, old: dict[UUID, Memory]) -> UUID | None:
        there = [memory for memory in old.values() if memory.scope == _scope(born)]
        if not there:
            return None
        (likeness,) = self._likeness([born.decision.text], [memory.text for memory in there])
        best = int(np.argmax(likeness))
        return there[best].id if likeness[best] >= THE_SAME_THING else None


def _gone(memory: Memory) -> Decision:
    return Decision(
        action="DELETE",
        text=memory.text,
        reason="the new reading finds no conversation that says this",
        memory_id=memory.id,
        version=memory.version,
        before=memory.text,
    )


def _scope(born: Born) -> Scope | None:
    return born.ingestion.scope if born.ingestion else None


def _nearest_of(imagined: list[Known], likeness: NDArray[np.float64]) -> list[Known]:
    """The most like, best first."""
    best = np.argsort(-likeness, kind="stable")[:RECALLED]
    return [msgspec.structs.replace(imagined[n], similarity=float(likeness[n])) for n in best]


def _same_words(born: Born, old: dict[UUID, Memory]) -> UUID | None:
    words = born.decision.text.lower().strip(" .")
    return next(
        (
            id
            for id, memory in old.items()
            if memory.scope == _scope(born) and memory.text.lower().strip(" .") == words
        ),
        None,
    )


def _total(usages: Iterator[Usage]) -> Usage:
    total = Usage()
    for one in usages:
        cost = None if total.cost is None and one.cost is None else (total.cost or 0) + (one.cost or 0)
        total = Usage(
            calls=total.calls + one.calls,
            input_tokens=total.input_tokens + one.input_tokens,
            output_tokens=total.output_tokens + one.output_tokens,
            cost=cost,
        )
    return total
