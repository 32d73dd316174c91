"""Which clear insult an unknown word may be: f00l, id*ot, idoit, "a i d i o t".

`normalise` folds spellings without knowing any word, so it must stop where a digit, a star or a
missing letter could mean anything. Here the words that a screener minds are the dictionary: what
is not in its vocabulary, and one disguise away from one of them, is read as that one. First
letters are trusted, as people trust them; short words are not guessed at, since one letter away
from four there is always an innocent one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# A word weaker than this is no clear insult, and nothing is read as it.
_LEAST = 1.3
_SHORTEST, _SHORTEST_TYPO = 4, 5
_DIGITS = str.maketrans("01345789", "oieastbg")
_ONE_AS_L = str.maketrans("01345789", "oleastbg")
# Letters that pass for Latin ones in a Latin word, and that Unicode's table of confusables lacks.
_LOOKALIKES = str.maketrans("ЬьВвкКмМтТнНпПгГυԝɡ", "bbBbkKmMtThHnnrruwg")
_BESIDE = {
    key: row[max(0, i - 1) : i] + row[i + 1 : i + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for i, key in enumerate(row)
}
# Words and names that are one typo from an insult and are meant as they stand.
_INNOCENT = frozenset(
    "ares arises arson arsons asexual assen assess balks bals biros birch birched birching billies bits bulky "
    "burts butched buttes buts cass chucking clocks cocoa coins colon colons coos corons crocks cures curs "
    "curses curser dared danced depots devi docks ducks dumbo dunes dubbed foils fences gins "
    "goins gons goos hoos jers krill lairs lars lasers lias loader loaders loder loners loster "
    "mania manic manifests moran morans mormon mormons morn morns morton mortons neds niger nigers "
    "nigeria pips posses possess prissy puck pucks pussing ramped rapted rasped reaped "
    "screed scrums shiite shiites shire shires shirs shirted shirting shuts sicker sicking sicks "
    "silky stuckers sulky tats tolling trill trills trilling tugs waker wakers waner waners "
    "waning wips".split()
)
_STARRED = re.compile(r"[a-z]+(?:\*+[a-z]*)+")


class Readings:
    """Reads unknown words by the words that a screener knows."""

    def __init__(self, words: Mapping[str, float], silent: Iterable[str] = ()) -> None:
        quiet = frozenset(silent)
        self._known = words
        self._minded = {
            word: weight
            for word, weight in words.items()
            if weight >= _LEAST and len(word) >= _SHORTEST and word.isalpha() and word not in quiet
        }
        # Longer words first, so that of two as likely the heavier is kept, and then by spelling.
        ranked = sorted(self._minded, key=lambda word: (-self._minded[word], word))
        self._swapped: dict[str, str] = {}
        self._one_lost: dict[str, str] = {}
        self._by_ends: dict[tuple[str, int], list[str]] = {}
        for word in ranked:
            self._by_ends.setdefault((word[0], len(word)), []).append(word)
            for i in range(1, len(word) - 1):
                self._swapped.setdefault(_swap(word, i), word)
            if len(word) >= _SHORTEST_TYPO:
                for i in range(1, len(word)):
                    self._one_lost.setdefault(word[:i] + word[i + 1 :], word)

    def __call__(self, word: str) -> str | None:
        """The word that is meant, None where that is anybody's guess."""
        word = word[:40]
        plain = word.translate(_LOOKALIKES)
        if not plain.isascii():
            return None
        if plain != word and word.isalpha() and plain in self._known:
            # Not a foreign word: some of its letters were Latin.
            return plain if any(map(str.isascii, word)) else None
        if "*" in plain:
            return self._starred(plain)
        if any(map(str.isdigit, plain)):
            return self._leet(plain)
        # "a i d i o t" is joined to "aidiot".
        if plain[0] in "ai" and self._minds(plain[1:]):
            return plain[1:]
        return self._typo(plain)

    def _minds(self, word: str) -> bool:
        return word in self._minded

    def _leet(self, word: str) -> str | None:
        if not word[0].isalpha() and sum(map(str.isalpha, word)) < _SHORTEST - 1:
            # "4n4l" could be a product's number.
            return None
        for table in (_DIGITS, _ONE_AS_L):
            plain = word.translate(table)
            if plain.isalpha() and self._minds(plain):
                return plain
        return None

    def _starred(self, word: str) -> str | None:
        if not _STARRED.fullmatch(word):
            return None
        pattern = re.compile(re.escape(word).replace(r"\*", "[a-z]"))
        same = self._by_ends.get((word[0], len(word)), [])
        return next((known for known in same if pattern.fullmatch(known)), None)

    def _typo(self, word: str) -> str | None:
        if len(word) < _SHORTEST or word in _INNOCENT:
            return None
        if word in self._swapped:
            return self._swapped[word]
        if word in self._one_lost:
            return self._one_lost[word]
        for i in range(1, len(word)):
            # A letter too many, or one from the key beside it.
            keys: tuple[str, ...] = ("", *_BESIDE.get(word[i], ""))
            for key in keys:
                meant = word[:i] + key + word[i + 1 :]
                if len(meant) >= _SHORTEST_TYPO and self._minds(meant):
                    return meant
        return None


def _swap(word: str, i: int) -> str:
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
