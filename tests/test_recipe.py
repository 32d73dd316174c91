from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful.back_translation import BackRecipe
from tactful.config import load_recipe
from tactful.corpora.piles import Example, own_corpus
from tactful.errors import ConfigError, DataError
from tactful.evaluation.judge_fit import JudgeRecipe
from tactful.kinds_recipe import KindsRecipe
from tactful.pipeline import TrainRecipe, WarmRecipe
from tactful.recipe import (
    Contrast,
    ScreenerRecipe,
    Teacher,
    _lessons,
    evaluate_screener,
    fit_screener,
    read_folds,
    render_screener_report,
    taught,
    worst_sentence,
)
from tactful.screeners.linear import LinearScreener
from tactful.surgery import SurgeryRecipe
from tactful.synthesis import SynthesisRecipe
from tactful.tasting import TasteRecipe
from tests.fakes import KeywordScreener

ROOT = Path(__file__).parent.parent

RECIPE = """
data:
  piles:
    - {file: toxic.jsonl, toxic: true}
    - {file: neutral.jsonl, toxic: false}
train_folds: [0, 1, 2, 3, 4, 5, 6]
dev_folds: [7, 8, 9]
thresholds: {act_below: 0.9, act_sources: [tactful], passing_below: 0.7, passing_sources: [tactful]}
contrasts:
  - {name: own, toxic: [tactful], neutral: [tactful]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> ScreenerRecipe:
    """A recipe over the sample corpus, written out as a user's data would be."""
    for name, toxic in (("toxic.jsonl", True), ("neutral.jsonl", False)):
        rows = [e for e in own_corpus() if e.toxic == toxic]
        lines = [json.dumps({"text": e.text, "source": e.source, "fold": e.fold}) for e in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(path, ScreenerRecipe, [f"data.dir={tmp_path}"])


def test_fit_writes_all_that_made_it(recipe: ScreenerRecipe, tmp_path: Path) -> None:
    """Weights, settings, recipe, metrics and card; loaded again it is the same screener."""
    out = tmp_path / "screener"
    measured = fit_screener(recipe, out)
    assert {p.name for p in out.iterdir()} == {
        "weights.npz",
        "screener.json",
        "recipe.yaml",
        "metrics.json",
        "README.md",
    }
    assert json.loads((out / "metrics.json").read_text()) == measured
    assert str(tmp_path) not in (out / "recipe.yaml").read_text()
    loaded = LinearScreener.load(out)
    _, dev = read_folds(recipe)
    neutral = [e.text for e in dev if not e.toxic and e.source == "tactful"]
    scores = loaded.toxicity(neutral)
    # The rule of the recipe, on the rows it speaks of.
    assert np.mean(scores < loaded.thresholds.act) >= 0.9
    assert np.mean(scores < loaded.thresholds.passing) >= 0.7
    assert measured["auroc"] > 0.7
    assert loaded.name in render_screener_report(measured)


def test_lessons_by_hand() -> None:
    """A tenth of the target is the label; a toxic text's other sentences only have the teacher."""
    teacher = Teacher(share=0.9, other_sentences=0.5)
    told = [("Hello.", 0.2), ("You idiot.", 0.8)]
    assert _lessons(told, True, 2.0, teacher) == [
        ("Hello.", 0.2, 1.0),
        ("You idiot.", pytest.approx(0.9 * 0.8 + 0.1), 2.0),
    ]
    assert _lessons(told, False, 2.0, teacher) == [
        ("Hello.", pytest.approx(0.18), 2.0),
        ("You idiot.", pytest.approx(0.72), 2.0),
    ]
    assert _lessons([], True, 1.0, teacher) == []


def test_each_half_is_judged_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text's target comes from a teacher that was taught that text."""
    taught_on: list[list[str]] = []

    class Recorder:
        def __init__(self, texts: list[str]) -> None:
            self.texts = texts

        def toxicity(self, texts: list[str]) -> Any:
            assert not set(texts) & set(self.texts)
            return np.full(len(texts), 0.5)

    def fit(texts: list[str], *_: object, **__: object) -> Recorder:
        taught_on.append(texts)
        return Recorder(texts)

    monkeypatch.setattr("tactful.recipe.TransformerScreener.fit", fit)
    train = [Example(f"text {word}", word in "ac", "s", 0) for word in "abcde"]
    lessons = taught(train, [1.0] * 5, KeywordScreener({}), Teacher(), lambda *_: None)  # type: ignore[arg-type]  # any screener will do
    assert taught_on == [["text a", "text c", "text e"], ["text b", "text d"]]
    assert [piece for piece, _, _ in lessons] == [e.text for e in train]
    again = taught(train, [1.0] * 5, KeywordScreener({}), Teacher(share=0.5), lambda *_: None)  # type: ignore[arg-type]  # any screener will do
    assert len(taught_on) == 2  # the second time from the cache, with another share
    assert [target for _, target, _ in again] == [0.75, 0.25, 0.75, 0.25, 0.25]


def test_worst_sentence() -> None:
    """Of several sentences the most toxic one stands for the text."""
    screener = KeywordScreener({"idiot": 0.9})
    assert worst_sentence(screener, "Hello. You idiot. Bye.") == "You idiot. "
    assert worst_sentence(screener, "Hello.") == "Hello."


def test_shares_by_hand() -> None:
    """Of three insults two are seen at act, of two neutral rows one; the contrast is their mean."""
    screener = KeywordScreener({"idiot": 0.9, "clown": 0.4}, act=0.5, passing=0.3)
    rows = [
        ("you idiot", True),
        ("idiot", True),
        ("clown", True),
        ("fine", False),
        ("idiot box", False),
    ]
    examples = [Example(text, toxic, "s", 9) for text, toxic in rows]
    measured = evaluate_screener(
        screener, examples, [Contrast(name="c", toxic=("s",), neutral=("s",))]
    )
    shares: dict[Any, Any] = {row["toxic"]: row for row in measured["sources"]}
    assert shares[True]["at_act"] == pytest.approx(2 / 3)
    assert shares[True]["at_passing"] == 1.0
    assert shares[False]["at_act"] == 0.5
    assert measured["contrasts"][0]["balanced_accuracy_act"] == pytest.approx((2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("dev_folds=[0]", ConfigError, "no fold in common"),
        ("dev_folds=[77]", DataError, "77"),
        ("thresholds.act_sources=[nowhere]", ConfigError, "nowhere"),
    ],
)
def test_recipes_that_cannot_work(
    recipe: ScreenerRecipe, tmp_path: Path, override: str, error: type[Exception], message: str
) -> None:
    """What is wrong is said before or instead of a half-made screener."""
    wrong = load_recipe(
        tmp_path / "recipe.yaml",
        ScreenerRecipe,
        [f"data.dir={tmp_path}", "templates=false", override],
    )
    with pytest.raises(error, match=message):
        fit_screener(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


KINDS: dict[str, tuple[type, str]] = {
    "back.yaml": (BackRecipe, "data.dir"),
    "early.yaml": (WarmRecipe, "data.dir"),
    "judge-dev.yaml": (JudgeRecipe, "dir"),
    "judge-final.yaml": (JudgeRecipe, "dir"),
    "kinds.yaml": (KindsRecipe, "data.dir"),
    "people.yaml": (TrainRecipe, "data.dir"),
    "screener.yaml": (ScreenerRecipe, "data.dir"),
    "reader.yaml": (ScreenerRecipe, "data.dir"),
    "second.yaml": (WarmRecipe, "data.dir"),
    "smoke-warmup.yaml": (WarmRecipe, "data.dir"),
    "smoke.yaml": (TrainRecipe, "data.dir"),
    "sro-paper.yaml": (TrainRecipe, "data.dir"),
    "sro.yaml": (TrainRecipe, "data.dir"),
    "surgery.yaml": (SurgeryRecipe, "data.dir"),
    "synthesize.yaml": (SynthesisRecipe, "adapter"),
    "taste.yaml": (TasteRecipe, "warm_start"),
    "warmup.yaml": (WarmRecipe, "data.dir"),
}
FOLDS = {name: lambda recipe: recipe.data.folds for name in KINDS} | {
    name: lambda recipe: recipe.folds for name in ("judge-dev.yaml", "judge-final.yaml")
}
FOLDS["kinds.yaml"] = lambda recipe: recipe.train_folds
FOLDS["synthesize.yaml"] = lambda recipe: recipe.folds
# It learns from what a warm start was shown, and reads no pile itself.
FOLDS["taste.yaml"] = lambda recipe: ()
ALLOWED = {name: {0, 1, 2, 3, 4} for name in KINDS} | {
    "judge-dev.yaml": {5, 6},
    "judge-final.yaml": {7, 8},
    # Of the small corpus that ships, which no judge has learned from.
    "people.yaml": set(range(8)),
    "smoke-warmup.yaml": set(range(8)),
    "smoke.yaml": set(range(8)),
}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_recipes_load(path: Path) -> None:
    """Every recipe in the repository is one the code can read, whose folds keep to themselves."""
    kind, place = KINDS[path.name]
    recipe = load_recipe(path, kind, [f"{place}=anywhere"])
    teaching = recipe.train_folds if kind is ScreenerRecipe else FOLDS[path.name](recipe)
    assert set(teaching) <= ALLOWED[path.name]


@pytest.mark.parametrize("name", ["dev", "final"])
def test_shipped_judges_were_made_by_the_shipped_recipes(name: str) -> None:
    """The recipe saved with a judge is the one in recipes/, but for the data's folder."""
    saved = load_recipe(ROOT / f"src/tactful/assets/judges/{name}/recipe.yaml", JudgeRecipe)
    assert saved == load_recipe(
        ROOT / f"recipes/judge-{name}.yaml", JudgeRecipe, [f"dir={saved.dir}"]
    )


def test_shipped_screener_was_made_by_the_shipped_recipe() -> None:
    """The recipe saved with the weights is the one in recipes/, but for the data's folder."""
    shipped = load_recipe(ROOT / "src/tactful/assets/screener/recipe.yaml", ScreenerRecipe)
    assert shipped == load_recipe(
        ROOT / "recipes/screener.yaml", ScreenerRecipe, [f"data.dir={shipped.data.dir}"]
    )
    assert shipped.model == LinearScreener.load().config


def test_report_shows_the_shipped_figures() -> None:
    """docs/results/screener.md is what the committed metrics render to."""
    metrics = json.loads((ROOT / "src/tactful/assets/screener/metrics.json").read_text())
    assert (ROOT / "docs/results/screener.md").read_text() == render_screener_report(metrics)
