"""Bad rewrites made on purpose, for judges to learn from: each kind is one way machines go wrong.

Every function takes words and a seeded generator and gives words, or None where the text offers no
place for that kind of damage. Some are what attackers do, too (`attacks`): a judge has to know them.
So a judge's check also arms the attackers with words that are in no list here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tactful.evaluation.attacks import flipped
from tactful.evaluation.checks import is_function_word
from tactful.evaluation.reader import plain

Words = Sequence[str]
Damage = Callable[[Words, np.random.Generator], list[str] | None]

# What machines put where an insult stood, whether it fits there or not.
FILLERS = tuple(
    "person people guy thing things stuff matter situation behaviour idea it this them someone "
    "bad wrong silly poor odd unpleasant difficult annoying unfair foolish strange unhelpful rude "
    "angry upset mistaken sad very really quite so not just even seriously unfortunately".split()
)

# "You are a genius" is no rewrite of an insult.
PRAISE = tuple(
    "great wonderful good amazing brilliant smart kind lovely honest nice best excellent fine "
    "friend friends hero heroes genius star beautiful awesome perfect respected".split()
)

GENERIC = (
    "thank you for your opinion",
    "i respectfully disagree with you",
    "please be kind to other people",
    "i do not agree with this",
    "let us talk about something else",
    "i am sorry but i cannot help with that",
    "this is not appropriate",
    "that is not good",
    "i understand how you feel",
    "have a nice day",
    "we should treat everyone with respect",
    "this is a bad thing",
    "that is very sad",
    "i do not like this",
    "people should be nice",
    "here is the polite version of the sentence",
)


@dataclass(frozen=True, slots=True)
class Insults:
    """Words that people take out, and how often nothing had to come in their place."""

    droppable: Mapping[str, float]

    def places(self, words: Words) -> list[int]:
        """Where they stand."""
        return [i for i, word in enumerate(words) if word in self.droppable]


def find_insults(
    pairs: Sequence[tuple[str, str]], *, least: int = 2, share: float = 0.75
) -> Insults:
    """Words that are gone in at least this share of the rewrites of the sources that had them.

    A function word is nobody's insult. `droppable` is smoothed, as most words are rare.
    """
    seen: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    bare: Counter[str] = Counter()
    for source, rewrite in pairs:
        old, new = plain(source).split(), plain(rewrite).split()
        kept = set(new)
        for word in set(old):
            if is_function_word(word) or not word.isalpha():
                continue
            seen[word] += 1
            if word not in kept:
                gone[word] += 1
                bare[word] += [w for w in old if w in kept] == new
    return Insults(
        {
            word: (bare[word] + 0.1) / (gone[word] + 1.0)
            for word in seen
            if gone[word] >= least and gone[word] >= share * seen[word]
        }
    )


# --- damage to any sentence -----------------------------------------------------------------


def drop_word(words: Words, random: np.random.Generator) -> list[str] | None:
    """One word is missing."""
    if len(words) < 4:
        return None
    place = int(random.integers(len(words)))
    return [*words[:place], *words[place + 1 :]]


def thin(words: Words, random: np.random.Generator) -> list[str] | None:
    """One to three words that carry meaning are missing."""
    places = [i for i, word in enumerate(words) if not is_function_word(word)]
    if len(words) < 5 or len(places) < 2:
        return None
    gone = set(random.choice(places, min(len(places) - 1, int(random.integers(1, 4))), False))
    return [word for i, word in enumerate(words) if i not in gone]


def hang(words: Words, random: np.random.Generator) -> list[str] | None:
    """It breaks off after a word that something has to follow: "reddit is full of"."""
    ends = [i for i in range(2, len(words)) if is_function_word(words[i - 1])]
    return list(words[: random.choice(ends)]) if ends else None


def shorten(words: Words, random: np.random.Generator) -> list[str] | None:
    """The second half is gone."""
    return list(words[: len(words) // 2]) if len(words) > 3 else None


def shuffle(words: Words, random: np.random.Generator) -> list[str] | None:
    """All words in another order."""
    return [words[i] for i in random.permutation(len(words))] if len(words) > 3 else None


def swap_neighbours(words: Words, random: np.random.Generator) -> list[str] | None:
    """Two words next to each other change places."""
    if len(words) < 4:
        return None
    place = int(random.integers(len(words) - 1))
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def repeat(words: Words, random: np.random.Generator) -> list[str] | None:
    """One word, or two, are said twice."""
    if len(words) < 3:
        return None
    place, size = int(random.integers(len(words) - 1)), int(random.integers(1, 3))
    return [*words[: place + size], *words[place : place + size], *words[place + size :]]


def misplace(vocabulary: Words) -> Damage:
    """A content word gives way to any other."""

    def damage(words: Words, random: np.random.Generator) -> list[str] | None:
        places = [i for i, word in enumerate(words) if not is_function_word(word)]
        if len(words) < 3 or not places:
            return None
        return _put(words, {int(random.choice(places)): str(random.choice(vocabulary))})

    return damage


def insert(vocabulary: Words) -> Damage:
    """Some word stands where none should."""

    def damage(words: Words, random: np.random.Generator) -> list[str] | None:
        place = int(random.integers(len(words) + 1))
        return [*words[:place], str(random.choice(vocabulary)), *words[place:]]

    return damage


# --- damage to a source with insults --------------------------------------------------------


def fill(insults: Insults, fillers: Words) -> Damage:
    """Every insult gives way to some harmless word, at random."""

    def damage(words: Words, random: np.random.Generator) -> list[str] | None:
        places = insults.places(words)
        return _put(words, {i: str(random.choice(fillers)) for i in places}) if places else None

    return damage


def patch(insults: Insults, fillers: Words) -> Damage:
    """What a search does that wants the insult gone at any price: around it, words go or change."""

    def damage(words: Words, random: np.random.Generator) -> list[str] | None:
        places = insults.places(words)
        if not places or len(words) < 4:
            return None
        beside = {p + step for p in places for step in (-1, 1)} & set(range(len(words)))
        also = {int(p) for p in random.permutation(sorted(beside))[: random.integers(0, 3)]}
        touched = set(places) | also
        new = [
            str(random.choice(fillers)) if i in touched else word
            for i, word in enumerate(words)
            if i not in touched or random.random() < 0.5
        ]
        return new if len(new) > 1 else None

    return damage


def cut_before(insults: Insults) -> Damage:
    """Only what stands before the first insult is left, or what follows the last."""

    def damage(words: Words, random: np.random.Generator) -> list[str] | None:
        places = insults.places(words)
        if not places:
            return None
        return list(words[: places[0]] or words[places[-1] + 1 :]) or None

    return damage


def drop_insults(words: Words, insults: Insults) -> list[str]:
    """What is left without them; fine where they only added force, a hole where not."""
    places = set(insults.places(words))
    return [word for i, word in enumerate(words) if i not in places]


def flip(words: Words, random: np.random.Generator) -> list[str] | None:
    """The opposite is said."""
    return flipped(" ".join(words)).split()


def _put(words: Words, new: Mapping[int, str]) -> list[str]:
    return [new.get(i, word) for i, word in enumerate(words)]


def content_words(texts: Collection[str], *, least: int = 3) -> list[str]:
    """The words of these texts that carry meaning, as often as they stand there."""
    words = [word for text in texts for word in plain(text).split() if word.isalpha()]
    counts = Counter(words)
    return [w for w in words if counts[w] >= least and not is_function_word(w)]
