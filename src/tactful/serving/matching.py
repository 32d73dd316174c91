"""From thresholds on another service's scores to ours, on a sample that both have scored.

    python -m tactful.serving.matching sample.csv --score perspective --at 0.7 --at 0.9

Two scorers with different scales are compared by rank: our threshold lets through as many texts of
the sample as the other one does. Whether they are the *same* texts is another question, and is
answered beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tactful.corpora.read import TEXT_COLUMN, column_names, read_rows, require_columns
from tactful.errors import DataError, TactfulError
from tactful.screeners.load import load_screener
from tactful.serving.scoring import Question, score

_FEW = 50


@dataclass(frozen=True, slots=True)
class Match:
    """Our threshold for one of theirs; None where nothing in the sample reaches theirs.

    `reach` texts of the sample reach both thresholds alike in number; `shared` of them are the
    same texts.
    """

    theirs: float
    ours: float | None
    reach: int
    shared: int


def match_threshold(theirs: Sequence[float], ours: Sequence[float], at: float) -> Match:
    """The threshold on our scores that as many texts reach as reach `at` on theirs."""
    if len(theirs) != len(ours):
        raise DataError(f"as many scores of each are needed, got {len(theirs)} and {len(ours)}")
    reach = sum(value >= at for value in theirs)
    if not reach:
        return Match(at, None, 0, 0)
    threshold = sorted(ours, reverse=True)[reach - 1]
    shared = sum(a >= at and b >= threshold for a, b in zip(theirs, ours, strict=True))
    return Match(at, threshold, reach, shared)


def read_sample(path: Path, column: str, score_column: str) -> tuple[list[float], list[float], int]:
    """Their scores, ours, and how many rows could not be used: no number, or not screened."""
    require_columns(path, column_names(path), [column, score_column])
    texts: list[str] = []
    theirs: list[float] = []
    skipped = 0
    for row in read_rows(path):
        text, value = row.values.get(column), _number(row.values.get(score_column))
        if row.error is not None or not isinstance(text, str) or value is None:
            skipped += 1
            continue
        texts.append(text)
        theirs.append(value)
    found = score(load_screener(None), [Question(text) for text in texts])
    both = [(a, b.toxicity) for a, b in zip(theirs, found, strict=True)]
    kept = [(a, b) for a, b in both if b is not None]
    return [a for a, _ in kept], [b for _, b in kept], skipped + len(both) - len(kept)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of thresholds."""
    parser = argparse.ArgumentParser(prog="python -m tactful.serving.matching")
    parser.add_argument("sample", type=Path, help="a file with your texts and their scores")
    parser.add_argument("--column", default=TEXT_COLUMN, help="the column of the texts")
    parser.add_argument("--score", required=True, help="the column of the other service's scores")
    parser.add_argument("--at", type=float, action="append", required=True, metavar="THRESHOLD")
    asked = parser.parse_args(arguments)
    theirs, ours, skipped = read_sample(asked.sample, asked.column, asked.score)
    out = sys.stdout.write
    out(f"{len(theirs):,} texts scored by both, {skipped:,} left out\n")
    out("theirs   ours     texts at or above   of these the same\n")
    for at in asked.at:
        match = match_threshold(theirs, ours, at)
        if match.ours is None:
            out(f"{at:<8.4g} -        0                   nothing in the sample reaches it\n")
            continue
        share = match.shared / match.reach
        few = "  (few: take a larger sample)" if match.reach < _FEW else ""
        out(f"{at:<8.4g} {match.ours:<8.4f} {match.reach:<19,} {share:.0%}{few}\n")


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    try:
        main()
    except TactfulError as error:
        sys.exit(f"tactful: {error}")
