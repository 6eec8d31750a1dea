"""How well an extractor decides: precision, recall and decisions against labelled conversations.

    python -m bench.extraction [FILE] [--extractor rules|model] [--json] [--misses]

FILE is JSONL, by default the conversations beside this program. Each line is one conversation:

    {"id": "…", "class": "update", "at": "2026-11-20T10:00:00Z", "known": ["User lives in Berlin"],
     "messages": [{"role": "user", "content": "We moved to Munich last month!"}],
     "expected": [{"action": "UPDATE", "memory": "User lives in Munich", "of": "User lives in Berlin"}]}

`expected` lists what should change: an ADD has a `memory`, an UPDATE a `memory` and the known text that it is
`of`, a DELETE only `of`. An empty list says that nothing should change. A conversation is decided right when
its changes are exactly those, where two texts agree if they share most of their words or nearly all of their
meaning. Facts are the texts of ADD and UPDATE; they are matched three times: by exact words, by shared words,
and by meaning.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from domain.ids import new_id
from domain.ingestion import Decision, Message, Received, Role
from domain.scope import Scope
from providers.embedding.embedder import Embedder
from runtime.composition import embedders_of, readers_of
from runtime.settings import load
from workers.extraction.extractor import Conversation, Known, Reader, Recall
from workers.extraction.words import stems

CONVERSATIONS = Path(__file__).with_name("conversations.jsonl")
SHARED_WORDS = 0.6
"""Share of common stems from which two texts are the same fact."""
SAME_MEANING = 0.99
RECALLED = 20


class Said(msgspec.Struct):
    role: Role
    content: str


class Expected(msgspec.Struct):
    action: str
    memory: str = ""
    of: str = ""


class Case(msgspec.Struct):
    id: str
    expected: list[Expected]
    messages: list[Said]
    kind: str = msgspec.field(name="class", default="")
    at: datetime = datetime.fromisoformat("2026-01-01T00:00:00Z")
    known: list[str] = []


Same = Callable[[str, str], bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=CONVERSATIONS)
    parser.add_argument("--extractor", choices=["rules", "model"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--misses", action="store_true", help="show the conversations decided wrong")
    options = parser.parse_args()
    settings = load(extractor=options.extractor)
    reader, embedder = readers_of(settings).of(), embedders_of(settings).of()
    cases = [msgspec.json.decode(line, type=Case) for line in options.file.read_text().splitlines() if line]
    measured = measure(cases, reader, embedder)
    if options.json:
        print(json.dumps({key: value for key, value in measured.items() if key != "misses"}, indent=2))
        return
    print(f"{reader.identity}, {len(cases)} conversations\n")
    for kind, (right, all_of_it) in measured["decisions"].items():
        print(f"{kind:15} {right:3} of {all_of_it:3}  {right / all_of_it:.2f}")
    for how, (precision, recall) in measured["facts"].items():
        print(f"facts by {how:8} precision {precision:.2f}  recall {recall:.2f}")
    for miss in measured["misses"] if options.misses else []:
        print("\n" + miss)


def measure(cases: Sequence[Case], reader: Reader, embedder: Embedder) -> dict[str, Any]:
    """Right decisions by class, and precision and recall of facts by each way to match."""
    decisions: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    matches: dict[str, Same] = {
        "exact": lambda a, b: a.strip(" .").lower() == b.strip(" .").lower(),
        "words": _share_words,
        "meaning": lambda a, b: _share_words(a, b) or _mean_the_same(embedder, a, b),
    }
    counts = {how: [0, 0, 0] for how in matches}
    misses = []
    for case in cases:
        made = [d for d in decide(case, reader, embedder) if d.action != "NONE"]
        right = _right(case.expected, made, matches["meaning"])
        for kind in (case.kind, "overall"):
            decisions[kind][0] += right
            decisions[kind][1] += 1
        if not right:
            misses.append(_miss(case, made))
        wanted = [e.memory for e in case.expected if e.memory]
        found = [d.text for d in made if d.action != "DELETE"]
        for how, same in matches.items():
            hits = _paired(wanted, found, same)
            for n, more in enumerate((hits, len(found), len(wanted))):
                counts[how][n] += more
    facts = {
        how: (hits / max(1, found), hits / max(1, wanted)) for how, (hits, found, wanted) in counts.items()
    }
    return {"decisions": dict(decisions), "facts": facts, "misses": misses}


def decide(case: Case, reader: Reader, embedder: Embedder) -> list[Decision]:
    """What the reader decides of one conversation."""
    received = Received(
        scope=Scope(owner="bench"),
        messages=tuple(Message(role=said.role, text=said.content) for said in case.messages),
    )
    known = {new_id(): text for text in case.known}
    return reader.read(Conversation(received=received, at=case.at)).decide(recall_from(known, embedder))


def recall_from(known: dict[UUID, str], embedder: Embedder) -> Recall:
    """Recall among texts in memory."""
    vectors = embedder.embed(list(known.values())) if known else np.zeros((0, 1), dtype=np.float32)

    def recall(texts: Sequence[str]) -> list[list[Known]]:
        if not known:
            return [[] for _ in texts]
        likeness = embedder.similarity((embedder.embed(texts) @ vectors.T).astype(np.float64))
        return [
            sorted(
                (
                    Known(id=id, version=1, text=text, similarity=float(row[n]))
                    for n, (id, text) in enumerate(known.items())
                ),
                key=lambda one: -one.similarity,
            )[:RECALLED]
            for row in likeness
        ]

    return recall


def _right(expected: Sequence[Expected], made: Sequence[Decision], same: Same) -> bool:
    left = list(made)
    for one in expected:
        for decision in left:
            if decision.action == one.action and (
                (one.action == "DELETE" or same(one.memory, decision.text))
                and (one.action == "ADD" or decision.before == one.of)
            ):
                left.remove(decision)
                break
        else:
            return False
    return not left


def _paired(wanted: Sequence[str], found: Sequence[str], same: Same) -> int:
    left, pairs = list(found), 0
    for text in wanted:
        if other := next((one for one in left if same(text, one)), None):
            left.remove(other)
            pairs += 1
    return pairs


def _share_words(a: str, b: str) -> bool:
    one, other = stems(a), stems(b)
    return bool(one | other) and len(one & other) / len(one | other) >= SHARED_WORDS


def _mean_the_same(embedder: Embedder, a: str, b: str) -> bool:
    one, other = embedder.embed([a, b])
    return bool(embedder.similarity(np.array([one @ other], dtype=np.float64))[0] >= SAME_MEANING)


def _miss(case: Case, made: Sequence[Decision]) -> str:
    said = "\n".join(f"  {said.role}: {said.content}" for said in case.messages)
    wanted = [f"{e.action} {e.of} -> {e.memory}" for e in case.expected]
    got = [f"{d.action} {d.before or ''} -> {d.text}" for d in made]
    return f"{case.id} ({case.kind}), known {case.known}\n{said}\n  wanted {wanted}\n  got    {got}"


if __name__ == "__main__":
    main()
