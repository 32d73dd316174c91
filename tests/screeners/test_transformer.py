"""The reading screener, on a tiny random encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tactful.errors import CorruptFileError, DataError, ModelsMissingError
from tactful.screeners.base import Thresholds
from tactful.screeners.transformer import TransformerConfig, TransformerScreener, batches_of
from tests.tiny import tiny_embedder

TOXIC = [f"you are an idiot {end}" for end in ("today", "again", "my friend", "", "there")]
NEUTRAL = [f"you are an actor {end}" for end in ("today", "again", "my friend", "", "there")]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TransformerConfig:
    base = tiny_embedder(tmp_path_factory.mktemp("encoder"))
    return TransformerConfig(base=str(base), epochs=30, batch_size=5, learning_rate=3e-3)


@pytest.fixture(scope="module")
def fitted(config: TransformerConfig) -> TransformerScreener:
    labels = [True] * 5 + [False] * 5
    screener = TransformerScreener.fit(TOXIC + NEUTRAL, labels, config=config)
    screener.thresholds = Thresholds(0.5, 0.4)
    return screener.calibrate(TOXIC + NEUTRAL, labels)


def test_learns_insults(fitted: TransformerScreener) -> None:
    """What it was shown as toxic is above act, the rest below."""
    assert (fitted.toxicity(TOXIC) >= 0.5).all()
    assert (fitted.toxicity(NEUTRAL) < 0.5).all()


def test_a_text_scores_its_worst_sentence(fitted: TransformerScreener) -> None:
    """Decent company neither dilutes nor adds to an insult; nothing to read is not toxic."""
    insult, decent = "You are an idiot today. ", "You are an actor. "
    alone, together, nothing, empty = fitted.toxicity([insult, decent + insult, "?!", ""])
    assert together == pytest.approx(alone, abs=1e-6)
    assert (nothing, empty) == (0.0, 0.0)


def test_explain_points_at_the_word_that_matters(fitted: TransformerScreener) -> None:
    """The insult is what the text is better without; a decent text has nothing to explain."""
    text = "you are an idiot today"
    first = fitted.explain(text)[0]
    assert text[first.start : first.end] == "idiot"
    assert fitted.explain(NEUTRAL[0]) == []


def test_same_seed_same_screener(config: TransformerConfig) -> None:
    """Fitting twice gives the same weights; another seed gives others."""
    short = config.model_copy(update={"epochs": 1})
    names = [
        TransformerScreener.fit(TOXIC + NEUTRAL, [1] * 5 + [0] * 5, config=c).name
        for c in (short, short, short.model_copy(update={"seed": 1}))
    ]
    assert names[0] == names[1] != names[2]


def test_save_and_load_keep_every_score(fitted: TransformerScreener, tmp_path: Path) -> None:
    """A screener read back is the same; damaged or missing files are said in words."""
    fitted.save(tmp_path / "a")
    again = TransformerScreener.load(tmp_path / "a")
    assert again.name == fitted.name
    assert again.thresholds == fitted.thresholds
    np.testing.assert_allclose(again.toxicity(TOXIC), fitted.toxicity(TOXIC), atol=1e-6)
    weights = tmp_path / "a" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0xFF
    weights.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match="not those it was saved with"):
        TransformerScreener.load(tmp_path / "a")
    with pytest.raises(ModelsMissingError, match=r"screener\.json"):
        TransformerScreener.load(tmp_path / "b")


def test_fit_refuses_what_does_not_match(config: TransformerConfig) -> None:
    """Lengths must agree."""
    with pytest.raises(DataError, match="2 texts, 1 labels"):
        TransformerScreener.fit(["a", "b"], [True], config=config)


def test_batches_hold_every_text_once() -> None:
    """Every epoch has each text once, in another order, alike lengths together."""
    config = TransformerConfig(batch_size=2)
    lengths = [5, 1, 4, 2, 3]
    first, second = (batches_of(lengths, config.batch_size, config.seed, epoch) for epoch in (0, 1))
    assert sorted(i for batch in first for i in batch) == [0, 1, 2, 3, 4]
    assert first != second or lengths == sorted(lengths)
    assert {tuple(sorted(lengths[i] for i in batch)) for batch in first} == {(1, 2), (3, 4), (5,)}
