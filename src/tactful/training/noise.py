"""Followers that err on purpose, and panels that err less: the material of the noise study.

The verdict is flipped, not the score blurred: the noise is a careless moderator, not a
miscalibrated model. A flip is decided by the text, the seed and the round alone, so a run that goes
on meets the same moderator as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tactful.config import Config
from tactful.screeners.linear import words
from tactful.screeners.wrappers import luck_of, mirrored
from tactful.training.game import Follower, PlaysRounds

FloatArray = NDArray[np.float64]


class Noise(Config):
    """How a follower errs."""

    false_pass: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of failing rewrites that it passes."""
    false_fail: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of passing rewrites that it fails."""
    biased: tuple[str, ...] = ()
    """Words that it fails a rewrite for, whatever is said about them."""
    repeats: Literal["same", "anew"] = "same"
    """Whether it errs about the same text in the same way each time, or decides anew."""
    seed: int = 0


class Panel(Config):
    """Several moderators in place of one."""

    times: Annotated[int, Field(ge=1)] = 1
    """How often each of them is asked; more than once helps where it decides anew."""
    quorum: Annotated[float, Field(ge=0.5, le=1)] = 0.5
    """The share of votes that a verdict needs, more than a half; without it they abstain, and
    the rewrite is not trained on."""


class NoisyFollower:
    """A follower's verdicts, some of them flipped."""

    def __init__(self, follower: Follower, threshold: float, noise: Noise) -> None:
        self.follower = follower
        self.threshold = threshold
        self.noise = noise
        self._biased = frozenset(word.lower() for word in noise.biased)
        self._round = 0
        self._asked: dict[str, int] = {}

    def begin(self, number: int) -> None:
        """A new round: what was asked before does not count any more."""
        self._round = number
        self._asked = {}
        if isinstance(self.follower, PlaysRounds):
            self.follower.begin(number)

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> FloatArray:
        """The follower's scores; a flipped verdict has a score as far on the other side."""
        scores = np.asarray(self.follower(sources, rewrites), dtype=np.float64)
        passed = scores >= self.threshold
        rates = np.where(passed, self.noise.false_fail, self.noise.false_pass)
        flip = np.array([self._luck(text) for text in rewrites], dtype=np.float64) < rates
        if self._biased:
            hit = [not self._biased.isdisjoint(words(text)) for text in rewrites]
            flip = np.where(hit, passed, flip)
        return np.where(flip, mirrored(scores, self.threshold), scores)

    def _luck(self, text: str) -> float:
        """A number in [0, 1) that is the text's own."""
        about = str(self.noise.seed)
        if self.noise.repeats == "anew":
            again = self._asked[text] = self._asked.get(text, 0) + 1
            about = f"{self._round}/{again}/{about}"
        return luck_of(text, about)


class PanelFollower:
    """Several followers vote; where too few agree, they abstain: no number."""

    def __init__(
        self, members: Sequence[tuple[Follower, float]], threshold: float, panel: Panel
    ) -> None:
        """`members` come with the scores from which each of them lets pass."""
        self.members = list(members)
        self.threshold = threshold
        self.panel = panel

    def begin(self, number: int) -> None:
        """Tell those who want to know."""
        for follower, _ in self.members:
            if isinstance(follower, PlaysRounds):
                follower.begin(number)

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> FloatArray:
        """The mean score of the winning side, on the scale of the panel's own threshold."""
        asked = [
            (np.asarray(follower(sources, rewrites), dtype=np.float64), threshold)
            for follower, threshold in self.members
            for _ in range(self.panel.times)
        ]
        scores = np.stack([rescaled(said, own, self.threshold) for said, own in asked])
        return verdict(scores, self.threshold, self.panel.quorum)


def verdict(scores: FloatArray, threshold: float, quorum: float) -> FloatArray:
    """What voters together say of each rewrite; `scores` are (voters, rewrites).

    The mean score of the side that has more than half and at least `quorum` of the votes, else NaN.
    Who gave no number has no vote.
    """
    heard = np.isfinite(scores)
    passing = heard & (scores >= threshold)
    votes = np.maximum(1, heard.sum(axis=0))
    share = passing.sum(axis=0) / votes
    # Rounding must not turn two of three into less than two thirds.
    least = quorum - 1e-9
    wins = (share > 0.5) & (share >= least)
    loses = (share < 0.5) & (1 - share >= least) & heard.any(axis=0)
    side = np.where(wins, passing, heard & ~passing)
    total = np.where(side, scores, 0.0).sum(axis=0) / np.maximum(1, side.sum(axis=0))
    return np.where(wins | loses, total, np.nan)


def rescaled(scores: FloatArray, threshold: float, to: float) -> FloatArray:
    """Scores on a scale whose threshold lies elsewhere; verdicts stay what they are."""
    if threshold == to:
        return scores
    up = to + (1 - to) * (scores - threshold) / max(1 - threshold, 1e-9)
    down = np.nextafter(to, 0.0) * scores / max(threshold, 1e-9)
    return np.where(np.isfinite(scores), np.where(scores >= threshold, up, down), np.nan)


def inside(follower: Follower) -> list[Follower]:
    """A follower, or those that it is made of."""
    if isinstance(follower, NoisyFollower):
        return inside(follower.follower)
    if isinstance(follower, PanelFollower):
        return [one for member, _ in follower.members for one in inside(member)]
    return [follower]
