import numpy as np
import pytest

from tactful.errors import ConfigError
from tactful.rollouts.base import Completion
from tactful.training.game import Game, Gate, Play, agreement
from tactful.training.pairs import Judged


class Silent:
    name = "silent"

    def generate(self, requests, sampling):  # type: ignore[no-untyped-def]
        raise AssertionError("not asked here")


def scored(**by_text: float) -> Gate:
    return Gate("fixed", lambda s, r: np.array([by_text[text] for text in r]), 0.1)


def answers(game: Game, texts: str) -> list[Judged]:
    """To one source, whose rewrites are letters."""
    completions = [Completion(text, finished=True) for text in texts]
    return [one for one in game.respond(["s"] * len(texts), completions) if one is not None]


def test_a_value_by_hand_with_weights() -> None:
    """.25 to the power of .5, times what is agreed on, squared: "a" twice and "b" once."""
    play = Play(weights={"fixed": 0.5, "consensus": 2.0})
    game = Game(Silent(), [scored(a=0.25, b=1.0)], play)
    said = answers(game, "aab")
    assert [r.value for r in said] == pytest.approx([0.5 * (2 / 3) ** 2] * 2 + [(1 / 3) ** 2])
    plain = Game(Silent(), [scored(a=0.25, b=1.0)])
    said = answers(plain, "ab")
    assert [r.value for r in said] == [0.25, 1.0]


def test_agreement_is_within_a_source() -> None:
    """Two sources that were answered alike agree with nobody but themselves."""
    found = agreement(["s", "t", "s", "t"], ["a", "a", "b", "a"])
    assert found == pytest.approx([0.5, 1.0, 0.5, 1.0])


def test_a_weight_for_nobody_is_told() -> None:
    with pytest.raises(ConfigError, match="names taste; there are fixed, consensus"):
        Game(Silent(), [scored()], Play(weights={"taste": 2.0}))
