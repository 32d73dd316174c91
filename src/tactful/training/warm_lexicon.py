"""What the toxic pile says: its insulting words, the work they do, and what is decent instead.

No tagger is at hand and none is needed. A word is toxic here when one kind of source uses it more
in its toxic than in its neutral texts *and* the screener minds it by itself: the first alone
collects style ("lol", "dont"), the second alone collects rare names. What part of speech it is, is
read off its neighbours: words with the same neighbours do the same work in a sentence.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Annotated

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from tactful.config import Config
from tactful.errors import DataError
from tactful.screeners.base import Screener

Unit = tuple[str, ...]
"""A toxic word or phrase, as its tokens."""
Piles = Mapping[str, Sequence[str]]
"""Texts by the kind of source they come from."""

START, END = "<s>", "</s>"
_TOKEN = re.compile(
    r"(?:https?://|www\.)\S+|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b"
    r"|[^\W_]+(?:['’*][^\W_]+)*\*{0,8}|[^\s\w]"
)
STOPS = frozenset(".,;:!?…")
_LONGEST_TEXT = 80
_ADJECTIVE = re.compile(r"(?:ic|ous|ive|ful|less|ish|ly|ical)$")
_CALLS = frozenset("a an you these those such u all".split())
_CALLED = 0.2
_OFTEN = 30
# The small words that may stand in a phrase beside its toxic ones.
SMALL = frozenset(
    "the a an you your as of and or like all such , this that these those in so what".split()
)
_FEATURES = 400

# What decent writers put where others insult, beside what the table of replacements lists. Words
# that a reader of the insult could guess: a stranger word would teach the model to invent.
_DECENT: dict[str, str] = {
    "person": "person, guy, man, individual, dude",
    "woman": "person, woman, girl, lady",
    "people": "people, folks, guys, men, individuals",
    "thing": "stuff, thing, things, nonsense, mess, business, work, behavior, situation",
    "quality": "bad, wrong, terrible, awful, poor, silly, sad, rude, naive, weird, annoying, "
    "unpleasant, unwise, inappropriate, unfair, strange, boring, odd, weak, unreasonable, "
    "irresponsible, careless, misleading, pointless, horrible, unnecessary, misguided, irrational, "
    "uninformed, absurd, incorrect, false, inaccurate, immature, unkind, disappointing, dishonest, "
    "biased, unhelpful, questionable, meaningless, irrelevant, unreliable, embarrassing, difficult, "
    "not smart, not clever, not very good, not very smart",
    "qualities": "worse, worst, weirdest, saddest, weirder, sillier, silliest",
    "intensifier": "really, very, so, totally, completely, absolutely, extremely, truly, seriously, "
    "pretty, quite, super, incredibly, entirely, just, actually",
    "state": "behavior, nonsense, mistakes, confusion, carelessness, attitude, complaining, arguing",
    "ruin": "ruined, messed, broken, destroyed, wrecked",
    "disturb": "mess, forget, ignore, bother",
    "annoyed": "angry, annoyed, upset, mad, frustrated",
    "silence": "be quiet, calm down",
    "nothing": "care",
    "rump": "back, head, body",
    "predicate": "wrong, mistaken, unreasonable, confused, misguided, dishonest, unwise, naive, "
    "terrible, awful, bad, sad, rude, weird, boring, annoying, horrible, pointless, unfair, "
    "meaningless, irrelevant, nonsense, silly, a joke, a mess, a mistake, a failure, a problem, "
    "a bad person, not smart, not clever, not good, not very good, not great, not true",
    "kidding": "kidding, joking",
    "exclamation": "wow, oh",
    "lack": "is bad, is terrible, is awful, is sad, is not good, is annoying",
    "lacks": "are bad, are terrible, are awful, are not good, are annoying",
}
# In the table for their company; alone they say something else in too many places.
_DOUBTFUL = {"nothing": {"mind"}, "disturb": {"leave"}}
_SHE = frozenset("she her woman women girl girls".split())
_HE = frozenset("he him his man men guy guys".split())
# So many texts must hold a word before it is said of whom it is said.
_TEXTS = 10
_FEMININE = 2.5
# Groups whose words a mined word may join by its neighbours; the others are phrases and verbs.
_OPEN_GROUPS = ("person", "people", "thing", "quality", "qualities", "intensifier", "state")


@dataclass(frozen=True, slots=True)
class Token:
    """A lower-cased token and where it stands."""

    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Words, clitics and punctuation signs in order."""
    return [Token(m[0].lower().replace("’", "'"), *m.span()) for m in _TOKEN.finditer(text)]


def is_word(token: str) -> bool:
    return token[0].isalnum()


def framed(texts: Sequence[str]) -> list[list[str]]:
    """Tokens of each text between a start and an end."""
    return [[START, *[t.text for t in tokens(text)][:_LONGEST_TEXT], END] for text in texts]


class LexiconConfig(Config):
    """What counts as a toxic word."""

    log_odds: float = 1.0
    """How much likelier in toxic than in neutral texts, within one kind of source."""
    count: Annotated[int, Field(ge=1)] = 3
    """Toxic texts that hold the word."""
    phrase_count: Annotated[int, Field(ge=1)] = 4
    longest_phrase: Annotated[int, Field(ge=1)] = 4
    alike: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How alike its neighbours must be to those of a listed group before a word joins it."""
    exclude: tuple[str, ...] = ()
    """Identities and topics, which are no insults whatever the piles say; the screener's silent
    words belong here."""
    topics: tuple[str, ...] = tuple(
        "kill kills killed killing killer killers die dies died murder murders murdered murdering "
        "murderer murderers rape raped rapist rapists shoot shoots shot shooting hang burn slap "
        "destroy attack attacking attacked commit kick kicking boot knee sack terrorist terrorists "
        "nazi nazis slave slaves sex sexual porn prostitute penis vagina fart hole mental mentally "
        "brain brains heroin smoking gang boys athletes husband fathers churches privilege chicago".split()
    )
    """Violence, bodies and other matters that toxic texts are about; no decent word stands for
    them."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Toxic words with how many toxic texts hold them, the group each belongs to ("" for none),
    and what the decent words of a group are."""

    counts: Mapping[str, int]
    groups: Mapping[str, str]
    decent: Mapping[str, tuple[Unit, ...]]
    listed: Mapping[Unit, str]
    """Phrases of the table of replacements, with their group."""

    def __contains__(self, word: str) -> bool:
        return word in self.counts


def mine_lexicon(
    neutral: Piles, toxic: Piles, screener: Screener, neighbours: Neighbours, config: LexiconConfig
) -> Lexicon:
    """The toxic words of the piles; kinds of sources that lack one side say nothing."""
    kinds = sorted(neutral.keys() & toxic.keys())
    if not kinds:
        raise DataError(
            "no kind of source has both neutral and toxic texts, so what is toxic cannot be told "
            f"from what is style (neutral: {sorted(neutral)}, toxic: {sorted(toxic)})"
        )
    odds: dict[str, float] = defaultdict(lambda: -math.inf)
    counts: Counter[str] = Counter()
    for kind in kinds:
        bad, good = _holding(toxic[kind]), _holding(neutral[kind])
        counts.update(bad)
        for word in bad:
            here = (bad[word] + 0.5) / (len(toxic[kind]) + 1)
            there = (good[word] + 0.5) / (len(neutral[kind]) + 1)
            odds[word] = max(odds[word], math.log(here / there))
    barred = {*config.exclude, *config.topics}
    often = sorted(w for w, n in counts.items() if n >= config.count and odds[w] >= config.log_odds)
    words = [w for w in often if is_word(w) and w not in barred]
    alone = screener.toxicity(words)
    found = {
        w: counts[w] for w, p in zip(words, alone, strict=True) if p >= screener.thresholds.act
    }
    if not found:
        raise DataError(
            f"the toxic piles hold no word that is toxic by itself to {screener.name} and common "
            "enough, so nothing can be put into decent sentences"
        )
    table = _table()
    # A word listed twice belongs to the group that names it first.
    grouped = {w: g for g, (listed, _) in reversed(table.items()) for w in listed if " " not in w}
    called = _called(toxic)
    guessed = {
        w: _checked(grouped[w], called.get(w, (0, 0.0)))
        if w in grouped
        else _shaped(w, neighbours.join(w, grouped, config.alike), called[w][1])
        for w in found
    }
    women = _said_of_women(toxic)
    groups = {w: "woman" if g == "person" and w in women else g for w, g in guessed.items()}
    decent = {g: tuple(tuple(x.split()) for x in sorted(good)) for g, (_, good) in table.items()}
    phrases = {tuple(w.split()): g for g, (listed, _) in table.items() for w in listed if " " in w}
    return Lexicon(found, groups, decent, phrases)


def _shaped(word: str, group: str, called: float) -> str:
    """A guessed group, put right by the ending of the word and by what people are called."""
    if group not in ("person", "people"):
        return group
    if _ADJECTIVE.search(word):
        return "quality"
    if called < _CALLED:
        return ""
    return "people" if word.endswith("s") and not word.endswith("ss") else "person"


def _checked(group: str, called: tuple[int, float]) -> str:
    """A listed group, unless the pile uses the word often and hardly ever calls anyone by it."""
    seen, share = called
    doubtful = group in ("person", "people") and seen >= _OFTEN and share < _CALLED / 2
    return "" if doubtful else group


def _called(toxic: Piles) -> dict[str, tuple[int, float]]:
    """How often each word was met, and how often behind one that calls names: "you X", "such a X"."""
    seen: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for kind in sorted(toxic):
        for text in toxic[kind]:
            for left, right in pairwise(["", *(token.text for token in tokens(text))]):
                seen[right] += 1
                named[right] += left in _CALLS
    return {word: (count, named[word] / count) for word, count in seen.items()}


def _said_of_women(toxic: Piles) -> set[str]:
    """Words whose texts speak of her rather than of him, for a pile that mostly speaks of him."""
    hers: Counter[str] = Counter()
    his: Counter[str] = Counter()
    for pile in toxic.values():
        for text in pile:
            words = {token.text for token in tokens(text)}
            hers.update(words if words & _SHE else ())
            his.update(words if words & _HE else ())
    usual = sum(hers[w] for w in _SHE) / max(1, sum(his[w] for w in _HE))
    often = {word for word in hers if hers[word] + his[word] >= _TEXTS}
    return {w for w in often if hers[w] > _FEMININE * usual * his[w]} - _SHE


def _holding(texts: Sequence[str]) -> Counter[str]:
    """How many texts hold each token."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({token.text for token in tokens(text)})
    return counts


@cache
def _table() -> dict[str, tuple[list[str], frozenset[str]]]:
    """Of each group, its toxic words and the decent ones; deletion is not one of them.

    The words of "woman" are those of "person" that the pile says of women: a decent word for them
    says as much.
    """
    file = resources.files("tactful").joinpath("assets/replacements.yaml")
    raw: dict[str, dict[str, list[str]]] = yaml.safe_load(file.read_text("utf-8"))
    table = {}
    for group in [*raw, "woman"]:
        entry = raw.get(group, {"words": [], "with": []})
        good = {*entry["with"], *_DECENT.get(group, "").split(", ")}
        table[group] = (entry["words"], frozenset(good - {""} - _DOUBTFUL.get(group, set())))
    return table


class Neighbours:
    """Which words stand where, over both piles: words alike in this do the same work."""

    def __init__(self, sentences: Sequence[Sequence[str]], *, least: int = 8) -> None:
        counts = Counter(token for sentence in sentences for token in sentence)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        self.words = [token for token in ranked if counts[token] >= least]
        self.index = {word: i for i, word in enumerate(self.words)}
        features = {word: i for i, word in enumerate(ranked[:_FEATURES])}
        met = np.zeros((len(self.words), 2 * _FEATURES), dtype=np.float32)
        for sentence in sentences:
            for left, right in pairwise(sentence):
                if right in self.index and left in features:
                    met[self.index[right], features[left]] += 1
                if left in self.index and right in features:
                    met[self.index[left], _FEATURES + features[right]] += 1
        self.rate = np.array([counts[w] for w in self.words], dtype=np.float64)
        self.rate /= max(1, sum(counts.values()))
        self._unit = _weighed(met)

    def know(self, text: str) -> float:
        """The share of a text's words that were met more than a few times."""
        words = [token.text for token in tokens(text) if is_word(token.text)]
        return sum(word in self.index for word in words) / max(1, len(words))

    def join(self, word: str, grouped: Mapping[str, str], least: float) -> str:
        """The group whose nearest words stand where this one stands, "" where none does."""
        if word not in self.index:
            return ""
        near: dict[str, list[float]] = defaultdict(list)
        for other, group in grouped.items():
            if group in _OPEN_GROUPS and other in self.index and other != word:
                near[group].append(
                    float(self._unit[self.index[word]] @ self._unit[self.index[other]])
                )
        # The mean of the nearest few: one odd neighbour does not make a noun an adjective.
        means = {g: float(np.mean(sorted(c, reverse=True)[:5])) for g, c in near.items()}
        best = max(means, key=lambda g: (means[g], g), default="")
        return best if best and means[best] >= least else ""

    def borrowed(self, counts: NDArray[np.float32], nearest: int = 12) -> NDArray[np.float32]:
        """Counts over words, each word lending to those most like it."""
        out = counts.copy()
        for first in range(0, len(self.words), 1024):
            rows = slice(first, min(first + 1024, len(self.words)))
            alike = self._unit[rows] @ self._unit.T
            alike[np.arange(alike.shape[0]), np.arange(rows.start, rows.stop)] = 0.0
            top = np.argpartition(-alike, min(nearest, alike.shape[1] - 1), axis=1)[:, :nearest]
            share = np.take_along_axis(alike, top, axis=1).clip(0) ** 4
            for k in range(top.shape[1]):
                out[:, rows] += counts[:, top[:, k]] * share[:, k]
        return out


def _weighed(met: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of unit length: how much more often than by chance, common neighbours counting more."""
    total = max(1.0, float(met.sum()))
    column = met.sum(axis=0, keepdims=True)
    expected = met.sum(axis=1, keepdims=True) * column / total
    with np.errstate(divide="ignore", invalid="ignore"):
        more = np.log(np.where(met > 0, met / expected, 1.0)).clip(0) * np.sqrt(column / total)
    length = np.linalg.norm(more, axis=1, keepdims=True)
    return np.asarray(more / np.maximum(length, 1e-9), dtype=np.float32)
