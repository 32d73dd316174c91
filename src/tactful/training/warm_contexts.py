"""Where the toxic pile puts its words and phrases: would it put this here?

Counts of a phrase's left and right neighbours are compared with what chance would give. A
neighbour that was seldom met borrows from words that stand where it stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tactful.training.warm_lexicon import SMALL, Lexicon, LexiconConfig, Neighbours, Unit


class Contexts:
    """Where the toxic pile puts its words and phrases."""

    def __init__(
        self,
        toxic: Sequence[Sequence[str]],
        lexicon: Lexicon,
        neighbours: Neighbours,
        config: LexiconConfig,
    ) -> None:
        self._neighbours = neighbours
        places: dict[Unit, list[tuple[str, str]]] = defaultdict(list)
        for sentence in toxic:
            # Once a text: vandals repeat themselves a hundred times.
            for unit, place in dict.fromkeys(_units(sentence, lexicon, config.longest_phrase)):
                places[unit].append(place)
        kept = sorted(u for u, met in places.items() if len(met) >= _least(u, config))
        self.units = {unit: i for i, unit in enumerate(kept)}
        self.counts = {unit: len(places[unit]) for unit in kept}
        self._left = self._surprise([[left for left, _ in places[u]] for u in kept])
        self._right = self._surprise([[right for _, right in places[u]] for u in kept])

    def fit(self, units: Sequence[Unit], left: str, right: str) -> NDArray[np.float64]:
        """How much likelier than by chance each unit stands between these two: log-odds by side,
        shape (units, 2)."""
        rows = [self.units[unit] for unit in units]
        sides = [
            table[rows, at]
            if (at := self._neighbours.index.get(_context(word))) is not None
            else None
            for table, word in ((self._left, left), (self._right, right))
        ]
        return np.stack([np.zeros(len(rows)) if s is None else s for s in sides], axis=1)

    def _surprise(self, seen: Sequence[Sequence[str]], prior: float = 4.0) -> NDArray[np.float64]:
        index = self._neighbours.index
        counts = np.zeros((len(seen), len(index)), dtype=np.float32)
        for row, words in enumerate(seen):
            for word in words:
                if (at := index.get(_context(word))) is not None:
                    counts[row, at] += 1
        borrowed = self._neighbours.borrowed(counts)
        by_chance = self._neighbours.borrowed(
            self._neighbours.rate[None].astype(np.float32)
        ).astype(np.float64)
        by_chance /= by_chance.sum()
        seen_in_all = borrowed.sum(axis=1, keepdims=True)
        return np.asarray(
            np.log((borrowed + prior * by_chance) / ((seen_in_all + prior) * by_chance + 1e-12))
        )


def _context(word: str) -> str:
    return "a" if word == "an" else word


def _least(unit: Unit, config: LexiconConfig) -> int:
    return config.count if len(unit) == 1 else config.phrase_count


def _units(
    sentence: Sequence[str], lexicon: Lexicon, longest: int
) -> Iterator[tuple[Unit, tuple[str, str]]]:
    """Every toxic word and phrase of a framed sentence, with its two neighbours."""
    last = len(sentence) - 1
    for start in range(1, last):
        for end in range(start + 1, min(start + longest, last) + 1):
            unit = tuple(sentence[start:end])
            toxic = [word in lexicon for word in unit]
            small = all(bad or word in SMALL for word, bad in zip(unit, toxic, strict=True))
            if unit in lexicon.listed or (any(toxic) and small):
                yield unit, (sentence[start - 1], sentence[end])
