from __future__ import annotations

import gzip
import json
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tactful.corpora.read import read_rows
from tactful.corpora.write import json_line, open_writer
from tactful.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"text": 'a "quoted", line\nand more\r', "n": "1"},
    {"text": "= sum\té \0", "n": "-2"},
]
NAMES = ["a.csv", "a.tsv", "a.jsonl", "a.ndjson.gz", "a.csv.gz", "a.tsv.zst", "a.parquet"]


def written(path: Path, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """Writes rows, reads them back, and insists that none is bad."""
    with open_writer(path, **options) as writer:
        for row in rows:
            writer.write(row)
    back = list(read_rows(path))
    assert [row.error for row in back] == [None] * len(back)
    return [row.values for row in back]


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(tmp_path: Path, name: str) -> None:
    """What is written is read back alike, and nothing but the file is left behind."""
    assert written(tmp_path / name, ROWS) == ROWS
    assert [path.name for path in tmp_path.iterdir()] == [name]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
tables = st.lists(st.fixed_dictionaries({"text": texts, "other": texts}), max_size=5)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@settings(max_examples=150, deadline=None)
@given(rows=tables)
def test_any_text_survives(name: str, rows: list[dict[str, str]]) -> None:
    """Whatever the characters, a text comes back as it was."""
    with tempfile.TemporaryDirectory() as folder:
        assert written(Path(folder) / name, rows, columns=["text", "other"]) == rows


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(texts, max_size=5))
def test_any_single_column_survives(rows: list[str]) -> None:
    """A table of one column keeps its empty cells."""
    with tempfile.TemporaryDirectory() as folder:
        back = written(Path(folder) / "a.csv", [{"text": t} for t in rows], columns=["text"])
        assert [row["text"] for row in back] == rows


def test_txt_keeps_one_text_a_line(tmp_path: Path) -> None:
    """Line ends inside a text become a space, and other columns are left out."""
    path = tmp_path / "a.txt.gz"
    assert written(path, [{"text": "a\r\nb", "n": 1}, {"text": None}]) == [
        {"text": "a b"},
        {"text": ""},
    ]
    with pytest.raises(DataError, match='holds the column "text"; got'):
        written(tmp_path / "b.txt", [{"n": 1}])


def test_json_takes_what_parquet_gives() -> None:
    """Dates, decimals and bytes become strings, NaN becomes null, at any depth."""
    row = {"d": date(2026, 1, 2), "m": Decimal("1.50"), "b": b"hi", "x": [float("nan"), {1: True}]}
    assert json.loads(json_line(row)) == {
        "d": "2026-01-02",
        "m": "1.50",
        "b": "hi",
        "x": [None, {"1": True}],
    }


def test_csv_cells_of_other_types(tmp_path: Path) -> None:
    """None is an empty cell, lists and numbers are written as JSON."""
    row = {"a": None, "b": 1.5, "c": ["x", "é"], "d": True}
    assert written(tmp_path / "a.csv", [row]) == [
        {"a": "", "b": "1.5", "c": '["x", "é"]', "d": "true"}
    ]


def test_columns(tmp_path: Path) -> None:
    """The columns are those given, missing cells are empty, and unknown ones are refused."""
    rows = [{"b": "1"}, {"a": "2", "b": "3"}]
    assert written(tmp_path / "a.csv", rows, columns=["a", "b"]) == [
        {"a": "", "b": "1"},
        {"a": "2", "b": "3"},
    ]
    assert written(tmp_path / "a.parquet", rows, columns=["a", "b"])[0] == {"a": None, "b": "1"}
    for name in ("b.csv", "b.parquet"):
        with pytest.raises(DataError, match=r"has the columns \['b'\], and a row brings \['a'\]"):
            written(tmp_path / name, rows)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet", "a.txt"])
def test_no_rows(tmp_path: Path, name: str) -> None:
    """A table without rows is a sound file with its columns."""
    assert written(tmp_path / name, [], columns=["text"]) == []


def test_formulas(tmp_path: Path) -> None:
    """Cells that a spreadsheet would run get an apostrophe when asked for, and only then."""
    cells = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "a=1", ""]
    rows = [{"text": cell} for cell in cells]
    back = written(tmp_path / "a.csv", rows, neutralise_formulas=True)
    assert [row["text"] for row in back] == [
        "'=1+1", "'+1", "'-1", "'@a", "'\tx", "'\rx", "a=1", "",
    ]  # fmt: skip
    assert written(tmp_path / "b.csv", rows) == rows


@pytest.mark.parametrize("name", NAMES)
def test_a_crash_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    """Whatever breaks in between, the name keeps what it held and no piece lies about."""
    path = tmp_path / name
    path.write_bytes(b"old")

    def interrupted() -> None:
        with open_writer(path) as writer:
            writer.write({"text": "half"})
            assert path.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_targets_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong target is refused in words before any row is asked for."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"), open_writer(tmp_path / "folder.csv"):
        pytest.fail("opened")
    with pytest.raises(DataError, match="there is no folder"), open_writer(tmp_path / "x/a.csv"):
        pytest.fail("opened")
    with pytest.raises(DataError, match="Use one of"), open_writer(tmp_path / "a.xlsx"):
        pytest.fail("opened")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="Permission denied"), open_writer(tmp_path / "a.csv"):
        pytest.fail("opened")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A disk that fills up while writing is said in words, and leaves nothing."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr(Path, "with_name", lambda *_: full)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        written(tmp_path / name, [{"text": "word " * 20}] * 3000)
    assert list(tmp_path.iterdir()) == []


def test_parquet_types_that_change(tmp_path: Path) -> None:
    """A column that changes its type is refused with the way out; one empty at first is text."""
    rows: list[dict[str, Any]] = [{"n": 1}] * 1500 + [{"n": "one"}]
    with pytest.raises(DataError, match=r"do not fit one Parquet table.* Write \.jsonl"):
        written(tmp_path / "a.parquet", rows)
    assert list(tmp_path.iterdir()) == []
    late: list[dict[str, Any]] = [{"n": None}] * 1500 + [{"n": "one"}]
    assert written(tmp_path / "a.parquet", late)[-1] == {"n": "one"}


def test_gzip_bytes_depend_on_the_rows_only(tmp_path: Path) -> None:
    """Neither time nor name is in the file, so that equal rows give equal bytes."""
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        written(tmp_path / name, ROWS)
    raw = (tmp_path / "a.jsonl.gz").read_bytes()
    assert raw == (tmp_path / "b.jsonl.gz").read_bytes()
    assert raw[4:8] == b"\0\0\0\0"
    assert gzip.decompress(raw).startswith(b'{"text"')
