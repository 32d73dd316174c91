"""What a person or a log sees of a run over a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tactful import cli_files, file_report
from tactful.cli_files import clock, render
from tactful.errors import DataError, MissingExtraError
from tactful.file_report import render_file_report, require_report
from tactful.rewriting.files import FileReport


def report() -> FileReport:
    found = FileReport("a<b>.csv", "out.csv", "model|screener", resumed=3, repeated=2, lost=1)
    for status, before, after in (
        ("rewritten", 0.95, 0.1),
        ("unchanged", 0.05, 0.05),
        ("not_screened", None, None),
    ):
        found.count([None, status, "", before, after, None, None])
    found.point(7200.0)
    return found


def test_summary_in_the_terminal() -> None:
    """Statuses, toxicity, what was saved, what was lost, and the time."""
    assert render(report()).splitlines() == [
        "3 texts: 1 rewritten, 1 unchanged, 1 not_screened",
        "mean toxicity: 0.500 before, 0.075 after",
        "2 rows repeat a text that was answered before",
        "3 rows were done by an earlier run",
        "1 worker processes died or took too long; they were replaced",
        "wrote out.csv in 2:00:00, 0.0 rows a second",
    ]
    assert render(FileReport("in.csv", "out.csv", "x")).splitlines() == [
        "0 texts: nothing to do",
        "wrote out.csv in 0:00:00",
    ]


def test_figures_without_texts() -> None:
    """Screened rows are in the histograms, the others are not."""
    found = report().to_dict()
    assert (found["toxicity_before"][19], found["toxicity_before"][1]) == (1, 1)
    assert sum(found["toxicity_after"]) == 2
    assert found["statuses"] == {"rewritten": 1, "unchanged": 1, "not_screened": 1}
    assert found["rows_per_second"] == pytest.approx(3 / 7200, abs=1e-3)


def test_the_pace_is_kept_in_few_points() -> None:
    """A long run leaves a curve, not a list of its chunks; the last point is where it ended."""
    found = FileReport("in.csv", "out.csv", "x")
    for _ in range(5000):
        found.rows += 256
        found.point(1.0)
    assert len(found.pace) <= 1000
    assert found.pace[0] == (0.0, 0)
    assert found.pace[-1] == (5000.0, 5000 * 256)
    assert found.pace == sorted(found.pace)
    assert found.rate == 256


def test_page_escapes_names() -> None:
    """A file's name is no markup, and an empty file has a page, too."""
    page = render_file_report(report())
    assert "a&lt;b&gt;.csv" in page
    assert "33.3%" in page
    assert render_file_report(FileReport("in.csv", "out.csv", "x")).count("<img") == 3


def test_reports_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before the night, not after it."""
    with pytest.raises(DataError, match=r"ends with \.html"):
        require_report(tmp_path / "a.pdf")
    with pytest.raises(DataError, match="there is no folder"):
        require_report(tmp_path / "x" / "a.html")
    monkeypatch.setattr(file_report, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tactful\[evaluate\]"):
        require_report(tmp_path / "a.html")


def test_a_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How far, how fast, how long still; each kind of work counts from where it began."""
    now = 1000.0
    monkeypatch.setattr(cli_files.time, "monotonic", lambda: now)
    tell = cli_files._lines()
    tell("rewriting", 100, 1000)
    now = 1030.0
    tell("rewriting", 200, 1000)
    now = 1060.0
    tell("rewriting", 400, 1000)
    tell("rewriting", 401, 1000)
    now = 1120.0
    tell("writing", 5, None)
    assert capsys.readouterr().err.splitlines() == [
        "rewriting: 400 of 1,000 rows, 5.0 a second, 0:02:00 left",
        "writing: 5 rows",
    ]
    assert [clock(s) for s in (0, 59.6, 3661, 360_000)] == [
        "0:00:00",
        "0:01:00",
        "1:01:01",
        "100:00:00",
    ]
