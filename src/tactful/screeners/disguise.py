"""Ways to write a word so that people still read it and a filter may not.

Pure functions of a word or text and a seed: the same text gets the same disguise wherever it
stands. Used to measure screeners, judges and rewriters, never to train the shipped ones.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from tactful.errors import ConfigError

Disguise = Literal[
    "leet", "homoglyphs", "zero_width", "spacing", "repeats", "case", "stars", "typos"
]
DISGUISES: tuple[Disguise, ...] = get_args(Disguise)
"""The first six leave a word as readable as it was; stars and typos lose some of it."""

_LEET = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7"}
_HOMOGLYPHS = {
    # Cyrillic and Greek letters that look Latin in most fonts.
    **dict(zip("aceijopsxyhkmtbndvwul", "асеіјорѕхуһкмтЬпԁνԝυⅼ", strict=True)),
    "g": "ɡ",
    "r": "г",
}
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_SEPARATORS = " .-_*"
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# "a" and "of" cannot be spaced out or starred and still be read.
_SHORTEST = 3


def disguised(text: str, how: Disguise, share: float, *, seed: int = 0) -> str:
    """A text with each word of three letters or more disguised with probability `share`."""
    if not 0 <= share <= 1:
        raise ConfigError(f"share = {share:g} must lie between 0 and 1")
    spans = [m.span() for m in _WORD.finditer(text) if m.end() - m.start() >= _SHORTEST]
    random = _random(text, how, seed)
    # One number a word whatever the share, so that a larger share disguises the same words and more.
    draws = random.random(len(spans))
    return _put(text, [s for s, d in zip(spans, draws, strict=True) if d < share], how, seed)


def disguised_words(text: str, words: Sequence[str], how: Disguise, *, seed: int = 0) -> str:
    """A text with the given words disguised, as somebody does who knows what is looked for."""
    chosen = {word.lower() for word in words}
    spans = [m.span() for m in _WORD.finditer(text) if m[0].lower() in chosen]
    return _put(text, spans, how, seed)


def disguised_word(word: str, how: Disguise, random: np.random.Generator) -> str:
    """One word in disguise; where a disguise has nothing to change, the word itself."""
    return _HOW[how](word, random)


def _put(text: str, spans: Sequence[tuple[int, int]], how: Disguise, seed: int) -> str:
    pieces, last = [], 0
    for start, end in spans:
        word = text[start:end]
        pieces += [text[last:start], disguised_word(word, how, _random(word, how, seed))]
        last = end
    return "".join([*pieces, text[last:]])


def _random(text: str, how: str, seed: int) -> np.random.Generator:
    name = f"{how}/{text}".encode("utf-8", "surrogatepass")
    return np.random.default_rng([zlib.crc32(name), abs(seed)])


# --- one way each ---------------------------------------------------------------------------


def _leet(word: str, random: np.random.Generator) -> str:
    """One or two letters as digits or signs; the first stays, as a word is found by it."""
    places = [i for i in range(1, len(word)) if word[i].lower() in _LEET]
    return _replaced(word, places, 2, _LEET, random)


def _homoglyphs(word: str, random: np.random.Generator) -> str:
    places = [i for i in range(len(word)) if word[i].lower() in _HOMOGLYPHS]
    return _replaced(word, places, 3, _HOMOGLYPHS, random)


def _zero_width(word: str, random: np.random.Generator) -> str:
    place = int(random.integers(1, len(word))) if len(word) > 1 else len(word)
    return word[:place] + _INVISIBLE[random.integers(len(_INVISIBLE))] + word[place:]


def _spacing(word: str, random: np.random.Generator) -> str:
    return _SEPARATORS[random.integers(len(_SEPARATORS))].join(word)


def _repeats(word: str, random: np.random.Generator) -> str:
    place = int(random.integers(len(word)))
    return word[:place] + word[place] * int(random.integers(3, 6)) + word[place + 1 :]


def _case(word: str, random: np.random.Generator) -> str:
    upper = random.random(len(word)) < 0.5
    return "".join(c.upper() if u else c.lower() for c, u in zip(word, upper, strict=True))


def _stars(word: str, random: np.random.Generator) -> str:
    """A vowel, or all but the ends, behind stars."""
    inside = range(1, len(word) - 1)
    vowels = [i for i in inside if word[i].lower() in "aeiou"]
    if len(word) > _SHORTEST and random.random() < 1 / 3:
        return word[0] + "*" * (len(word) - 2) + word[-1]
    place = int(random.choice(vowels or list(inside) or [len(word) - 1]))
    return word[:place] + "*" + word[place + 1 :]


def _typos(word: str, random: np.random.Generator) -> str:
    """Two letters swapped, one lost, one doubled, or one from the key beside it."""
    if len(word) < _SHORTEST:
        return word
    place = int(random.integers(1, len(word) - 1))
    kind = int(random.integers(4))
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    if kind == 2:
        return word[:place] + word[place] + word[place:]
    return word[:place] + _beside(word[place], random) + word[place + 1 :]


def _beside(letter: str, random: np.random.Generator) -> str:
    for row in _ROWS:
        at = row.find(letter.lower())
        if at >= 0:
            neighbours = row[max(0, at - 1) : at] + row[at + 1 : at + 2]
            return neighbours[random.integers(len(neighbours))]
    return letter


def _replaced(
    word: str, places: Sequence[int], most: int, table: dict[str, str], random: np.random.Generator
) -> str:
    letters = list(word)
    if places:
        count = min(len(places), int(random.integers(1, most + 1)))
        for place in random.permutation(np.array(places))[:count].tolist():
            options = table[word[place].lower()]
            letters[place] = options[random.integers(len(options))]
    return "".join(letters)


_HOW: dict[str, Callable[[str, np.random.Generator], str]] = {
    "leet": _leet,
    "homoglyphs": _homoglyphs,
    "zero_width": _zero_width,
    "spacing": _spacing,
    "repeats": _repeats,
    "case": _case,
    "stars": _stars,
    "typos": _typos,
}
