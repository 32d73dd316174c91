"""How often a follower errs, from what can be had: a few trusted labels, repeats, or other followers.

Pure functions of verdicts. `false_pass` = P(pass | truly bad), `false_fail` = P(fail | truly good),
as the noise-corrected loss takes them. None of the three ways is free: labels cost people, repeats
see only the errors that are not repeated, and other followers must not err together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tactful.errors import DataError

# Together above this, a verdict says so little that dividing by what is left amplifies only noise.
_MOST = 0.8
_ROUNDS = 500
_SETTLED = 1e-9


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a follower errs."""

    false_pass: float
    false_fail: float

    @property
    def flip(self) -> float:
        """Of both kinds on average: what a loss with one rate takes."""
        return (self.false_pass + self.false_fail) / 2

    def usable(self) -> Rates:
        """The same, scaled down to where a correction still makes sense."""
        total = self.false_pass + self.false_fail
        if total <= _MOST:
            return self
        return Rates(self.false_pass * _MOST / total, self.false_fail * _MOST / total)


def from_trusted(passed: ArrayLike, good: ArrayLike) -> Rates:
    """Counted on texts of which the truth is known.

    Half an error is added to each count of n + 1, so that ten texts without an error do not prove
    that there is none.
    """
    verdict, truth = np.asarray(passed, dtype=bool), np.asarray(good, dtype=bool)
    if verdict.shape != truth.shape or truth.all() or not truth.any():
        raise DataError(
            f"a trusted set needs good and bad texts, each with a verdict; got {int(truth.sum())} "
            f"good of {truth.size} and {verdict.size} verdicts"
        )
    bad, fine = verdict[~truth], ~verdict[truth]
    return Rates(
        float((bad.sum() + 0.5) / (len(bad) + 1)), float((fine.sum() + 0.5) / (len(fine) + 1))
    )


def from_repeats(first: ArrayLike, second: ArrayLike) -> Rates:
    """From two askings about the same texts: they differ at a rate of 2e(1-e), so e is known.

    One rate for both kinds, as two askings cannot tell them apart; an error that is made again
    and again is not seen at all.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape or not one.size:
        raise DataError(f"repeats need two verdicts a text, got {one.size} and {two.size}")
    differ = min(0.5, float(np.mean(one != two)))
    rate = (1 - math.sqrt(1 - 2 * differ)) / 2
    return Rates(rate, rate)


def from_followers(votes: ArrayLike) -> list[Rates]:
    """Of three or more followers from their disagreement alone (Dawid and Skene 1979).

    `votes` are (followers, texts), True for a pass. Expectation maximisation over the unknown
    truth, started at the majority; the followers must err independently and be right more often
    than not.
    """
    said = np.asarray(votes, dtype=np.float64)
    if said.ndim != 2 or said.shape[0] < 3 or not said.shape[1]:
        raise DataError(f"at least three followers must vote on each text, got {said.shape} votes")
    good: NDArray[np.float64] = (said.mean(axis=0) > 0.5).astype(np.float64)
    pass_bad = fail_good = np.zeros(len(said))
    for _ in range(_ROUNDS):
        before = good
        # Half a text on each side keeps rates off 0 and 1, where a likelihood would be absolute.
        share = (good.sum() + 0.5) / (len(good) + 1)
        pass_bad = (said @ (1 - good) + 0.5) / ((1 - good).sum() + 1)
        fail_good = ((1 - said) @ good + 0.5) / (good.sum() + 1)
        if_good = _likelihood(said, 1 - fail_good) + math.log(share)
        if_bad = _likelihood(said, pass_bad) + math.log(1 - share)
        good = 1 / (1 + np.exp(np.clip(if_bad - if_good, -700, 700)))
        if np.abs(good - before).max() < _SETTLED:
            break
    return [Rates(float(a), float(c)) for a, c in zip(pass_bad, fail_good, strict=True)]


def _likelihood(said: NDArray[np.float64], passing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each text's votes, where `passing` is how often each follower passes such a text."""
    odds = np.log(passing)[:, None] * said + np.log(1 - passing)[:, None] * (1 - said)
    return np.asarray(odds.sum(axis=0), dtype=np.float64)


def mean_of(rates: Sequence[Rates]) -> Rates:
    """Of several followers, as one of them that is drawn."""
    return Rates(
        float(np.mean([r.false_pass for r in rates])), float(np.mean([r.false_fail for r in rates]))
    )
