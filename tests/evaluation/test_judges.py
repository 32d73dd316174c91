"""Our own judge on tiny readers: what holds whatever its weights are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tactful.errors import ConfigError, CorruptFileError, ModelsMissingError
from tactful.evaluation.base import Judge
from tactful.evaluation.judges import (
    Letters,
    OwnJudge,
    Scale,
    letter_groups,
    load_judge,
    pieces_of,
    shared_letters,
)
from tactful.evaluation.reader import Reader, ReaderConfig
from tactful.evaluation.vectors import StaticVectors
from tactful.models import home
from tests.tiny import tiny_embedder

SOURCES = ["you are an idiot", "what a stupid plan", "read it, fool", "see you on monday"]
REWRITES = ["you are wrong", "what a bad plan", "please read it", "see you on monday"]


def by_hand_vectors() -> StaticVectors:
    """One direction for each of some words."""
    words = {"[unk]": 0, "you": 1, "are": 2, "wrong": 3, "plan": 4, "read": 5, "monday": 6}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[unk]"))
    tokenizer.pre_tokenizer = Whitespace()
    return StaticVectors(np.eye(len(words), dtype=np.float32), tokenizer, "by-hand")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> OwnJudge:
    base = tiny_embedder(tmp_path_factory.mktemp("encoder"))
    config = ReaderConfig(base=str(base), rank=2, epochs=1)
    one = [(text,) for text in SOURCES + REWRITES]
    targets = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    readers = {
        "style": Reader.fit(one, targets, config=config),
        "meaning": Reader.fit(
            list(zip(SOURCES, REWRITES, strict=True)), targets[4:], config=config
        ),
        "fluency": Reader.fit(one, targets[::-1], config=config),
    }
    size = letter_groups(["a"]).shape[1]
    weights = np.random.default_rng(0).normal(size=size).astype(np.float16).astype(np.float32)
    scales = {
        "style": Scale((0.5, 1.0), 0.1),
        "meaning": Scale((0.3, 1.0, 1.0, 0.5, 0.1, 0.1), -1.0),
        "fluency": Scale((1.0,), 0.0),
    }
    return OwnJudge("test", readers, Letters(weights, 0.25), by_hand_vectors(), scales)


@pytest.fixture
def saved(judge: OwnJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(StaticVectors, "load", classmethod(lambda cls: by_hand_vectors()))
    judge.save(tmp_path / "judge")
    return tmp_path / "judge"


def test_it_is_a_judge(judge: OwnJudge) -> None:
    asked: Judge = judge
    assert asked.name == "test"
    assert not asked.needs_references
    assert asked.signature.endswith("|by-hand")


def test_nothing_said_scores_nothing(judge: OwnJudge) -> None:
    scores = judge.score(["you are an idiot"] * 3, ["", " ... ", "you are wrong"])
    assert scores.joint.tolist()[:2] == [0.0, 0.0]
    assert scores.joint[2] > 0


def test_a_copy_makes_the_same_point(judge: OwnJudge) -> None:
    """Case, tokenisation and a final stop do not make it another."""
    said = judge.same_meaning(["Do n't go .", "go home"], ["don't go", "stay here"])
    assert said[0] == 1.0
    assert said[1] < 1.0


def test_no_row_depends_on_its_neighbours(judge: OwnJudge) -> None:
    """All at once, one by one, and twice over: the same to 1e-5."""
    at_once = judge.score(SOURCES, REWRITES)
    doubled = judge.score(SOURCES * 40, REWRITES * 40)
    for part in ("style", "meaning", "fluency"):
        alone = np.concatenate(
            [getattr(judge.score([s], [r]), part) for s, r in zip(SOURCES, REWRITES, strict=True)]
        )
        assert np.abs(getattr(at_once, part) - alone).max() < 1e-5
        assert np.abs(getattr(doubled, part)[:4] - alone).max() < 1e-5


def test_shared_letters_by_hand() -> None:
    """ "abcd", "bcde" against "bcde", "cdef", "defg": one is common."""
    assert shared_letters("abcde", "BCDEFG.") == (1 / 2, 1 / 3)
    assert shared_letters("abc", "") == (0.0, 0.0)


def test_signals_are_weighed_as_the_scale_says() -> None:
    """sigmoid(2 * 1 - 1 * 3 + 1) = sigmoid(0)."""
    assert Scale((2.0, -1.0), 1.0)(np.array([[1.0, 3.0]]))[0] == 0.5


def test_what_is_saved_judges_the_same(judge: OwnJudge, saved: Path) -> None:
    loaded = OwnJudge.load(saved)
    assert loaded.signature == judge.signature
    before, after = judge.score(SOURCES, REWRITES), loaded.score(SOURCES, REWRITES)
    assert np.array_equal(before.joint, after.joint)


def test_other_weights_than_it_was_saved_with_are_refused(saved: Path) -> None:
    (saved / "style.safetensors").write_bytes((saved / "fluency.safetensors").read_bytes())
    with pytest.raises(CorruptFileError, match="not those it was saved with"):
        OwnJudge.load(saved)


@pytest.mark.parametrize("name", ["letters.npy", "style.safetensors", "judge.json"])
@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_torn_file_is_told(saved: Path, name: str, content: bytes) -> None:
    (saved / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match="sound"):
        load_judge(str(saved))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["scales"]["style"].update(intercept=5.0),
        lambda s: s["letters"].update(intercept=5.0),
        lambda s: s["readers"]["meaning"].update(max_tokens=5),
    ],
)
def test_whatever_decides_a_score_is_in_the_signature(
    saved: Path, judge: OwnJudge, change: Callable[[dict[str, Any]], None]
) -> None:
    """Scales, letters and settings as well as weights; a folder whose hash is wrong is refused."""
    path = saved / "judge.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    change(settings)
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CorruptFileError, match="not those it was saved with"):
        OwnJudge.load(saved)


def test_letters_decide_with_the_reader(judge: OwnJudge) -> None:
    """Another set of letter weights gives another style and another signature."""
    silent = Letters(np.zeros_like(judge._letters.weights), 0.0)
    other = OwnJudge("test", judge._readers, silent, judge._vectors, judge._scales)
    assert not np.allclose(other.style(SOURCES), judge.style(SOURCES))
    assert other.signature != judge.signature


def test_a_text_is_as_decent_as_its_worst_sentence(judge: OwnJudge) -> None:
    """However much stands before an insult, and fluent on average over its sentences."""
    whole = "See you on monday. " * 30 + "You are an idiot."
    pieces = judge.style(["See you on monday.", "You are an idiot."])
    assert judge.style([whole])[0] == pytest.approx(pieces.min(), abs=1e-5)
    fluency = judge.fluency(["See you on monday.", "You are an idiot."])
    assert judge.fluency([whole])[0] == pytest.approx((30 * fluency[0] + fluency[1]) / 31, abs=1e-5)


def test_a_long_sentence_is_read_to_its_end() -> None:
    """In pieces, none of which is longer than a reader reads."""
    found = pieces_of("word " * 80 + "end")
    assert max(len(piece.split()) for piece in found) <= 35
    assert " ".join(found).split() == ["word"] * 80 + ["end"]
    assert pieces_of("...") == ["..."]


def test_meaning_knows_which_text_is_the_source(judge: OwnJudge) -> None:
    forth = judge.score(["you are an idiot"], ["you are wrong and late"])
    back = judge.score(["you are wrong and late"], ["you are an idiot"])
    assert forth.meaning[0] == judge.same_meaning(["you are an idiot"], ["you are wrong and late"])
    assert forth.meaning[0] != back.meaning[0]


def test_loading_the_final_judge_is_counted(saved: Path) -> None:
    """Under any name its folder has; other judges are nobody's business."""
    load_judge(str(saved))
    assert not (home() / "final_runs.jsonl").exists()
    final = OwnJudge.load(saved)
    final.name = "final"
    final.save(saved)
    load_judge(str(saved), purpose="a test")
    load_judge(str(saved))
    lines = [json.loads(x) for x in (home() / "final_runs.jsonl").read_text().splitlines()]
    assert [line["purpose"] for line in lines] == ["a test", "not told"]
    assert lines[0]["judge"] == final.signature


@pytest.mark.parametrize("broken", ["{", "{}", "[]", '{"readers": {}}'])
def test_broken_settings_are_told(saved: Path, broken: str) -> None:
    (saved / "judge.json").write_text(broken, encoding="utf-8")
    with pytest.raises(CorruptFileError, match="sound judge"):
        load_judge(str(saved))


def test_no_judge_by_that_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no judge 'dve'"):
        load_judge("dve")
    with pytest.raises(ModelsMissingError, match="no judge here"):
        load_judge(str(tmp_path))


def test_settings_hold_no_path_but_the_base(saved: Path) -> None:
    settings = json.loads((saved / "judge.json").read_text(encoding="utf-8"))
    assert set(settings) == {"name", "readers", "letters", "scales", "digest"}
    assert "/" not in json.dumps({k: v for k, v in settings.items() if k != "readers"})
