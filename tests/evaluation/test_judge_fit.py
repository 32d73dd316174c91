"""What readers are shown, and the way from a corpus to a judge, on a corpus of a few rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tactful.corpora.piles import Example, Pile
from tactful.errors import ConfigError, DataError
from tactful.evaluation import judge_fit
from tactful.evaluation.attacks import Attacked
from tactful.evaluation.judge_check import check_rows, render_judge_check, score_attacks
from tactful.evaluation.judge_fit import (
    JudgeRecipe,
    Pair,
    fit_judge,
    fluency_lessons,
    meaning_lessons,
    read_pairs,
    style_lessons,
)
from tactful.evaluation.judges import OwnJudge
from tactful.evaluation.reader import Reader, ReaderConfig
from tactful.evaluation.vectors import StaticVectors
from tests.evaluation.fake_judge import RuleJudge
from tests.evaluation.test_judges import by_hand_vectors
from tests.tiny import tiny_embedder

PAIRS = [
    Pair("you are an idiot about the plan", ("you are wrong about the plan",)),
    Pair("only an idiot reads the plan here", ("nobody should read the plan here",)),
    Pair("the damn plan does not work here", ("the plan does not work here",)),
    Pair("your damn tea is cold today", ("your tea is cold today",)),
]
NEUTRAL = [f"the {thing} on the table is quite cold today" for thing in ("tea", "soup", "bread")]
EXAMPLES = [
    *(Example(text, False, "mild", 5) for text in NEUTRAL),
    *(Example(pair.source, True, "mild", 5) for pair in PAIRS),
    Example("a fine day. you idiot. see you soon.", True, "letters", 5),
]


def test_a_sentence_of_a_long_toxic_text_is_not_blamed() -> None:
    """A long text is shown whole and counts half; a neutral one is shown by sentences."""
    lessons = style_lessons(
        [*EXAMPLES, Example("It is late. Go home.", False, "mild", 5)], {"letters": 0.5}
    )
    long = next(item for item in lessons if item.read[0].startswith("a fine day"))
    assert (long.target, long.weight) == (0.0, 0.25)
    assert [item.read[0].strip() for item in lessons][-2:] == ["It is late.", "Go home."]
    assert {item.target for item in lessons if item.read[0] in NEUTRAL} == {1.0}


def test_what_people_wrote_is_fluent_insults_included() -> None:
    lessons = fluency_lessons(EXAMPLES, PAIRS, [("the cat sat", True), ("cat the sat", False)], 0)
    said = {item.read[0]: item.target for item in lessons}
    assert said["you are an idiot about the plan"] == 1.0
    assert said["you are wrong about the plan"] == 1.0
    assert (said["the cat sat"], said["cat the sat"]) == (1.0, 0.0)
    assert min(said.values()) < 0.2
    # "damn" only adds force: what is left without it is what people wrote, and stays fluent.
    assert said["the plan does not work here"] == 1.0


def test_a_reference_makes_the_point_and_damage_does_not() -> None:
    lessons = meaning_lessons(EXAMPLES, PAIRS, 0)
    for pair in PAIRS:
        shown = {item.read[1]: item.target for item in lessons if item.read[0] == pair.source}
        assert shown[pair.references[0]] == 1.0
        assert shown[pair.source] == 1.0
        others = [t for text, t in shown.items() if text not in (*pair.references, pair.source)]
        assert others
        assert max(others) <= 0.6
        assert min(others) == 0.0


def test_lessons_are_the_same_for_the_same_seed() -> None:
    assert meaning_lessons(EXAMPLES, PAIRS, 3) == meaning_lessons(EXAMPLES, PAIRS, 3)
    assert meaning_lessons(EXAMPLES, PAIRS, 3) != meaning_lessons(EXAMPLES, PAIRS, 4)


# --- from a corpus to a judge ---------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JudgeRecipe:
    monkeypatch.setattr(StaticVectors, "load", classmethod(lambda cls: by_hand_vectors()))
    rows: dict[str, list[dict[str, object]]] = {
        "toxic.jsonl": [{"text": p.source, "fold": fold} for p in PAIRS for fold in (5, 9)],
        "neutral.jsonl": [{"text": text, "fold": fold} for text in NEUTRAL for fold in (5, 9)],
        "pairs.jsonl": [
            {"toxic": p.source, "references": list(p.references), "fold": fold}
            for p in PAIRS
            for fold in (5, 9)
        ],
        "sentences.jsonl": [
            {"text": "the cat sat", "acceptable": 1, "fold": 5},
            {"text": "cat the sat", "acceptable": 0, "fold": 5},
        ],
        "rated.jsonl": [
            {
                "original": p.source,
                "rewritten": r,
                "style": 1.0,
                "meaning": meaning,
                "fluency": 1.0,
                "part": "tune",
                "idx": "7",
            }
            for p in PAIRS
            for r, meaning in ((p.references[0], 1.0), ("see you", 0.0))
        ],
    }
    for name, lines in rows.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / name).write_text(text, encoding="utf-8")
    config = ReaderConfig(base=str(tiny_embedder(tmp_path / "encoder")), rank=2, epochs=1)
    return JudgeRecipe(
        name="small",
        dir=tmp_path,
        folds=(5,),
        dev_folds=(9,),
        piles=(
            Pile(file="toxic.jsonl", toxic=True),
            Pile(file="neutral.jsonl", toxic=False),
        ),
        pairs="pairs.jsonl",
        sentences="sentences.jsonl",
        people="rated.jsonl",
        style=config,
        meaning=config,
        fluency=config,
    )


def test_a_fit_that_broke_off_goes_on(recipe: JudgeRecipe, tmp_path: Path) -> None:
    """Readers that are there are not taught again, and the judge is written when all are."""
    out, taught = tmp_path / "judge", []

    def note(part: str, done: int, total: int) -> None:
        taught.append(part)

    assert fit_judge(recipe, out, parts=("style", "meaning"), progress=note) is None
    assert not (out / "judge.json").exists()
    judge = fit_judge(recipe, out, progress=note)
    assert judge is not None
    assert sorted(set(taught)) == ["fluency", "meaning", "style"]
    count = len(taught)
    again = fit_judge(recipe, out, progress=note)
    assert again is not None
    assert len(taught) == count
    assert again.signature == judge.signature
    scores = judge.score([p.source for p in PAIRS], [p.references[0] for p in PAIRS])
    assert np.all((scores.joint > 0) & (scores.joint < 1))


def test_no_rows_in_its_folds_is_told(recipe: JudgeRecipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no texts, no pairs"):
        fit_judge(recipe.model_copy(update={"folds": (3,)}), tmp_path / "judge")


def test_another_recipe_needs_another_folder(recipe: JudgeRecipe, tmp_path: Path) -> None:
    """Readers that one recipe taught never end up in the judge of another."""
    out = tmp_path / "judge"
    fit_judge(recipe, out, parts=("style",))
    with pytest.raises(ConfigError, match="another recipe taught"):
        fit_judge(recipe.model_copy(update={"folds": (9,)}), out)


def test_no_text_of_another_fold_or_part_teaches(
    recipe: JudgeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row says its fold or part: readers and letters see 5, scales 9 and tune, 3 nobody."""
    marks = {3: "strangerthree", 5: "ownfive", 9: "devnine"}
    for name in ("toxic.jsonl", "neutral.jsonl", "pairs.jsonl", "sentences.jsonl"):
        path = recipe.dir / name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        marked = []
        for row in rows:
            for fold in (3, row["fold"]):
                for column in ("text", "toxic"):
                    if column in row:
                        marked.append(row | {column: f"{row[column]} {marks[fold]}", "fold": fold})
        path.write_text("".join(json.dumps(row) + "\n" for row in marked))
    path = recipe.dir / "rated.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows += [
        row | {"part": "report", "original": "reportrow", "rewritten": "reportrow"} for row in rows
    ]
    rows += [row | {"idx": "13", "original": "skippedrow"} for row in rows[:2]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = recipe.model_copy(update={"people_skip": ("13",)})

    taught: list[str] = []
    scaled: list[str] = []
    real_fit, real_letters = Reader.fit, judge_fit.fit_letters

    def fit(rows, targets, **more):  # type: ignore[no-untyped-def]
        taught.extend(text for row in rows for text in row)
        return real_fit(rows, targets, **more)

    def letters(examples, weights):  # type: ignore[no-untyped-def]
        taught.extend(e.text for e in examples)
        return real_letters(examples, weights)

    def heard(name: str) -> None:
        real = getattr(OwnJudge, name)

        def signals(self, *texts):  # type: ignore[no-untyped-def]
            scaled.extend(text for column in texts for text in column)
            return real(self, *texts)

        monkeypatch.setattr(OwnJudge, name, signals)

    monkeypatch.setattr(Reader, "fit", staticmethod(fit))
    monkeypatch.setattr(judge_fit, "fit_letters", letters)
    for name in ("style_signals", "meaning_signals", "fluency_signals"):
        heard(name)
    fit_judge(recipe, tmp_path / "judge")
    for texts, seen, unseen in (
        (taught, "ownfive", ("devnine", "strangerthree", "reportrow", "skippedrow")),
        (scaled, "devnine", ("ownfive", "strangerthree", "reportrow", "skippedrow")),
    ):
        together = " ".join(texts)
        assert seen in together
        assert [word for word in unseen if word in together] == []


def test_a_row_that_lacks_something_is_told(recipe: JudgeRecipe, tmp_path: Path) -> None:
    path = recipe.dir / "pairs.jsonl"
    path.write_text('{"toxic": "a", "references": null, "fold": 5}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"pairs.jsonl row 1: no .*references"):
        read_pairs(path, (5,))
    path.write_text('{"toxic": "a", "fold": 5}\n', encoding="utf-8")
    with pytest.raises(DataError, match="references"):
        read_pairs(path, (5,))


def test_people_are_heard_by_their_weight() -> None:
    """A yes and a no that count 3 to 1 make 0.75 where the signal says nothing."""
    scale = judge_fit._logistic(np.zeros((2, 1)), [1.0, 0.0], [3.0, 1.0])
    assert scale(np.zeros((1, 1)))[0] == pytest.approx(0.75, abs=1e-3)


# --- checks ---------------------------------------------------------------------------------


def test_checks_are_means_against_bounds() -> None:
    """A judge that gives full fluency to word salad fails that line and no other."""
    rows = check_rows(RuleJudge(), PAIRS, NEUTRAL)
    found = {(row.what, row.score): row for row in rows}
    assert found[("shuffled words", "fluency")].mean == pytest.approx(1.0)
    assert not found[("shuffled words", "fluency")].holds
    assert found[("references", "fluency")].holds
    # By hand: no copy holds "fool", so style is 1 and must not be above .08.
    assert (found[("copies", "style")].mean, found[("copies", "style")].bound) == (1.0, 0.08)
    assert not found[("copies", "style")].holds
    assert found[("unrelated sentences", "meaning")].bound == 0.25


def test_attacks_are_compared_with_people() -> None:
    judge = RuleJudge()
    people, attack = ["you are wrong"], ["teapot"]
    rows = [
        Attacked("human reference", 1, 1, 1, 1.0, 1.0, tuple(people)),
        Attacked("nonsense", 1, 1, 1, 1.0, 1.0, tuple(attack)),
    ]
    found = score_attacks(judge, ["you are wrong"], rows)
    assert found[0]["ratio"] == 1.0
    assert found[1]["ratio"] == 0.0


def test_the_page_shows_every_figure() -> None:
    page = render_judge_check(
        {
            "judge": "dev@1",
            "rows": [
                {"what": "copies", "score": "style", "mean": 0.2, "bound": 0.08, "at_least": False,
                 "holds": False, "rows": 7}
            ],
            "people_part": "tune",
            "people": [{"metric": "judge", "people": "meaning", "spearman": 0.5, "pearson": 0.25,
                        "rows": 9}],
            "attacks": [{"attack": "search", "joint_where_made": 0.7, "style": 0.9, "meaning": 0.8,
                         "fluency": 0.1, "joint": 0.07, "ratio": 0.11}],
            "attacks_please": "dev@1",
            "attacked_sources": 3,
        }
    )  # fmt: skip
    assert "| copies | style | 0.200 | <= 0.08 | **no** | 7 |" in page
    assert "| meaning | judge | 0.500 | 0.250 |" in page
    assert "| search | 0.700 | 0.900 | 0.800 | 0.100 | 0.070 | 0.11 |" in page
