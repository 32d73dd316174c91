"""The second part of the demo, on a tiny model: it trains by the shipped recipes and shows what came."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from tactful import demo, pipeline
from tactful.run_folder import read_run
from tactful.training.game import Gate
from tests.evaluation.fake_judge import RuleJudge
from tests.tiny import tiny_causal_lm

ROOT = Path(__file__).parent.parent


def _likes_short(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.array([1 / (1 + len(rewrite)) for rewrite in rewrites])


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """The shipped ones, for a tiny base and two steps, without the search, which needs weights."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    base = str(tiny_causal_lm(tmp_path / "base"))
    for name in (demo.WARM_RECIPE, demo.GAME_RECIPE):
        recipe = yaml.safe_load((ROOT / "recipes" / name).read_text())
        recipe |= {"base": base, "lora": {"rank": 2, "alpha": 4}, "look": {"rows": 3}}
        recipe["data"]["dir"] = str(ROOT / recipe["data"]["dir"])
        recipe["train"] |= {"steps": 2, "look_every": 1, "batch": 2}
        if name == demo.WARM_RECIPE:
            recipe["search"] = False
            # Two steps of the usual size may leave a greedy answer as it was.
            recipe["train"]["learning_rate"] = 0.05
        else:
            recipe["play"]["samples"] = 2
        (folder / name).write_text(yaml.safe_dump(recipe))
    return folder


def test_a_rewriter_is_made_and_shown(
    recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after stand side by side, in the terminal and in the reports."""
    monkeypatch.setattr(pipeline, "load_judge", lambda name: RuleJudge())
    monkeypatch.setattr(pipeline, "gates_of", lambda wanted: [Gate("any", _likes_short, 0.0)])
    out = tmp_path / "runs"
    written = StringIO()
    demo.play(recipes, out, Console(file=written, width=160))
    told = written.getvalue()
    for column in ("untrained", "after the warm start", "after the game"):
        assert column in told
    game, warm = read_run(out / "game"), read_run(out / "warm")
    assert list(game.samples) == [0, 1, 2]
    assert all(" ".join(source.split()[:2]) in told for source in game.samples[0])
    assert list(warm.samples) == [0, 1, 2]
    assert warm.samples[0] != warm.samples[2]
    # The game begins with the warm start.
    assert "+adapter@" in game.about["policy"]
    assert "+adapter@" not in warm.about["policy"]
    assert [step for step, _ in game.points("eval_joint")] == [0, 1, 2]
    assert f"{warm.points('eval_joint')[0][1]:.3f}" in told
    for run in ("warm", "game"):
        assert str(out / run / "report.html") in told
        assert "After step 0</th>" in (out / run / "report.html").read_text()
    # Trained on folds 0 to 7 of the corpus, shown on 8 and 9.
    assert game.about["texts"] > 100
