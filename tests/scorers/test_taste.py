"""Taste on a tiny base: it learns a rule, keeps it on disk, and does not mind its neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tactful.errors import CorruptFileError, DataError
from tactful.scorers.taste import Lesson, Taste, TasteConfig
from tests.tiny import tiny_causal_lm


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


def lessons(count: int) -> list[Lesson]:
    """Good is what ends with "fine"; the rest of the words say nothing."""
    return [
        Lesson(f"you idiot {i}", (f"you {i} fine",), (f"you {i} of", "of")) for i in range(count)
    ]


@pytest.fixture(scope="module")
def taste(base: Path) -> Taste:
    config = TasteConfig(base=str(base), rank=4, learning_rate=3e-2, epochs=4, batch=8, tokens=512)
    steps: list[tuple[int, int]] = []
    taught = Taste.fit(lessons(40), config, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(i, 20) for i in range(1, 21)]
    return taught


def test_it_learns_what_is_good(taste: Taste) -> None:
    """On sources it has not seen."""
    sources = [f"you idiot {i}" for i in range(60, 80)]
    good = taste(sources, [f"you {i} fine" for i in range(60, 80)])
    bad = taste(sources, [f"you {i} of" for i in range(60, 80)])
    assert good.min() > 0.5 > bad.max()


def test_a_score_does_not_depend_on_its_neighbours(taste: Taste) -> None:
    sources = ["you idiot 1", "you idiot 1", "a", "you idiot 1", "a"]
    rewrites = ["you fine", "you of", "longer than the others fine", "you fine", ""]
    together = taste(sources, rewrites)
    alone = np.concatenate([taste([s], [r]) for s, r in zip(sources, rewrites, strict=True)])
    # bfloat16 rounds differently in other shapes.
    assert together == pytest.approx(alone, abs=0.02)
    assert together[0] == together[3]
    assert together[4] == 0.0
    assert taste([], []).shape == (0,)


def test_what_is_saved_scores_the_same(taste: Taste, tmp_path: Path) -> None:
    taste.save(tmp_path / "taste")
    again = Taste.load(tmp_path / "taste")
    sources, rewrites = ["you idiot 3"] * 2, ["you 3 fine", "you 3 of"]
    assert again(sources, rewrites) == pytest.approx(taste(sources, rewrites), abs=1e-6)
    assert again.name.startswith("taste@")


def test_what_is_no_taste_is_told(taste: Taste, tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="does not hold a sound taste"):
        Taste.load(tmp_path)
    taste.save(tmp_path)
    (tmp_path / "taste.safetensors").write_bytes(b"torn")
    with pytest.raises(CorruptFileError, match="does not hold a sound taste"):
        Taste.load(tmp_path)


def test_the_base_says_how_likely_tokens_are(taste: Taste, base: Path) -> None:
    """As the bare model would, asked by itself: nothing that was taught, no neighbour."""
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    lines = [[taste.encode("you idiot 1"), taste.encode("you 1")], [taste.encode("fine of")]]
    places = [[[0, 2], [1]], [[1]]]
    expected = []
    for group, asked in zip(lines, places, strict=True):
        for line, at in zip(group, asked, strict=True):
            start = taste.tokenizer.eos_token_id
            with torch.inference_mode():
                logps = model(torch.tensor([[start, *line]])).logits[0].log_softmax(dim=-1)
            expected += [logps[place, line[place]].item() for place in at]
    found = [one for group in taste.log_likelihood(lines, places) for line in group for one in line]
    assert found == pytest.approx(expected, abs=0.05)
    assert taste.log_likelihood([], []) == []
    assert taste.log_likelihood([[taste.encode("a"), taste.encode("b")]], [[[], []]]) == [[[], []]]


def test_without_lessons_nothing_is_taught(base: Path) -> None:
    with pytest.raises(DataError, match="no lessons"):
        Taste.fit([], TasteConfig(base=str(base)))
