from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import tracemalloc
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tactful.corpora.read import (
    Row,
    column_names,
    column_types,
    kind_of,
    read_rows,
    require_columns,
    survey,
)
from tactful.errors import DataError


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    if name.endswith(".zst"):
        # In two frames, as programs that append to a file write them.
        middle = len(raw) // 2
        raw = b"".join(
            pa.Codec("zstd").compress(half, asbytes=True) for half in (raw[:middle], raw[middle:])
        )
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def read_into(rows: list[Row], path: Path) -> None:
    """Keeps the rows that came before an error."""
    for row in read_rows(path):
        rows.append(row)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\n1,"hello, you"\n2,no\n'),
        ("a.CSV", 'id,text\r\n1,"hello, you"\r\n2,no'),
        ("a.tsv", "id\ttext\n1\thello, you\n2\tno\n"),
        ("a.jsonl", '{"id": "1", "text": "hello, you"}\n\n{"id": "2", "text": "no"}'),
        ("a.ndjson", '{"id": "1", "text": "hello, you"}\r\n{"id": "2", "text": "no"}\r\n'),
        ("a.csv.gz", 'id,text\n1,"hello, you"\n2,no\n'),
        ("a.csv.zst", 'id,text\n1,"hello, you"\n2,no\n'),
        ("a.b.tsv.gz", "id\ttext\n1\thello, you\n2\tno\n"),
        ("a.jsonl.gz", '{"id": "1", "text": "hello, you"}\n{"id": "2", "text": "no"}'),
    ],
)
def test_one_table_in_every_text_format(tmp_path: Path, name: str, content: str) -> None:
    """The same rows come out of every text format, gzipped or not."""
    path = file(tmp_path, name, content)
    rows = list(read_rows(path))
    assert [row.values for row in rows] == [
        {"id": "1", "text": "hello, you"},
        {"id": "2", "text": "no"},
    ]
    assert [row.error for row in rows] == [None, None]
    assert column_names(path) == ["id", "text"]
    assert [row.values for row in read_rows(path, columns=["text"])] == [
        {"text": "hello, you"},
        {"text": "no"},
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_txt_is_one_text_a_line(tmp_path: Path, name: str) -> None:
    """Every line is a text, empty ones too, and only line feeds end a line."""
    path = file(tmp_path, name, "one\r\n\ntwo\u2028still two\n")
    assert list(read_rows(path)) == [
        Row(1, {"text": "one"}),
        Row(2, {"text": ""}),
        Row(3, {"text": "two\u2028still two"}),
    ]
    assert column_names(path) == ["text"]
    with pytest.raises(DataError, match=r'no column "txt"\. Did you mean "text"\?'):
        list(read_rows(path, columns=["txt"]))


def test_parquet(tmp_path: Path) -> None:
    """Parquet keeps its types, and only the columns asked for are read."""
    path = tmp_path / "a.parquet"
    when = datetime(2026, 1, 2)
    table = pa.table({"text": ["a", None], "n": [1, 2], "tags": [["x"], []], "at": [when, when]})
    pq.write_table(table, path)
    assert list(read_rows(path)) == [
        Row(1, {"text": "a", "n": 1, "tags": ["x"], "at": when}),
        Row(2, {"text": None, "n": 2, "tags": [], "at": when}),
    ]
    assert list(read_rows(path, columns=["n"])) == [Row(1, {"n": 1}), Row(2, {"n": 2})]
    assert column_names(path) == ["text", "n", "tags", "at"]


def test_parquet_cells_that_python_cannot_hold(tmp_path: Path) -> None:
    """Invalid UTF-8 in one cell is that row's error; nanoseconds come as text."""
    path = tmp_path / "a.parquet"
    bad = pa.array([b"fine", b"a\xffb"]).view(pa.string())
    times = pa.array([1, 2], pa.timestamp("ns"))
    pq.write_table(pa.table({"text": bad, "at": times}), path)
    first, second = read_rows(path)
    assert first == Row(1, {"text": "fine", "at": "1970-01-01 00:00:00.000000001"})
    assert second.values["text"] == "a\ufffdb"
    assert second.error == 'column "text": invalid UTF-8 at byte 2 of the cell'


def test_ragged_csv(tmp_path: Path) -> None:
    """A row with too few or too many cells says so, keeps what it has, and hides no neighbour."""
    path = file(tmp_path, "a.csv", "a,b\n1\n2,3\n4,5,6\n\n7,8\n")
    assert list(read_rows(path)) == [
        Row(1, {"a": "1"}, "expected 2 cells as in the header, found 1"),
        Row(2, {"a": "2", "b": "3"}),
        Row(3, {"a": "4", "b": "5"}, "expected 2 cells as in the header, found 3", ("6",)),
        Row(4, {"a": "7", "b": "8"}),
    ]
    assert next(read_rows(path, columns=["b"])).error is not None


def test_blank_line_in_a_csv_of_one_column_is_an_empty_cell(tmp_path: Path) -> None:
    """Spreadsheets save an empty cell of a single column as a blank line."""
    path = file(tmp_path, "a.csv", "text\none\n\ntwo\n")
    assert [row.values["text"] for row in read_rows(path)] == ["one", "", "two"]


def test_quoted_newlines_and_quotes(tmp_path: Path) -> None:
    """Line ends and doubled quotes inside quotes belong to the cell."""
    path = file(tmp_path, "a.csv", 'text,n\n"two\nlines, ""quoted"" \r\n.",1\n')
    assert list(read_rows(path)) == [Row(1, {"text": 'two\nlines, "quoted" \r\n.', "n": "1"})]


def test_quote_that_is_never_closed(tmp_path: Path) -> None:
    """A stray quote that swallows the rest of a file is reported where it opened."""
    path = file(tmp_path, "a.csv", 'text,n\nfine,1\n"oops,2\nmore,3\nlast,4\n')
    good, bad = read_rows(path)
    assert good.error is None
    assert bad.number == 2
    assert bad.error == "a quote opened here is never closed; it swallowed 2 more lines"


def test_last_line_without_line_end_is_no_fault(tmp_path: Path) -> None:
    """A missing line end at the end of a file is not an open quote."""
    path = file(tmp_path, "a.csv", 'text\n"closed"')
    assert list(read_rows(path)) == [Row(1, {"text": "closed"})]


def test_cell_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell too large for the csv module is one bad row, and reading goes on behind it."""
    before = csv.field_size_limit(1000)
    monkeypatch.setattr("tactful.corpora.read._CELL_LIMIT", 1000)
    try:
        path = file(tmp_path, "a.csv", "text,n\n" + "x" * 5000 + ",1\nfine,2\n")
        bad, good = read_rows(path)
    finally:
        csv.field_size_limit(before)
    assert bad.number == 1
    assert bad.error is not None
    assert "larger than field limit" in bad.error
    assert good == Row(2, {"text": "fine", "n": "2"})


def test_huge_cell_and_nul_bytes(tmp_path: Path) -> None:
    """A cell above the csv module's default limit is read, and NUL bytes stay in it."""
    huge = "x" * 300_000
    path = file(tmp_path, "a.csv", f"text,n\n{huge},1\na\0b,2\n")
    assert [row.values["text"] for row in read_rows(path)] == [huge, "a\0b"]
    lines = file(tmp_path, "a.txt", "a\0b\n")
    assert list(read_rows(lines)) == [Row(1, {"text": "a\0b"})]


def test_invalid_utf8(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is named and replaced in CSV, JSONL and text."""
    csv_rows = list(read_rows(file(tmp_path, "a.csv", b"id,text\n1,caf\xe9 \xc3\xa9\n2,ok\n")))
    assert csv_rows == [
        Row(
            1,
            {"id": "1", "text": "caf\ufffd é"},
            'column "text": invalid UTF-8 at byte 4 of the cell',
        ),
        Row(2, {"id": "2", "text": "ok"}),
    ]
    line = b'{"text": "a\xff"}\n'
    assert list(read_rows(file(tmp_path, "a.jsonl", line))) == [
        Row(1, {"text": "a\ufffd"}, "invalid UTF-8 at byte 12 of the line")
    ]
    assert list(read_rows(file(tmp_path, "a.txt", b"\xfe\nok\n"))) == [
        Row(1, {"text": "\ufffd"}, "invalid UTF-8 at byte 1 of the line"),
        Row(2, {"text": "ok"}),
    ]


def test_a_bad_byte_elsewhere_does_not_spoil_the_column_asked_for(tmp_path: Path) -> None:
    """All strings handed out can be encoded, whatever the bytes of the file."""
    path = file(tmp_path, "a.csv", bytes(b for b in range(256) if b not in b'\r\n,"') + b"\n" * 2)
    with pytest.raises(DataError, match="header line is not UTF-8"):
        list(read_rows(path))
    body = b"text\n" + bytes(b for b in range(256) if b not in b'\r\n,"')
    (row,) = read_rows(file(tmp_path, "b.csv", body))
    assert row.error is not None
    row.values["text"].encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": ', "invalid JSON: Expecting value"),
        ("[1, 2]", "expected a JSON object such as .* found a list"),
        ('"words"', "found a string"),
        ("17", "found a number"),
        ("true", "found true or false"),
        ("null", "found null"),
        ("[" * 100_000, "nested too deeply"),
        ('{"n": ' + "1" * 5000 + "}", "invalid JSON: .*digit"),
    ],
)
def test_lines_that_are_no_json_object(tmp_path: Path, line: str, reason: str) -> None:
    """Such a line is one bad row in its place."""
    path = file(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n')
    first, bad, last = read_rows(path)
    assert (first.values, last.values) == ({"text": "a"}, {"text": "b"})
    assert (bad.number, bad.values) == (2, {})
    with pytest.raises(DataError, match=reason):
        raise DataError(bad.error)


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    """An escape that UTF-8 cannot carry is an error and is replaced, a whole pair is not."""
    path = file(
        tmp_path,
        "a.jsonl",
        '{"text": "\\ud83d", "in": [{"\\udc00": 1}]}\n{"text": "\\ud83d\\ude00"}\n',
    )
    bad, good = read_rows(path)
    assert bad.values == {"text": "\ufffd", "in": [{"\ufffd": 1}]}
    assert bad.error is not None
    assert "surrogate" in bad.error
    assert good == Row(2, {"text": "😀"})


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_byte_order_mark(tmp_path: Path, name: str) -> None:
    """A UTF-8 byte order mark is no part of the first column, key or text."""
    content = {"a.csv": "text\nx\n", "a.jsonl": '{"text": "x"}\n', "a.txt": "x\n"}[name]
    path = file(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
    assert list(read_rows(path)) == [Row(1, {"text": "x"})]


def test_utf16_is_said_in_words(tmp_path: Path) -> None:
    """What spreadsheets call Unicode text is refused with the way out."""
    with pytest.raises(DataError, match="is UTF-16; save it as UTF-8"):
        list(read_rows(file(tmp_path, "a.csv", "text\nx\n".encode("utf-16"))))


def test_faults_of_the_path(tmp_path: Path) -> None:
    """A missing file, a folder and an unknown ending raise at once, in words."""
    with pytest.raises(DataError, match="is not there"):
        read_rows(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_rows(tmp_path / "folder.csv")
    for name in ("a.xlsx", "a", "a.json", "a.parquet.gz", ".gz"):
        with pytest.raises(DataError, match=r"Use one of \.csv, \.tsv, \.jsonl"):
            kind_of(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    """A file without read permission is said to be that."""
    path = file(tmp_path, "a.csv", "text\n")
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        read_rows(path)


def test_permission_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of the operating system becomes a sentence, whoever runs the tests."""
    path = file(tmp_path, "a.csv", "text\n")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(DataError, match="permission denied"):
        read_rows(path)


def test_empty_files(tmp_path: Path) -> None:
    """A CSV without a header cannot be read; an empty JSONL or text has no rows."""
    with pytest.raises(DataError, match="is empty: it has not even a header line"):
        list(read_rows(file(tmp_path, "a.csv", "\n\n")))
    with pytest.raises(DataError, match="is empty"):
        column_names(file(tmp_path, "b.csv", ""))
    assert list(read_rows(file(tmp_path, "c.csv", "text\n"))) == []
    assert list(read_rows(file(tmp_path, "a.jsonl", ""), columns=["text"])) == []
    assert list(read_rows(file(tmp_path, "a.txt.gz", ""))) == []


def test_open_quote_in_the_header(tmp_path: Path) -> None:
    """A header that swallows its file is refused, whether columns are asked for or rows."""
    path = file(tmp_path, "a.csv", '"text,label\nx,1\n')
    for ask in (column_names, lambda path: list(read_rows(path))):
        with pytest.raises(DataError, match="a quote opened in the header line is never closed"):
            ask(path)


def test_columns_of_one_name(tmp_path: Path) -> None:
    """Two columns of one name would lose one, so they are refused."""
    with pytest.raises(DataError, match='has 2 columns named "text"'):
        list(read_rows(file(tmp_path, "a.csv", "text,text\n1,2\n")))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"]), path)
    with pytest.raises(DataError, match='has 2 columns named "n"'):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_missing_column(tmp_path: Path, name: str) -> None:
    """A column that is not there is answered with those that are and the nearest of them."""
    if name == "a.parquet":
        path = tmp_path / name
        pq.write_table(pa.table({"id": [1], "comment": ["x"]}), path)
    else:
        path = file(
            tmp_path,
            name,
            "id,comment\n1,x\n" if name == "a.csv" else '{"id": 1, "comment": "x"}\n',
        )
    with pytest.raises(
        DataError, match=r'no column "coment"\. Did you mean "comment"\? It has: "id", "comment"'
    ):
        list(read_rows(path, columns=["coment"]))
    with pytest.raises(DataError, match=r'no column "zzz"\. It has: "id", "comment"'):
        require_columns(path, column_names(path), ["zzz"])


def test_json_row_that_lacks_a_column(tmp_path: Path) -> None:
    """In JSON Lines a column missing here and there is the fault of the row."""
    path = file(tmp_path, "a.jsonl", '{"id": 1}\n{"text": "b"}\n{oops\n')
    assert list(read_rows(path, columns=["text"])) == [
        Row(1, {}, 'no "text" in this row, which has "id"'),
        Row(2, {"text": "b"}),
        Row(3, {}, "invalid JSON: Expecting property name enclosed in double quotes: line 1 "
            "column 2 (char 1)"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.txt.gz"])
def test_truncated_gzip(tmp_path: Path, name: str) -> None:
    """The rows before the damage are given, then the file is said to be damaged."""
    line = '{{"text": "{}"}}\n' if name == "a.jsonl.gz" else "{}\n"
    # Digests do not compress away, so that half the bytes are about half the rows.
    body = "text\n" if name == "a.csv.gz" else ""
    body += "".join(line.format(os.urandom(32).hex()) for _ in range(5000))
    path = file(tmp_path, name, body)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rows: list[Row] = []
    with pytest.raises(DataError, match="is damaged after row"):
        read_into(rows, path)
    assert 1000 < len(rows) < 4000
    assert all(len(row.values["text"]) == 64 for row in rows)


def test_files_that_are_not_what_their_name_says(tmp_path: Path) -> None:
    """A gzip or Parquet file that is none is said to be unreadable."""
    plain = tmp_path / "a.csv.gz"
    plain.write_text("text\nx\n")
    for path in (plain, file(tmp_path, "a.parquet", "text\n"), file(tmp_path, "b.parquet", "")):
        with pytest.raises(DataError, match="cannot be read"):
            list(read_rows(path))
        with pytest.raises(DataError, match="cannot be read"):
            column_names(path)


def test_parquet_damaged_in_the_middle(tmp_path: Path) -> None:
    """Rows of sound row groups come first, then the damage is reported."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [os.urandom(32).hex() for _ in range(8000)]})
    pq.write_table(table, path, row_group_size=2000, use_dictionary=False, compression="snappy")
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 60_000] = b"\xff" * 60_000
    path.write_bytes(raw)
    rows: list[Row] = []
    with pytest.raises(DataError, match="is damaged after row"):
        read_into(rows, path)
    assert len(rows) >= 1000


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_memory_stays_small(tmp_path: Path, name: str) -> None:
    """A file of tens of megabytes is read in a few of them."""
    text = "word " * 2000
    with (tmp_path / name).open("w") as handle:
        handle.write("text\n" if name == "a.csv" else "")
        line = text if name == "a.csv" else json.dumps({"text": text})
        for _ in range(4000):
            handle.write(line + "\n")
    assert (tmp_path / name).stat().st_size > 40_000_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows(tmp_path / name))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 4000
    assert peak < 3_000_000


def test_parquet_memory_stays_small(tmp_path: Path) -> None:
    """One large row group is read in steps; the peak is that of pyarrow's own memory."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [os.urandom(500).hex() for _ in range(20_000)]})
    pq.write_table(table, path, use_dictionary=False)
    del table
    assert path.stat().st_size > 20_000_000
    before = pa.total_allocated_bytes()
    peak = max(
        pa.total_allocated_bytes() - before for row in read_rows(path) if row.number % 500 == 0
    )
    assert peak < 8_000_000


def test_survey(tmp_path: Path) -> None:
    """Bytes and their hash, and as many rows as can be told without reading them."""
    plain = file(tmp_path, "a.txt", "one\ntwo")
    found = survey(plain)
    assert (found.size, found.rows) == (7, 2)
    assert found.sha256 == hashlib.sha256(b"one\ntwo").hexdigest()
    assert survey(file(tmp_path, "b.txt", "one\nTwo")) != found
    assert survey(file(tmp_path, "a.csv", "text\none\n")).rows == 1
    assert survey(file(tmp_path, "empty.csv", "")).rows == 0
    assert survey(file(tmp_path, "a.jsonl.gz", '{"a": 1}\n')).rows is None
    pq.write_table(pa.table({"n": range(70)}), tmp_path / "a.parquet")
    assert survey(tmp_path / "a.parquet").rows == 70
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="is a pipe or device"):
        survey(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="cannot be read"):
        survey(file(tmp_path, "b.parquet", "no parquet"))


def test_column_types(tmp_path: Path) -> None:
    """Tables of text hold text, Parquet its own types, and JSON lines differ."""
    path = tmp_path / "a.parquet"
    at = pa.array([1], pa.timestamp("ns"))
    pq.write_table(pa.table({"n": [1], "at": at, "tags": [["x"]]}), path)
    types = {"n": pa.int64(), "at": pa.string(), "tags": pa.list_(pa.string())}
    assert {name: str(t) for name, t in column_types(path).items()} == {
        name: str(t).replace("item", "element") for name, t in types.items()
    }
    assert column_types(file(tmp_path, "a.csv", "a,b\n")) == {"a": pa.string(), "b": pa.string()}
    assert column_types(file(tmp_path, "a.jsonl", '{"a": 1}\n')) == {}
    with pytest.raises(DataError, match="cannot be read"):
        column_types(file(tmp_path, "b.parquet", "no parquet"))
