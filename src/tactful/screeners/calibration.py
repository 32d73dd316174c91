"""From raw scores to probabilities that mean what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tactful.errors import DataError
from tactful.screeners.base import FloatArray


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = sigmoid(slope * score + intercept)."""

    slope: float = 1.0
    intercept: float = 0.0

    def probability(self, scores: FloatArray) -> FloatArray:
        """Probabilities of scores; -inf, a text without words, becomes 0."""
        logits = np.clip(self.slope * scores + self.intercept, -700.0, 700.0)
        return np.where(np.isneginf(scores), 0.0, 1.0 / (1.0 + np.exp(-logits)))

    def score(self, probability: float) -> float:
        """The score at which a probability is reached."""
        if probability <= 0.0 or probability >= 1.0:
            return -math.inf if probability <= 0.0 else math.inf
        return (math.log(probability / (1.0 - probability)) - self.intercept) / self.slope


def fit_calibration(scores: FloatArray, labels: Sequence[bool]) -> Calibration:
    """The scale that makes scores of labelled texts into probabilities."""
    from sklearn.linear_model import LogisticRegression

    heard = np.isfinite(scores)
    model = LogisticRegression(C=1e6).fit(scores[heard, None], np.asarray(labels)[heard])
    slope = float(model.coef_[0, 0])
    if slope <= 0.0:
        raise DataError("calibration failed: toxic texts do not score above neutral ones")
    return Calibration(slope, float(model.intercept_[0]))
