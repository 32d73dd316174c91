from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tactful.errors import DataError
from tactful.training.pairs import Pair, PushDown
from tactful.training.preferences import read_accepted, read_preferences, read_rejections
from tactful.training.warm_found import Demonstration


def row(text: str, **sides: str) -> dict[str, str]:
    return {"text": text, "prompt": f"Toxic: {text}\nPolite:\n", **sides}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_pairs_come_in_order(tmp_path: Path) -> None:
    """A row is a pair; keys that are not asked for are left alone."""
    first = row("read it, moron", chosen="please read it", rejected="read it, person")
    second = row("shut up", chosen="please be quiet", rejected="shut up")
    path = lines(tmp_path / "p.jsonl", {**first, "time": "now", "model": "m@1"}, second)
    assert read_preferences(path) == [
        Pair("read it, moron", chosen="please read it", rejected="read it, person"),
        Pair("shut up", chosen="please be quiet", rejected="shut up"),
    ]


def test_the_conversational_form_is_read(tmp_path: Path) -> None:
    """TRL's lists of messages say the same as plain texts."""
    said = [[{"role": "assistant", "content": text}] for text in ("please read it", "read it")]
    turns = {"text": "read it, moron", "chosen": said[0], "rejected": said[1]}
    path = lines(tmp_path / "p.jsonl", turns)
    assert read_preferences(path) == [Pair("read it, moron", "please read it", "read it")]


def test_what_was_only_rejected_is_read_by_itself(tmp_path: Path) -> None:
    """Such a row is no pair, and a pair is no such row."""
    path = lines(tmp_path / "r.jsonl", row("read it, moron", rejected="read it, genius"))
    assert read_rejections(path) == [PushDown("read it, moron", "read it, genius")]
    with pytest.raises(DataError, match=r'row 1: no "chosen".*only rejected'):
        read_preferences(path)
    pairs = lines(tmp_path / "p.jsonl", row("a b", chosen="c d", rejected="e f"))
    with pytest.raises(DataError, match="row 1: has a chosen text"):
        read_rejections(pairs)


def test_what_people_chose_can_be_shown(tmp_path: Path) -> None:
    """Chosen texts become demonstrations of their own kind."""
    kept = row("read it, moron", chosen="please read it", rejected="read it, moron")
    found = read_accepted(lines(tmp_path / "p.jsonl", kept))
    assert found == [Demonstration("read it, moron", "please read it", "person")]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"chosen": "a", "rejected": "b"}, 'no "text" in this row, which has "chosen"'),
        ({"text": "a", "chosen": 5, "rejected": "b"}, "chosen must be a text.*found int"),
        ({"text": "a", "chosen": [], "rejected": "b"}, "chosen must be a text.*found list"),
        ({"text": "a", "chosen": "b", "rejected": " b "}, "the same text"),
        ({"text": " ", "chosen": "b", "rejected": "c"}, "text is empty"),
        (["a", "b"], "expected a JSON object"),
    ],
)
def test_a_row_that_is_no_pair_is_told(tmp_path: Path, found: Any, told: str) -> None:
    """The number of the row, and what was found there."""
    good = row("read it, moron", chosen="please read it", rejected="read it")
    path = lines(tmp_path / "p.jsonl", good, found)
    with pytest.raises(DataError, match=f"(?s)p.jsonl is not usable.*row 2: .*{told}"):
        read_preferences(path)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    """The first few stand for the others."""
    with pytest.raises(DataError, match=r"(?s)row 5.*and 4 more"):
        read_preferences(lines(tmp_path / "p.jsonl", *[{"text": "a"}] * 9))


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    """Nothing was decided yet: say so, and where decisions come from."""
    path = tmp_path / "p.jsonl"
    path.touch()
    with pytest.raises(DataError, match="holds no row"):
        read_preferences(path)
