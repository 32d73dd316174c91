"""Flips are the text's own and keep to their rates; panels out-vote and abstain; silence is left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tactful.errors import DataError, TactfulError
from tactful.training.game import Game, Gate, Play, answers
from tactful.training.noise import (
    Noise,
    NoisyFollower,
    Panel,
    PanelFollower,
    inside,
    rescaled,
    verdict,
)
from tests.fakes import CannedBackend

TEXTS = [f"sentence number {i}" for i in range(4000)]


def even(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    """Passes what ends in an even digit, clearly."""
    return np.array([0.9 if text[-1] in "02468" else 0.2 for text in rewrites])


def flips(
    noise: Noise, texts: Sequence[str] = TEXTS, follower: NoisyFollower | None = None
) -> np.ndarray:
    said = (follower or NoisyFollower(even, 0.5, noise))(texts, texts)
    return (said >= 0.5) != (even(texts, texts) >= 0.5)


def test_flips_keep_to_their_rates() -> None:
    """30 % of what fails is passed, 5 % of what passes is failed, within what chance allows."""
    wrong = flips(Noise(false_pass=0.3, false_fail=0.05))
    passes = even(TEXTS, TEXTS) >= 0.5
    assert wrong[~passes].mean() == pytest.approx(0.3, abs=0.03)
    assert wrong[passes].mean() == pytest.approx(0.05, abs=0.015)
    assert not flips(Noise()).any()


def test_the_same_text_is_mistaken_alike() -> None:
    """In any order, company and process; another seed errs about other texts."""
    noise = Noise(false_pass=0.2, false_fail=0.2)
    assert (flips(noise)[::-1] == flips(noise, TEXTS[::-1])).all()
    other = flips(noise.model_copy(update={"seed": 1}))
    assert 0.1 < (other & flips(noise)).sum() / other.sum() < 0.3


def test_anew_is_another_opinion_each_time_and_the_same_in_a_run_that_goes_on() -> None:
    """Asked twice in a round it may differ; a round asked again from its beginning does not."""
    noise = Noise(false_pass=0.2, false_fail=0.2, repeats="anew")
    follower = NoisyFollower(even, 0.5, noise)
    follower.begin(3)
    first, second = flips(noise, follower=follower), flips(noise, follower=follower)
    assert (first != second).mean() == pytest.approx(2 * 0.2 * 0.8, abs=0.03)
    again = NoisyFollower(even, 0.5, noise)
    again.begin(3)
    assert (flips(noise, follower=again) == first).all()
    again.begin(4)
    assert (flips(noise, follower=again) != first).any()


def test_a_biased_follower_fails_a_topic() -> None:
    """Whatever is said about it, in any case, and nothing else."""
    follower = NoisyFollower(lambda s, r: np.full(len(r), 0.9), 0.5, Noise(biased=("Women",)))
    said = follower([""] * 3, ["WOMEN vote", "women", "womenfolk vote"])
    assert (said >= 0.5).tolist() == [False, False, True]


def test_rescaled_by_hand() -> None:
    """Threshold .8 to .5: .9 is half way up, .4 half way down."""
    found = rescaled(np.array([0.9, 0.4, 0.8, np.nan]), 0.8, 0.5)
    assert found[:3] == pytest.approx([0.75, 0.25, 0.5])
    assert found[2] >= 0.5 > found[1]
    assert np.isnan(found[3])


def test_verdict_by_hand() -> None:
    """Two of three win with the mean of their scores; all three may be asked for; silence has no vote."""
    nan = np.nan
    scores = np.array([[0.9, 0.9, nan, 0.9], [0.7, 0.2, nan, nan], [0.2, 0.1, nan, 0.1]])
    assert verdict(scores, 0.5, 0.5)[:2] == pytest.approx([0.8, 0.15])
    assert np.isnan(verdict(scores, 0.5, 0.5)[2:]).all()  # nobody, and one against one
    assert verdict(scores, 0.5, 2 / 3)[0] == pytest.approx(0.8)
    assert np.isnan(verdict(scores, 0.5, 1.0)).all()


def test_a_panel_errs_less_than_its_members() -> None:
    """Three who err at 20 %, independently: 3 e^2 - 2 e^3 = 10.4 %; unanimous, 1.5 % of what is said."""
    noise = Noise(false_pass=0.2, false_fail=0.2, repeats="anew")

    def panel(quorum: float) -> np.ndarray:
        member = NoisyFollower(even, 0.5, noise)
        return PanelFollower([(member, 0.5)], 0.5, Panel(times=3, quorum=quorum))(TEXTS, TEXTS)

    truth = even(TEXTS, TEXTS) >= 0.5
    assert ((panel(0.5) >= 0.5) != truth).mean() == pytest.approx(0.104, abs=0.02)
    said = panel(1.0)
    heard = np.isfinite(said)
    assert heard.mean() == pytest.approx(0.8**3 + 0.2**3, abs=0.03)
    assert ((said >= 0.5) != truth)[heard].mean() == pytest.approx(0.0154, abs=0.01)


def test_inside_finds_what_learns() -> None:
    """Through noise and votes."""
    noisy = NoisyFollower(even, 0.5, Noise())
    assert inside(PanelFollower([(noisy, 0.5), (even, 0.5)], 0.5, Panel())) == [even, even]


# --- silence ----------------------------------------------------------------------------------


def broken(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    raise TactfulError("the server is gone")


@pytest.mark.parametrize(
    ("follower", "heard"),
    [
        (broken, []),
        (lambda s, r: np.ones(len(r) + 1), []),
        (lambda s, r: np.ones((len(r), 1)), []),
        (lambda s, r: np.array([0.5, np.nan, 7.0, -1.0, 1.0]), [0, 4]),
    ],
    ids=["raises", "count", "shape", "range"],
)
def test_what_is_no_sound_score_is_silence(follower: object, heard: list[int]) -> None:
    """Of one who may abstain; of anybody else it is an error."""
    asked = ["x"] * 5
    gate = Gate("other", follower, 0.5, may_abstain=True)  # type: ignore[arg-type]
    assert np.flatnonzero(np.isfinite(answers(gate, asked, asked))).tolist() == heard
    with pytest.raises((DataError, TactfulError)):
        answers(Gate("other", follower, 0.5), asked, asked)  # type: ignore[arg-type]


def test_silence_is_left_out_of_a_round_and_counted() -> None:
    """A rewrite without an answer is neither a pass nor a fail; the round tells how many there were."""

    def choosy(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
        return np.array([np.nan if "odd" in text else 0.9 for text in rewrites])

    backend = CannedBackend({"": ["an even answer", "an odd answer"]})
    game = Game(backend, [Gate("choosy", choosy, 0.5, may_abstain=True)], Play(samples=4))
    played = game.play(["say it"])
    assert {r.rewrite for r in played.responses} == {"an even answer"}
    assert [one.answered for one in played.written] == [True, False, True, False]
    assert played.metrics()["unanswered"] == 0.5
    dead = Game(backend, [Gate("dead", broken, 0.5, may_abstain=True)], Play(samples=2)).play(["a"])
    assert dead.responses == []
    assert dead.pairing.pairs == dead.pairing.push_downs == ()
    assert dead.metrics()["unanswered"] == 1
