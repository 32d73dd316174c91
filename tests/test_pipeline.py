"""From recipes to run folders, on tiny models: what is left behind, and that it goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tactful import pipeline
from tactful.corpora.piles import own_corpus
from tactful.errors import DataError
from tactful.evaluation.base import Scores
from tactful.pipeline import Looker, TrainRecipe, WarmRecipe, texts_of, train, warm_up
from tactful.training.game import Gate
from tactful.training.policy import Policy
from tests.evaluation.fake_judge import RuleJudge
from tests.tiny import tiny_causal_lm

TOXIC = [
    "you are a stupid idiot and i know it",
    "only an idiot would read this",
    "those idiots lost the game again",
    "this is a stupid plan and it will fail",
    "what a stupid thing to say",
    "the idiot next door is loud",
]
NEUTRAL = [
    "those people lost the game again",
    "this is a bad plan and it will fail",
    "what a strange thing to say",
    "the man next door is loud",
    "only a few people would read this",
    "you are right and i know it",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, texts in (("toxic", TOXIC), ("neutral", NEUTRAL)):
        rows = [{"text": text, "source": "mild", "fold": fold} for text in texts for fold in (0, 9)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def small(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Sections that both recipes share, on a tiny base, with a judge and gates that need no weights."""
    monkeypatch.setattr(pipeline, "load_judge", lambda name: RuleJudge())
    monkeypatch.setattr(pipeline, "gates_of", lambda followers: [Gate("any", _likes_anything, 0.5)])
    pile = {"file": "toxic.jsonl", "toxic": True}
    return {
        "data": {
            "dir": str(corpus),
            "toxic": [pile],
            "neutral": [{"file": "neutral.jsonl", "toxic": False}],
            "folds": [0],
            "dev_folds": [9],
        },
        "base": str(tiny_causal_lm(tmp_path / "base")),
        "lora": {"rank": 2, "alpha": 4},
        "look": {"rows": 3},
    }


def _likes_anything(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.ones(len(rewrites))


def test_the_game_leaves_a_run_folder(small: dict[str, object], tmp_path: Path) -> None:
    """Adapter, metrics, resolved recipe and checkpoints; a second call has nothing left to do."""
    recipe = TrainRecipe.model_validate(
        {
            **small,
            "play": {"samples": 2},
            "train": {"steps": 4, "batch": 2, "save_every": 2, "look_every": 2, "log_every": 1},
        }
    )
    out = tmp_path / "run"
    seen: list[float] = []
    found = train(recipe, out, told=lambda line: seen.append(line["step"]))
    assert set(found) >= {"data", "joint", "style", "meaning", "fluency", "copies", "empty"}
    assert sorted(p.name for p in out.iterdir()) == [
        "adapter",
        "checkpoint-2",
        "checkpoint-4",
        "metrics.jsonl",
        "recipe.yaml",
    ]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_joint" in line] == [2, 4]
    assert all("play/passed/any" in line for line in lines if "loss" in line)
    assert seen == [line["step"] for line in lines]
    before = (out / "adapter" / "adapter_model.safetensors").read_bytes()
    again = train(recipe, out)
    assert (out / "adapter" / "adapter_model.safetensors").read_bytes() == before
    assert again == found


def test_a_warm_start_becomes_the_reference(small: dict[str, object], tmp_path: Path) -> None:
    """Demonstrations from the two piles are learned; what was learned is what the game starts from."""
    folder = Path(small["data"]["dir"])  # type: ignore[index]
    for name, toxic in (("toxic", True), ("neutral", False)):
        rows = [
            {"text": e.text, "source": "own", "fold": fold}
            for e in own_corpus()
            if e.toxic is toxic
            for fold in (0, 9)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    lexicon = {"count": 1, "phrase_count": 1, "log_odds": 0.3, "alike": 0.2}
    warm = WarmRecipe.model_validate(
        {
            **small,
            "size": 40,
            "search": False,
            "warm": {"lexicon": lexicon, "known": 0.0},
            "train": {"steps": 2, "batch": 2, "learning_rate": 0.01},
        }
    )
    said: list[str] = []
    warm_up(warm, tmp_path / "warm", say=said.append)
    kinds = json.loads((tmp_path / "warm" / "demonstrations.json").read_text())
    assert sum(kind["count"] for kind in kinds.values()) > 0
    policy = Policy.load(warm.base, adapter=tmp_path / "warm" / "adapter")
    assert "+adapter@" in policy.name
    assert "making demonstrations" in said
    # Run again it has them, unless the recipe wants others.
    said.clear()
    warm_up(warm, tmp_path / "warm", say=said.append)
    assert "making demonstrations" not in said
    warm_up(warm.model_copy(update={"seed": 1}), tmp_path / "warm", say=said.append)
    assert "making demonstrations" in said


def test_nothing_to_train_on_is_told(small: dict[str, object], tmp_path: Path) -> None:
    data = {**small["data"], "folds": [3]}  # type: ignore[dict-item]
    recipe = TrainRecipe.model_validate({**small, "data": data})
    with pytest.raises(DataError, match=r"no toxic texts of at most 30 words in folds \(3,\)"):
        train(recipe, tmp_path / "run")
    data = {**small["data"], "dev_folds": [3]}  # type: ignore[dict-item]
    recipe = TrainRecipe.model_validate({**small, "data": data})
    with pytest.raises(DataError, match="no toxic texts to look at"):
        train(recipe, tmp_path / "run")


def test_a_look_judges_greedy_answers(small: dict[str, object]) -> None:
    """The same dev texts each time, and the means of what the judge says of them."""

    class Half(RuleJudge):
        def score(self, sources, rewrites, references=None):  # type: ignore[no-untyped-def]
            half = np.full(len(rewrites), 0.5)
            return Scores(half, half, half)

    policy = Policy.load(str(small["base"]))
    look = Looker(Half(), ["you idiot", "what a stupid plan"])
    first, second = look(policy, 0), look(policy, 1)
    assert first == second
    assert (first["joint"], first["style"]) == (0.125, 0.5)


def test_long_texts_and_other_folds_stay_out(small: dict[str, object]) -> None:
    recipe = TrainRecipe.model_validate(small)
    examples = pipeline.read_piles(recipe.data.dir, recipe.data.toxic)
    assert texts_of(examples, recipe.data, (0,)) == TOXIC
    short = recipe.data.model_copy(update={"longest": 5})
    assert texts_of(examples, short, (0,)) == [t for t in TOXIC if len(t.split()) <= 5]
    assert texts_of(examples, recipe.data, (0,), ("elsewhere",)) == []
