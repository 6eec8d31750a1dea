"""Which memories say the same, by their words in order. Nothing that is said is ever lost by it.

Words and not vectors: "has two sons" and "has three sons" are as near as paraphrases are.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from domain.memory import Memory
from domain.scope import Scope

Words = tuple[str, ...]

WORD = re.compile(r"[\w'’+#-]+")
TURNING = frozenset({
    "not", "no", "never", "nor", "neither", "without", "except", "unless", "until", "hardly", "rarely",
    "barely", "used", "former", "formerly", "previously", "ex", "if", "maybe", "perhaps", "might", "may",
    "could", "would", "should", "wants", "wanted", "hopes", "plans",
})  # fmt: skip
"""Words that make a sentence say something else than its other words do."""


def groups(known: Sequence[Memory], threshold: float) -> list[list[Memory]]:
    """Groups of two and more memories of one scope that say the same; the one to keep comes first.

    The same words are the same. Fewer words are, if another memory has all of them in this order, and
    twice their number is at least `threshold` of both memories' words. Of these the longest is kept, and
    of equals the oldest.
    """
    by_scope: defaultdict[Scope, defaultdict[Words, list[Memory]]] = defaultdict(lambda: defaultdict(list))
    for memory in sorted(known, key=lambda memory: memory.id):
        by_scope[memory.scope][words_of(memory.text)].append(memory)
    merged = (_merged(by_words, threshold) for by_words in by_scope.values())
    return [group for groups_of_scope in merged for group in groups_of_scope if len(group) > 1]


def words_of(text: str) -> Words:
    return tuple(word.strip("'’-") for word in WORD.findall(text.casefold())) or (text,)


def _merged(by_words: dict[Words, list[Memory]], threshold: float) -> Iterable[list[Memory]]:
    """Groups of the same words, those with fewer words taken into the first longer one that has them."""
    common = Counter(word for words in by_words for word in set(words))
    containing: defaultdict[str, list[Words]] = defaultdict(list)
    groups_by_words: dict[Words, list[Memory]] = {}
    for words in sorted(by_words, key=len, reverse=True):
        rarest = min(words, key=lambda word: common[word])
        longer = next((one for one in containing[rarest] if _says_all(one, words, threshold)), None)
        if longer is not None:
            groups_by_words[longer] += by_words[words]
            continue
        groups_by_words[words] = list(by_words[words])
        for word in set(words):
            containing[word].append(words)
    return groups_by_words.values()


def _says_all(longer: Words, shorter: Words, threshold: float) -> bool:
    if 2 * len(shorter) / (len(longer) + len(shorter)) < threshold:
        return False
    if len(longer) == len(shorter) or (Counter(longer) - Counter(shorter)).keys() & TURNING:
        return False
    rest = iter(longer)
    return all(word in rest for word in shorter)
