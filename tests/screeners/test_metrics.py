"""The figures of a screener, worked by hand."""

import pytest

from tactful.errors import DataError
from tactful.screeners.metrics import (
    auroc,
    average_precision,
    balanced_accuracy,
    expected_calibration_error,
    flagged,
    lowest_threshold,
)

LABELS = [True, True, True, False, False]
SCORES = [0.9, 0.6, 0.2, 0.6, 0.1]


def test_flagged_by_hand() -> None:
    """A score equal to the threshold counts: 3 of 5 are at or above 0.6."""
    assert flagged(SCORES, 0.6) == pytest.approx(0.6)


def test_balanced_accuracy_by_hand() -> None:
    """At 0.6, two of three toxic and one of two neutral are right: (2/3 + 1/2) / 2."""
    assert balanced_accuracy(LABELS, SCORES, 0.6) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_auroc_by_hand() -> None:
    """Six pairs: 0.9 wins two, 0.6 wins one and ties one, 0.2 wins one: 4.5 / 6."""
    assert auroc(LABELS, SCORES) == pytest.approx(4.5 / 6)


def test_average_precision_by_hand() -> None:
    """0.9 is first of one; 0.6 is second of three, for the tie counts; 0.2 is third of four."""
    wanted = (1 / 1 + 2 / 3 + 3 / 4) / 3
    assert average_precision(LABELS, SCORES) == pytest.approx(wanted)
    # Two toxic texts that tie with a neutral one have two of three each.
    assert average_precision([True, True, False], [0.5, 0.5, 0.5]) == pytest.approx(2 / 3)


def test_calibration_error_by_hand() -> None:
    """Two bins: |0.1 + 0.3 - 1| and |0.9 + 0.7 - 1| over four texts: (0.6 + 0.6) / 4."""
    labels, probabilities = [False, True, True, False], [0.1, 0.3, 0.9, 0.7]
    assert expected_calibration_error(labels, probabilities, bins=2) == pytest.approx(0.3)


def test_a_probability_of_one_has_a_bin() -> None:
    """The last bin is closed at 1."""
    assert expected_calibration_error([True], [1.0]) == 0.0


def test_lowest_threshold_by_hand() -> None:
    """Three of four below: half way between the third and the fourth score."""
    assert lowest_threshold([0.1, 0.2, 0.3, 0.5], 0.75) == pytest.approx(0.4)
    assert lowest_threshold([0.1, 0.2, 0.3, 0.5], 0.74) == pytest.approx(0.4)


def test_lowest_threshold_with_ties_and_ends() -> None:
    """Ties at the cut stay below together; all below means above the highest; none, the lowest."""
    assert lowest_threshold([0.1, 0.3, 0.3, 0.5], 0.5) == pytest.approx(0.4)
    assert lowest_threshold([0.1, 0.3], 1.0) > 0.3
    assert lowest_threshold([0.1, 0.3], 0.0) == 0.1


def test_one_class_alone_is_refused() -> None:
    """Telling apart needs two kinds; the message says what came."""
    with pytest.raises(DataError, match="2 toxic of 2 labels"):
        auroc([True, True], [0.1, 0.2])
    with pytest.raises(DataError, match="non-empty"):
        flagged([], 0.5)
