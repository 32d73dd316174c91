"""Lessons in taste: what becomes good, what becomes bad, and what is asked afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tactful.errors import DataError
from tactful.scorers.taste import Lesson
from tactful.tasting import TasteRecipe, demonstrations, make_lessons, preferences
from tactful.training.warm_found import Demonstration
from tests.fakes import CannedBackend

SHOWN = [
    Demonstration(
        "you are a stupid idiot , and i know it", "you are a bad man , and i know it", "word"
    ),
    Demonstration("this stupid plan will fail again", "this plan will fail again", "insertion"),
]


def test_a_person_wrote_the_good_one_and_machines_the_others() -> None:
    """Samples, the table, deletion and damage are bad; what equals the good one is not shown as bad."""
    said = "you are a bad MAN, and i know it"
    backend = CannedBackend({d.source: [said, "you you"] for d in SHOWN})
    recipe = TasteRecipe(warm_start=Path("none"), samples=2, table=2, damaged=3, seed=1)
    first, second = make_lessons(SHOWN, recipe, backend, lambda line: None)
    assert first.good == ("you are a bad man , and i know it",)
    assert "you you" in first.bad
    # Signs and case apart, the first sample is the person's sentence.
    assert said.lower() not in {text.lower() for text in first.bad}
    # Deleting "stupid" is what the person's sentence is made by: nothing to turn down.
    assert second.good[0] not in second.bad
    assert all(text and len(first.bad) > 3 for text in first.bad)
    again = make_lessons(SHOWN, recipe, backend, lambda line: None)
    assert again == [first, second]


def test_only_what_people_wrote_is_read(tmp_path: Path) -> None:
    """Found rewrites are a machine's, and copies say nothing."""
    rows = [
        *({"source": d.source, "completion": d.completion, "kind": d.kind} for d in SHOWN),
        {"source": "a stupid b", "completion": "a bad b", "kind": "found:replaced"},
        {"source": "a b", "completion": "a b", "kind": "copy"},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "demonstrations.jsonl").write_text(lines, encoding="utf-8")
    assert demonstrations(tmp_path) == SHOWN


def test_a_folder_without_demonstrations_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no demonstrations.jsonl; give the folder"):
        demonstrations(tmp_path)


def test_preferences_by_hand() -> None:
    """Two of three machine sentences score below the person's 0.6; one is above a half itself."""
    scores = {"good": 0.6, "worse": 0.2, "bad": 0.4, "better": 0.9}

    def taste(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
        return np.array([scores[rewrite] for rewrite in rewrites])

    found = preferences(taste, [Lesson("s", ("good",), ("worse", "bad", "better"))])  # type: ignore[arg-type]
    assert found == pytest.approx({"preferred": 2 / 3, "good": 1.0, "bad": 1 / 3})
    assert preferences(taste, []) == {}  # type: ignore[arg-type]
