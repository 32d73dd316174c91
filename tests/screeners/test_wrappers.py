"""Screeners made of screeners: votes, abstention, memory, errors on purpose, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tactful.errors import ConfigError, TactfulError
from tactful.screeners.base import Thresholds
from tactful.screeners.wrappers import (
    CachedScreener,
    EnsembleScreener,
    FallbackScreener,
    NoisyScreener,
    mirrored,
    on_scale,
)
from tests.fakes import KeywordScreener

HALF = Thresholds(0.5, 0.5)


class Dead(KeywordScreener):
    def __init__(self) -> None:
        super().__init__({})
        self.name = "dead@test"

    def toxicity(self, texts: Sequence[str]) -> np.ndarray:
        raise TactfulError("gone")

    def explain(self, text: str) -> list:
        raise TactfulError("gone")


class Counting(KeywordScreener):
    def __init__(self) -> None:
        super().__init__({"fool": 0.7})
        self.asked: list[str] = []

    def toxicity(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return super().toxicity(texts)


def three() -> list[KeywordScreener]:
    return [
        KeywordScreener({"idiot": 0.9, "fool": 0.8}),
        KeywordScreener({"idiot": 0.8, "clown": 0.9}),
        KeywordScreener({"idiot": 0.7, "fool": 0.6}),
    ]


def test_a_mean_is_a_mean() -> None:
    found = EnsembleScreener(three()).toxicity(["idiot", "clown", "hello"])
    assert found == pytest.approx([0.8, 0.3, 0.0])


def test_a_vote_follows_most() -> None:
    """Two of three call a fool toxic, at a mean below the threshold: it is acted on, just so."""
    voters = EnsembleScreener(three(), how="vote")
    assert voters.toxicity(["idiot", "clown", "fool"]) == pytest.approx([0.8, 0.3, 0.5])
    assert voters.toxicity(["fool"])[0] >= 0.5


def test_too_few_agree() -> None:
    """All must: then a fool is neither acted on nor let pass."""
    members = [KeywordScreener(one.words, act=0.5, passing=0.3) for one in three()]
    voters = EnsembleScreener(members, how="vote", quorum=1.0)
    assert voters.abstains(["idiot", "fool", "hello"]).tolist() == [False, True, False]
    found = voters.toxicity(["fool"])[0]
    assert voters.thresholds.passing <= found < voters.thresholds.act


def test_members_have_scales_of_their_own() -> None:
    """.8 of one that acts from .9 on is no insult; of one that acts from .2 on it is a clear one."""
    strict = KeywordScreener({"fool": 0.8}, act=0.9, passing=0.9)
    keen = KeywordScreener({"fool": 0.8}, act=0.2, passing=0.2)
    found = EnsembleScreener([strict, keen], thresholds=HALF).toxicity(["fool"])[0]
    assert found == pytest.approx((0.8 / 0.9 * 0.5 + (0.5 + 0.6 / 0.8 * 0.5)) / 2)


def test_on_scale_keeps_every_verdict() -> None:
    """At, just below and above both thresholds, and where the two are one."""
    own, wanted = Thresholds(0.7, 0.2), Thresholds(0.5, 0.4)
    scores = np.array([0, 0.1, np.nextafter(0.2, 0), 0.2, 0.5, np.nextafter(0.7, 0), 0.7, 0.9, 1])
    for a, b in ((own, wanted), (wanted, own), (own, HALF), (HALF, own)):
        found = on_scale(scores, a, b)
        assert ((found >= b.act) == (scores >= a.act)).all()
        if b.act != b.passing or a.act == a.passing:
            assert ((found >= b.passing) == (scores >= a.passing)).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert (np.diff(found) >= 0).all()
    assert on_scale(np.array([0.7]), own, wanted)[0] == wanted.act


def test_a_silent_member_has_no_vote() -> None:
    """The others decide; where nobody speaks, that is an error with the reason."""
    found = EnsembleScreener([Dead(), KeywordScreener({"idiot": 0.9})])
    assert found.toxicity(["idiot"]) == pytest.approx([0.9])
    assert found.explain("an idiot")
    with pytest.raises(TactfulError, match="gone"):
        EnsembleScreener([Dead()]).toxicity(["idiot"])
    with pytest.raises(ConfigError):
        EnsembleScreener([])


def test_a_fallback_answers_on_the_scale_of_the_first() -> None:
    """Its insults stay insults by the first one's thresholds."""
    dead = Dead()
    dead.thresholds = Thresholds(0.9, 0.9)
    found = FallbackScreener(dead, KeywordScreener({"idiot": 0.5}))
    assert found.toxicity(["idiot", "hello"]).tolist() == [0.9, 0.0]
    assert found.explain("an idiot")
    alive = FallbackScreener(KeywordScreener({"idiot": 0.6}), dead)
    assert alive.toxicity(["idiot"]).tolist() == [0.6]


def test_what_is_known_is_not_asked_again() -> None:
    """Each text once, in a batch too; the longest unused goes first."""
    asked = Counting()
    found = CachedScreener(asked, size=2)
    assert found.toxicity(["fool", "fool", "hi"]).tolist() == [0.7, 0.7, 0.0]
    assert found.toxicity(["hi"]).tolist() == [0.0]
    assert asked.asked == ["fool", "hi"]
    found.toxicity(["fool"])  # used again, so "hi" is the older one
    found.toxicity(["new"])
    found.toxicity(["fool", "hi"])
    assert asked.asked == ["fool", "hi", "new", "hi"]


def test_what_could_not_be_asked_is_not_remembered() -> None:
    """An error is no answer."""
    cached = CachedScreener(Dead())
    for _ in range(2):
        with pytest.raises(TactfulError):
            cached.toxicity(["x"])


def test_mirrored_by_hand() -> None:
    """Threshold .8: .9 is half way up and comes half way down, .4 half way down and half way up."""
    found = mirrored(np.array([0.9, 0.4, 0.8, 1.0, 0.0]), 0.8)
    assert found == pytest.approx([0.4, 0.9, 0.8, 0.0, 1.0])
    assert found[2] < 0.8


def test_noise_keeps_to_its_rates() -> None:
    texts = [f"{word} {i}" for i in range(1500) for word in ("fool", "hello")]
    truth = KeywordScreener({"fool": 0.9})
    noisy = NoisyScreener(truth, false_pass=0.2, false_fail=0.05)
    wrong = (noisy.toxicity(texts) >= 0.5) != (truth.toxicity(texts) >= 0.5)
    assert wrong[::2].mean() == pytest.approx(0.2, abs=0.04)
    assert wrong[1::2].mean() == pytest.approx(0.05, abs=0.02)
