"""What is computed from judges' scores: means with intervals, differences, hard forms, agreement.

Pure functions of arrays; nothing here knows a judge or a text. Intervals are percentile
bootstraps over sentences: they say how far a figure depends on which sentences were drawn, not
how far the judge can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tactful import __version__
from tactful.errors import DataError
from tactful.evaluation.base import FloatArray, Scores

CONFIDENCE = 0.95
# Numbers drawn at a time, so that a resample of a million rows needs no more room than one of a few.
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where 95 % of its resamples lie."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds: what is printed behind the ±."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a system is ahead of a baseline on the same sentences, negative when behind.

    `p` is two-sided: how surprising so large a difference would be were there none.
    """

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class HardThresholds:
    """From which score on each judgement counts as a yes."""

    style: float = 0.5
    meaning: float = 0.5
    fluency: float = 0.5

    def __str__(self) -> str:
        return f"{self.style:g}/{self.meaning:g}/{self.fluency:g}"


def bootstrap_interval(values: ArrayLike, *, boot: int = 1000, seed: int = 0) -> Interval:
    """The mean of values with its percentile bootstrap interval.

    The same seed and number of values draw the same rows, so the intervals of two systems over
    the same sentences move together.
    """
    checked = _checked(values)
    low, high = _percentiles(_resampled_means(checked, boot, seed))
    return Interval(float(checked.mean()), low, high)


def paired_bootstrap(
    system: ArrayLike, baseline: ArrayLike, *, boot: int = 1000, seed: int = 0
) -> Difference:
    """The mean difference of two systems over the same sentences, with interval and p-value.

    p = 2 * min(P(difference <= 0), P(difference >= 0)) over the resamples, the one at hand counted
    in: it is never 0, and never below 2 / (boot + 1).
    """
    ours, theirs = _checked(system), _checked(baseline)
    if ours.shape != theirs.shape:
        raise DataError(
            f"a paired comparison needs the same sentences: got {len(ours)} and {len(theirs)} scores"
        )
    differences = ours - theirs
    means = _resampled_means(differences, boot, seed)
    low, high = _percentiles(means)
    rarer = min(int(np.sum(means <= 0)), int(np.sum(means >= 0)))
    p = min(1.0, 2 * (rarer + 1) / (boot + 1))
    return Difference(float(differences.mean()), low, high, p)


def harden(scores: Scores, thresholds: HardThresholds) -> Scores:
    """Each judgement as 1 (at its threshold or above) or 0."""
    return Scores(
        style=(scores.style >= thresholds.style).astype(np.float64),
        meaning=(scores.meaning >= thresholds.meaning).astype(np.float64),
        fluency=(scores.fluency >= thresholds.fluency).astype(np.float64),
    )


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """The rank correlation of two lists, ties sharing their mean rank; NaN when one is constant."""
    from scipy.stats import rankdata

    return _correlation(rankdata(_checked(first)), rankdata(_checked(second)))


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """The linear correlation of two lists; NaN when one is constant."""
    return _correlation(_checked(first), _checked(second))


def signature(
    judge: str, *, n: int, boot: int, seed: int, thresholds: HardThresholds | None = None
) -> str:
    """What a score depends on, in one line; only scores with the same line can be compared.

    `thresholds` belong in it where hard forms are reported.
    """
    hard = "" if thresholds is None else f"|thr:{thresholds}"
    return f"[judge:{judge}{hard}|n:{n}|boot:{boot}|seed:{seed}|v:{__version__}]"


def signed(name: str, interval: Interval, signed_by: str) -> str:
    """A figure as it may be quoted: name, mean, half the interval, signature."""
    return f"{name} = {interval.mean:.3f} ± {interval.half_width:.3f} {signed_by}"


def _checked(values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise DataError(f"expected a list of finite scores, not empty; got shape {array.shape}")
    return array


def _resampled_means(values: FloatArray, boot: int, seed: int) -> FloatArray:
    if boot < 1:
        raise DataError(f"a bootstrap needs at least 1 resample, got {boot}")
    draw = np.random.default_rng(seed)
    means = [
        values[draw.integers(len(values), size=(count, len(values)))].mean(axis=1)
        for count in _blocks(boot, max(1, _BLOCK // len(values)))
    ]
    return np.concatenate(means)


def _blocks(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)


def _percentiles(means: FloatArray) -> tuple[float, float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)


def _correlation(first: FloatArray, second: FloatArray) -> float:
    from scipy.stats import pearsonr

    if first.shape != second.shape:
        raise DataError(f"a correlation needs pairs: got {len(first)} and {len(second)} values")
    # scipy would warn and answer NaN as well.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(pearsonr(first, second).statistic)
