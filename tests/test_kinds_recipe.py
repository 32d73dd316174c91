from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tactful.config import load_recipe
from tactful.errors import ConfigError, DataError
from tactful.kinds_recipe import (
    KindsRecipe,
    Offer,
    _worth,
    fit_kinds,
    read_kinds,
    render_kinds_card,
    render_kinds_report,
)
from tactful.screeners.kinds import Kinds

ROOT = Path(__file__).parent.parent
ASSET = ROOT / "src/tactful/assets/kinds"

RECIPE = """
data: {piles: [{file: toxic.jsonl, toxic: true}]}
kinds:
  insult: {labels: [insult]}
  profanity: {labels: [obscene]}
  odd: {labels: [odd]}
harmless: {file: neutral.jsonl, toxic: false}
harmless_texts: 2
train_folds: [0, 1]
dev_folds: [9]
model: {word_count: 2, pair_count: 2, gram_count: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> KindsRecipe:
    """A small corpus where insults and oaths can be told apart, and odd ones are half the insults."""
    rows = []
    for number in range(60):
        insult = number % 4 < 2
        said = f"you idiot {number}" if insult else f"damn it {number}"
        odd = number % 8 < 2
        labels = ["insult" if insult else "obscene", *(["odd"] if odd else [])]
        rows.append({"text": said, "labels": labels, "fold": 9 if number >= 36 else number % 2})
    neutral = [{"text": text, "fold": 9} for text in ("hello", "good day", "what a day")]
    for name, lines in (("toxic", rows), ("neutral", neutral)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(path, KindsRecipe, [f"data.dir={tmp_path}"])


def test_kinds_are_read_from_columns(recipe: KindsRecipe) -> None:
    """The texts once, and for each kind whether a row bears its label."""
    texts, labels = read_kinds(recipe, [9])
    assert texts[1:3] == ["you idiot 37", "damn it 38"]
    assert labels["insult"][1:3] == [True, False]
    assert labels["profanity"][1:3] == [False, True]
    # Of 36 to 59 those that leave 0 or 1 by 8: 40, 41, 48, 49, 56, 57.
    assert sum(labels["odd"]) == 6


def test_only_what_is_worth_it_is_written(recipe: KindsRecipe, tmp_path: Path) -> None:
    """What cannot be told apart is measured and told, but not kept; nor is the data's folder."""
    # Odd texts score above oaths and like other insults: no AUROC of 0.95.
    strict = recipe.model_copy(update={"offer": Offer(auroc=0.95, gain=0.2)})
    out = tmp_path / "kinds"
    measured = fit_kinds(strict, out)
    assert {p.name for p in out.iterdir()} == {
        "weights.npz",
        "kinds.json",
        "recipe.yaml",
        "metrics.json",
        "README.md",
    }
    assert json.loads((out / "metrics.json").read_text()) == measured
    assert str(tmp_path) not in (out / "recipe.yaml").read_text()
    assert (measured["dev_texts"], measured["harmless_texts"]) == (24, 2)
    loaded = Kinds.load(out)
    assert loaded.name == measured["model"]
    assert loaded.names == ("insult", "profanity")
    assert [row["kind"] for row in measured["kinds"]] == ["insult", "profanity", "odd"]


def test_worth_by_hand() -> None:
    """Average precision's way from guessing to knowing, and an offer by the low ends."""
    # The highest is of the kind, the second is not, the third is: (1 + 2/3) / 2 = 5/6.
    labels = [True, False, True, False]
    served = np.array([0.9, 0.8, 0.4, 0.1])
    row = _worth(labels, served, served, Offer(auroc=0.0, gain=0.0))
    assert row["average_precision"] == pytest.approx(5 / 6)
    # Of the four pairs three are in order; base rate 1/2, and 5/6 is two thirds of the way to 1.
    assert row["auroc"] == pytest.approx(3 / 4)
    assert row["gain"] == pytest.approx(2 / 3)
    assert row["base_rate"] == 0.5
    assert row["offered"] is (row["gain_interval"][0] >= 0)
    # Four texts prove nothing: the point would pass, the low end does not.
    assert not _worth(labels, served, served, Offer(auroc=0.7, gain=0.2))["offered"]


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("dev_folds=[0]", ConfigError, "no fold in common"),
        ("dev_folds=[77]", DataError, "77"),
        ("kinds.insult={labels: [nothing]}", DataError, "got 0 of 36"),
    ],
)
def test_recipes_that_cannot_work(
    recipe: KindsRecipe, tmp_path: Path, override: str, error: type[Exception], message: str
) -> None:
    """What is wrong is said, and nothing half-made is left."""
    wrong = load_recipe(tmp_path / "recipe.yaml", KindsRecipe, [f"data.dir={tmp_path}", override])
    with pytest.raises(error, match=message):
        fit_kinds(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shipped_kinds_were_made_by_the_shipped_recipe() -> None:
    """The recipe saved with the weights is the one in recipes/, but for the data's folder."""
    shipped = load_recipe(ASSET / "recipe.yaml", KindsRecipe)
    assert shipped == load_recipe(
        ROOT / "recipes/kinds.yaml", KindsRecipe, [f"data.dir={shipped.data.dir}"]
    )
    assert shipped.model == Kinds.load().config


def test_pages_show_the_shipped_figures() -> None:
    """Card, page and figures are of the weights that ship, and these hold what may be offered."""
    text = (ASSET / "metrics.json").read_text()
    measured = json.loads(text)
    assert (ASSET / "README.md").read_text() == render_kinds_card(measured)
    assert (ROOT / "docs/results/kinds.md").read_text() == render_kinds_report(measured)
    assert (ROOT / "docs/results/kinds.json").read_text() == text
    kinds = Kinds.load()
    assert kinds.name == measured["model"]
    assert list(kinds.names) == [row["kind"] for row in measured["kinds"] if row["offered"]]
