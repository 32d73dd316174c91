"""From recipes to run folders, on tiny models: what is left behind, and that it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful import pipeline
from tactful.config import validate
from tactful.corpora.piles import own_corpus
from tactful.errors import ConfigError, DataError, InterruptedRunError
from tactful.evaluation.base import Scores
from tactful.pipeline import (
    Followers,
    Looker,
    TrainRecipe,
    WarmRecipe,
    _search,
    gates_of,
    texts_of,
    train,
    warm_up,
)
from tactful.training.game import Gate, as_follower
from tactful.training.policy import Policy
from tactful.training.warm_found import DEMONSTRATIONS, read_demonstrations
from tests.evaluation.fake_judge import RuleJudge
from tests.fakes import KeywordScreener, WordOverlap
from tests.scorers.test_http import Server
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
        "alarms.jsonl",
        "checkpoint-2",
        "checkpoint-4",
        "metrics.jsonl",
        "recipe.yaml",
        "report.html",
        "run.json",
        "samples.jsonl",
    ]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_joint" in line] == [2, 4]
    assert all("play/passed/any" in line for line in lines if "loss" in line)
    assert seen == [line["step"] for line in lines]
    samples = read_lines(out / "samples.jsonl")
    assert [row["step"] for row in samples] == [2, 2, 2, 4, 4, 4]
    assert [row["source"] for row in samples[:3]] == TOXIC[::2]
    # A tiny random model runs into the length limit at every step.
    assert {row["step"] for row in read_lines(out / "alarms.jsonl")} == {1, 2, 3, 4}
    about = json.loads((out / "run.json").read_text())
    assert about["result"] == {"step": 4, **{n: v for n, v in found.items() if n != "data"}}
    assert (about["judge"], about["data"], about["texts"]) == ("rule@test", found["data"], 6)
    assert found["data"] in (out / "adapter" / "README.md").read_text()
    before = kept(out)
    again = train(recipe, out)
    assert kept(out) == before
    assert again == found
    assert (out / "checkpoint-4").exists()


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def kept(out: Path) -> dict[str, Any]:
    """What must not depend on how often a run was stopped; times are not compared."""
    files = ("adapter/adapter_model.safetensors", "samples.jsonl", "alarms.jsonl")
    metrics = read_lines(out / "metrics.jsonl")
    told = [line for line in metrics if "train_runtime" not in line]
    return {"metrics": told, **{name: (out / name).read_bytes() for name in files}}


def test_a_killed_run_leaves_what_an_unbroken_one_does(
    small: dict[str, object], tmp_path: Path
) -> None:
    """What was written after the last checkpoint is written again, and stands there once."""
    recipe = TrainRecipe.model_validate(
        {
            **small,
            "play": {"samples": 2},
            "train": {"steps": 4, "batch": 2, "save_every": 2, "look_every": 1, "log_every": 1},
        }
    )
    out = tmp_path / "run"
    train(recipe, out)
    unbroken = kept(out)
    # As if it had been killed before the second checkpoint was whole.
    shutil.rmtree(out / "checkpoint-4")
    shutil.rmtree(out / "adapter")
    train(recipe, out)
    assert kept(out) == unbroken
    # From the start, because that is asked for.
    train(recipe, out, resume="never")
    assert kept(out) == unbroken


def test_a_stopped_run_can_be_looked_at(small: dict[str, object], tmp_path: Path) -> None:
    """The page says how far it came; there is no adapter and so no card."""
    train_config = {"steps": 4, "batch": 2, "look_every": 2, "log_every": 1}
    recipe = TrainRecipe.model_validate({**small, "train": train_config})

    def stop_after_2(line: Mapping[str, float]) -> None:
        if line["step"] == 2 and "eval_joint" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    # What comes while a step is looked at ends the next one.
    with pytest.raises(InterruptedRunError, match="checkpoint-3"):
        train(recipe, tmp_path / "run", told=stop_after_2)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "not finished: the last line is of step 3 of 4" in page
    assert "After step 2</th>" in page
    assert not (tmp_path / "run" / "adapter").exists()
    train(recipe, tmp_path / "run")
    assert "finished, 4 steps" in (tmp_path / "run" / "report.html").read_text()


def test_the_best_weights_are_told_by_their_step(
    small: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that likes the first look best: the result is of step 1, samples stand there once."""

    class Tires(RuleJudge):
        def score(self, sources, rewrites, references=None):  # type: ignore[no-untyped-def]
            scores = super().score(sources, rewrites)
            fall = np.full(len(rewrites), 0.9 ** len(self.asked))
            return Scores(fall, fall, scores.fluency)

    judge = Tires()
    monkeypatch.setattr(pipeline, "load_judge", lambda name: judge)
    every_step = {"look_every": 1, "save_every": 1, "log_every": 1}
    train_config = {"steps": 3, "batch": 2, "best": True, **every_step}
    recipe = TrainRecipe.model_validate({**small, "train": train_config})
    train(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["result"]["step"] == 1
    steps = [row["step"] for row in read_lines(tmp_path / "run" / "samples.jsonl")]
    assert steps == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    before = kept(tmp_path / "run")
    # Nothing is left to do, and the best weights are still the ones that are kept.
    train(recipe, tmp_path / "run")
    assert kept(tmp_path / "run") == before
    assert json.loads((tmp_path / "run" / "run.json").read_text())["result"]["step"] == 1


def test_a_run_does_not_go_on_by_another_recipe(small: dict[str, object], tmp_path: Path) -> None:
    """What changed is told; starting over is allowed."""

    def recipe(rate: float) -> TrainRecipe:
        train = {"steps": 2, "batch": 2, "save_every": 2, "learning_rate": rate}
        return TrainRecipe.model_validate({**small, "play": {"samples": 2}, "train": train})

    train(recipe(1e-4), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train.learning_rate: 0.0001 before, 0.001 now"):
        train(recipe(1e-3), tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").unlink()
    with pytest.raises(ConfigError, match=r"holds checkpoints, but not the recipe.yaml"):
        train(recipe(1e-4), tmp_path / "run")
    train(recipe(1e-3), tmp_path / "run", resume="never")


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
    policy = Policy.load(warm.base, adapter=tmp_path / "warm" / "adapter", device="cpu")
    assert "+adapter@" in policy.name
    assert policy.config._attn_implementation == "eager"  # the quicker one to learn with
    assert "making demonstrations" in said
    # Run again it has them, unless the recipe wants others.
    said.clear()
    warm_up(warm, tmp_path / "warm", say=said.append)
    assert "making demonstrations" not in said
    warm_up(warm.model_copy(update={"seed": 1}), tmp_path / "warm", say=said.append)
    assert "making demonstrations" in said


def test_what_is_searched_for_is_what_the_product_says_without_a_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lists first: a word at a time "a total liar" would be replaced, not said."""

    alike = WordOverlap()
    monkeypatch.setattr(pipeline.MiniLMSimilarity, "load", lambda: alike)
    monkeypatch.setattr(pipeline.LocalBackend, "load", lambda: None)
    monkeypatch.setattr(pipeline, "LikelihoodFluency", lambda backend: alike)
    said: list[str] = []
    texts = ["the cook is a total liar and it stinks .", "have a nice day"]
    assert _search(said.append)(texts) == ["the cook is untruthful and it stinks .", None]
    assert said == ["searching: 2 of 2"]


def test_what_people_chose_is_shown(small: dict[str, object], tmp_path: Path) -> None:
    """A file of preferences in place of demonstrations: what was chosen is what is learned."""
    file = tmp_path / "people.jsonl"
    rows = [
        {"text": f"read it, idiot {n}", "chosen": f"please read it {n}", "rejected": "read it"}
        for n in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train = {"steps": 2, "batch": 2, "learning_rate": 0.01}
    recipe = WarmRecipe.model_validate({**small, "demonstrations": str(file), "train": train})
    warm_up(recipe, tmp_path / "people")
    shown = read_demonstrations(tmp_path / "people" / DEMONSTRATIONS)
    assert [(d.source, d.completion, d.kind) for d in shown] == [
        (row["text"], row["chosen"], "person") for row in rows
    ]
    assert (tmp_path / "people" / "adapter" / "adapter_model.safetensors").exists()


def test_nothing_to_train_on_is_told(small: dict[str, object], tmp_path: Path) -> None:
    data = {**small["data"], "folds": [3]}  # type: ignore[dict-item]
    recipe = TrainRecipe.model_validate({**small, "data": data})
    with pytest.raises(DataError, match=r"no toxic texts of at most 30 words in folds \(3,\)"):
        train(recipe, tmp_path / "run")
    data = {**small["data"], "dev_folds": [3]}  # type: ignore[dict-item]
    recipe = TrainRecipe.model_validate({**small, "data": data})
    with pytest.raises(DataError, match="no toxic texts to look at"):
        train(recipe, tmp_path / "run")


def test_a_pile_without_toxic_texts_is_told(small: dict[str, object], tmp_path: Path) -> None:
    """Nothing to rewrite is an error before anything is made; little of it is said."""
    folder = Path(small["data"]["dir"])  # type: ignore[index]
    shutil.copy(folder / "neutral.jsonl", folder / "toxic.jsonl")
    recipe = TrainRecipe.model_validate({**small, "train": {"steps": 1, "batch": 2}})
    with pytest.raises(
        DataError, match=r"none of the 6 texts is toxic by the screener linear@.*data\.toxic"
    ):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    texts = [f"the train leaves at {hour} today" for hour in range(10)] + ["you idiot"]
    rows = [{"text": text, "source": "mild", "fold": fold} for text in texts for fold in (0, 9)]
    (folder / "toxic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    train(recipe, tmp_path / "run", say=said.append)
    assert "WARNING only 1 of 11 texts (9.1%) are toxic by the screener" in said[0]


# --- followers ------------------------------------------------------------------------------

_ALONE: dict[str, Any] = {"similarity": None, "shape": False}


def _one_too_many(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.ones(len(rewrites) + 1)


def _likes_madly(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.full(len(rewrites), np.nan)


def _own(**calls: str) -> Followers:
    also = [{"name": name, "call": call, "threshold": 0.25} for name, call in calls.items()]
    return Followers.model_validate({**_ALONE, "also": also})


def test_a_follower_may_be_the_users_own() -> None:
    """It stands behind ours, under its name, with its threshold."""
    style, mine = gates_of(_own(mine="tests.test_pipeline:_likes_anything"))
    assert (style.name, mine.name, mine.threshold) == ("style", "mine", 0.25)
    assert mine.follower(["a"], ["b"]).tolist() == [1.0]


def test_a_server_may_be_a_follower(
    small: dict[str, object],
    tmp_path: Path,
    socket_enabled: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked once before, then about every sample; one that is down is told at once."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(pipeline, "gates_of", gates_of)
    server = Server()
    server.reply = lambda asked: (200, {"scores": [0.5] * len(asked["rewrites"])})
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    recipe = TrainRecipe.model_validate(
        {
            **small,
            "play": {"samples": 2},
            "train": {"steps": 1, "batch": 2, "log_every": 1},
            "followers": _own(far=server.url),
        }
    )
    train(recipe, tmp_path / "run")
    server.http.shutdown()
    server.http.server_close()
    thread.join()
    assert [len(asked["rewrites"]) for asked in server.asked] == [1, 4]
    [line] = [row for row in read_lines(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert (line["play/passed/far"], line["play/score/far"]) == (1.0, 0.5)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(ConfigError, match=r"far: http://127.* was not reached"):
        train(recipe, tmp_path / "other")


def test_all_faults_of_own_followers_are_told_before_training(
    small: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked once: not there, no such name, a score too many, no number."""
    monkeypatch.setattr(pipeline, "gates_of", gates_of)
    here = "tests.test_pipeline"
    followers = _own(
        gone="no_such_module:score",
        fine=f"{here}:_likes_anything",
        lost=f"{here}:no_such_name",
        data=f"{here}:TOXIC",
        many=f"{here}:_one_too_many",
        mad=f"{here}:_likes_madly",
    )
    recipe = TrainRecipe.model_validate({**small, "followers": followers})
    with pytest.raises(ConfigError) as caught:
        train(recipe, tmp_path / "run")
    told = str(caught.value).splitlines()
    assert len(told) == 6
    for line, words in zip(
        told[1:],
        ["gone: there is no module", "lost: ", "data: ", "asked about 1 rewrites", "gave nan"],
        strict=True,
    ):
        assert words in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("also", "told"),
    [
        ([("style", "a:b", 0.5)], "the name 'style' is taken"),
        ([("mine", "a:b", 0.5), ("mine", "a:c", 0.5)], "the name 'mine' is taken"),
        ([("all", "a:b", 0.5)], "the name 'all' is taken"),
        ([("mine", "just words", 0.5)], "write package.module:callable, or http"),
        ([("mine", "a:b", 1.5)], "less than or equal to 1"),
        ([("a/b", "a:b", 0.5)], "should match pattern"),
    ],
)
def test_a_follower_that_makes_no_sense_is_told_by_the_recipe(
    small: dict[str, object], also: list[tuple[str, str, float]], told: str
) -> None:
    rows = [dict(zip(("name", "call", "threshold"), row, strict=True)) for row in also]
    with pytest.raises(ConfigError, match=told):
        validate({**small, "followers": {"also": rows}}, TrainRecipe, name="a.yaml")


def test_the_style_gate_may_ask_another_screener(tmp_path: Path) -> None:
    """Its thresholds come with it."""
    shutil.copytree(str(resources.files("tactful") / "assets" / "screener"), tmp_path / "mine")
    settings = json.loads((tmp_path / "mine" / "screener.json").read_text())
    settings["thresholds"] |= {"passing": 0.125, "act": 0.5}
    (tmp_path / "mine" / "screener.json").write_text(json.dumps(settings))
    [style] = gates_of(Followers(**_ALONE, screener=tmp_path / "mine"))
    assert style.threshold == 0.875
    [style] = gates_of(Followers(**_ALONE, screener=tmp_path / "mine", style=0.75))
    assert style.threshold == 0.75


def test_a_screener_is_a_follower_of_rewrites_alone() -> None:
    """1 - toxicity, whatever the source is."""
    follower = as_follower(KeywordScreener({"idiot": 0.75}))
    assert follower(["you idiot", "fine"], ["you", "you idiot"]).tolist() == [1.0, 0.25]


# --- looking --------------------------------------------------------------------------------


def test_a_look_judges_greedy_answers(small: dict[str, object]) -> None:
    """The same dev texts each time, and the means of what the judge says of them."""

    class Half(RuleJudge):
        def score(self, sources, rewrites, references=None):  # type: ignore[no-untyped-def]
            half = np.full(len(rewrites), 0.5)
            return Scores(half, half, half)

    policy = Policy.load(str(small["base"]))
    seen: dict[int, list[tuple[str, str]]] = {}
    look = Looker(Half(), ["you idiot", "what a stupid plan"], seen.__setitem__)
    first, second = look(policy, 0), look(policy, 1)
    assert first == second
    assert [source for source, _ in seen[0]] == ["you idiot", "what a stupid plan"]
    assert seen[0] == seen[1]
    assert (first["joint"], first["style"]) == (0.125, 0.5)


def test_long_texts_and_other_folds_stay_out(small: dict[str, object]) -> None:
    recipe = TrainRecipe.model_validate(small)
    examples = pipeline.read_piles(recipe.data.dir, recipe.data.toxic)
    assert texts_of(examples, recipe.data, (0,)) == TOXIC
    short = recipe.data.model_copy(update={"longest": 5})
    assert texts_of(examples, short, (0,)) == [t for t in TOXIC if len(t.split()) <= 5]
    assert texts_of(examples, recipe.data, (0,), ("elsewhere",)) == []


# --- rows that people made ------------------------------------------------------------------


def _lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


_SHORT: dict[str, Any] = {"steps": 2, "batch": 2, "learning_rate": 1e-2, "log_every": 1}


def test_what_people_preferred_is_learned(
    small: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their pairs instead of samples: nothing is generated, no follower is asked."""
    monkeypatch.delattr(pipeline, "gates_of")
    pairs = _lines(
        tmp_path / "people.jsonl",
        {"text": TOXIC[0], "chosen": NEUTRAL[5], "rejected": TOXIC[0]},
        {"text": TOXIC[4], "chosen": NEUTRAL[2], "rejected": "what a thing"},
    )
    recipe = TrainRecipe.model_validate({**small, "preferences": pairs, "train": _SHORT})
    train(recipe, tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (about["texts"], about["spent"]["generated"]) == (2, 0)
    first = next(line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if "loss" in line)
    # At the start a pair costs log 2, beside its anchor.
    assert first["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    _lines(pairs, {"text": TOXIC[0], "rejected": "a"})
    with pytest.raises(DataError, match='row 1: no "chosen"'):
        train(recipe, tmp_path / "other")


def test_rewrites_of_people_are_shown(small: dict[str, object], tmp_path: Path) -> None:
    """Columns by name, lists row by row, other folds left out; looked for in the corpus first."""
    folder = Path(small["data"]["dir"])  # type: ignore[index]
    rows = [
        {"bad": "you idiot", "good": ["you are wrong", "you  err"], "fold": 0},
        {"bad": "damn", "good": ["oh"], "fold": 3},
    ]
    _lines(folder / "own.jsonl", *rows)
    shown = {"file": "own.jsonl", "source": "bad", "rewrite": "good"}
    recipe = TrainRecipe.model_validate({**small, "demonstrations": shown, "train": _SHORT})
    assert not recipe.plays
    assert pipeline._rows_of(recipe, []) == (
        [
            {"prompt": "you idiot", "completion": "you are wrong"},
            {"prompt": "you idiot", "completion": "you err"},
        ],
        {},
    )
    # Against them, samples are held: one row a source.
    played = recipe.model_copy(update={"play": recipe.play.model_copy(update={"pairing": "tone"})})
    assert played.plays
    assert pipeline._rows_of(played, []) == ([{"text": "you idiot"}], {"you idiot": "you err"})
    _lines(folder / "own.jsonl", {**rows[0], "good": ["fine", ""]})
    with pytest.raises(DataError, match=r"own\.jsonl row 1: a source or a rewrite is no text"):
        train(recipe, tmp_path / "run")
    _lines(folder / "own.jsonl", rows[1])
    with pytest.raises(DataError, match=r"no rewrites of folds \(0,\)"):
        train(recipe, tmp_path / "run")
    _lines(folder / "own.jsonl", {"bad": "a", "fold": 0})
    with pytest.raises(DataError, match="good"):
        train(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"demonstrations": {"file": "a"}, "preferences": "b"}, "not both"),
        ({"play": {"pairing": "tone"}}, "tone needs demonstrations"),
    ],
)
def test_rows_that_make_no_sense_are_told_by_the_recipe(
    small: dict[str, object], sections: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        validate({**small, **sections}, TrainRecipe, name="a.yaml")
