"""Put insults where people would put them into sentences that had none.

What stood there before is what a rewriter should learn to write. So a word gives way only to a
toxic one that does the same work, between neighbours that the toxic pile knows; and what is added
(strengthening, addressing, exclaiming) is what leaves the sentence whole when it goes. Nothing is placed at random:
chance only chooses among what fits.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tactful.config import Config
from tactful.training.warm_contexts import Contexts
from tactful.training.warm_lexicon import END, START, STOPS, Lexicon, Token, Unit, tokens

_BE = frozenset("is are was were am be 's 're 'm im youre he's she's you're they're i'm".split())
_HEDGES = frozenset("just still clearly obviously simply not really also".split())
_ONE = frozenset("he she you who u guy man person he's she's you're youre".split())
_MANY = frozenset("they we you these those people all they're".split())
_CLAUSE_ENDS = STOPS | {END, "and", "but", "or", "because"}
_CLAUSE_STARTS = STOPS | {START, "that", "and", "but", "or"}
_WH = frozenset("what who how where why when".split())
_ADDRESSED = frozenset("you your you're youre u ur yourself yours".split())
_DETERMINERS = frozenset("this that these those".split())
_NAMED = ("person", "woman", "people")
_PRONOUNS: dict[str, str] = {
    "person": "he him someone",
    "woman": "she someone",
    "people": "they them those others",
    "thing": "it this that",
}
_BEFORE_QUALITY = frozenset(
    "the this that these those a an your my his her their some such".split()
)
_QUANTITIES = frozenset(
    "lot lots bit few couple little number bunch while series pair dozen".split()
)
# Behind these a question word asks; elsewhere it may join clauses ("the men who ...").
_BEFORE_QUESTION = frozenset((START, *", so and but then or know knows wonder tell me".split()))

ADDED = ("intensifier", "insertion", "question", "vocative", "tail", "interjection")
"""The kinds of corruption that put something where nothing was; the others substitute."""


Share = Annotated[float, Field(ge=0)]


class Shares(Config):
    """What part of all corruptions each kind should be, relative to the others."""

    word: Share = 0.50
    """A word, or two, for another that does the same work."""
    phrase: Share = 0.10
    """What the table of replacements lists as more than a word."""
    pronoun: Share = 0.08
    """A determiner and an insulting noun for a pronoun."""
    predicate: Share = 0.04
    """What somebody or something is."""
    intensifier: Share = 0.13
    insertion: Share = 0.05
    """An insulting adjective that was not there."""
    question: Share = 0.03
    """What is added behind question words."""
    vocative: Share = 0.04
    tail: Share = 0.015
    interjection: Share = 0.015


class CorruptConfig(Config):
    """How strictly what is put in must fit, and how the kinds are mixed."""

    shares: Shares = Shares()
    """Words make up for what the other substitutions lack. What is added keeps to its part of
    what there is, so that fewer substitutions mean fewer demonstrations, not more deletions."""
    uses: Annotated[int, Field(ge=1)] = 2
    """How often one decent sentence may be an answer."""
    fit: float = 0.0
    """Log-odds that both neighbours together must give a word in the place of another."""
    fit_side: float = -1.0
    """... and each side by itself."""
    fit_added: float = 1.0
    """Log-odds that each side must give what is added."""
    choices: Annotated[int, Field(ge=1)] = 4
    """Alternatives kept for one place."""
    tempering: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Toxic words are drawn by this power of their counts: below 1 the rare ones gain."""
    second: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How often another corruption is looked for in a corrupted sentence, and then a third. Its kind
    is drawn first, and mostly there is none of that kind."""
    commonness: Annotated[float, Field(gt=0)] = 1.5
    """How much larger the part of one toxic word may be, of the number asked for, than in the
    toxic pile. A few of each are always let in."""
    filler_cap: Annotated[float, Field(gt=0, le=1)] = 0.04
    """The largest part of the number asked for that may teach one and the same decent word."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """Put `toxic` in the place of `[start:end]` of a sentence, whose number is `at`."""

    at: int
    start: int
    end: int
    toxic: str
    kind: str
    unit: Unit
    decent: str
    fit: float


@dataclass(frozen=True, slots=True)
class _Slot:
    """Units that may stand for the same decent words."""

    kind: str
    group: str
    units: tuple[Unit, ...]


class Corruptor:
    """Finds every place of a sentence where the toxic pile would have insulted."""

    def __init__(self, lexicon: Lexicon, contexts: Contexts, config: CorruptConfig) -> None:
        self.lexicon = lexicon
        self.contexts = contexts
        self.config = config
        self._fillers = self._index_fillers()
        self._added: dict[str, tuple[Unit, ...]] = {
            kind: tuple(unit for unit in contexts.units if kind in self._added_as(unit))
            for kind in ADDED
        }

    def corruptions(self, at: int, sentence: str, rng: np.random.Generator) -> list[Corruption]:
        """What could be done to a sentence, at most `choices` for each place and kind."""
        found = tokens(sentence)
        words = [START, *(t.text for t in found), END]
        out: list[Corruption] = []
        for i in range(1, len(words) - 1):
            for filler, slot in self._fillers.get(words[i], ()):
                behind = i + len(filler)
                if tuple(words[i:behind]) == filler and self._allows(slot, words, i, behind):
                    places = (found[i - 1].start, found[behind - 2].end)
                    out += self._replace(at, places, words, i, behind, filler, slot, rng)
        for i in range(1, len(words)):
            out += self._add(at, sentence, found, words, i, rng)
        return out

    def weight(self, unit: Unit) -> float:
        """How often a toxic word is drawn."""
        return float(self.contexts.counts[unit] ** self.config.tempering)

    def _replace(
        self,
        at: int,
        places: tuple[int, int],
        words: Sequence[str],
        i: int,
        behind: int,
        filler: Unit,
        slot: _Slot,
        rng: np.random.Generator,
    ) -> Iterator[Corruption]:
        sides = self.contexts.fit(slot.units, words[i - 1], words[behind])
        fits = sides.sum(axis=1)
        ok = (fits >= self.config.fit) & (sides.min(axis=1) >= self.config.fit_side)
        for unit, fit in self._best(slot.units, fits, ok, rng):
            yield Corruption(at, *places, " ".join(unit), slot.kind, unit, " ".join(filler), fit)

    def _add(
        self,
        at: int,
        sentence: str,
        found: Sequence[Token],
        words: Sequence[str],
        i: int,
        rng: np.random.Generator,
    ) -> Iterator[Corruption]:
        """What could be said between the words before `i` and `i`."""
        place = found[i - 2].end if i > 1 else 0
        spaced = re.search(r"\s[.,!?]", sentence) is not None
        for kind in _kinds_between(words, i):
            units = self._added[kind]
            sides = self.contexts.fit(units, words[i - 1], words[i])
            ok = sides.min(axis=1) >= self.config.fit_added
            for unit, fit in self._best(units, sides.sum(axis=1), ok, rng):
                text = " ".join(unit) if spaced else " ".join(unit).replace(" ,", ",")
                if i == 1:
                    text += " "
                elif spaced or not text.startswith(","):
                    text = " " + text
                yield Corruption(at, place, place, text, kind, unit, "", fit)

    def _best(
        self,
        units: Sequence[Unit],
        fits: NDArray[np.float64],
        ok: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> list[tuple[Unit, float]]:
        """A few of what fits, the better fitting and the commoner first, chance among equals."""
        rows = np.flatnonzero(ok)
        if not len(rows):
            return []
        said = np.array([math.log(self.contexts.counts[units[int(r)]]) for r in rows])
        rank = fits[rows] + self.config.tempering * said + rng.gumbel(size=len(rows))
        order = np.argsort(-rank, kind="stable")[: self.config.choices]
        return [(units[int(rows[k])], float(fits[rows[k]])) for k in order]

    # --- what may stand for what ------------------------------------------------------------

    def _index_fillers(self) -> dict[str, list[tuple[Unit, _Slot]]]:
        """By its first word, each decent word or phrase with what could stand in its place."""
        index: dict[str, list[tuple[Unit, _Slot]]] = defaultdict(list)
        for slot, fillers in self._slots():
            for filler in fillers:
                if slot.units:
                    index[filler[0]].append((filler, slot))
        return index

    def _slots(self) -> Iterator[tuple[_Slot, Iterable[Unit]]]:
        decent = self.lexicon.decent
        single = {u: self.lexicon.groups.get(u[0], "") for u in self.contexts.units if len(u) == 1}
        pronouns = {(word,) for listed in _PRONOUNS.values() for word in listed.split()}
        for group, fillers in decent.items():
            nominal = [filler for filler in fillers if filler not in pronouns]
            words = tuple(u for u in self.contexts.units if self._heaped(u) == group)
            yield _Slot("word", group, words), nominal
            phrases = tuple(u for u in self.contexts.units if self.lexicon.listed.get(u) == group)
            # "what the heck" is "what" with more, and is added; other exclamations are not "what".
            for filler in (f for f in nominal if f != ("what",)):
                agreeing = (u for u in phrases if group != "nothing" or _agree(u, filler))
                yield _Slot("phrase", group, tuple(agreeing)), [filler]
        for group, listed in _PRONOUNS.items():
            units = tuple(u for u in self.contexts.units if self._names(u, _DETERMINERS, group))
            yield _Slot("pronoun", group, units), [(word,) for word in listed.split()]
            articled = tuple(
                u for u in self.contexts.units if self._names(u, frozenset(("a", "an")), group)
            )
            bare = tuple(u for u, g in single.items() if g == group)
            units = articled if group in ("person", "woman") else bare
            yield _Slot("predicate", group, units), decent.get("predicate", ())

    def _heaped(self, unit: Unit) -> str:
        """The group of a toxic word, or of one with others heaped before it: "stupid idiot"."""
        groups = [self.lexicon.groups.get(word, "") for word in unit]
        return groups[-1] if set(groups[:-1]) <= {"quality", "intensifier"} else ""

    def _names(self, unit: Unit, determiners: frozenset[str], group: str) -> bool:
        """True of "this idiot": a determiner and a toxic noun of the group."""
        return (
            len(unit) == 2 and unit[0] in determiners and self.lexicon.groups.get(unit[1]) == group
        )

    def _allows(self, slot: _Slot, words: Sequence[str], i: int, behind: int) -> bool:
        """Grammar that two neighbours do not see: who is an idiot, what is garbage."""
        if slot.kind == "pronoun":
            # "that man", "this week": no pronouns.
            return words[i] not in _DETERMINERS or words[behind] in _CLAUSE_ENDS | _BE
        if slot.kind == "word" and slot.group == "intensifier":
            # "so, read on": here it joins clauses and strengthens nothing.
            return words[i - 1] not in _CLAUSE_STARTS and words[behind] not in STOPS
        if slot.kind == "word" and slot.group in _NAMED:
            # "man, we are busy": an exclamation, no noun.
            return words[i - 1] != START or slot.group == "people"
        if slot.kind != "predicate":
            return True
        k = i - 1
        while words[k] in _HEDGES:
            k -= 1
        if words[k] not in _BE or words[behind] not in _CLAUSE_ENDS:
            return False
        if "there" in words[max(0, k - 4) : k]:
            return False
        subject = words[k] if "'" in words[k][1:] or words[k] in ("im", "youre") else words[k - 1]
        if slot.group == "thing":
            return subject not in _ONE | _MANY and subject not in ("there", START)
        return subject in (_MANY if slot.group == "people" else _ONE)

    def _added_as(self, unit: Unit) -> set[str]:
        """The kinds of additions that a phrase can be; where it is one its neighbours say."""
        if "," in unit[1:-1] or unit == (",",):
            return set()
        if unit[-1] == ",":
            named = any(self.lexicon.groups.get(w) in (*_NAMED, "quality") for w in unit)
            return {"interjection"} if unit[0] != "," and not named else set()
        groups = {self.lexicon.groups.get(word, "") for word in unit}
        links = {"and": ("thing",), ",": ("exclamation",), "as": ("thing", "disturb", "")}
        kinds = {
            "question": self.lexicon.listed.get(unit) == "question",
            "vocative": self._is_vocative(unit),
            "tail": len(unit) == 2
            and self.lexicon.groups.get(unit[1], "none") in links.get(unit[0], ()),
            "intensifier": groups == {"intensifier"},
            "insertion": self.lexicon.groups.get(unit[0]) in ("quality", "intensifier")
            and "quality" in groups
            and all(word in self.lexicon for word in unit),
        }
        return {kind for kind, can in kinds.items() if can}

    def _is_vocative(self, unit: Unit) -> bool:
        """True of ", you stupid idiot" and shorter."""
        *before, last = unit
        before = before[1:] if before[:1] == [","] else before
        before = before[1:] if before[:1] == ["you"] else before
        groups = self.lexicon.groups
        return groups.get(last) in _NAMED and all(
            groups.get(word) in ("quality", "intensifier") for word in before
        )


def _kinds_between(words: Sequence[str], i: int) -> list[str]:
    """What kinds of additions could stand before the word `i`."""
    before, behind = words[i - 1], words[i]
    if before == START:
        return ["interjection"]
    if before in STOPS:
        return []
    if behind in STOPS or behind == END:
        # "that you are": a noun would not address but complete it.
        addressed = before not in _BE and _ADDRESSED & set(words[max(0, i - 7) : i])
        kinds = ["vocative"] if addressed else []
        return kinds if behind in (",", ":", ";") else [*kinds, "tail"]
    kinds = ["intensifier"]
    if before in _WH and words[i - 2] in _BEFORE_QUESTION:
        kinds.append("question")
    if before in _BEFORE_QUALITY and behind not in _QUANTITIES:
        kinds.append("insertion")
    return kinds


def _agree(one: Unit, other: Unit) -> bool:
    """True of "gives" and "cares": both verbs have their ending, or neither."""
    return one[0].endswith("s") == other[0].endswith("s")
