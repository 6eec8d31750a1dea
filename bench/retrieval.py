"""How well search finds: recall of the evidence of LoCoMo's questions, with our embedder and our ranking.

    python -m bench.retrieval LOCOMO_JSON [--json]

LOCOMO_JSON is `locomo10.json` of the LoCoMo data set (Maharana et al., 2024; CC BY-NC 4.0), which is not
part of Everlog. A candidate is one turn; questions of category 5 have no evidence and are left out.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray
from rich.progress import track

from projections.ranking import Floats, bm25, fused, inverse_frequencies, keyword_evidence
from providers.embedding.local import LocalEmbedder
from runtime.servers.migrate import migrate
from runtime.servers.postgres import Postgres
from runtime.settings import Settings

DEPTHS = (5, 10, 20)
UNANSWERABLE = 5


class Evidence(NamedTuple):
    """What is known of each turn with regard to one question."""

    cosines: Floats
    frequencies: Floats
    lengths: Floats


def by_vector(evidence: Evidence) -> Floats:
    return evidence.cosines


def by_keyword(evidence: Evidence) -> Floats:
    return bm25(evidence.frequencies, evidence.lengths, _idf(evidence))


def by_both(evidence: Evidence) -> Floats:
    keywords = keyword_evidence(evidence.frequencies, evidence.lengths, _idf(evidence))
    return fused(LocalEmbedder.similarity(evidence.cosines), keywords)


METHODS: dict[str, Callable[[Evidence], Floats]] = {
    "vector": by_vector,
    "keyword": by_keyword,
    "hybrid": by_both,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locomo", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    conversations = msgspec.json.decode(options.locomo.read_bytes())
    recalls: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory(prefix="everlog-bench-") as folder:
        Path(folder).chmod(0o755)
        postgres = Postgres(Path(folder) / "data")
        try:
            migrate(Settings(database_url=postgres.start()), contract=True)
            with psycopg.connect(postgres.url, options="-csearch_path=everlog,public") as conn:
                for conversation in track(conversations, "asking", disable=options.json):
                    _ask(conn, conversation, recalls)
        finally:
            postgres.stop()
    for name, found in recalls.items():
        means = np.mean(found, axis=0)
        result = {f"recall@{k}": round(float(mean), 3) for k, mean in zip(DEPTHS, means, strict=True)}
        told = {"method": name, "questions": len(found), **result}
        print(msgspec.json.encode(told).decode() if options.json else told)


def _ask(
    conn: psycopg.Connection[Any], conversation: dict[str, Any], recalls: dict[str, list[list[float]]]
) -> None:
    ids, turns = _turns(conversation["conversation"])
    questions = [
        q
        for q in conversation["qa"]
        if q["category"] != UNANSWERABLE and q["evidence"] and set(q["evidence"]) <= set(ids)
    ]
    embedder = LocalEmbedder()
    cosines = embedder.embed([q["question"] for q in questions]) @ embedder.embed(turns).T
    terms, asked = _terms(conn, turns), _terms(conn, [q["question"] for q in questions])
    lengths = np.array([row[""] for row in terms], dtype=float)
    for number, question in enumerate(questions):
        lexemes = [lexeme for lexeme in asked[number] if lexeme]
        frequencies = np.array([[row.get(x, 0) for x in lexemes] for row in terms], dtype=float)
        evidence = Evidence(
            cosines[number].astype(float), frequencies.reshape(len(terms), len(lexemes)), lengths
        )
        wanted = {ids.index(id) for id in question["evidence"]}
        for name, score in METHODS.items():
            order = np.argsort(-score(evidence), kind="stable")
            recalls[name].append([len(wanted & set(order[:k].tolist())) / len(wanted) for k in DEPTHS])


def _turns(conversation: dict[str, Any]) -> tuple[list[str], list[str]]:
    ids, texts = [], []
    for name, session in conversation.items():
        if name.startswith("session_") and isinstance(session, list):
            for turn in session:
                shared = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
                ids.append(turn["dia_id"])
                texts.append(f"{turn['speaker']}: {turn['text']}{shared}")
    return ids, texts


def _terms(conn: psycopg.Connection[Any], texts: list[str]) -> list[dict[str, int]]:
    rows = conn.execute(
        "SELECT terms_of(t) FROM unnest(%s::text[]) WITH ORDINALITY AS x(t, n) ORDER BY n", (texts,)
    )
    return [terms for (terms,) in rows.fetchall()]


def _idf(evidence: Evidence) -> NDArray[np.float64]:
    containing = (evidence.frequencies > 0).sum(axis=0).astype(float)
    return inverse_frequencies(containing, len(evidence.lengths))


if __name__ == "__main__":
    main()
