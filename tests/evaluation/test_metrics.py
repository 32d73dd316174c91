from __future__ import annotations

import math

import numpy as np
import pytest

from tactful import __version__
from tactful.errors import DataError
from tactful.evaluation import metrics
from tactful.evaluation.base import Scores
from tactful.evaluation.metrics import (
    HardThresholds,
    Interval,
    bootstrap_interval,
    harden,
    paired_bootstrap,
    pearson,
    signature,
    signed,
    spearman,
)


def test_equal_values_leave_no_doubt() -> None:
    """Every resample of 0.25, 0.25, 0.25 has the mean 0.25."""
    assert bootstrap_interval([0.25] * 3) == Interval(0.25, 0.25, 0.25)


def test_interval_of_a_coin() -> None:
    """Of 100 coin flips, 95 % of the resampled means lie within 1.96 * sqrt(.25 / 100) = 0.098."""
    interval = bootstrap_interval([0.0, 1.0] * 50, boot=4000)
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.402, abs=0.015)
    assert interval.high == pytest.approx(0.598, abs=0.015)
    assert interval.half_width == pytest.approx(0.098, abs=0.015)


def test_bootstrap_repeats_with_its_seed() -> None:
    """The same seed gives the same interval, another seed another one."""
    values = np.linspace(0, 1, 37) ** 2
    first = bootstrap_interval(values, seed=7)
    assert bootstrap_interval(values, seed=7) == first
    assert bootstrap_interval(values, seed=8) != first


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a few resamples at a time gives what drawing them at once gives."""
    values = np.linspace(0, 1, 11)
    at_once = bootstrap_interval(values, boot=100)
    monkeypatch.setattr(metrics, "_BLOCK", 70)
    assert bootstrap_interval(values, boot=100) == at_once


def test_paired_bootstrap_of_a_sure_lead() -> None:
    """0.1 ahead on every sentence: no resample at or below 0, so p = 2 * (0 + 1) / (99 + 1)."""
    lead = paired_bootstrap([0.5, 0.7, 0.9], [0.4, 0.6, 0.8], boot=99)
    assert (lead.mean, lead.low, lead.high) == pytest.approx((0.1, 0.1, 0.1))
    assert lead.p == 0.02


def test_paired_bootstrap_of_a_draw() -> None:
    """A system against itself differs by 0 in every resample, and p cannot exceed 1."""
    draw = paired_bootstrap([0.1, 0.9], [0.1, 0.9])
    assert (draw.mean, draw.low, draw.high, draw.p) == (0.0, 0.0, 0.0, 1.0)


def test_paired_bootstrap_by_hand() -> None:
    """Differences 1 and -1: resampled means are -1, 0, 1 with chances 1/4, 1/2, 1/4; p is 1."""
    close = paired_bootstrap([1.0, 0.0], [0.0, 1.0], boot=2000)
    assert (close.mean, close.low, close.high, close.p) == (0.0, -1.0, 1.0, 1.0)


def test_paired_bootstrap_sees_pairs() -> None:
    """What both systems find hard cancels: the interval of the difference is narrower by far."""
    hard = np.array([0.0, 1.0] * 20)
    lead = paired_bootstrap(hard * 0.9 + 0.1, hard * 0.9)
    alone = bootstrap_interval(hard)
    assert lead.high - lead.low < 1e-9 < alone.high - alone.low
    assert lead.p < 0.01


def test_hard_forms_at_the_threshold() -> None:
    """A score at its threshold is a yes, and hard J needs three of them."""
    scores = Scores(np.array([0.5, 0.49]), np.array([0.8, 0.9]), np.array([0.6, 0.9]))
    hard = harden(scores, HardThresholds(style=0.5, meaning=0.8, fluency=0.6))
    assert hard.style.tolist() == [1, 0]
    assert hard.meaning.tolist() == [1, 1]
    assert hard.fluency.tolist() == [1, 1]
    assert hard.joint.tolist() == [1, 0]


def test_spearman_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8."""
    assert spearman([1, 2, 3, 4], [10, 30, 20, 99]) == pytest.approx(0.8)


def test_spearman_with_ties() -> None:
    """Ranks 1.5 1.5 3 against 1 2 3: covariance 1.5, variances 1.5 and 2, so 1.5 / sqrt(3)."""
    assert spearman([5, 5, 9], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(3))


def test_pearson_by_hand() -> None:
    """Deviations -1 0 1 against -1 1 0: 1 / sqrt(2 * 2) = 0.5."""
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


def test_a_constant_correlates_with_nothing() -> None:
    """Without any spread there is no correlation, which is NaN and no warning."""
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert math.isnan(pearson([1, 2, 3], [0, 0, 0]))


@pytest.mark.parametrize("values", [[], [[0.1]], [0.1, float("nan")]])
def test_what_is_no_list_of_scores_is_refused(values: list[float]) -> None:
    """Empty lists, tables and NaN have no mean worth an interval."""
    with pytest.raises(DataError, match="finite scores"):
        bootstrap_interval(values)


def test_pairs_must_be_pairs() -> None:
    """Comparing different numbers of sentences is a mistake, whatever is compared."""
    with pytest.raises(DataError, match="got 2 and 1"):
        paired_bootstrap([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match="got 2 and 1"):
        spearman([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match="at least 1 resample"):
        bootstrap_interval([0.1], boot=0)


def test_signature_names_all_a_score_depends_on() -> None:
    """Judge, thresholds, rows, resamples, seed and version stand behind the figure."""
    line = signature("dev@a1b2c3d", n=671, boot=1000, seed=0)
    assert line == f"[judge:dev@a1b2c3d|n:671|boot:1000|seed:0|v:{__version__}]"
    hard = signature("dev@a1b2c3d", n=671, boot=1000, seed=0, thresholds=HardThresholds(0.5))
    assert "|thr:0.5/0.5/0.5|" in hard
    assert signed("J", Interval(0.541, 0.522, 0.56), line) == f"J = 0.541 ± 0.019 {line}"
