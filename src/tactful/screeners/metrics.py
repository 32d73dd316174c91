"""What is measured of a screener: pure functions of labels and scores.

`labels` are booleans, True for toxic; `scores` are higher for more toxic. Nothing here knows a
screener or a corpus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tactful.errors import DataError


def flagged(scores: ArrayLike, threshold: float) -> float:
    """The share of scores at or above a threshold."""
    return float(np.mean(_scores(scores) >= threshold))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """The mean of both classes' accuracy when scores at or above the threshold mean toxic."""
    toxic, neutral = _by_label(labels, scores)
    return float((np.mean(toxic >= threshold) + np.mean(neutral < threshold)) / 2)


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """How often a toxic text scores above a neutral one; a tie counts half."""
    toxic, neutral = _by_label(labels, scores)
    neutral = np.sort(neutral)
    below = np.searchsorted(neutral, toxic, side="left")
    not_above = np.searchsorted(neutral, toxic, side="right")
    return float(np.mean(below + not_above) / (2 * len(neutral)))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The mean, over toxic texts, of the toxic share of all that score as high or higher."""
    toxic, neutral = _by_label(labels, scores)
    thresholds, texts = np.unique(toxic, return_counts=True)
    hits = np.cumsum(texts[::-1])[::-1]
    alarms = len(neutral) - np.searchsorted(np.sort(neutral), thresholds, side="left")
    return float(np.sum(texts * hits / (hits + alarms)) / len(toxic))


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 15
) -> float:
    """How far probabilities are from frequencies, over bins of equal width, weighted by size."""
    outcome = np.asarray(labels, dtype=np.float64)
    probability = _scores(probabilities)
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=outcome - probability, minlength=bins)
    return float(np.abs(gaps).sum() / len(outcome))


def roc(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False alarms and hits at every threshold, from the highest (nobody) to the lowest (all)."""
    toxic, neutral = _by_label(labels, scores)
    thresholds = np.unique(np.concatenate([toxic, neutral]))[::-1]
    hits = 1 - np.searchsorted(np.sort(toxic), thresholds, side="left") / len(toxic)
    alarms = 1 - np.searchsorted(np.sort(neutral), thresholds, side="left") / len(neutral)
    return np.concatenate([[0.0], alarms]), np.concatenate([[0.0], hits])


def hits_at(labels: ArrayLike, scores: ArrayLike, alarms: float) -> float:
    """The largest share of hits with at most so large a share of false alarms."""
    found, hits = roc(labels, scores)
    return float(hits[found <= alarms + 1e-12].max())


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 10
) -> list[tuple[float, float, int]]:
    """For bins of equal width: mean probability, share of toxic texts, texts; empty ones left out."""
    outcome = np.asarray(labels, dtype=np.float64)
    probability = _scores(probabilities)
    which = np.minimum((probability * bins).astype(int), bins - 1)
    return [
        (float(probability[inside].mean()), float(outcome[inside].mean()), int(inside.sum()))
        for inside in (which == number for number in range(bins))
        if inside.any()
    ]


def cost_curve(
    labels: ArrayLike, scores: ArrayLike, shares: ArrayLike, threshold: float | None = None
) -> NDArray[np.float64]:
    """The cost of errors by how much of it is due to misses (Drummond and Holte 2006).

    At a share of c, missing all toxic texts costs c and acting on all neutral ones 1 - c. With a
    threshold, its cost; without, that of the best one for each share.
    """
    share = np.asarray(shares, dtype=np.float64)
    if threshold is None:
        alarms, hits = roc(labels, scores)
    else:
        toxic, neutral = _by_label(labels, scores)
        alarms = np.array([np.mean(neutral >= threshold)])
        hits = np.array([np.mean(toxic >= threshold)])
    costs = share[:, None] * (1 - hits) + (1 - share[:, None]) * alarms
    return np.asarray(costs.min(axis=1), dtype=np.float64)


def lowest_threshold(scores: ArrayLike, below: float) -> float:
    """The lowest threshold that keeps at least a share `below` of the scores under it.

    The next score above sets it: half way there, so that rounding in a file cannot flip a text.
    Without a next score it is just above the highest.
    """
    ordered = np.sort(_scores(scores))
    needed = int(np.ceil(below * len(ordered) - 1e-9))
    if needed == 0:
        return float(ordered[0])
    last = ordered[needed - 1]
    higher = ordered[ordered > last]
    return float((last + higher[0]) / 2 if len(higher) else np.nextafter(last, np.inf))


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise DataError(f"expected a non-empty list of scores, got shape {values.shape}")
    return values


def _by_label(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = _scores(scores)
    toxic = np.asarray(labels, dtype=bool)
    if toxic.shape != values.shape or toxic.all() or not toxic.any():
        raise DataError(
            f"expected toxic and neutral texts, one score each; got {int(toxic.sum())} toxic of "
            f"{toxic.size} labels and {values.size} scores"
        )
    return values[toxic], values[~toxic]
