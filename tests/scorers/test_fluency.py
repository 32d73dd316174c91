from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tactful.scorers.fluency import LikelihoodFluency


class Lengths:
    """A language model to which longer texts are less likely: -1 nat a token and word."""

    name = "lengths"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def mean_logp(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.asked += texts
        return np.array([-float(len(text.split())) for text in texts])


def test_fluency_by_hand() -> None:
    """One nat less likely is exp(-1); more likely than the source is no better than 1."""
    fluency = LikelihoodFluency(Lengths())
    scores = fluency(["a b", "a b", "a b"], ["a b c", "a", "b a"])
    assert scores == pytest.approx([np.exp(-1), 1.0, 1.0])
    assert fluency.name == "likelihood(lengths)"


def test_each_text_is_asked_once() -> None:
    """Candidates share their source; it is scored once."""
    model = Lengths()
    LikelihoodFluency(model)(["s", "s", "s"], ["a", "b", "a"])
    assert model.asked == ["s", "a", "b"]
    assert LikelihoodFluency(model)([], []).shape == (0,)
