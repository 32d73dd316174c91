"""What the samples of one source agree on: a score that needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise


def consensus(texts: Sequence[str]) -> list[float]:
    """How far each text agrees with all of them: the mean overlap of words and pairs of words.

    What a model writes again and again is what it is sure of; a slip is a sample's own. Equal
    texts count as often as they were written.
    """
    pieces = [_pieces(text) for text in texts]
    counts = Counter(pieces)
    found = {
        one: sum(times * _dice(one, other) for other, times in counts.items()) / len(texts)
        for one in counts
    }
    return [found[one] for one in pieces]


def _pieces(text: str) -> frozenset[str]:
    words = text.lower().split()
    return frozenset([*words, *(" ".join(pair) for pair in pairwise(words))])


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / max(1, len(one) + len(other))
