"""Values and gradients of the losses, worked out by hand.

The same sigmoids come back throughout:

    z     log(1 + e^-z)   sigmoid(-z)
    1.0   0.313262        0.268941
   -0.2   0.798139        0.549834
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tactful.errors import ConfigError
from tactful.training.objectives import (
    cdpo,
    corrected_sro,
    dpo,
    graded_sro,
    grpo,
    ipo,
    kto,
    nll,
    orpo,
    rdpo,
    rpo,
    rpo_weights,
    simpo,
    sro,
)

Loss = Callable[..., Tensor]

PASSED, FAILED = torch.tensor([True]), torch.tensor([False])
gains = st.floats(-200, 200)


def row(value: float) -> Tensor:
    """A batch of one, exact enough to compare with the hand's digits."""
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


def close(value: float) -> object:
    """Equal to the digits written down."""
    return pytest.approx(value, abs=2e-6)


def check(loss: Tensor, value: float, *gradients: tuple[Tensor, float]) -> None:
    """Assert a loss of one row and its derivatives."""
    assert loss.shape == (1,)
    assert loss.item() == close(value)
    inputs = [tensor for tensor, _ in gradients]
    got = torch.autograd.grad(loss.sum(), inputs, materialize_grads=True)
    assert [g.item() for g in got] == [close(expected) for _, expected in gradients]


def test_sro_that_passed_by_hand() -> None:
    """z = 0.1 (2 - -8) = 1: the rewrite rises and the copy falls alike, 0.1 x 0.268941."""
    rewrite, copy = row(2), row(-8)
    check(sro(rewrite, copy, PASSED), 0.313262, (rewrite, -0.0268941), (copy, 0.0268941))


def test_sro_that_failed_by_hand() -> None:
    """z = -0.1 x 2: the rewrite falls, 0.1 x 0.549834; the copy is left alone."""
    rewrite, copy = row(2), row(-8)
    check(sro(rewrite, copy, FAILED), 0.798139, (rewrite, 0.0549834), (copy, 0))


def test_sro_at_the_start_is_log_2_on_both_branches() -> None:
    """Where policy and reference are the same, nothing is won or lost yet."""
    zeros = torch.zeros(2)
    loss = sro(zeros, zeros, torch.tensor([True, False]))
    assert loss.tolist() == [close(math.log(2))] * 2


def test_a_failing_row_needs_no_copy() -> None:
    """What stands in for a copy that was never scored spoils neither loss nor gradient."""
    rewrite, copy = row(2), row(math.nan)
    check(sro(rewrite, copy, FAILED), 0.798139, (rewrite, 0.0549834), (copy, 0))


def test_smoothed_sro_by_hand() -> None:
    """0.9 x 0.313262 + 0.1 x 1.313262, and 0.9 x 0.798139 + 0.1 x 0.598139.

    Slopes in z: -(0.9 x 0.268941 - 0.1 x 0.731059) = -0.168941 and
    -(0.9 x 0.549834 - 0.1 x 0.450166) = -0.449834; z has slope 0.1 and -0.1 in D.
    """
    rewrite, copy = row(2), row(-8)
    passed = sro(rewrite, copy, PASSED, smoothing=0.1)
    check(passed, 0.413262, (rewrite, -0.0168941), (copy, 0.0168941))
    failed = sro(rewrite, copy, FAILED, smoothing=0.1)
    check(failed, 0.778139, (rewrite, 0.0449834), (copy, 0))


def test_smoothed_push_down_stops() -> None:
    """With e = 0.1 a failing rewrite rests where sigmoid(z) = 0.9: D = -10 ln 9 = -21.97."""
    rewrite = row(-10 * math.log(9))
    # -ls(ln 9) = -ln 0.9 = 0.105361, and 0.1 x ln 9 = 0.219722
    check(sro(rewrite, row(0), FAILED, smoothing=0.1), 0.325083, (rewrite, 0))


def test_graded_sro_by_hand() -> None:
    """A quarter of 0.313262 and three of 0.798139; the slopes are shared out alike."""
    rewrite, copy, score = row(2), row(-8), row(0.25)
    check(
        graded_sro(rewrite, copy, score),
        0.676920,
        (rewrite, 0.0345140),  # 0.25 x -0.0268941 + 0.75 x 0.0549834
        (copy, 0.0067235),  # 0.25 x 0.0268941
        (score, -0.484877),  # 0.313262 - 0.798139
    )


@given(gains, gains)
def test_graded_sro_at_its_ends_is_a_verdict(rewrite: float, copy: float) -> None:
    """A score of 1 is a pass, a score of 0 a fail."""
    for score, passed in [(1.0, PASSED), (0.0, FAILED)]:
        graded = graded_sro(row(rewrite), row(copy), row(score))
        assert graded.item() == pytest.approx(sro(row(rewrite), row(copy), passed).item())


def test_corrected_sro_that_passed_by_hand() -> None:
    """a = 0.2, c = 0.1: (0.8 x 0.313262 - 0.1 x 0.798139) / 0.7."""
    rewrite, copy = row(2), row(-8)
    check(
        corrected_sro(rewrite, copy, PASSED, false_pass=0.2, false_fail=0.1),
        0.243994,
        (rewrite, -0.0385910),  # (0.8 x -0.0268941 - 0.1 x 0.0549834) / 0.7
        (copy, 0.0307361),  # 0.8 x 0.0268941 / 0.7
    )


def test_corrected_sro_that_failed_by_hand() -> None:
    """a = 0.2, c = 0.1: (0.9 x 0.798139 - 0.2 x 0.313262) / 0.7."""
    rewrite, copy = row(2), row(-8)
    check(
        corrected_sro(rewrite, copy, FAILED, false_pass=0.2, false_fail=0.1),
        0.936675,
        (rewrite, 0.0783770),  # (0.9 x 0.0549834 + 0.2 x 0.0268941) / 0.7
        (copy, -0.0076840),  # -0.2 x 0.0268941 / 0.7
    )


@given(gains, gains, st.floats(0, 0.45), st.floats(0, 0.45))
def test_corrected_sro_is_unbiased(rewrite: float, copy: float, a: float, c: float) -> None:
    """Averaged over the follower's errors it is what a follower without errors would give."""

    def corrected(passed: Tensor) -> float:
        rates = {"false_pass": a, "false_fail": c}
        return corrected_sro(row(rewrite), row(copy), passed, floor=None, **rates).item()

    truly_good = (1 - c) * corrected(PASSED) + c * corrected(FAILED)
    truly_bad = a * corrected(PASSED) + (1 - a) * corrected(FAILED)
    clean = [sro(row(rewrite), row(copy), verdict).item() for verdict in (PASSED, FAILED)]
    assert [truly_good, truly_bad] == pytest.approx(clean, abs=1e-9)


@given(gains, gains)
def test_corrected_sro_of_a_faultless_follower_is_sro(rewrite: float, copy: float) -> None:
    """Nothing to correct, nothing corrected."""
    for passed in (PASSED, FAILED):
        corrected = corrected_sro(row(rewrite), row(copy), passed, false_pass=0, false_fail=0)
        assert corrected.item() == sro(row(rewrite), row(copy), passed).item()


def test_corrected_sro_swaps_roles_where_it_errs_alike() -> None:
    """At a = c = 0.1 both verdicts together weigh both branches once: 0.313262 + 0.798139."""
    both = [
        corrected_sro(row(2), row(-8), passed, false_pass=0.1, false_fail=0.1).item()
        for passed in (PASSED, FAILED)
    ]
    assert sum(both) == close(1.111401)
    # (0.9 x 0.313262 - 0.1 x 0.798139) / 0.8
    assert both[0] == close(0.252652)


def test_corrected_sro_is_clipped_at_its_floor() -> None:
    """D = 40 has won: (0.8 log(1 + e^-4) - 0.1 log(1 + e^4)) / 0.7 = -0.553279 counts as 0."""
    rewrite, copy = row(40), row(0)
    rates = {"false_pass": 0.2, "false_fail": 0.1}
    check(corrected_sro(rewrite, copy, PASSED, **rates), 0, (rewrite, 0), (copy, 0))
    free = corrected_sro(rewrite, copy, PASSED, floor=None, **rates)
    # slopes: (0.8 x 0.0179862 + 0.1 x 0.982014) x -0.1 / 0.7, and 0.8 x 0.0179862 x 0.1 / 0.7
    check(free, -0.553279, (rewrite, -0.0160843), (copy, 0.0020556))
    check(corrected_sro(rewrite, copy, PASSED, floor=-0.5, **rates), -0.5, (rewrite, 0))


@given(gains, gains, st.booleans())
def test_corrected_sro_is_never_below_its_floor(rewrite: float, copy: float, passed: bool) -> None:
    """No policy, however extreme, is paid without end."""
    loss = corrected_sro(
        row(rewrite), row(copy), torch.tensor([passed]), false_pass=0.3, false_fail=0.3
    )
    assert loss.item() >= 0


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.9, 0.2)])
def test_verdicts_that_say_nothing_are_refused(rates: tuple[float, float]) -> None:
    """Rates that add up to 1 leave nothing to learn from."""
    with pytest.raises(ConfigError, match=r"add up to 1 or more.*stay below 1"):
        corrected_sro(row(0), row(0), PASSED, false_pass=rates[0], false_fail=rates[1])


def test_dpo_by_hand() -> None:
    """z = 0.1 (2 - -8) = 1."""
    chosen, rejected = row(2), row(-8)
    check(dpo(chosen, rejected), 0.313262, (chosen, -0.0268941), (rejected, 0.0268941))
    # z = 0.5 x -0.4 = -0.2; slope 0.5 x 0.549834
    chosen, rejected = row(-0.2), row(0.2)
    check(dpo(chosen, rejected, beta=0.5), 0.798139, (chosen, -0.274917), (rejected, 0.274917))


def test_cdpo_by_hand() -> None:
    """0.8 x 0.313262 + 0.2 x 1.313262; slope 0.1 (0.8 x 0.268941 - 0.2 x 0.731059)."""
    chosen, rejected = row(2), row(-8)
    loss = cdpo(chosen, rejected, smoothing=0.2)
    check(loss, 0.513262, (chosen, -0.0068941), (rejected, 0.0068941))


def test_rdpo_by_hand() -> None:
    """(0.9 x 0.313262 - 0.1 x 1.313262) / 0.8; slope 0.1 (0.9 x 0.268941 + 0.1 x 0.731059) / 0.8."""
    chosen, rejected = row(2), row(-8)
    check(rdpo(chosen, rejected), 0.188262, (chosen, -0.0393941), (rejected, 0.0393941))


@given(gains, gains, st.floats(0, 0.45))
def test_rdpo_is_unbiased(chosen: float, rejected: float, rate: float) -> None:
    """Averaged over flips of the pair it is DPO on the pair as it should be."""
    right = rdpo(row(chosen), row(rejected), flip_rate=rate).item()
    flipped = rdpo(row(rejected), row(chosen), flip_rate=rate).item()
    clean = dpo(row(chosen), row(rejected)).item()
    assert (1 - rate) * right + rate * flipped == pytest.approx(clean, abs=1e-9)


@pytest.mark.parametrize("rate", [-0.1, 0.5, 0.7])
def test_rdpo_needs_labels_that_are_mostly_right(rate: float) -> None:
    """At one half a label is a coin."""
    with pytest.raises(ConfigError, match=r"below 0\.5"):
        rdpo(row(0), row(0), flip_rate=rate)


def test_ipo_by_hand() -> None:
    """The margin 2 - -1 = 3 should be 1/(2 x 0.1) = 5: (3 - 5)^2, slope 2 (3 - 5)."""
    chosen, rejected = row(2), row(-1)
    check(ipo(chosen, rejected), 4, (chosen, -4), (rejected, 4))


def test_simpo_by_hand() -> None:
    """z = 2 (-1 - -2) - 1 = 1; slope 2 x 0.268941."""
    chosen, rejected = row(-1), row(-2)
    check(simpo(chosen, rejected), 0.313262, (chosen, -0.537883), (rejected, 0.537883))
    # z = 1 x 0.3 - 0.5 = -0.2
    assert simpo(row(-1), row(-1.3), beta=1, gamma=0.5).item() == close(0.798139)


def test_kto_by_hand() -> None:
    """0.1 (3 - 1) = 0.2: 1 - sigmoid(0.2) if desirable, 1 - sigmoid(-0.2) if not.

    Slope 0.1 x 0.549834 x 0.450166 = 0.0247517, down or up; none through the baseline.
    """
    gain, baseline = row(3), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    check(kto(gain, PASSED, baseline), 0.450166, (gain, -0.0247517), (baseline, 0))
    check(kto(gain, FAILED, baseline), 0.549834, (gain, 0.0247517), (baseline, 0))
    weights = {"desirable_weight": 2.0, "undesirable_weight": 3.0}
    check(kto(gain, PASSED, baseline, **weights), 0.900332, (gain, -0.0495034))
    check(kto(gain, FAILED, baseline, **weights), 1.649502, (gain, 0.0742551))


def test_kto_takes_a_negative_baseline_for_zero() -> None:
    """An estimate below 0 is noise: a divergence has no sign. 0.1 x 2 = 0.2 again."""
    assert kto(row(2), PASSED, -5.0).item() == close(0.450166)


def test_orpo_by_hand() -> None:
    """p = 1/2 and 1/5: odds 1 and 1/4, -ls(ln 4) = ln 1.25 = 0.223144; ln 2 + 0.1 x that.

    sigmoid(-ln 4) = 0.2 and dlogit/dlog p = 1/(1-p), so slopes -1 - 0.1 x 0.2 x 2 and
    0.1 x 0.2 x 1.25.
    """
    chosen, rejected = row(math.log(0.5)), row(math.log(0.2))
    check(orpo(chosen, rejected), 0.715462, (chosen, -1.04), (rejected, 0.025))


def test_orpo_stays_finite_at_certainty() -> None:
    """A token the model is sure of has infinite odds, but no infinite gradient."""
    for tiny in (0.0, -1e-12, -60.0):
        chosen = torch.tensor([tiny], requires_grad=True)
        loss = orpo(chosen, torch.tensor([-1.0]))
        loss.sum().backward()
        assert loss.isfinite().all()
        assert chosen.grad.isfinite().all()


def test_orpo_of_something_rare_and_something_sure() -> None:
    """At p = e^-50 the odds are p; at p = 1 - 1e-6 they are 1e6: no digits are lost.

    Odds of the rejected over the chosen: ln(1e6) - 1e-6 + 50 = 63.815510, and -ls(-z) = z so far out.
    """
    loss = orpo(row(-50), row(math.log1p(-1e-6)), beta=1.0)
    assert loss.item() == close(50 + 63.815510)


def test_nll_by_hand() -> None:
    """p = 1/2: ln 2."""
    logp = row(math.log(0.5))
    check(nll(logp), 0.693147, (logp, -1))


def test_rpo_by_hand() -> None:
    """Weights times margins times .2 are z = 1 and z = -.1; the loss is the mean of both."""
    chosen, rejected = row(2), torch.tensor([-8.0, 4.0], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    loss = rpo(chosen, rejected, weights, beta=0.2)
    # -log sigmoid(-.1) = .744397 and sigmoid(.1) = .524979.
    assert loss.item() == close((0.313262 + 0.744397) / 2)
    ours, theirs = torch.autograd.grad(loss.sum(), (chosen, rejected))
    pulls = [0.1 * 0.268941 / 2, 0.05 * 0.524979 / 2]
    assert ours.item() == close(-sum(pulls))
    assert theirs.tolist() == [close(pull) for pull in pulls]


def test_rpo_of_a_pair_that_is_alone_is_dpo() -> None:
    chosen, rejected = row(1.5), row(-2.5)
    weights = rpo_weights(torch.ones(1, 1, dtype=torch.float64))
    assert rpo(chosen, rejected, weights).item() == dpo(chosen, rejected).item()


def test_rpo_weights_by_hand() -> None:
    """Cosines 1 and .5 at tau .5 are a nat apart: e / (e + 1) and 1 / (e + 1)."""
    weights = rpo_weights(torch.tensor([[1.0, 0.5], [0.2, 0.2]]), tau=0.5)
    assert weights.tolist() == [[close(0.731059), close(0.268941)], [close(0.5), close(0.5)]]


def test_grpo_by_hand() -> None:
    """Advantage 2 for two tokens; the third is no token. ref - p is -.5 and 1 a token, so the
    divergence e^d - d - 1 is .106531 and .718282."""
    logp = torch.tensor([[-1.0, -2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    before = torch.tensor([[-1.5, -1.0, 0.0]], dtype=torch.float64)
    loss = grpo(logp, before, torch.tensor([2]), torch.tensor([2.0]), kl=0.1)
    assert loss.item() == close(-2 + 0.1 * (0.106531 + 0.718282) / 2)
    (slope,) = torch.autograd.grad(loss.sum(), logp)
    # -advantage + kl (1 - e^d), over two tokens.
    expected = [(-2 + 0.1 * (1 - 0.606531)) / 2, (-2 + 0.1 * (1 - 2.718282)) / 2, 0.0]
    assert slope[0].tolist() == [close(value) for value in expected]


TWO_INPUTS: list[Loss] = [
    dpo,
    cdpo,
    rdpo,
    ipo,
    simpo,
    lambda a, b: sro(a, b, a > b, smoothing=0.1),
    lambda a, b: graded_sro(a, b, torch.sigmoid(b)),
    lambda a, b: corrected_sro(a, b, a > b, false_pass=0.2, false_fail=0.1, floor=None),
    lambda a, b: kto(a, b > 0, 0.5),
    lambda a, b: orpo(-torch.exp(a), -torch.exp(b)),
]


@pytest.mark.parametrize("loss", TWO_INPUTS)
def test_gradients_are_the_slopes_of_the_values(loss: Loss) -> None:
    """Derivatives agree with differences, for rows of all signs at once."""
    a = torch.tensor([2.0, -3.0, 0.5, -0.1], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([-1.0, 1.5, 0.7, -0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (a, b))


@pytest.mark.parametrize("loss", TWO_INPUTS)
def test_every_row_has_a_loss_of_its_own(loss: Loss) -> None:
    """A row's loss is the same alone and among others."""
    a, b = torch.tensor([2.0, -3.0, 0.5]), torch.tensor([-1.0, 1.5, 0.7])
    alone = [loss(a[i : i + 1], b[i : i + 1]).item() for i in range(3)]
    assert loss(a, b).tolist() == pytest.approx(alone)


@pytest.mark.parametrize("beta", [0.1, 10.0])
def test_extreme_ratios_overflow_nowhere(beta: float) -> None:
    """A margin of thousands gives a finite loss and a finite gradient."""
    for rewrite in (-5000.0, 5000.0):
        gain = torch.tensor([rewrite, rewrite], requires_grad=True)
        sro(gain, -gain.detach(), torch.tensor([True, False]), beta=beta).sum().backward()
        assert gain.grad.isfinite().all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: sro(torch.zeros(2), torch.zeros(2), torch.ones(2, 1, dtype=torch.bool)),
        lambda: graded_sro(torch.zeros(2), torch.zeros(2), torch.ones(1)),
        lambda: corrected_sro(
            torch.zeros(2), torch.zeros(1), torch.ones(2) > 0, false_pass=0, false_fail=0
        ),
        lambda: dpo(torch.zeros(2), torch.zeros(2, 1)),
        lambda: rdpo(torch.zeros(2), torch.zeros(1)),
        lambda: ipo(torch.zeros(2), torch.zeros(1)),
        lambda: simpo(torch.zeros(2), torch.zeros(1)),
        lambda: kto(torch.zeros(2), torch.ones(1) > 0, 0.0),
        lambda: orpo(torch.zeros(2), torch.zeros(1)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call: Callable[[], Tensor]) -> None:
    """A column against a row would silently compare everything with everything."""
    with pytest.raises(ValueError, match="One value a row"):
        call()


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="2 chosen and 3 rejected"):
        rpo(torch.zeros(2), torch.zeros(3), torch.ones(3, 2))


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_rates_out_of_range_are_named(value: float) -> None:
    """The message says which rate, and what it may be."""
    with pytest.raises(ConfigError, match=r"smoothing = .* at least 0 and below 1"):
        sro(row(0), row(0), PASSED, smoothing=value)
    with pytest.raises(ConfigError, match="false_pass = "):
        corrected_sro(row(0), row(0), PASSED, false_pass=value, false_fail=0)
    with pytest.raises(ConfigError, match="false_fail = "):
        corrected_sro(row(0), row(0), PASSED, false_pass=0, false_fail=value)
