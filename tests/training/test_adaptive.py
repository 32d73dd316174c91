"""A screener that learns what got past it: by hand, in a game, and across a stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful.errors import ConfigError
from tactful.pipeline import Followers, gates_of
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.screeners.linear import LinearScreener
from tactful.training.adaptive import (
    Adaptive,
    AdaptiveScreener,
    Lesson,
    features,
    fit_correction,
)
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tests.tiny import tiny_causal_lm

# A word that our screener has never seen, in sentences that it lets pass.
REFUSED = ["what a wibble plan", "this plan is wibble", "only a wibble would say that"]
DECENT = ["you are right", "this plan is fine", "only a few would say that"]
UNSEEN = "he is a wibble too"


@pytest.fixture(scope="module")
def screener() -> LinearScreener:
    return LinearScreener.load()


def minds_wibbles(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.array([0.0 if "wibble" in rewrite else 1.0 for rewrite in rewrites])


def adaptive(screener: LinearScreener, **settings: Any) -> AdaptiveScreener:
    chosen = Adaptive(auditor="tests.training.test_adaptive:minds_wibbles", **settings)
    auditor = Gate("auditor", minds_wibbles, 0.5)
    return AdaptiveScreener(screener, 1 - screener.thresholds.passing, auditor, chosen)


# --- the correction -------------------------------------------------------------------------


def test_one_lesson_by_hand() -> None:
    """At the least cost the gradient is nought:  -sigmoid(-w) + w = 0  at w = 0.401058."""
    found = fit_correction([0.0], [["a"]], [True], penalty=1.0)
    assert found == {"a": pytest.approx(0.401058, abs=1e-5)}
    # The other way round for a decent one, and half as far, or so, where that is twice as dear:
    # 2 w = sigmoid(-w) at w = 0.222323.
    assert fit_correction([0.0], [["a"]], [False], penalty=1.0)["a"] == pytest.approx(
        -0.401058, abs=1e-5
    )
    assert fit_correction([0.0], [["a"]], [True], penalty=2.0)["a"] == pytest.approx(
        0.222323, abs=1e-5
    )


def test_offsets_are_what_the_screener_says_already() -> None:
    """A lesson it knows teaches little: at log-odds 3,  w = sigmoid(-3 - w) = 0.045416."""
    found = fit_correction([3.0], [["a"]], [True], penalty=1.0)
    assert found["a"] == pytest.approx(0.045416, abs=1e-5)


def test_what_both_sides_say_counts_for_neither() -> None:
    """`b` stands on both sides. At the least cost  w_a = u  and  w_b = u - v,  where
    u = sigmoid(-(w_a + w_b)) and v = sigmoid(w_b): u = 0.375 or so, v just below a half."""
    found = fit_correction([0.0, 0.0], [["a", "b"], ["b"]], [True, False], penalty=1.0)
    u = 1 / (1 + np.exp(found["a"] + found["b"]))
    v = 1 / (1 + np.exp(-found["b"]))
    assert found["a"] == pytest.approx(u, abs=1e-6)
    assert found["b"] == pytest.approx(u - v, abs=1e-6)
    assert abs(found["b"]) < found["a"] / 2


def test_features_are_words_and_pairs_but_not_silent_ones() -> None:
    assert features("A bad, bad plan") == ["a", "bad", "plan", "a bad", "bad bad", "bad plan"]
    assert features("a gay plan", ["gay"]) == ["a", "plan"]
    assert features("12 :)") == []


# --- the screener ---------------------------------------------------------------------------


@pytest.mark.parametrize("lessons", [None, [], [Lesson(text, False) for text in DECENT]])
def test_without_refusals_it_is_the_same_screener(
    screener: LinearScreener, lessons: list[Lesson] | None
) -> None:
    """Bit for bit."""
    follower = adaptive(screener)
    if lessons is not None:
        assert follower.learn(lessons)["adaptive/moved"] == 0.0
    texts = [*REFUSED, *DECENT, "you are an idiot", "", "12 :)", "It is fine. You idiot!"]
    assert np.array_equal(follower(texts, texts), 1 - screener.toxicity(texts))


def test_what_was_refused_is_refused_elsewhere_too(screener: LinearScreener) -> None:
    """The word is learned and not the sentences; what is decent, and what was known, stays."""
    follower = adaptive(screener)
    sources = ["a source"] * 6
    assert (follower(sources, REFUSED + DECENT) >= follower.passing).all()
    lessons = follower.audit()
    assert [lesson.toxic for lesson in lessons] == [True] * 3 + [False] * 3
    assert follower.audit() == []
    found = follower.learn(lessons)
    assert (found["adaptive/refused"], found["adaptive/accepted"]) == (3.0, 3.0)
    assert 0 < found["adaptive/moved"] <= 1
    before, after = screener.toxicity, follower.toxicity
    assert (after([*REFUSED, UNSEEN]) > before([*REFUSED, UNSEEN])).all()
    assert max(follower.weights, key=follower.weights.__getitem__) == "wibble"
    assert (after(DECENT) < screener.thresholds.passing).all()
    assert after(["you are an idiot"])[0] > screener.thresholds.act
    # A text is its worst sentence, and without words it is nothing.
    assert after([f"That is fine. {UNSEEN}"])[0] >= after([UNSEEN])[0] - 1e-12
    assert after(["12 :)"])[0] == 0.0
    # Who was asked before is not changed by it.
    assert LinearScreener.load().name == screener.name


def test_the_order_of_lessons_does_not_matter(screener: LinearScreener) -> None:
    """As several processes bring them."""
    lessons = [Lesson(t, True) for t in REFUSED] + [Lesson(t, False) for t in DECENT]
    one, other = adaptive(screener), adaptive(screener)
    one.learn(lessons)
    other.learn(lessons[::-1])
    assert one.weights == other.weights


def test_what_is_remembered_is_bounded_and_drawn_by_the_seed(screener: LinearScreener) -> None:
    """Half the room for each side, however lopsided the lessons are."""
    lessons = [Lesson(f"wibble number {n} is here", True) for n in "abcdefgh"]
    lessons += [Lesson(f"a fine {n} is here", False) for n in "ab"]

    def kept(seed: int) -> list[Lesson]:
        follower = adaptive(screener, remembered=8, seed=seed)
        follower.learn(lessons)
        return follower.lessons

    assert [lesson.toxic for lesson in kept(0)] == [True] * 4 + [False] * 2
    assert kept(0) == kept(0) != kept(1)


def test_an_auditor_may_change_its_mind(screener: LinearScreener) -> None:
    follower = adaptive(screener)
    follower.learn([Lesson(REFUSED[0], True)])
    assert follower.weights
    follower.learn([Lesson(REFUSED[0], False)])
    assert follower.lessons == [Lesson(REFUSED[0], False)]
    assert not follower.weights


# --- in a game ------------------------------------------------------------------------------


class Leader:
    """Writes what pleases the screener, most of it with a word that no one should be called."""

    name = "leader"

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        texts = REFUSED + DECENT[:1]
        return [
            [Completion(texts[(r.seed + i) % 4], finished=True) for i in range(sampling.num)]
            for r in requests
        ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


def played(
    base: Path, out: Path, screener: LinearScreener, resume: str | None = None
) -> tuple[SROTrainer, AdaptiveScreener]:
    follower = adaptive(screener, every=2, penalty=0.1)
    gates = [Gate("style", follower, follower.passing)]
    game = Game(Leader(), gates, Play(samples=4, push_down="all"))
    rows = [{"text": f"you idiot number {i}"} for i in range(4)]
    config = SROConfig(steps=6, batch=2, save_every=3, log_every=1, learning_rate=1e-2)
    policy = Policy.load(base, lora=LoraSettings(rank=2, alpha=4))
    trainer = SROTrainer(policy, config, rows, out, game=game)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, follower


def logged(trainer: SROTrainer, name: str) -> list[float]:
    return [entry.get(name, -1.0) for entry in trainer.state.log_history if "loss" in entry]


def test_a_loophole_is_closed_and_stays_closed_after_a_stop(
    base: Path, tmp_path: Path, screener: LinearScreener
) -> None:
    """All passes for two steps; then three of four samples do not any more, said and unsaid."""
    whole, follower = played(base, tmp_path / "whole", screener)
    assert logged(whole, "play/passed/style") == [1.0, 1.0, 0.25, 0.25, 0.25, 0.25]
    moved = logged(whole, "adaptive/moved")
    assert [value >= 0 for value in moved] == [False, False, True, False, True, False]
    assert moved[2] > 0.1
    assert logged(whole, "adaptive/refused")[2] == 3.0
    assert screener.toxicity([UNSEEN])[0] < screener.thresholds.passing
    assert follower.toxicity([UNSEEN])[0] > screener.thresholds.passing
    # Stopped between two fits, with something still to be audited.
    again, resumed = played(
        base, tmp_path / "again", screener, str(tmp_path / "whole" / "checkpoint-3")
    )
    assert resumed.weights == follower.weights
    assert resumed.lessons == follower.lessons
    assert resumed._seen == follower._seen
    for name in ("loss", "play/passed/style", "adaptive/moved"):
        assert logged(again, name)[-3:] == logged(whole, name)[-3:]


# --- from a recipe --------------------------------------------------------------------------

ALONE: dict[str, Any] = {"similarity": None, "shape": False}


def test_it_is_off_by_default() -> None:
    [style] = gates_of(Followers.model_validate(ALONE))
    assert not isinstance(style.follower, AdaptiveScreener)


def test_the_auditor_may_be_a_function_or_another_screener(
    screener: LinearScreener, tmp_path: Path
) -> None:
    """A screener calls passing what it calls passing; everyone else a half, unless told."""
    screener.save(tmp_path / "other")

    def auditor(**adaptive: Any) -> Gate:
        [style] = gates_of(Followers.model_validate({**ALONE, "adaptive": adaptive}))
        assert isinstance(style.follower, AdaptiveScreener)
        assert style.threshold == style.follower.passing
        return style.follower.auditor

    mine = auditor(auditor="tests.training.test_adaptive:minds_wibbles")
    assert (mine.threshold, mine.follower(["a"], ["wibble"]).tolist()) == (0.5, [0.0])
    other = auditor(auditor=str(tmp_path / "other"))
    assert other.threshold == 1 - screener.thresholds.passing
    assert other.follower(["a"], ["you idiot"])[0] < other.threshold
    assert auditor(auditor=str(tmp_path / "other"), threshold=0.9).threshold == 0.9


def test_an_auditor_that_cannot_be_asked_is_told() -> None:
    for name in ("tests.training.test_adaptive:nobody", "tests.training.test_adaptive:REFUSED"):
        with pytest.raises(ConfigError):
            gates_of(Followers.model_validate({**ALONE, "adaptive": {"auditor": name}}))
