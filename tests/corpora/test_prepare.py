from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tactful.corpora.prepare import Problem, prepare
from tactful.corpora.splits import fold_of
from tactful.errors import ConfigError, DataError


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(folder: Path) -> tuple[list[str], list[str]]:
    toxic, neutral = (lines(folder / f"{name}.jsonl") for name in ("toxic", "neutral"))
    return [row["text"] for row in toxic], [row["text"] for row in neutral]


def test_one_labelled_file(tmp_path: Path) -> None:
    """A file of text and label becomes two piles with source and fold."""
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nyou idiot,1\n hello there ,0\n")
    report = prepare([path], tmp_path / "out")
    assert lines(tmp_path / "out/toxic.jsonl") == [
        {"text": "you idiot", "source": "mine", "fold": fold_of("you idiot")}
    ]
    assert lines(tmp_path / "out/neutral.jsonl") == [
        {"text": "hello there", "source": "mine", "fold": fold_of("hello there")}
    ]
    assert (report.rows, report.toxic, report.neutral, report.bad_rows) == (2, 1, 1, 0)
    assert report.sources == {"mine": 2}
    assert sum(report.folds) == 2
    assert report.columns == {str(path): 'texts in "text", toxic where "label" is (from 0.5 on)'}
    assert report.written == (
        str(tmp_path / "out/toxic.jsonl"),
        str(tmp_path / "out/neutral.jsonl"),
    )


def test_two_piles(tmp_path: Path) -> None:
    """Files given as a pile need no label, and may be of any kind."""
    bad, good = tmp_path / "bad.txt", tmp_path / "good.parquet"
    bad.write_text("you idiot\nyou clown\n")
    pq.write_table(pa.table({"id": [1], "comment_text": ["hello"], "source": ["web"]}), good)
    report = prepare([], tmp_path, toxic=[bad], neutral=[good])
    assert texts(tmp_path) == (["you idiot", "you clown"], ["hello"])
    assert report.sources == {"bad": 2, "web": 1}
    assert report.columns[str(bad)] == 'toxic texts in "text"'
    with pytest.raises(DataError, match=r'no column "comment"\. Did you mean "comment_text"\?'):
        prepare([], None, neutral=[good], column="comment", check=True)


def test_jigsaw(tmp_path: Path) -> None:
    """Any of several labels makes a text toxic, and which ones is kept."""
    path = tmp_path / "train.csv"
    path.write_text(
        "id,comment_text,toxic,obscene,insult\na,you idiot,1,0,1\nb,hello,0,0,0\nc,odd one,0,1,0\n"
    )
    prepare([path], tmp_path)
    assert [(row["text"], row["labels"]) for row in lines(tmp_path / "toxic.jsonl")] == [
        ("you idiot", ["toxic", "insult"]),
        ("odd one", ["obscene"]),
    ]
    assert lines(tmp_path / "neutral.jsonl")[0]["labels"] == []


def test_civil_comments(tmp_path: Path) -> None:
    """A share of annotators of one half is toxic; the finer scores do not decide."""
    path = tmp_path / "civil.csv"
    path.write_text("comment_text,target,insult\nyou idiot,0.5,0.6\nhello,0.49,0.51\n")
    prepare([path], tmp_path)
    assert texts(tmp_path) == (["you idiot"], ["hello"])
    assert lines(tmp_path / "toxic.jsonl")[0]["labels"] == ["target", "insult"]


def test_paradetox(tmp_path: Path) -> None:
    """One row belongs to both piles, and a missing second rewrite is no fault."""
    path = tmp_path / "paradetox.tsv"
    path.write_text(
        "toxic\tneutral1\tneutral2\nyou idiot\tyou are wrong\t\nshut up\tbe quiet\tplease stop\n"
    )
    report = prepare([path], tmp_path)
    assert texts(tmp_path) == (
        ["you idiot", "shut up"],
        ["you are wrong", "be quiet", "please stop"],
    )
    assert report.bad_rows == 0
    assert report.columns[str(path)] == (
        'toxic texts in "toxic", neutral ones in "neutral1", "neutral2"'
    )


def test_named_columns(tmp_path: Path) -> None:
    """Columns the user names are used, and a wrong name is answered with the nearest."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"post": "you idiot", "bad": true}\n{"post": "hello", "bad": false}\n')
    prepare([path], tmp_path, column="post", label="bad")
    assert texts(tmp_path) == (["you idiot"], ["hello"])
    with pytest.raises(DataError, match=r'no column "pots"\. Did you mean "post"\?'):
        prepare([path], None, column="pots", check=True)
    with pytest.raises(DataError, match=r"a\.jsonl: the text and the label column .* --column"):
        prepare([path], None, check=True)


def test_check_reports_every_bad_row_and_writes_nothing(tmp_path: Path) -> None:
    """Row, column and reason of all that is wrong; the good rows are still counted."""
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"text,label\nyou idiot,1\n,1\nok,1\nhello,perhaps\nhello\nhel\xfflo,0\n"
        b"a long text indeed,0\nhello,\nhello,0\n"
    )
    report = prepare([path], tmp_path / "out", check=True, max_chars=12)
    assert not (tmp_path / "out").exists()
    assert report.written == ()
    assert report.problems == (
        Problem("a.csv", 2, "text", "empty"),
        Problem("a.csv", 3, "text", "length 2 is below 3 characters"),
        Problem(
            "a.csv",
            4,
            "label",
            "'perhaps' is no label: expected a number from 0 to 1, or toxic/neutral",
        ),
        Problem("a.csv", 5, "", "expected 2 cells as in the header, found 1"),
        Problem("a.csv", 6, "", 'column "text": invalid UTF-8 at byte 4 of the cell'),
        Problem("a.csv", 7, "text", "length 18 is above 12 characters"),
        Problem("a.csv", 8, "label", "no label"),
    )
    assert (report.rows, report.bad_rows, report.toxic, report.neutral) == (9, 7, 1, 1)
    assert "7 of 9 rows were bad; see the problems" in report.warnings


def test_the_list_of_problems_is_capped_and_their_count_is_not(tmp_path: Path) -> None:
    """A hundred problems are enough to read; the number is exact."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "hello,perhaps\n" * 250)
    report = prepare([path], None, check=True)
    assert (len(report.problems), report.bad_rows) == (100, 250)


def test_duplicates_and_contradictions(tmp_path: Path) -> None:
    """Copies are kept once; what stands in both piles is in neither, and is named by its place."""
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_text("You idiot!\nyou idiot\nyou clown\nFine day\n")
    good.write_text("fine day.\nhello\nHELLO\nhello!\n")
    report = prepare([], tmp_path, toxic=[bad], neutral=[good])
    assert texts(tmp_path) == (["You idiot!", "you clown"], ["hello"])
    assert report.duplicates == 3
    assert report.contradictory_texts == 1
    reason = "in the toxic and in the neutral pile"
    assert report.contradictions == (
        Problem("bad.txt", 4, "text", reason),
        Problem("good.txt", 1, "text", reason),
    )
    assert any("both piles" in warning for warning in report.warnings)


def test_near_duplicates_share_a_fold(tmp_path: Path) -> None:
    """A near copy, in whichever pile, moves to the fold of the text that came first."""
    first = "the bridge is closed on monday from nine to five"
    twins = [f"{first} {word}" for word in ("a", "b", "c", "d", "e")]
    assert len({fold_of(text) for text in (first, *twins)}) > 1
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_text("\n".join([first, *twins[:3]]))
    good.write_text("\n".join(twins[3:]))
    report = prepare([], tmp_path, toxic=[bad], neutral=[good])
    rows = lines(tmp_path / "toxic.jsonl") + lines(tmp_path / "neutral.jsonl")
    assert {row["fold"] for row in rows} == {fold_of(first)}
    assert report.moved_to_twins_fold == sum(fold_of(text) != fold_of(first) for text in twins)


def test_hash_is_that_of_the_files(tmp_path: Path) -> None:
    """The data hash can be checked with `cat toxic.jsonl neutral.jsonl | sha256sum`."""
    path = tmp_path / "mine.csv"
    path.write_text("text,label\nyou idiot é,1\nhello,0\n")
    report = prepare([path], tmp_path)
    raw = (tmp_path / "toxic.jsonl").read_bytes() + (tmp_path / "neutral.jsonl").read_bytes()
    assert report.data_hash == hashlib.sha256(raw).hexdigest()
    assert prepare([path], None, check=True).data_hash == report.data_hash


def test_small_and_one_sided_piles(tmp_path: Path) -> None:
    """Too little data is said before anyone trains on it; enough brings no warning."""
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_text("".join(f"you are idiot number {n}\n" for n in range(20)))
    good.write_text("".join(f"hello neighbour {n}\n" for n in range(500)))
    (few,) = prepare([], None, neutral=[good], check=True).warnings
    assert few == "there is no toxic text: nothing can be learned from one pile alone"
    assert prepare([], None, toxic=[bad], neutral=[bad], check=True).warnings[:2] == (
        "there is no toxic text: nothing can be learned from one pile alone",
        "there is no neutral text: nothing can be learned from one pile alone",
    )
    (lopsided,) = prepare([], None, toxic=[bad], neutral=[good], check=True).warnings
    assert lopsided == "one-sided: 20 toxic and 500 neutral texts"
    good.write_text("".join(f"hello neighbour {n}\n" for n in range(19)))
    (few,) = prepare([], None, toxic=[bad], neutral=[good], check=True).warnings
    assert few == "only 19 neutral texts: 20 is the least, hundreds are useful"


def test_report_is_plain_data(tmp_path: Path) -> None:
    """The report goes into JSON, and holds no text of the corpus."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\nyou secret idiot,1\nx,0\n")
    words = json.dumps(prepare([path], None, check=True).to_dict())
    assert json.loads(words)["problems"] == [
        {"file": "a.csv", "row": 2, "column": "text", "reason": "length 1 is below 3 characters"}
    ]
    assert "secret" not in words


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    """Nothing to read, nowhere to write, impossible limits and writing over the input."""
    path = tmp_path / "toxic.jsonl"
    path.write_text('{"text": "you idiot"}\n')
    with pytest.raises(ConfigError, match="nothing to prepare"):
        prepare([], tmp_path)
    with pytest.raises(ConfigError, match="--out"):
        prepare([path], None)
    with pytest.raises(ConfigError, match="got folds=0"):
        prepare([path], tmp_path, folds=0)
    with pytest.raises(ConfigError, match="would be written over"):
        prepare([], tmp_path, toxic=[path])
    with pytest.raises(DataError, match="cannot be made a folder"):
        prepare([], path, toxic=[path])
