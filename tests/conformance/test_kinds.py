"""What kinds of toxicity promise, whoever taught them. Others are tested by being listed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tactful.screeners.base import Screener
from tactful.screeners.kinds import Kinds, KindsConfig
from tactful.screeners.linear import LinearScreener
from tests.conformance.test_screeners import TEXTS, WEIRD
from tests.fakes import KeywordScreener

TAUGHT = ["you idiot", "what an idiot", "damn this", "damn it , you idiot", "oh damn", "idiot !"]
LABELS = {
    "insult": [True, True, False, True, False, True],
    "profanity": [False, False, True, True, True, False],
}


@cache
def shipped() -> Kinds:
    return Kinds.load()


@cache
def fitted() -> Kinds:
    config = KindsConfig(word_count=2, pair_count=2, gram_count=2)
    return Kinds.fit(TAUGHT, LABELS, config).calibrated(TAUGHT, LABELS)


@cache
def linear() -> Screener:
    return LinearScreener.load()


def keyword() -> Screener:
    return KeywordScreener({"idiot": 0.9, "fool": 0.7})


Make = Callable[[], Kinds]
Ask = Callable[[], Screener]
each = pytest.mark.parametrize("make", [shipped, fitted], ids=lambda make: make.__name__)
asked = pytest.mark.parametrize("ask", [linear, keyword], ids=lambda ask: ask.__name__)


@each
@asked
def test_nothing_for_nothing(make: Make, ask: Ask) -> None:
    """An empty list gives an empty array for each kind."""
    found = make().probabilities([], ask())
    assert list(found) == list(make().names)
    assert all(values.shape == (0,) and values.dtype == np.float64 for values in found.values())


@each
@asked
def test_never_above_the_toxicity(make: Make, ask: Ask) -> None:
    """A text is not likelier an insult than it is toxic, nor less likely than not at all."""
    toxicity = ask().toxicity(TEXTS + WEIRD)
    for values in make().probabilities(TEXTS + WEIRD, ask()).values():
        assert values.shape == toxicity.shape
        assert ((values >= 0) & (values <= toxicity)).all()


@each
@asked
def test_order_is_kept(make: Make, ask: Ask) -> None:
    """Backwards in is backwards out."""
    forwards, backwards = (make().probabilities(t, ask()) for t in (TEXTS, TEXTS[::-1]))
    assert all(backwards[kind].tolist() == forwards[kind].tolist()[::-1] for kind in forwards)


@each
@asked
def test_alone_as_in_a_batch(make: Make, ask: Ask) -> None:
    """Company changes no score."""
    together = make().probabilities(TEXTS + WEIRD, ask())
    for number, text in enumerate(TEXTS + WEIRD):
        for kind, values in make().probabilities([text], ask()).items():
            assert values[0] == together[kind][number]


@each
def test_the_worst_sentence_speaks_for_a_text(make: Make) -> None:
    """What is said of a text is the highest of what is said of its sentences."""
    parts = ["The bus is late.", "You idiot!", "Oh damn it."]
    whole = make().probabilities([" ".join(parts)], linear())
    for kind, values in make().probabilities(parts, linear()).items():
        assert whole[kind][0] == max(values)


@each
def test_saved_and_loaded(make: Make, tmp_path: Path) -> None:
    """The loaded ones answer alike, to the last digit."""
    make().save(tmp_path)
    again = Kinds.load(tmp_path)
    assert (again.name, again.names) == (make().name, make().names)
    before, after = (kinds.probabilities(TEXTS, linear()) for kinds in (make(), again))
    assert {k: v.tolist() for k, v in before.items()} == {k: v.tolist() for k, v in after.items()}
