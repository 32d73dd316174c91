"""Silver pairs: both checks by hand, then a stub and a tiny model as writers, killed and gone on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tactful import pipeline
from tactful.config import load_recipe
from tactful.errors import ConfigError, DataError
from tactful.pipeline import WarmRecipe, warm_up
from tactful.rewriting.candidates import PromptedModel
from tactful.scorers.similarity import MiniLMSimilarity
from tactful.synthesis import (
    SILVER,
    SynthesisRecipe,
    check_pairs,
    distinct,
    other_content,
    still_toxic,
    synthesize,
)
from tactful.training.preferences import read_preferences
from tactful.training.warm_found import read_demonstrations
from tests.evaluation.fake_judge import RuleJudge
from tests.fakes import CannedBackend, KeywordScreener, WordOverlap
from tests.tiny import tiny_causal_lm, tiny_embedder

SCREENER = KeywordScreener({"idiot": 0.9, "stupid": 0.8, "silly": 0.45}, passing=0.5)
RECIPE = SynthesisRecipe()


def _corpus(folder: Path, texts: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"text": text, "source": "own", "fold": 0}) + "\n" for text in texts]
    (folder / "toxic.jsonl").write_text("".join(lines))
    return folder


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _writer(answers: Mapping[str, Sequence[str]]) -> PromptedModel:
    return PromptedModel(CannedBackend(answers), prompt=lambda text: text)


def _run(corpus: Path, writer: PromptedModel, recipe: SynthesisRecipe = RECIPE) -> dict[str, Any]:
    return synthesize(recipe, corpus, writer=writer, screener=SCREENER, similarity=WordOverlap())


# --- the checks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewrite", "similarity", "reason"),
    [
        ("you are wrong about page 9", 0.9, ""),
        ("you are wrong about page 9", 0.49, "similarity 0.49, below 0.50"),
        ("you are wrong about it", 0.9, "a number, link or mention lost"),
        ("you are not wrong about page 9", 0.9, ""),
        ("page 9, you are wrong", 0.9, ""),
        ("you are wrong about page 9, which is a rather sad thing to say", 0.9, "too long"),
        ("wrong 9", 0.9, "too short"),
        ("Sure, you are wrong about page 9", 0.9, "chatter"),
    ],
)
def test_content_by_hand(rewrite: str, similarity: float, reason: str) -> None:
    """Of the source "you idiot are wrong about page 9"; the first fault is told."""
    source = "you idiot are wrong about page 9"
    assert other_content(source, rewrite, similarity, RECIPE) == reason


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (0.9, 0.1, ""),
        (0.9, 0.45, ""),
        (0.9, 0.5, "toxicity 0.50, not below 0.50"),
        (0.6, 0.4, "toxicity 0.60 only fell to 0.40"),
    ],
)
def test_toxicity_by_hand(before: float, after: float, reason: str) -> None:
    """Below what passes, and at least half of it gone."""
    assert still_toxic(before, after, passing=0.5, reduction=0.5) == reason


def test_content_is_asked_first() -> None:
    """A toxic rewrite about something else is turned down for what it says."""
    pairs = [
        ("the idiot won", "stupid rain"),
        ("the idiot won", "the stupid won"),
        ("the idiot won", "the man won"),
    ]
    checks = [answer["check"] for answer in check_pairs(pairs, RECIPE, SCREENER, WordOverlap())]
    assert checks == ["content", "toxicity", ""]
    assert check_pairs([], RECIPE, SCREENER, WordOverlap()) == []


def test_what_says_nothing_is_no_answer() -> None:
    assert distinct(["a", "", " ", "b", "a"]) == ["a", "b"]


# --- the pipeline ---------------------------------------------------------------------------


def test_what_passes_and_what_fails(tmp_path: Path) -> None:
    """The best that passed is shown; every failure is kept with check and reason; all of it readable."""
    corpus = _corpus(
        tmp_path / "corpus",
        [
            "the idiot won again",
            "this stupid plan failed",
            "what a stupid idiot",
            "a fine day",
            "i will kill you idiot",
        ],
    )
    writer = _writer(
        {
            "won again": ["the man won", "the man won again", "the stupid won again", "rain"],
            "plan": ["this stupid plan failed"],
            "what a": [" "],
        }
    )
    found = _run(corpus, writer)
    assert found == {
        "sources": 3,
        "left out": 2,
        "shown": 1,
        "preferences": 2,
        "failed content": 1,
        "failed toxicity": 2,
        "no answer": 1,
    }
    silver = corpus / "silver"
    [shown] = read_demonstrations(silver / "demonstrations.jsonl")
    assert (shown.source, shown.completion, shown.kind) == (
        "the idiot won again",
        "the man won again",
        SILVER,
    )
    rejects = _rows(silver / "rejects.jsonl")
    assert [(row["rewrite"], row["check"]) for row in rejects] == [
        ("", "source"),
        ("", "source"),
        ("the stupid won again", "toxicity"),
        ("rain", "content"),
        ("this stupid plan failed", "toxicity"),
        ("", "rewrite"),
    ]
    assert rejects[0]["reason"] == "toxicity 0.00, below 0.50"
    assert rejects[1]["reason"].endswith("for a person to see")
    assert rejects[2]["reason"] == "toxicity 0.80, not below 0.50"
    pairs = read_preferences(silver / "preferences.jsonl")
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [
        ("the man won again", "the stupid won again"),
        ("the man won again", "rain"),
    ]


def test_an_unbroken_run_is_not_done_twice(tmp_path: Path) -> None:
    """A second call asks nobody; other texts or another recipe are refused, and say what differs."""
    corpus = _corpus(tmp_path / "corpus", ["the idiot won again"])
    writer = _writer({"won": ["the man won again"]})
    first = _run(corpus, writer)
    asked = len(writer.backend.requests)  # type: ignore[attr-defined]
    assert _run(corpus, writer) == first
    assert len(writer.backend.requests) == asked  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"move it away.*\n  recipe.samples: 4 before, 2 now"):
        _run(corpus, writer, SynthesisRecipe(samples=2))
    _corpus(corpus, ["the idiot lost again"])
    with pytest.raises(ConfigError, match="sources: "):
        _run(corpus, writer)


def test_a_pile_without_insults_is_told(tmp_path: Path) -> None:
    """With the reason for the first text."""
    corpus = _corpus(tmp_path / "corpus", ["a fine day"])
    with pytest.raises(DataError, match=r"1 texts, all left out, the first as toxicity 0\.00"):
        _run(corpus, _writer({}))
    with pytest.raises(DataError, match=r"0 texts in folds \(7,\)"):
        _run(corpus, _writer({}), SynthesisRecipe(folds=(7,)))


_SLOW = """
import sys, time
from pathlib import Path
from tactful.synthesis import SynthesisRecipe, synthesize
from tests.fakes import KeywordScreener, WordOverlap

class Slow:
    name = "canned@test+<lambda>"
    def propose(self, sources):
        time.sleep(0.2)
        return [[s.replace("idiot", "man")] for s in sources]

screener = KeywordScreener({"idiot": 0.9, "stupid": 0.8, "silly": 0.45}, passing=0.5)
synthesize(SynthesisRecipe(), Path(sys.argv[1]), writer=Slow(), screener=screener, similarity=WordOverlap())
"""


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """kill -9 while it writes: nothing is lost, doubled, or asked for twice."""
    texts = [f"the idiot read page {i} again" for i in range(1000)]
    corpus = _corpus(tmp_path / "corpus", texts)
    root = Path(__file__).parent.parent
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(corpus)], cwd=root)
    written = corpus / "silver" / "written.jsonl"
    deadline = time.monotonic() + 100
    while not (written.exists() and written.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = sum(line.endswith("\n") for line in written.read_text().splitlines(keepends=True))
    assert 0 < done < 1000
    # As a kill may leave it: half of the next line.
    written.write_bytes(written.read_bytes() + b'{"source": "the id')
    asked: list[str] = []

    class Quick:
        name = "canned@test+<lambda>"

        def propose(self, sources: Sequence[str]) -> list[list[str]]:
            asked.extend(sources)
            return [[source.replace("idiot", "man")] for source in sources]

    found = synthesize(RECIPE, corpus, writer=Quick(), screener=SCREENER, similarity=WordOverlap())
    assert asked == texts[done:]
    assert found["shown"] == 1000
    shown = read_demonstrations(corpus / "silver" / "demonstrations.jsonl")
    assert [d.source for d in shown] == texts


def test_a_tiny_model_writes_and_a_tiny_policy_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's own engine and embedder run; what passed is what a warm start learns."""
    base = tiny_causal_lm(tmp_path / "base")
    embedder = MiniLMSimilarity.load(tiny_embedder(tmp_path / "embedder"))
    texts = [f"the idiot read page {i} again" for i in range(6)]
    random = _corpus(tmp_path / "random", texts)
    recipe = SynthesisRecipe(model=str(base), prompt="trained", samples=2)
    found = synthesize(recipe, random, screener=SCREENER, similarity=embedder)
    answers = [
        answer for row in _rows(random / "silver/written.jsonl") for answer in row["answers"]
    ]
    assert found["sources"] == 6
    assert found["shown"] + found["no answer"] <= 6
    assert found["failed content"] == len(answers) - found["shown"]
    assert found["no answer"] == sum(
        not row["answers"] for row in _rows(random / "silver/written.jsonl")
    )

    corpus = _corpus(tmp_path / "corpus", texts)
    _run(corpus, _writer({f"page {i}": [f"the man read page {i} again"] for i in range(6)}))
    monkeypatch.setattr(pipeline, "load_judge", lambda name: RuleJudge())
    pile = {"file": "toxic.jsonl", "toxic": True}
    warm = WarmRecipe.model_validate(
        {
            "data": {"dir": str(corpus), "toxic": [pile], "folds": [0], "dev_folds": [0]},
            "demonstrations": str(corpus / "silver"),
            "base": str(base),
            "lora": {"rank": 2, "alpha": 4},
            "look": {"rows": 2},
            "train": {"steps": 2, "batch": 2},
        }
    )
    said: list[str] = []
    warm_up(warm, tmp_path / "warm", say=said.append)
    assert "learning 6 demonstrations of 1 kinds" in said
    assert (tmp_path / "warm" / "adapter" / "adapter_model.safetensors").exists()


def test_the_shipped_recipe_is_the_default() -> None:
    """What it writes out is what is taken where nothing is said, the folds aside."""
    path = Path(__file__).parent.parent / "recipes" / "synthesize.yaml"
    assert load_recipe(path, SynthesisRecipe, ["folds=[]"]) == RECIPE


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A labelled file becomes piles and silver pairs; what goes with nothing is wrong usage."""
    from tactful.cli import main

    backend = CannedBackend({"goose": ["the man at the desk was no help at all"]})
    asked: list[tuple[object, ...]] = []

    def load(engine: str, model: str, **options: object) -> CannedBackend:
        asked.append((engine, model, options["served"]))
        return backend

    monkeypatch.setattr("tactful.synthesis.load_engine", load)
    monkeypatch.setattr(MiniLMSimilarity, "load", lambda: WordOverlap())
    table = tmp_path / "mine.csv"
    table.write_text(
        "text,label\nthe fucking idiot at the desk was no help at all you goose,1\nhello there,0\n"
    )
    recipe = Path(__file__).parent.parent / "recipes" / "synthesize.yaml"

    def run(*more: str, given: tuple[str, ...] = (str(table),)) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tactful", "prepare", *given, *more])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsysbinary.readouterr()
        return int(exit_.value.code or 0), (out + err).decode()

    out = tmp_path / "corpus"
    options = ("-o", str(out), "--synthesize", str(recipe), "--set", "engine=openai")
    options += ("--set", "folds=[]")
    code, said = run(*options, "--set", "served=big")
    assert code == 0, said
    assert asked == [("openai", "base", "big")]
    assert "silver, shown: 1" in said
    assert "writing silver pairs: 1 of 1" in said
    [shown] = read_demonstrations(out / "silver" / "demonstrations.jsonl")
    assert shown.completion == "the man at the desk was no help at all"
    # What is prepared already needs no input, and nothing is asked twice.
    code, said = run(*options, "--set", "served=big", given=())
    assert (code, len(asked)) == (0, 2), said
    assert "silver, shown: 1" in said
    code, said = run("-o", str(tmp_path / "empty"), "--synthesize", str(recipe), given=())
    assert code == 2
    assert "needs a corpus" in " ".join(said.replace("│", " ").split())
    assert run("--check", "--synthesize", str(recipe))[0] == 2
    assert run("-o", str(out), "--set", "samples=2")[0] == 2
    code, said = run("-o", str(out), "--synthesize", str(recipe), "--set", "sample=2")
    assert code == 1
    assert 'Did you mean "samples"?' in said
