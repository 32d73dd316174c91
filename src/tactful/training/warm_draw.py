"""Which of all possible corruptions are shown: kinds by their shares, toxic words by their rate.

What fits is far from what is common: left alone, the sentences with most places for an insult and
the insults with most places would fill the warm start. So shares are kept, no toxic word is much
commoner than in the toxic pile, and no decent word becomes the answer to everything.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from tactful.screeners.base import Screener
from tactful.training.warm_corrupt import ADDED, Corruption, Corruptor
from tactful.training.warm_found import Demonstration
from tactful.training.warm_lexicon import Unit

_VOWEL = re.compile(r"(?!one\b|uni[^mn]|us[ei]|eu)[aeiou]|hon|hour|heir", re.IGNORECASE)
_ARTICLE = re.compile(r"\b(a)n?(\s+)$", re.IGNORECASE)


def corrupt(
    sentences: Sequence[str],
    corruptor: Corruptor,
    screener: Screener,
    size: int,
    rng: np.random.Generator,
) -> list[Demonstration]:
    """At most `size` demonstrations whose answers are these sentences.

    The kinds of corruption get their shares, and within a kind each toxic word a part by how
    common it is; what the screener would not act on is left out. Fewer come back where too little
    could be substituted: the rest must not be deletions.
    """
    config = corruptor.config
    options = [corruptor.corruptions(at, sentence, rng) for at, sentence in enumerate(sentences)]
    maker = _Maker(sentences, options, corruptor, screener, rng, size)
    shares = config.shares.model_dump()
    added = sum(shares[kind] for kind in ADDED) / max(1e-9, sum(shares.values()))
    made: list[Demonstration] = []
    for kind in ("pronoun", "predicate", "phrase"):
        made += maker.make((kind,), round(size * shares[kind] / max(1e-9, sum(shares.values()))))
    made += maker.make(("word",), round(size * (1 - added)) - len(made))
    room = round(len(made) * added / (1 - added)) if added < 1 else size
    return made + maker.make(ADDED, min(room, size - len(made)))


class _Maker:
    """Draws corruptions and keeps what the screener acts on."""

    def __init__(
        self,
        sentences: Sequence[str],
        options: Sequence[Sequence[Corruption]],
        corruptor: Corruptor,
        screener: Screener,
        rng: np.random.Generator,
        size: int,
    ) -> None:
        self.sentences, self.options = sentences, options
        self.corruptor, self.screener, self.rng = corruptor, screener, rng
        self._shares: dict[str, float] = corruptor.config.shares.model_dump()
        ledger = _Ledger(corruptor, size)
        self._stock = {kind: _Stock(kind, options, corruptor, rng, ledger) for kind in self._shares}
        self._seen: set[str] = set()

    def make(self, kinds: Sequence[str], size: int) -> list[Demonstration]:
        """At most `size` of these kinds by their shares, until there is nothing left to draw."""
        made: list[Demonstration] = []
        while len(made) < size:
            ready = [kind for kind in kinds if self._shares[kind] and self._stock[kind]]
            if not ready:
                break
            whole = sum(self._shares[kind] for kind in ready)
            for kind in ready:
                # Rounded up, so that the last few are not asked for in vain.
                wanted = 1 + int((size - len(made)) * self._shares[kind] / whole)
                made += self._draw(kind, wanted)[: size - len(made)]
        return made

    def _draw(self, kind: str, count: int) -> list[Demonstration]:
        drawn: list[tuple[Corruption, ...]] = []
        while len(drawn) < count:
            first = self._stock[kind].draw()
            if first is None:
                break
            drawn.append(self._with_more(first))
        texts = [corrupted(self.sentences[cs[0].at], cs) for cs in drawn]
        flagged = self.screener.toxicity(texts) >= self.screener.thresholds.act
        made = []
        for text, cs, bad in zip(texts, drawn, flagged, strict=True):
            if bad and text not in self._seen:
                self._seen.add(text)
                made.append(Demonstration(text, self.sentences[cs[0].at], kind))
        return made

    def _with_more(self, first: Corruption) -> tuple[Corruption, ...]:
        """Sometimes one or two more in the same sentence, apart from those before."""
        chosen = [first]
        kinds = list(self._shares)
        shares = np.array([self._shares[kind] for kind in kinds])
        for _ in range(2):
            if self.rng.random() >= self.corruptor.config.second:
                break
            kind = kinds[int(self.rng.choice(len(kinds), p=shares / shares.sum()))]
            free = [
                c
                for c in self.options[first.at]
                if c.kind == kind and all(_apart(c, other) for other in chosen)
            ]
            if free:
                weights = np.array([self.corruptor.weight(c.unit) for c in free])
                pick = int(self.rng.choice(len(free), p=weights / weights.sum()))
                chosen.append(free[pick])
        return tuple(chosen)


class _Ledger:
    """What has been used how often, so that nothing is shown too often."""

    def __init__(self, corruptor: Corruptor, size: int) -> None:
        self._config, self._lexicon = corruptor.config, corruptor.lexicon
        self._room = size * self._config.commonness / max(1, sum(self._lexicon.counts.values()))
        self._fillers = int(self._config.filler_cap * size) + 1
        self._uses: Counter[int] = Counter()
        self._taught: Counter[str] = Counter()
        self._said: Counter[str] = Counter()

    def enter(self, c: Corruption) -> bool:
        """Write a corruption down, if there is room for it."""
        toxic = [word for word in c.unit if word in self._lexicon]
        if (
            self._uses[c.at] >= self._config.uses
            or (c.decent and self._taught[c.decent] >= self._fillers)
            or any(self._said[w] > 20 + self._room * self._lexicon.counts[w] for w in toxic)
        ):
            return False
        self._uses[c.at] += 1
        self._taught[c.decent] += 1
        self._said.update(toxic)
        return True


class _Stock:
    """Corruptions of one kind, handed out by how common their toxic words are."""

    def __init__(
        self,
        kind: str,
        options: Sequence[Sequence[Corruption]],
        corruptor: Corruptor,
        rng: np.random.Generator,
        ledger: _Ledger,
    ) -> None:
        self._rng = rng
        self._ledger = ledger
        by_unit: dict[Unit, list[tuple[float, int, Corruption]]] = defaultdict(list)
        ours = [c for those in options for c in those if c.kind == kind]
        luck = rng.gumbel(size=len(ours))
        for number, c in enumerate(ours):
            by_unit[c.unit].append((c.fit + float(luck[number]), number, c))
        self._left = [sorted(by_unit[unit]) for unit in sorted(by_unit)]
        self._weights = np.array([corruptor.weight(unit) for unit in sorted(by_unit)])

    def __bool__(self) -> bool:
        return bool(len(self._weights)) and float(self._weights.max()) > 0.0

    def draw(self) -> Corruption | None:
        """One more that the ledger has room for."""
        while self:
            ends = self._weights.cumsum()
            row = int(np.searchsorted(ends, self._rng.random() * ends[-1], side="right"))
            left = self._left[row]
            while left:
                _, _, c = left.pop()
                if self._ledger.enter(c):
                    return c
            self._weights[row] = 0.0
        return None


def _apart(one: Corruption, other: Corruption) -> bool:
    return one.end + 1 < other.start or other.end + 1 < one.start


def corrupted(sentence: str, corruptions: Sequence[Corruption]) -> str:
    """The sentence with its corruptions, which must not overlap; articles agree with them."""
    for c in sorted(corruptions, key=lambda c: -c.start):
        before, behind = sentence[: c.start], sentence[c.end :]
        toxic, gap = c.toxic.lstrip(), c.toxic[: len(c.toxic) - len(c.toxic.lstrip())]
        article = "an" if _VOWEL.match(toxic) else "a"
        before = _ARTICLE.sub(lambda m, a=article: m[1] + a[1:] + m[2], before + gap)  # type: ignore[misc]
        model = sentence[c.start : c.end] or ("" if before.strip() else sentence[:1])
        sentence = before + _cased(toxic, model) + behind
    return sentence


def _cased(text: str, model: str) -> str:
    """In the case of what stood there: casing must not be what tells the two sides apart."""
    if len(model) > 1 and model.isupper():
        return text.upper()
    return text[:1].upper() + text[1:] if model[:1].isupper() else text
