from __future__ import annotations

import math

import numpy as np
import pytest

from tactful.errors import DataError
from tactful.screeners.calibration import Calibration, fit_calibration


def test_calibration_by_hand() -> None:
    """Slope 2, intercept -1: a score of 0.5 is a coin flip, and the way back finds it."""
    calibration = Calibration(2.0, -1.0)
    found = calibration.probability(np.array([0.5, -math.inf, 1e6]))
    assert found.tolist() == [0.5, 0.0, 1.0]
    assert calibration.score(0.5) == pytest.approx(0.5)
    assert calibration.score(0.0) == -math.inf


def test_fit_by_hand() -> None:
    """With 3 of 4 toxic at score 1 and 1 of 4 at -1, the probability at 1 is 3/4."""
    scores = np.array([1.0] * 4 + [-1.0] * 4 + [-math.inf])
    labels = [True, True, True, False, True, False, False, False, True]
    assert fit_calibration(scores, labels).probability(np.array([1.0]))[0] == pytest.approx(
        0.75, abs=1e-3
    )


def test_scores_the_wrong_way_round_are_refused() -> None:
    """When toxic texts score lower there is no scale to fit."""
    with pytest.raises(DataError, match="do not score above"):
        fit_calibration(np.array([1.0, 0.0, 0.5]), [False, True, True])
