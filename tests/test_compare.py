"""Methods side by side: every recipe runs, nothing runs twice, and no figure is without a run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful import compare as comparing
from tactful import contest, pipeline
from tactful.compare import EDITED, LEADERS, compare
from tactful.compare_page import render_page
from tactful.config import load_recipe
from tactful.contest import RESULT, WARM, Entrant, by_sentence, gains, read_outcome, side_by_side
from tactful.errors import ConfigError, DataError
from tactful.evaluation.metrics import paired_bootstrap
from tactful.models import ADAPTER_FILE, file_sha256
from tactful.pipeline import TrainRecipe, train
from tactful.records import Rewrite
from tactful.scorers.similarity import MiniLMSimilarity
from tactful.training.game import Gate
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tests.calls import where
from tests.evaluation.fake_judge import RuleJudge
from tests.serving.running import until
from tests.tiny import tiny_causal_lm, tiny_embedder

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes" / "compare").glob("*.yaml"))
TOXIC = [
    "you are a stupid idiot and i know it",
    "only an idiot would read this",
    "those idiots lost the game again",
    "this is a stupid plan and it will fail",
    "what a stupid thing to say",
    "the idiot next door is loud",
]
REWRITES = ["a", "oh", "no", "ai", "eo", "ui"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base, a warm start that knows how to end, and an embedder."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_causal_lm(folder / "base")
    policy = Policy.load(base, lora=LoraSettings(rank=8, alpha=16))
    config = SROConfig(steps=120, batch=6, learning_rate=2e-2)
    rows = [{"prompt": s, "completion": r} for s, r in zip(TOXIC, REWRITES, strict=True)]
    SROTrainer(policy, config, rows, folder / "run").train()
    policy.save(folder / "warm" / "adapter", half=False)
    return {"base": base, "warm": folder / "warm", "embedder": tiny_embedder(folder / "embedder")}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = [
        {"text": text, "source": "paradetox", "fold": fold} for text in TOXIC for fold in (0, 9)
    ]
    pairs = [
        {"toxic": text, "references": [rewrite, rewrite + "a"], "fold": fold}
        for text, rewrite in zip(TOXIC, REWRITES, strict=True)
        for fold in (0, 5)
    ]
    for name, those in (("toxic", rows), ("paradetox_train", pairs)):
        lines = "".join(json.dumps(row) + "\n" for row in those)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    silver = folder / "runs" / "silver" / "silver"
    silver.mkdir(parents=True)
    rows = [{"source": s, "completion": r} for s, r in zip(TOXIC, REWRITES, strict=True)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (silver / "demonstrations.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def tiny(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that make a run small, with followers and a judge that need no weights."""
    alike = MiniLMSimilarity.load(models["embedder"])
    gates = [Gate("spread", spread, 0.3), Gate("similarity", alike, 0.0)]
    monkeypatch.setattr(pipeline, "gates_of", lambda followers: gates)
    for module in (pipeline, contest):
        monkeypatch.setattr(module, "load_judge", lambda name, **more: RuleJudge())
    monkeypatch.chdir(ROOT)
    return [
        f"base={models['base']}",
        "look.rows=2",
        "train.batch=3",
        "train.look_every=2",
        "train.save_every=2",
        "train.log_every=1",
    ]


def spread(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    """Anything between 0 and 1, by the text."""
    return np.array([sum(map(ord, text)) % 7 / 6 for text in rewrites])


def sizes(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", RECIPES, ids=sizes)
def test_every_recipe_runs(
    path: Path, models: dict[str, Path], corpus: Path, tiny: list[str], tmp_path: Path
) -> None:
    """A few steps on the tiny model: tokens are counted, and something was learned."""
    adapter = models["warm"] / "adapter"
    given = [f"data.dir={corpus}", f"warm_start={adapter}", *tiny, "train.steps=3"]
    recipe = load_recipe(path, TrainRecipe, given)
    found = train(recipe, tmp_path / "run")
    assert 0 <= found["joint"] <= 1
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["result"]["step"] == 3
    assert (about["spent"]["generated"] > 0) is recipe.plays
    assert about["spent"]["trained"] > 0
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    learned = tmp_path / "run" / "adapter" / ADAPTER_FILE
    assert file_sha256(learned) != file_sha256(adapter / ADAPTER_FILE)
    assert any(line["grad_norm"] > 0 for line in lines if "loss" in line)


def test_the_leaders_are_there() -> None:
    names = {path.stem for path in RECIPES}
    assert set(LEADERS) < names
    assert len(names) == 22


def test_only_the_ceiling_sees_pairs() -> None:
    """The house's tone is our own, silver a machine's: no other method has anybody's rewrites."""
    shown = {}
    for path in RECIPES:
        recipe = load_recipe(path, TrainRecipe, ["data.dir=x"])
        if recipe.demonstrations is not None:
            shown[path.stem] = str(recipe.demonstrations.file)
        assert recipe.preferences is None
    assert shown == {
        "ditto": "recipes/compare/tone.jsonl",
        "silver": "runs/silver/silver/demonstrations.jsonl",
        "supervised": "paradetox_train.jsonl",
    }
    assert 5 <= len((ROOT / shown["ditto"]).read_text().splitlines()) <= 10


def test_nothing_runs_twice(
    models: dict[str, Path],
    corpus: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Table, page and figures of three methods, the leaders again under flips; a second call trains
    nothing and says the same.
    """
    recipes = [ROOT / "recipes" / "compare" / f"{name}.yaml" for name in ("sro", "kto", "orpo")]
    overrides = [*tiny, "train.tokens=700"]
    out = tmp_path / "out"

    def run(**more: Any) -> dict[str, Any]:
        return compare(
            recipes, corpus, models["warm"], out, seeds=(0, 1), rows=4, overrides=overrides, **more
        )

    said: list[str] = []
    found = run(say=said.append)
    warm, *methods = found["methods"]
    assert (warm["name"], found["budget"], found["texts"]["rows"]) == (WARM, 700, 4)
    assert {row["name"]: len(row["runs"]) for row in methods} == {"sro": 2, "kto": 2, "orpo": 1}
    assert [row["joint"] for row in methods] == sorted((r["joint"] for r in methods), reverse=True)
    for row in methods:
        for one in row["runs"]:
            # The budget ends a run after the step in which it is used up.
            assert 700 <= one["generated"] + one["trained"] < 1400
            assert one["curve"][-1]["tokens"] == one["generated"] + one["trained"]
            assert one["memory"] > 50
    page = (out / "compare.md").read_text()
    assert all(f"| {row['name']} |" in page for row in found["methods"])
    assert {row["name"]: len(row["runs"]) for row in found["flipped"]} == {"sro": 1, "kto": 1}
    clean = {row["name"]: row for row in methods}
    for row in found["flipped"]:
        first = clean[row["name"]]["runs"][0]
        assert row["clean"] == pytest.approx(first["joint"])
        assert row["lost"]["mean"] == pytest.approx(row["joint"] - first["joint"])
        assert page.count(f"| {row['name']} |") == 2
        # Another recipe, so another key; the flips do reach the screener.
        seeds = {one["seed"]: one["key"] for one in clean[row["name"]]["runs"]}
        assert all(one["key"] != seeds[one["seed"]] for one in row["runs"])
        recipe = load_recipe(out / f"{row['name']}-flipped-0" / "recipe.yaml", TrainRecipe, [])
        assert recipe.followers.noise.model_dump(include={"false_pass", "false_fail", "seed"}) == {
            "false_pass": 0.1,
            "false_fail": 0.1,
            "seed": 0,
        }
    figures = (out / "compare.html").read_text()
    assert figures.count("<polygon") == 3 * len(methods)
    assert "<script" not in figures
    assert "J against tokens" in figures
    assert "J against verdicts turned around" in figures

    def forbidden(*given: Any, **more: Any) -> None:
        raise AssertionError("this has been run")

    with monkeypatch.context() as patched:
        patched.setattr(contest, "train", forbidden)
        assert run(say=said.append) == found
        assert said[-1] == "8 of 8 runs are there"
        (out / "orpo-0" / RESULT).unlink()
        with pytest.raises(AssertionError, match="has been run"):
            run()
    # Its training is there; only the answers are asked for and judged again.
    assert run()["methods"][0] == warm


class Halving:
    """A rewriter that gives up every second text, by the words of its method."""

    def __init__(self, model: str, method: str) -> None:
        self.model, self.method = Path(model).name, method
        self.name = f"{self.model} {method}"
        self.asked = 0

    def rewrite_many(self, texts: Sequence[str], *, force: bool) -> list[Rewrite]:
        assert force, "every text is rewritten"
        self.asked += len(texts)
        return [
            Rewrite(text, "a", "unresolved" if i % 2 else "rewritten")
            for i, text in enumerate(texts)
        ]


def test_what_needs_no_training_stands_beside_it(
    models: dict[str, Path],
    corpus: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole rewriters of the base as it is, one of an edited model; asked once."""
    loaded: list[Halving] = []
    version = ""

    def load(model: str, *, method: str) -> Halving:
        loaded.append(Halving(model, method))
        loaded[-1].name += version
        return loaded[-1]

    monkeypatch.setattr(contest.Rewriter, "load", load)
    edited = tiny_causal_lm(tmp_path / "edited")
    out = tmp_path / "out"

    def run() -> dict[str, Any]:
        return compare(
            [ROOT / "recipes" / "compare" / "orpo.yaml"],
            corpus,
            models["warm"],
            out,
            rows=4,
            overrides=[*tiny, "train.tokens=300"],
            untrained=["prompt", "refine"],
            edited=edited,
        )

    found = run()
    asked = {(one.model, one.method): one.asked for one in loaded if one.asked}
    assert asked == {("base", "prompt"): 4, ("base", "refine"): 4, ("edited", "prompt"): 4}
    assert [row["name"] for row in found["methods"]] == [WARM, "orpo"]
    assert {row["name"] for row in found["untrained"]} == {"prompt", "refine", "model-surgery"}
    page = (out / "compare.md").read_text()
    for row in found["untrained"]:
        [one] = row["runs"]
        assert one["unresolved"] == 0.5
        assert f"| {row['name']} | {row['joint']:.3f} |" in page
    assert found["minutes"] == pytest.approx(found["methods"][1]["runs"][0]["minutes"], abs=0.06)
    loaded.clear()
    assert run() == found
    assert sum(one.asked for one in loaded) == 0

    # Other lists, another adapter: what was written before is not taken for theirs.
    version = " anew"
    run()
    assert sum(one.asked for one in loaded) == 12
    loaded.clear()

    # Another judge: its figures are not those of the first.
    class Stricter(RuleJudge):
        signature = "another judge"

    monkeypatch.setattr(contest, "load_judge", lambda name, **more: Stricter())
    assert run()["judge"] == "another judge"
    assert sum(one.asked for one in loaded) == 0, "what was written is only judged again"


def test_what_cannot_be_compared_is_told_first(
    models: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = [ROOT / "recipes" / "compare" / "orpo.yaml"]
    with pytest.raises(ConfigError, match=r"no method 'refined'; there are model, replace"):
        compare(recipes, corpus, models["warm"], tmp_path / "out", untrained=["refined"])
    with pytest.raises(ConfigError, match="prompt would stand in the table twice"):
        compare(recipes, corpus, models["warm"], tmp_path / "out", untrained=["prompt"] * 2)
    recipes = [ROOT / "recipes" / "compare" / "silver.yaml"]
    (corpus / "runs" / "silver" / "silver" / "demonstrations.jsonl").unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="silver learns from runs/silver"):
        compare(recipes, corpus, models["warm"], tmp_path / "out")


def test_a_result_of_something_else_is_not_taken(
    models: dict[str, Path], tiny: list[str], tmp_path: Path
) -> None:
    """Other texts, another warm start: another key. What is torn is no result."""
    adapter = models["warm"] / "adapter"
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    (other / ADAPTER_FILE).write_bytes((adapter / ADAPTER_FILE).read_bytes() + b"\n")
    one = Entrant(WARM, 0, adapter, str(models["base"]), None)
    keys = {
        contest._key(one, TOXIC, "dev"),
        contest._key(one, TOXIC[:-1], "dev"),
        contest._key(one, TOXIC, "final"),
        contest._key(Entrant(WARM, 0, other, str(models["base"]), None), TOXIC, "dev"),
    }
    assert len(keys) == 4
    [outcome] = contest.compete([one], TOXIC, tmp_path)
    assert read_outcome(tmp_path / "warm" / RESULT) == outcome
    text = (tmp_path / "warm" / RESULT).read_text()
    (tmp_path / "warm" / RESULT).write_text(text[: len(text) // 2])
    assert read_outcome(tmp_path / "warm" / RESULT) is None
    [again] = contest.compete([one], TOXIC, tmp_path)
    assert again.scores == outcome.scores


def outcome(name: str, style: list[float]) -> contest.Outcome:
    ones = [1.0] * len(style)
    scores = {"style": style, "meaning": ones, "fluency": [0.5] * len(style)}
    return contest.Outcome("k", name, 0, "w", "a", "j", 1, 2, 3, 60.0, 5.0, 0.0, scores, [])


def test_gains_are_paired_and_averaged_over_seeds() -> None:
    """By hand: joint .4 and .2 on average of two seeds, against .1 and .1."""
    seeds = [outcome("m", [1.0, 0.2]), outcome("m", [0.6, 0.6])]
    warm = outcome(WARM, [0.2, 0.2])
    assert by_sentence(seeds, "joint") == pytest.approx([0.4, 0.2])
    found = gains(seeds, warm)["joint"]
    assert found.mean == pytest.approx(0.2)
    assert found == paired_bootstrap([0.4, 0.2], [0.1, 0.1])


def test_calls_side_by_side_have_processes_of_their_own() -> None:
    found = dict(side_by_side(where, [(n, False) for n in range(2)], jobs=2))
    assert {n: number for n, (number, _) in found.items()} == {0: 0, 1: 1}
    processes = {process for _, process in found.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert list(side_by_side(where, [(5, False)], jobs=1)) == [(0, (5, os.getpid()))]
    with pytest.raises(DataError, match="number 1 cannot be done"):
        list(side_by_side(where, [(1, True)], jobs=2))


def test_runs_do_not_outlive_who_began_them(tmp_path: Path) -> None:
    """Else a study that was killed goes on, and the next one writes into the same folders."""
    calls = f"[({str(tmp_path)!r},)] * 2"
    code = f"list(side_by_side(linger, {calls}, jobs=2))"
    head = "from tests.calls import linger; from tactful.contest import side_by_side; "
    caller = subprocess.Popen([sys.executable, "-c", head + code], cwd=ROOT)
    try:
        until(lambda: len(list(tmp_path.iterdir())) == 2, within=90)
    finally:
        caller.kill()
        caller.wait()
    until(lambda: not any(alive(int(f.name)) for f in tmp_path.iterdir()), within=90)


def alive(process: int) -> bool:
    """Whether it runs; one that ended and waits to be collected does not."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


def test_recipes_that_differ_in_more_than_their_method(
    models: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    """Budgets, data and names are told before anything runs."""
    folder = ROOT / "recipes" / "compare"
    (tmp_path / "long.yaml").write_text(f"extends: {folder / 'sro.yaml'}\ntrain: {{tokens: 7}}\n")
    (tmp_path / "sro.yaml").write_text(f"extends: {folder / 'sro.yaml'}\n")
    (tmp_path / "free.yaml").write_text(
        f"extends: {folder / 'sro.yaml'}\ntrain: {{tokens: null}}\n"
    )

    def told(*recipes: Path, warm: Path = models["warm"]) -> str:
        with pytest.raises(ConfigError) as caught:
            compare(recipes, corpus, warm, tmp_path / "out")
        return str(caught.value)

    assert "sro and long differ in train.tokens" in told(
        folder / "sro.yaml", tmp_path / "long.yaml"
    )
    assert "the same name" in told(folder / "sro.yaml", tmp_path / "sro.yaml")
    assert "free has no train.tokens" in told(tmp_path / "free.yaml")
    assert "no warm start" in told(folder / "sro.yaml", warm=tmp_path)
    assert not (tmp_path / "out").exists()


def test_no_cell_is_without_a_run() -> None:
    """Every figure of the committed table is the mean over runs that stand beside it."""
    path = ROOT / "docs" / "results" / "compare.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert {row["name"] for row in found["methods"]} == {WARM, *(p.stem for p in RECIPES)}
    keys = [one["key"] for row in found["methods"] for one in row["runs"]]
    assert len(keys) == len(set(keys))
    for row in found["methods"]:
        for part in contest.PARTS:
            mean = np.mean([one[part] for one in row["runs"]])
            assert row[part] == pytest.approx(mean, abs=1e-9), (row["name"], part)
        if row["name"] == WARM:
            continue
        assert len(row["runs"]) >= (3 if row["name"] in LEADERS else 1)
        for one in row["runs"]:
            assert one["key"]
            assert one["step"] > 0
            assert one["adapter"] != found["warm"]
            assert found["budget"] <= one["generated"] + one["trained"]
    assert {row["name"] for row in found["flipped"]} == set(LEADERS)
    made = re.search(r"^UNTRAINED := (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert made
    assert {row["name"] for row in found["untrained"]} == {*made[1].split(), EDITED}
    assert all(row["runs"][0]["key"] and row["runs"][0]["minutes"] for row in found["untrained"])
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert page == comparing.render_markdown(found)
    assert path.with_suffix(".html").read_text(encoding="utf-8") == render_page(found)
