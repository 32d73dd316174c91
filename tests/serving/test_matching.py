from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tactful.errors import DataError
from tactful.serving.matching import main, match_threshold, read_sample

THEIRS = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]
OURS = [0.99, 0.2, 0.95, 0.97, 0.1, 0.0]


def test_as_many_texts_reach_ours_as_theirs() -> None:
    """Three texts reach 0.7 there; the third largest score here is 0.95; two of three are shared."""
    match = match_threshold(THEIRS, OURS, 0.7)
    assert (match.ours, match.reach, match.shared) == (0.95, 3, 2)


def test_a_threshold_that_nothing_reaches_has_no_match() -> None:
    """Nothing can be said about a threshold beyond the sample."""
    assert match_threshold(THEIRS, OURS, 0.95).ours is None
    with pytest.raises(DataError, match="got 6 and 5"):
        match_threshold(THEIRS, OURS[1:], 0.5)


def test_the_same_scores_match_themselves() -> None:
    """A service matched with itself keeps its thresholds, up to the next score."""
    match = match_threshold(THEIRS, THEIRS, 0.5)
    assert (match.ours, match.shared) == (0.7, 3)


def test_a_sample_file_gives_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows without a score and texts that are not screened are counted, not guessed."""
    file = tmp_path / "sample.csv"
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "old"])
        writer.writerows(
            [
                ("you are an idiot", 0.95),
                ("thank you for your help", 0.05),
                ("what a moron", 0.9),
                ("have a nice day", "n/a"),
                ("das habe ich leider nicht verstanden", 0.5),
            ]
        )
    theirs, ours, skipped = read_sample(file, "text", "old")
    assert (theirs, skipped) == ([0.95, 0.05, 0.9], 2)
    assert min(ours[0], ours[2]) > 0.7 > ours[1]
    main([str(file), "--score", "old", "--at", "0.7", "--at", "0.99"])
    shown = capsys.readouterr().out
    assert "3 texts scored by both, 2 left out" in shown
    assert "100%  (few" in shown
    assert "nothing in the sample" in shown
