"""Splits that stay put as data grow, and the near duplicates that leak across them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_NGRAM = 4
_PERMUTATIONS = 128
# How sure the search is to look at a pair that is exactly at the threshold.
_RECALL = 0.99


@dataclass(frozen=True, slots=True)
class Leak:
    """A test text that also stands in the training texts, or nearly: positions and similarity."""

    train: int
    test: int
    similarity: float


def normalise(text: str) -> str:
    """Reduces a text to what makes it the same text: letters and digits, lower-cased.

    Case, spacing, punctuation and Unicode variants go. A text without a letter or digit, such as
    an emoji, stays as it is: otherwise all of those would be one text.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    # "don't", "don’t" and "dont" are one word; any other sign parts words.
    words = re.sub(r"[\W_]+", " ", re.sub("['’ʼ]", "", text)).split()
    return " ".join(words) or " ".join(text.split())


def fold_of(text: str, folds: int = 10) -> int:
    """Gives the fold of a text, 0 to folds - 1; it depends on nothing but the normalised text."""
    digest = hashlib.blake2b(normalise(text).encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") % folds


def find_leaks(train: Sequence[str], test: Sequence[str], threshold: float = 0.75) -> list[Leak]:
    """Finds the pairs of a training and a test text that are the same or nearly so.

    Similarity is the Jaccard index of the sets of character 4-grams of the normalised texts;
    pairs at the threshold or above count, sorted by test, then train. A hash search proposes
    pairs and each is then measured exactly; a pair at the very threshold is proposed with 99 %
    certainty.
    """
    train_at, test_at = _positions(train), _positions(test)
    index = _Index(threshold)
    for key in train_at:
        index.add(key)
    return sorted(
        (
            Leak(i, j, similarity)
            for key, places in test_at.items()
            for twin, similarity in index.near(key)
            for i in train_at[twin]
            for j in places
        ),
        key=lambda leak: (leak.test, leak.train),
    )


def near_duplicates(texts: Sequence[str], threshold: float = 0.75) -> list[tuple[int, int]]:
    """Finds the pairs of positions, smaller first, whose texts are the same or nearly so.

    Copies of one text are each paired with the first of them only.
    """
    positions = _positions(texts)
    index = _Index(threshold)
    pairs = []
    for key, (first, *copies) in positions.items():
        pairs += [(first, copy) for copy in copies]
        pairs += [(positions[twin][0], first) for twin, _ in index.near(key)]
        index.add(key)
    return sorted(pairs)


def _positions(texts: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        places.setdefault(normalise(text), []).append(position)
    return places


def _ngrams(key: str) -> set[str]:
    return {key[i : i + _NGRAM] for i in range(max(1, len(key) - _NGRAM + 1))}


class _Index:
    """Normalised texts, searchable for those alike."""

    def __init__(self, threshold: float) -> None:
        # Imported late: it brings scipy, a second that `fold_of` alone need not wait for.
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._hashes = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(threshold))

    def add(self, key: str) -> None:
        self._hashes.insert(key, _min_hash(key), check_duplication=False)

    def near(self, key: str) -> Iterator[tuple[str, float]]:
        ngrams = _ngrams(key)
        for candidate in self._hashes.query(_min_hash(key)):
            others = _ngrams(candidate)
            common = len(ngrams & others)
            similarity = common / (len(ngrams) + len(others) - common)
            if similarity >= self._threshold:
                yield candidate, similarity


def _min_hash(key: str) -> Any:
    from datasketch import MinHash

    minhash = MinHash(_PERMUTATIONS, hashfunc=_crc)
    minhash.update_batch(_ngrams(key))
    return minhash


def _crc(ngram: str) -> int:
    # The default, SHA-1, is slower and no better here: candidates are measured exactly anyway.
    return zlib.crc32(ngram.encode(errors="surrogatepass"))


def _bands(threshold: float) -> tuple[int, int]:
    """Chooses the longest bands, so the fewest false candidates, that still find enough pairs.

    Two texts of similarity s agree on a band of r rows with probability s^r, and on one band at
    least of b with 1 - (1 - s^r)^b. datasketch's own choice weighs misses over all similarities
    and would miss a third of the pairs near the threshold.
    """
    for rows in range(_PERMUTATIONS, 1, -1):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _PERMUTATIONS, 1
