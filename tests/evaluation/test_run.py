from __future__ import annotations

import json
from pathlib import Path

import pytest

from tactful.errors import ConfigError, DataError
from tactful.evaluation.run import parse_outputs, run_evaluate
from tests.evaluation.fake_judge import RuleJudge


def _lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Sources beside the outputs of two systems, as published."""
    return _lines(
        tmp_path / "peers.jsonl",
        {"toxic": "you fool", "first": "you", "second": "you fool"},
        {"toxic": "read it fool now", "first": "read it now", "second": None},
    )


def test_files_in_report_out(published: Path, tmp_path: Path) -> None:
    """Outputs come by the system's name, by a named column, or from a file of their own."""
    own = tmp_path / "own.txt"
    own.write_text("you\nread it\n", encoding="utf-8")
    out = tmp_path / "new" / "folder"
    outputs = [f"first={published}", f"other={published}#second", f"own={own}"]
    report = run_evaluate(published, outputs, RuleJudge(), out, baseline="other", boot=50)
    assert [system.name for system in report.systems] == ["first", "other", "own"]
    assert report.system("first").soft["meaning"].mean == 0.625
    assert report.system("other").empty == 1
    assert report.system("own").soft["meaning"].mean == 0.5
    assert sorted(path.name for path in out.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
        "scores.jsonl",
        "sentences.jsonl",
    ]


def test_a_second_run_judges_nothing(published: Path, tmp_path: Path) -> None:
    """Scores stay beside the report; running again only writes it again."""
    run_evaluate(published, [f"first={published}"], RuleJudge(), tmp_path / "out")
    judge = RuleJudge()
    run_evaluate(published, [f"first={published}"], judge, tmp_path / "out")
    assert judge.asked == []
    elsewhere = tmp_path / "kept.jsonl"
    run_evaluate(published, [f"first={published}"], judge, tmp_path / "b", cache=elsewhere)
    assert len(judge.asked) == 2
    assert elsewhere.exists()


def test_references_beside_the_sources(tmp_path: Path) -> None:
    """References are found in the file of the sources and reach the report."""
    test = _lines(tmp_path / "test.jsonl", {"toxic": "you fool", "references": ["you"]})
    out = _lines(tmp_path / "out.jsonl", {"rewrite": "you"})
    report = run_evaluate(test, [f"ours={out}"], RuleJudge(needs_references=True), tmp_path / "r")
    overlap = report.systems[0].overlap
    assert overlap is not None
    assert overlap.chrf == pytest.approx(100)


def test_clef_submission_is_matched_by_id(tmp_path: Path) -> None:
    """A submission in another order still meets its sources."""
    sources = _lines(
        tmp_path / "in.jsonl", {"id": "a", "text": "you fool"}, {"id": "b", "text": "he fool"}
    )
    out = _lines(tmp_path / "out.jsonl", {"id": "b", "text": "he"}, {"id": "a", "text": "you"})
    report = run_evaluate(sources, [f"ours={out}"], RuleJudge(), tmp_path / "r")
    assert report.systems[0].rewrites == ("you", "he")


def test_misaligned_files_are_named(published: Path, tmp_path: Path) -> None:
    """A file with too few rows stops the run before anything is judged."""
    short = tmp_path / "short.txt"
    short.write_text("you\n", encoding="utf-8")
    judge = RuleJudge()
    with pytest.raises(DataError, match='system "short": 1 rows, but 2 sources'):
        run_evaluate(published, [f"short={short}"], judge, tmp_path / "r")
    assert judge.asked == []


def test_outputs_are_names_and_paths(tmp_path: Path) -> None:
    """A "#" that belongs to a file's name is left alone."""
    odd = tmp_path / "a#b.txt"
    odd.touch()
    parsed = parse_outputs(["x=a.csv", "y=b=c.csv#col", f"z={odd}"])
    assert parsed == {"x": (Path("a.csv"), None), "y": (Path("b=c.csv"), "col"), "z": (odd, None)}


def test_wrong_outputs_are_all_named() -> None:
    """A path without a name and a name twice are told in one message."""
    with pytest.raises(ConfigError) as caught:
        parse_outputs(["a.csv", "x=a.csv", "x=b.csv", "=c.csv"])
    assert len(str(caught.value).splitlines()) == 3


def test_a_folder_that_cannot_be_made(published: Path, tmp_path: Path) -> None:
    """A file where the folder should be is said before any judging."""
    (tmp_path / "taken").touch()
    judge = RuleJudge()
    with pytest.raises(DataError, match="cannot be made"):
        run_evaluate(published, [f"first={published}"], judge, tmp_path / "taken")
    assert judge.asked == []


def test_a_rewriter_of_ours_writes_first(published: Path, tmp_path: Path) -> None:
    """Its answers are kept beside the report, and judged like any file."""

    def rewriter(method: str):  # type: ignore[no-untyped-def]
        return lambda texts: [f"{method}: {text}" for text in texts]

    out = tmp_path / "out"
    report = run_evaluate(
        published, ["ours=:shout"], RuleJudge(), out, boot=50, rewriter=rewriter, clef=True
    )
    assert report.system("ours").rewrites == ("shout: you fool", "shout: read it fool now")
    kept = [json.loads(line) for line in (out / "ours.jsonl").read_text().splitlines()]
    assert kept[0] == {"text": "you fool", "_text": "shout: you fool", "_method": "shout"}
    lines = (out / "ours.clef.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["lang", "toxic_sentence", "neutral_sentence"]
    assert lines[1].split("\t") == ["en", "you fool", "shout: you fool"]


def test_a_rewriter_goes_on_after_what_it_wrote(published: Path, tmp_path: Path) -> None:
    """Half a line is written again; what another method wrote is not taken for this one's."""
    asked: list[str] = []

    def rewriter(method: str):  # type: ignore[no-untyped-def]
        return lambda texts: [asked.append(text) or f"{method}: {text}" for text in texts]

    def run(method: str) -> tuple[str, ...]:
        report = run_evaluate(
            published, [f"ours=:{method}"], RuleJudge(), tmp_path, boot=50, rewriter=rewriter
        )
        return report.system("ours").rewrites

    first, second = run("shout")
    assert len(asked) == 2
    written = (tmp_path / "ours.jsonl").read_text()
    (tmp_path / "ours.jsonl").write_text(written[:-5])
    assert run("shout") == (first, second)
    assert asked[2:] == ["read it fool now"]
    assert run("shout") == (first, second)
    assert len(asked) == 3
    assert run("whisper")[0] == "whisper: you fool"
    assert (tmp_path / "ours.jsonl").read_text().count("whisper") == 4


def test_no_rewriter_to_write_with_is_told(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rewriter was given for :shout"):
        run_evaluate(published, ["ours=:shout"], RuleJudge(), tmp_path / "out")
