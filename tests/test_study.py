"""The noise study: its cells are recipes that load, its figures are worked by hand, a run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tactful import pipeline
from tactful.config import load_recipe
from tactful.contest import Outcome, ratio
from tactful.errors import ConfigError
from tactful.pipeline import TrainRecipe, estimated
from tactful.study import (
    FULL,
    PARTS_OF_STUDY,
    Arm,
    arms,
    cells,
    figure,
    noise_study,
    render,
    table,
)
from tactful.training.game import Gate, as_follower
from tactful.training.noise import Noise, NoisyFollower, Panel, PanelFollower
from tests.fakes import KeywordScreener

RECIPES = Path(__file__).parent.parent / "recipes"


def test_every_cell_is_a_recipe_that_loads() -> None:
    """Of all parts, with the overrides of its form; no two have the same folder."""
    chosen = list(arms(PARTS_OF_STUDY, Path("weak"), 3))
    assert len({arm.name for arm in chosen}) == len(chosen)
    assert sum(arm.seeds for arm in arms(["symmetric"], Path("weak"), 3)) == 18
    for arm in chosen:
        form = "paper" if arm.form == "paper" else "ours"
        file = RECIPES / "compare" / ("sro-paper.yaml" if form == "paper" else "sro.yaml")
        given = ["data.dir=x", *arm.overrides, "followers.noise.seed=2"]
        recipe = load_recipe(file, TrainRecipe, given)
        noise = recipe.followers.noise
        if arm.noise == "symmetric":
            assert noise.false_pass == noise.false_fail == arm.level
        # One budget for all, which ends a run before its steps do; the same texts, too.
        assert recipe.train.tokens == 20_000
        assert recipe.train.steps == 400
        assert recipe.data.toxic[0].keep == {"source": ["paradetox", "emnlp2021_dev"]}
        assert load_recipe(file, TrainRecipe, [*given, *FULL[form]]).train.tokens is None
        assert recipe.train.look_every % recipe.train.save_every == 0


def outcome(name: str, seed: int, joint: Sequence[float]) -> Outcome:
    ones = [1.0] * len(joint)
    return Outcome(
        key="",
        name=name,
        seed=seed,
        warm="abc",
        adapter="def",
        judge="rule@test",
        step=1,
        generated=10,
        trained=5,
        seconds=60.0,
        memory=1.0,
        copies=0.0,
        scores={"style": list(joint), "meaning": ones, "fluency": ones},
        curve=[],
    )


def small_table() -> tuple[list[Arm], dict]:
    chosen = [
        Arm("paper", "symmetric", 0.0, (), 1),
        Arm("paper", "symmetric", 0.1, (), 1),
        Arm("ours", "symmetric", 0.0, (), 2),
        Arm("ours", "symmetric", 0.1, (), 1),
        Arm("votes", "symmetric", 0.1, (), 1),
    ]
    outcomes = [
        outcome("warm start", 0, [0.5, 0.5]),
        outcome(chosen[0].name, 0, [0.4, 0.6]),
        outcome(chosen[1].name, 0, [0.4, 0.4]),
        outcome(chosen[2].name, 0, [0.6, 0.7]),
        outcome(chosen[2].name, 1, [0.8, 0.7]),
        outcome(chosen[3].name, 0, [0.6, 0.6]),
        outcome(chosen[4].name, 0, [0.7, 0.7]),
    ]
    return chosen, table(chosen, outcomes, full=False)


def test_gains_and_what_is_kept_by_hand() -> None:
    """Ours gains .15 with the seed that runs under noise, and .1 there: two thirds are kept. The paper's
    form gains nothing for certain, so there is nothing to keep. A defence is held against ours.
    """
    _, found = small_table()
    paper, noisy_paper, ours, noisy, votes = found["arms"]
    assert found["warm"]["joint"] == 0.5
    assert ours["gain"]["joint"]["mean"] == pytest.approx(0.2)
    assert ours["gain_by_seed"] == pytest.approx([0.15, 0.25])
    assert paper["kept"] is ours["kept"] is None
    assert noisy_paper["gain"]["joint"]["mean"] == pytest.approx(-0.1)
    assert noisy_paper["kept"] is None
    assert noisy_paper["cost"]["mean"] == pytest.approx(-0.1)
    assert noisy["cost"]["mean"] == pytest.approx(-0.05)
    assert paper["cost"] is ours["cost"] is None
    assert noisy["kept"]["value"] == pytest.approx(2 / 3)
    assert votes["kept"]["value"] == pytest.approx(4 / 3)


def test_ratio_has_an_interval_around_it() -> None:
    """Half the gain with scatter lies in its interval; a denominator around nothing has no ratio."""
    random = np.random.default_rng(0)
    gain = 0.2 + 0.1 * random.standard_normal(300)
    found = ratio(0.5 * gain + 0.02 * random.standard_normal(300), gain)
    assert found is not None
    assert found["low"] < found["value"] < found["high"]
    assert found["value"] == pytest.approx(0.5, abs=0.03)
    assert found["high"] - found["low"] < 0.1
    assert ratio(gain, random.standard_normal(300)) is None


def test_page_and_figure() -> None:
    """Every cell is a row; the figure is sound XML with both forms in its legend."""
    _, found = small_table()
    page = render(json.loads(json.dumps(found)))
    assert page.count("\n| ours | symmetric | ") == 2
    assert cells(found["arms"][3])[2:4] == ["10%", "0.600"]
    drawn = figure(found)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert ">ours<" in drawn
    assert figure(found) == drawn


def test_unknown_parts_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no part 'loud'; there are symmetric, sided"):
        noise_study(tmp_path, tmp_path, tmp_path, parts=["loud"])  # type: ignore[list-item]


# --- what is known of the errors ----------------------------------------------------------------


def corpus(folder: Path) -> None:
    for name, word in (("toxic", "idiot"), ("neutral", "person")):
        rows = [{"text": f"{word} number {i}", "source": "mild", "fold": i % 2} for i in range(600)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


@pytest.mark.parametrize("by", ["trusted", "repeats", "followers"])
def test_rates_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """About the 20 % that are flipped, from labels, repeats or other followers; a panel around the
    one who errs does not hide it.
    """
    corpus(tmp_path)
    recipe = TrainRecipe.model_validate(
        {
            "data": {
                "dir": str(tmp_path),
                "toxic": [{"file": "toxic.jsonl", "toxic": True}],
                "folds": [0],
                "dev_folds": [1],
            },
            "followers": {
                "voters": ["a", "b"],
                "estimate": {
                    "by": by,
                    "rows": 600,
                    "trusted": [
                        {"file": "toxic.jsonl", "toxic": True},
                        {"file": "neutral.jsonl", "toxic": False},
                    ],
                },
            },
            "train": {"objective": {"loss": "corrected"}},
        }
    )
    truth = KeywordScreener({"idiot": 0.9})
    monkeypatch.setattr(pipeline, "load_screener", lambda path: truth)
    noise = Noise(false_pass=0.2, false_fail=0.2, repeats="anew" if by == "repeats" else "same")
    noisy = NoisyFollower(as_follower(truth), 0.5, noise)
    gate = Gate("style", PanelFollower([(noisy, 0.5)], 0.5, Panel(times=3)), 0.5)
    texts = [f"{word} number {i}" for i in range(300) for word in ("idiot", "person")]
    said: list[str] = []
    found = estimated(recipe, gate, texts, said.append)
    assert found.false_pass == pytest.approx(0.2, abs=0.06)
    assert found.false_fail == pytest.approx(0.2, abs=0.06)
    assert found.flip_rate == pytest.approx(0.2, abs=0.05)
    assert f"(by {by})" in said[0]
    plain = recipe.model_copy(
        update={"followers": recipe.followers.model_copy(update={"estimate": None})}
    )
    assert estimated(plain, gate, texts, said.append) == recipe.train.objective
