"""Rates of wrong verdicts, worked by hand and found again in verdicts made with them."""

from __future__ import annotations

import numpy as np
import pytest

from tactful.errors import DataError
from tactful.training.rates import (
    Rates,
    from_followers,
    from_repeats,
    from_trusted,
    mean_of,
)


def test_trusted_by_hand() -> None:
    """Of 9 bad texts 1 passed: 1.5 / 10. Of 4 good ones none failed: 0.5 / 5."""
    good = [False] * 9 + [True] * 4
    passed = [True] + [False] * 8 + [True] * 4
    assert from_trusted(passed, good) == Rates(pytest.approx(0.15), pytest.approx(0.1))


def test_a_trusted_set_has_both_sides() -> None:
    """Good texts alone say nothing of false passes."""
    with pytest.raises(DataError, match="2 good of 2"):
        from_trusted([True, False], [True, True])


@pytest.mark.parametrize(("differ", "rate"), [(0, 0.0), (18, 0.1), (32, 0.2), (50, 0.5), (80, 0.5)])
def test_repeats_by_hand(differ: int, rate: float) -> None:
    """2 e (1-e) of a hundred differ: e = .1 gives 18, .2 gives 32; beyond a half is chance."""
    first = np.zeros(100, dtype=bool)
    second = np.arange(100) < differ
    assert from_repeats(first, second).false_pass == pytest.approx(rate)
    assert from_repeats(first, second).flip == pytest.approx(rate)


def test_followers_find_each_other_out() -> None:
    """Three with rates of their own, from their votes alone, whatever the share of good texts."""
    random = np.random.default_rng(0)
    good = random.random(6000) < 0.35
    rates = [(0.1, 0.2), (0.25, 0.05), (0.15, 0.15)]
    votes = [np.where(good, random.random(6000) >= c, random.random(6000) < a) for a, c in rates]
    found = from_followers(votes)
    for (a, c), rate in zip(rates, found, strict=True):
        assert rate.false_pass == pytest.approx(a, abs=0.03)
        assert rate.false_fail == pytest.approx(c, abs=0.03)


def test_followers_that_always_agree_do_not_err() -> None:
    """As far as anybody can tell: half a text in twenty-one."""
    votes = [[True] * 20 + [False] * 20] * 3
    assert from_followers(votes)[0].false_pass == pytest.approx(0.5 / 21, abs=1e-3)


def test_two_followers_are_too_few() -> None:
    """Who of two is wrong cannot be known."""
    with pytest.raises(DataError, match="three"):
        from_followers([[True], [False]])


def test_useless_rates_are_held_back() -> None:
    """Together at most .8, in the same proportion."""
    assert Rates(0.2, 0.1).usable() == Rates(0.2, 0.1)
    held = Rates(0.9, 0.3).usable()
    assert (held.false_pass, held.false_fail) == (pytest.approx(0.6), pytest.approx(0.2))
    assert mean_of([Rates(0.1, 0.3), Rates(0.3, 0.1)]) == Rates(
        pytest.approx(0.2), pytest.approx(0.2)
    )
