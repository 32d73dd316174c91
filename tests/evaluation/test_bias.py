"""Which manners a judge rewards: features and weights by hand, then judges with a known taste."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tactful.errors import DataError
from tactful.evaluation.base import Scores
from tactful.evaluation.bias import (
    FEATURES,
    apology,
    choice_weights,
    choices,
    copied,
    hedging,
    judge_bias,
    length,
    manners_rewarded,
    politeness,
    render_bias,
)
from tactful.evaluation.judge_fit import Rated
from tests.evaluation.fake_judge import RuleJudge


class Likes(RuleJudge):
    """Scores a rewrite by one number that is made of source and rewrite."""

    def __init__(self, value: Callable[[str, str], float]) -> None:
        super().__init__()
        self.value = value

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        values = np.array([self.value(*pair) for pair in zip(sources, rewrites, strict=True)])
        return Scores(values, np.ones(len(values)), np.ones(len(values)))


@pytest.mark.parametrize(
    ("feature", "rewrite", "value"),
    [
        (length, "you are wrong", np.log(3 / 4)),
        (length, "", np.log(1 / 4)),
        (politeness, "Please read it, thank you", 2),
        (politeness, "it pleases me, can you read?", 0),
        (hedging, "i think you’re maybe wrong", 2),
        (hedging, "you are thinking", 0),
        (copied, "you wrong you", 2 / 3),
        (copied, "", 0),
        (apology, "I'm SORRY, and I apologise", 2),
        (apology, "a sorrow", 0),
    ],
)
def test_features_by_hand(feature: Callable[[str, str], float], rewrite: str, value: float) -> None:
    """Of the source "you are an idiot"."""
    assert feature("you are an idiot", rewrite) == pytest.approx(value)


def test_weights_by_hand() -> None:
    """Three of four choices for one more of something: log 3 without a prior.

    Under N(0, 1) the slope 4 (sigmoid(w) - 3/4) + w is 0 at w = 0.505: 4 x -0.1264 + 0.505.
    """
    one, chosen = np.ones((4, 1)), np.array([True, True, True, False])
    assert choice_weights(one, chosen, prior=1e6) == pytest.approx([np.log(3)], abs=1e-4)
    [found] = choice_weights(one, chosen)
    assert found == pytest.approx(0.505, abs=1e-3)
    assert 4 * (1 / (1 + np.exp(-found)) - 0.75) + found == pytest.approx(0, abs=1e-8)


def test_which_of_two_comes_first_says_nothing() -> None:
    """Pairs turned round give the same weights."""
    random = np.random.default_rng(0)
    rows, chosen = random.normal(size=(30, 3)), random.random(30) < 0.5
    turned = random.random(30) < 0.5
    again = choice_weights(np.where(turned[:, None], -rows, rows), chosen ^ turned)
    assert again == pytest.approx(choice_weights(rows, chosen))


def test_a_perfect_rule_has_a_finite_weight() -> None:
    """The prior keeps it from infinity, and Newton's steps from overshooting."""
    rows = np.array([[1.0], [2.0], [-3.0], [50.0]])
    [found] = choice_weights(rows, rows[:, 0] > 0)
    assert 0 < found < 3


def _rated(count: int = 40) -> list[Rated]:
    """Three rewrites each: short, long, and long with an apology. People like what is short."""
    rows = []
    for i in range(count):
        source = f"you daft goose read page {i} again"
        for text, liked in (
            (f"read page {i}", 0.9),
            (f"read page {i} again if there is time", 0.6),
            (f"sorry, read page {i} again", 0.5),
        ):
            rows.append(Rated(source, text, liked, 1.0, 1.0))
    return rows


def test_pairs_are_of_one_source_and_of_different_texts() -> None:
    """Three pairs each; a text twice is no choice; differences are first minus second."""
    rated = _rated(2)
    found = choices(rated, RuleJudge())
    assert found.source.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.people[:3] == pytest.approx([0.3, 0.4, 0.1])
    names = list(FEATURES)
    assert found.differences[1, names.index("apology")] == -1
    assert found.differences[0, names.index("length")] == pytest.approx(np.log(3 / 8))
    with pytest.raises(DataError, match="nobody chose"):
        choices([rated[0], rated[0]], RuleJudge())


def test_a_judge_that_likes_length_is_found_out() -> None:
    """People like it short, the judge long: the weights differ, and people's rating explains nothing."""
    found = judge_bias(_rated(), Likes(lambda source, rewrite: len(rewrite) / 100), boot=50)
    row = next(row for row in found["biases"] if row["feature"] == "length")
    assert row["people"]["high"] < 0 < row["judge"]["low"]
    assert row["difference"]["low"] > 0
    assert row["judge_given_people"]["mean"] > 0
    assert found["same_choice"] == pytest.approx(1 / 3)


def test_a_judge_that_is_of_peoples_mind_has_no_bias() -> None:
    """The same choices give the same weights, resample by resample."""
    liked = {(r.source, r.rewrite): r.style for r in _rated()}
    told = Likes(lambda source, rewrite: liked.get((source, rewrite), 0.0))
    found = judge_bias(_rated(), told, boot=20)
    assert found["same_choice"] == 1.0
    for row in found["biases"]:
        assert row["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_manners_alone() -> None:
    """A judge that likes apologies gives 0.5 for each; whoever has one already is left out."""
    judge = Likes(lambda source, rewrite: 0.5 * ("sorry" in rewrite))
    found = manners_rewarded(_rated(4), judge, boot=10)
    assert found["apology"]["mean"] == 0.5
    assert found["apology"]["rewrites"] == 8
    assert found["hedging"]["mean"] == 0.0
    assert found["hedging"]["rewrites"] == 12


def test_the_page_shows_every_figure() -> None:
    """What differs from 0 is bold; figures survive JSON."""
    found = judge_bias(_rated(), Likes(lambda source, rewrite: len(rewrite) / 100), boot=50)
    assert json.loads(json.dumps(found)) == found
    page = render_bias(found)
    weight = found["biases"][0]["judge"]
    assert f"**{weight['mean']:+.2f} [{weight['low']:+.2f}, {weight['high']:+.2f}]**" in page
    assert page.count("| apology") == 2
    assert "120 rewrites of 40 sources" in page


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Rows of the other part, and those to be skipped, are not asked about; both files are written."""
    from tactful.cli import main

    judge = RuleJudge()
    monkeypatch.setattr("tactful.evaluation.judges.load_judge", lambda name, purpose: judge)
    with (tmp_path / "rated.jsonl").open("w") as file:
        for i, row in enumerate(_rated(6)):
            part = "report" if i < 3 else "tune"
            scores = {"style": row.style, "meaning": 1.0, "fluency": 1.0}
            told = {"original": row.source, "rewritten": row.rewrite, "part": part, "idx": i // 3}
            file.write(json.dumps(told | scores) + "\n")
    recipe = Path(__file__).parent.parent.parent / "recipes" / "judge-dev.yaml"
    settings = (f"dir={tmp_path}", "people=rated.jsonl", "people_skip=['5']")
    overrides = [word for setting in settings for word in ("--set", setting)]
    command = ["tactful", "judge", "bias", str(recipe), "-o", str(tmp_path / "out"), "--boot", "5"]
    monkeypatch.setattr("sys.argv", [*command, *overrides])
    with pytest.raises(SystemExit) as exit_:
        main()
    out, err = capsysbinary.readouterr()
    assert not exit_.value.code, err
    found = json.loads((tmp_path / "out" / "judge_bias.json").read_text())
    assert (found["sources"], found["rewrites"]) == (4, 12)
    assert not any("page 0" in source or "page 5" in source for source, _, _ in judge.asked)
    page = (tmp_path / "out" / "judge_bias.md").read_text()
    assert page == render_bias(found)
    assert page.strip() == out.decode().strip()
