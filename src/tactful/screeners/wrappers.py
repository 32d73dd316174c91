"""Screeners made of screeners: several that vote, one that remembers, one that errs on purpose."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError, TactfulError
from tactful.records import Span
from tactful.screeners.base import FloatArray, Screener, Thresholds


class EnsembleScreener:
    """Several screeners, each on its own scale, asked together.

    `mean`: the mean of their probabilities, brought to one scale by their thresholds. `vote`: the
    same, moved to the side that more than half of them are on; where fewer than `quorum` are on one
    side it abstains: such a text is not acted on, and no rewrite passes with it. A member that
    cannot be asked has no vote, unless none can.
    """

    def __init__(
        self,
        members: Sequence[Screener],
        *,
        how: Literal["mean", "vote"] = "mean",
        quorum: float = 0.5,
        thresholds: Thresholds | None = None,
    ) -> None:
        if not members:
            raise ConfigError("an ensemble needs at least one screener")
        if not 0.5 <= quorum <= 1:
            raise ConfigError(f"quorum = {quorum:g} must lie between 0.5 and 1")
        self.members = list(members)
        self.how = how
        self.quorum = quorum
        self.thresholds = thresholds or Thresholds(
            float(np.mean([one.thresholds.act for one in members])),
            float(np.mean([one.thresholds.passing for one in members])),
            "the mean of its members'",
        )

    @property
    def name(self) -> str:
        """Its members' names."""
        return f"{self.how}({', '.join(one.name for one in self.members)})"

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """One probability each, on the ensemble's scale."""
        scores = self._asked(texts)
        mean = scores.mean(axis=0)
        if self.how == "mean":
            return np.asarray(mean, dtype=np.float64)
        act, passing = self.thresholds.act, self.thresholds.passing
        found = np.where(_most(scores >= act), np.maximum(mean, act), mean)
        below = np.nextafter(act, 0.0)
        found = np.where(~_most(scores >= act), np.minimum(found, below), found)
        found = np.where(_most(scores >= passing), np.maximum(found, passing), found)
        found = np.where(
            ~_most(scores >= passing), np.minimum(found, np.nextafter(passing, 0.0)), found
        )
        # Where act and passing are one, silence can only be told by not acting.
        silent = max(0.0, min(passing, float(below)))
        said: FloatArray = np.where(self._abstains(scores), silent, found)
        return said

    def abstains(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """About which texts too few agree on whether to act."""
        return self._abstains(self._asked(texts))

    def explain(self, text: str) -> list[Span]:
        """What the first member says that can say anything."""
        for member in self.members:
            try:
                if spans := member.explain(text):
                    return spans
            except TactfulError:
                continue
        return []

    def _abstains(self, scores: FloatArray) -> NDArray[np.bool_]:
        share = (scores >= self.thresholds.act).mean(axis=0)
        return np.asarray(np.maximum(share, 1 - share) < self.quorum - 1e-9)

    def _asked(self, texts: Sequence[str]) -> FloatArray:
        """The scores of those that answer, on one scale: (members, texts)."""
        said, faults = [], []
        for member in self.members:
            try:
                own = member.toxicity(texts)
            except TactfulError as error:
                faults.append(error)
                continue
            said.append(on_scale(own, member.thresholds, self.thresholds))
        if not said:
            raise TactfulError(f"no member of {self.name} answered: {faults[0]}") from faults[0]
        return np.stack(said)


class CachedScreener:
    """Remembers the last answers: a screener behind a network is asked once about the same text."""

    def __init__(self, screener: Screener, size: int = 100_000) -> None:
        self.screener = screener
        self.thresholds = screener.thresholds
        self.size = size
        self._known: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The screener's: the answers are its own."""
        return self.screener.name

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """Its screener's, asked only about what is new."""
        with self._lock:
            found = {text: self._known[text] for text in texts if text in self._known}
            for text in found:
                self._known.move_to_end(text)
        fresh = [text for text in dict.fromkeys(texts) if text not in found]
        if fresh:
            found |= zip(fresh, self.screener.toxicity(fresh).tolist(), strict=True)
            with self._lock:
                self._known.update((text, found[text]) for text in fresh)
                while len(self._known) > self.size:
                    self._known.popitem(last=False)
        return np.array([found[text] for text in texts], dtype=np.float64)

    def explain(self, text: str) -> list[Span]:
        """Its screener's, asked each time."""
        return self.screener.explain(text)


class FallbackScreener:
    """Asks another screener where the first one cannot be asked, so that serving goes on."""

    def __init__(self, screener: Screener, fallback: Screener) -> None:
        self.screener = screener
        self.fallback = fallback
        self.thresholds = screener.thresholds

    @property
    def name(self) -> str:
        """Both, as both may have answered."""
        return f"{self.screener.name} or {self.fallback.name}"

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """The first one's, or the fallback's on the first one's scale."""
        try:
            return self.screener.toxicity(texts)
        except TactfulError:
            found = self.fallback.toxicity(texts)
            return on_scale(found, self.fallback.thresholds, self.thresholds)

    def explain(self, text: str) -> list[Span]:
        """The first one's, or the fallback's."""
        try:
            return self.screener.explain(text)
        except TactfulError:
            return self.fallback.explain(text)


class NoisyScreener:
    """Another screener's verdicts, some of them wrong; for tests and studies.

    What passes is mistaken at the rate `false_fail`, what does not at `false_pass`; the same text
    is always mistaken alike.
    """

    def __init__(
        self, screener: Screener, *, false_pass: float = 0.0, false_fail: float = 0.0, seed: int = 0
    ) -> None:
        self.screener = screener
        self.thresholds = screener.thresholds
        self.false_pass = false_pass
        self.false_fail = false_fail
        self.seed = seed

    @property
    def name(self) -> str:
        """What it is made of, and how it errs."""
        return f"noisy({self.screener.name}, {self.false_pass:g}/{self.false_fail:g})"

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """A wrong verdict has a score as far on the other side of `passing`."""
        scores = self.screener.toxicity(texts)
        fails = scores >= self.thresholds.passing
        luck = np.array([luck_of(text, str(self.seed)) for text in texts], dtype=np.float64)
        wrong = luck < np.where(fails, self.false_pass, self.false_fail)
        return np.where(wrong, mirrored(scores, self.thresholds.passing), scores)

    def explain(self, text: str) -> list[Span]:
        """Its screener's: an error has no reason."""
        return self.screener.explain(text)


def luck_of(text: str, about: str) -> float:
    """A number in [0, 1) that is the text's own."""
    said = f"{about}/{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big") / 2**64


def mirrored(scores: FloatArray, threshold: float) -> FloatArray:
    """Scores as far on the other side of a threshold, in shares of the room that is there."""
    below, above = max(threshold, 1e-9), max(1 - threshold, 1e-9)
    # What stands at the threshold is above it, so what comes from above must end up below.
    down = np.nextafter(below, 0.0) * (1 - np.clip((scores - threshold) / above, 0.0, 1.0))
    up = threshold + (1 - threshold) * (1 - np.clip(scores / below, 0.0, 1.0))
    return np.where(scores >= threshold, down, up)


def on_scale(scores: FloatArray, own: Thresholds, wanted: Thresholds) -> FloatArray:
    """Scores on a scale with other thresholds; whether they are acted on stays what it is, and
    whether they pass, where the new scale tells the two apart.
    """
    if (own.act, own.passing) == (wanted.act, wanted.passing):
        return scores
    found = np.empty(len(scores))
    edges = (0.0, own.passing, own.act, 1.0)
    goals = (0.0, wanted.passing, wanted.act, 1.0)
    for i in range(3):
        inside = scores >= edges[i] if i else np.ones(len(scores), dtype=bool)
        room = edges[i + 1] - edges[i]
        if room <= 0:
            # Nobody lives between two thresholds that are one.
            found = np.where(inside, goals[i], found)
            continue
        share = np.clip((scores - edges[i]) / room, 0.0, 1.0)
        # Where two thresholds become one, what lay between them is still not acted on.
        top = 1.0 if i == 2 else max(0.0, float(np.nextafter(goals[i + 1], 0.0)))
        there = goals[i] + share * (goals[i + 1] - goals[i])
        found = np.where(inside, np.minimum(there, top), found)
    return found


def _most(votes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where more than half of the voters say yes."""
    return np.asarray(votes.mean(axis=0) > 0.5)
