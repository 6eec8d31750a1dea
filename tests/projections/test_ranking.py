"""Ranking: scores stay within 0..1, and more evidence never lowers one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from projections.ranking import bm25, fused, inverse_frequencies, keyword_evidence

counts = st.integers(0, 20)
table = st.integers(0, 6).flatmap(
    lambda terms: st.lists(st.lists(counts, min_size=terms, max_size=terms), min_size=1, max_size=8)
)
share = st.floats(0, 1)


def evidence_of(rows: list[list[int]]) -> np.ndarray:
    frequencies = np.array(rows, dtype=float).reshape(len(rows), -1)
    lengths = frequencies.sum(axis=1) + 3
    containing = (frequencies > 0).sum(axis=0).astype(float)
    idf = inverse_frequencies(containing, len(rows))
    return keyword_evidence(frequencies, lengths, idf)


@given(table)
def test_keyword_evidence_is_a_share_and_none_without_a_common_word(rows: list[list[int]]) -> None:
    evidence = evidence_of(rows)
    assert np.isfinite(evidence).all()
    assert ((evidence >= 0) & (evidence <= 1)).all()
    assert all(e == 0 for e, row in zip(evidence, rows, strict=True) if not any(row))


@given(share, share, share)
def test_a_score_rises_with_similarity_and_with_keywords(
    similarity: float, more: float, evidence: float
) -> None:
    low, high = sorted((similarity, more))
    scores = fused(np.array([low, high, low]), np.array([evidence, evidence, 1.0]))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[1] >= scores[0] - 1e-12
    assert scores[2] >= scores[0] - 1e-12


def test_without_keywords_the_score_is_the_similarity() -> None:
    similarity = np.array([0.01, 0.3, 0.5, 0.99])
    assert np.allclose(fused(similarity, np.zeros(4)), similarity)


def test_a_row_with_every_word_enters_without_any_similarity() -> None:
    assert fused(np.array([0.05]), np.array([1.0]))[0] > 0.9


def test_rare_words_count_more_than_common_ones_and_short_rows_more_than_long() -> None:
    idf = inverse_frequencies(np.array([1.0, 90.0]), 100)
    rare, common, long = bm25(np.array([[1.0, 0], [0, 1], [1, 0]]), np.array([10.0, 10, 100]), idf)
    assert rare > common
    assert rare > long
