"""Files through an engine in this process; what kills a process is in test_files_reliability."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tactful.corpora.read import read_rows
from tactful.errors import DataError, InterruptedRunError, TactfulError
from tactful.records import Rewrite
from tactful.rewriting import files
from tactful.rewriting.files import FileReport, rewrite_file
from tactful.rewriting.journal import journal_of
from tactful.rewriting.workers import Workers


class Shout:
    """Answers in capitals, and stops the run after so many chunks."""

    def __init__(self, chunks: int = 10**6, name: str = "shout@1") -> None:
        self.chunks = chunks
        self.name = name
        self.asked: Counter[Any] = Counter()

    def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]:
        if not self.chunks:
            raise KeyboardInterrupt
        self.chunks -= 1
        self.asked.update(texts)
        return [_shouted(text) for text in texts]


def _shouted(text: Any) -> Rewrite:
    if not isinstance(text, str):
        return Rewrite("", "", "error", reason=f"expected text, got {type(text).__name__}")
    status, after = ("unchanged", 0.2) if text == text.upper() else ("rewritten", 0.25)
    return Rewrite(text, text.upper(), status, toxicity=(0.2, after), similarity=1 / 3)  # type: ignore[arg-type]  # mypy sees str


def run(
    source: Path, output: Path, column: str = "text", engine: Shout | None = None, **options: Any
) -> FileReport:
    engine = engine or Shout()
    return rewrite_file(source, output, column, Workers(lambda: engine, 0), **options)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_TEXTS", 10)
    monkeypatch.setattr(files, "_ROWS", 30)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    lines = (f"{number},word {number % 70}\n" for number in range(100))
    path.write_text("id,text\n" + "".join(lines))
    return path


def values(path: Path) -> list[dict[str, Any]]:
    rows = list(read_rows(path))
    assert [row.error for row in rows] == [None] * len(rows)
    return [row.values for row in rows]


def test_rows_and_columns(source: Path, tmp_path: Path) -> None:
    """Other columns and the order stay, ours are added, and the report counts."""
    report = run(source, tmp_path / "out.jsonl")
    rows = values(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [str(number) for number in range(100)]
    assert rows[71] == {
        "id": "71",
        "text": "word 1",
        "_text": "WORD 1",
        "_status": "rewritten",
        "_reason": "",
        "_toxicity_before": 0.2,
        "_toxicity_after": 0.25,
        "_similarity": 0.3333,
        "_fluency": None,
    }
    assert (report.rows, report.statuses, report.repeated) == (100, Counter(rewritten=100), 30)
    assert report.mean_toxicity == pytest.approx((0.2, 0.25))
    assert (report.before[4], report.after[5], report.pace[-1][1]) == (100, 100, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.jsonl"]


@pytest.mark.parametrize("name", ["o.csv", "o.tsv.gz", "o.jsonl.zst", "o.parquet", "o.txt"])
@pytest.mark.parametrize("chunks", [0, 1, 4])
def test_a_stopped_run_goes_on(source: Path, tmp_path: Path, name: str, chunks: int) -> None:
    """The bytes are those of a run left alone, and no text is asked twice."""
    (tmp_path / "plain").mkdir()
    run(source, tmp_path / "plain" / name)
    first, second = Shout(chunks), Shout()
    with pytest.raises(InterruptedRunError) as stopped:
        run(source, tmp_path / name, engine=first)
    if chunks:
        assert f"{10 * chunks} rows are done and kept in {journal_of(tmp_path / name)}" in str(
            stopped.value
        )
        assert "run the same command again" in str(stopped.value)
    assert not (tmp_path / name).exists()
    report = run(source, tmp_path / name, engine=second)
    assert (tmp_path / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert first.asked + second.asked == {f"word {number}": 1 for number in range(70)}
    assert (report.rows, report.resumed, report.repeated) == (100, 10 * chunks, 30)
    assert not journal_of(tmp_path / name).exists()


def test_memory_for_equal_texts_is_bounded(source: Path, tmp_path: Path) -> None:
    """Beyond the bound a text is forgotten, and asked again, alike before and after a stop."""

    def asked(output: str, *stops: int) -> list[Counter[Any]]:
        engines = [Shout(stop) for stop in stops] + [Shout()]
        for engine in engines[:-1]:
            with pytest.raises(InterruptedRunError):
                run(source, tmp_path / output, engine=engine)
        run(source, tmp_path / output, engine=engines[-1])
        return [engine.asked for engine in engines]

    known = files.Known.__init__.__defaults__
    files.Known.__init__.__defaults__ = (20 * 460,)
    try:
        whole = asked("whole.csv")
        parts = asked("parts.csv", 2, 4)
    finally:
        files.Known.__init__.__defaults__ = known
    # Rows 70 to 99 bring the words 0 to 29 again, which 50 others have displaced.
    assert sum(whole, Counter()) == {f"word {n}": 2 if n < 30 else 1 for n in range(70)}
    assert sum(parts, Counter()) == sum(whole, Counter())
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "parts.csv").read_bytes()


def stopped(source: Path, output: Path, **options: Any) -> bytes:
    """Leaves a journal with 20 rows and gives its bytes."""
    with pytest.raises(InterruptedRunError):
        run(source, output, engine=Shout(2), **options)
    return journal_of(output).read_bytes()


def _other_text(source: Path) -> None:
    source.write_text(source.read_text().replace("word 69", "word 96"))


def _longer(source: Path) -> None:
    source.write_text(source.read_text() + "100,more\n")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (_other_text, {}, "sha256: it was"),
        (_longer, {}, "size: it was"),
        (None, {"column": "id"}, "column: it was text, now it is id"),
        (None, {"engine": Shout(name="shout@2")}, "rewriter: it was shout@1, now it is shout@2"),
        (None, {"settings": {"policy": "keep"}}, "policy: it was mask, now it is keep"),
    ],
)
def test_another_run_is_refused(
    source: Path,
    tmp_path: Path,
    change: Callable[[Path], None] | None,
    options: dict[str, Any],
    message: str,
) -> None:
    """What is done stays as it is until --fresh says that it may go."""
    output = tmp_path / "out.csv"
    mask = {"settings": {"policy": "mask"}}
    before = stopped(source, output, **mask)
    if change:
        change(source)
    with pytest.raises(DataError, match=message) as refused:
        run(source, output, **(mask | options))
    assert "20 rows are done" in str(refused.value)
    assert "--fresh" in str(refused.value)
    assert "run the same command again" not in str(refused.value)
    assert journal_of(output).read_bytes() == before
    report = run(source, output, fresh=True, **(mask | options))
    assert (report.resumed, report.rows) == (0, len(values(source)))


def test_half_an_output_of_another_run_stays(source: Path, tmp_path: Path) -> None:
    """It may be all that someone has; --fresh says that it may go. A whole one is replaced whole."""
    output, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    part.write_text("hours of work")
    with pytest.raises(DataError, match=r"half-written output of another run.*--fresh"):
        run(source, output)
    assert part.read_text() == "hours of work"
    output.write_text("old")
    run(source, output, fresh=True)
    assert not part.exists()
    assert len(values(output)) == 100


def test_what_cannot_work_is_said_first(source: Path, tmp_path: Path) -> None:
    """Wrong column, wrong target, the input as the output, a column of ours: no text is asked."""
    engine = Shout(0)
    before = source.read_bytes()
    for output, column, message in (
        ("out.csv", "txt", r'no column "txt"\. Did you mean "text"'),
        ("in.csv", "text", "is the input"),
        ("out.doc", "text", "Use one of"),
        ("x/out.csv", "text", "there is no folder"),
        ("out.parquet.gz", "text", "Use one of"),
    ):
        with pytest.raises(DataError, match=message):
            run(source, tmp_path / output, column, engine)
    assert source.read_bytes() == before
    ours = tmp_path / "ours.csv"
    ours.write_text("text,_status\na,b\n")
    with pytest.raises(DataError, match="already has _status"):
        run(ours, tmp_path / "out.csv", engine=engine)
    late = tmp_path / "late.jsonl"
    late.write_text('{"text": "a"}\n' * 300 + '{"text": "a", "_reason": 1}\n')
    with pytest.raises(DataError, match="already has _reason"):
        run(late, tmp_path / "out.csv")


def test_an_input_that_changes_meanwhile(source: Path, tmp_path: Path) -> None:
    """Answers are not put beside rows that they do not belong to."""

    class Meddler(Shout):
        def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]:
            _other_text(source)
            return super().rewrite_many(texts)

    with pytest.raises(DataError, match="changed while it was read"):
        run(source, tmp_path / "out.csv", engine=Meddler())
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["in.csv.gz", "in.jsonl.zst"])
def test_a_damaged_input(tmp_path: Path, name: str) -> None:
    """The rows before the damage are kept, and the message says where it is."""
    lines = "".join(f'"word {number * 7919 % 10007}"\n' for number in range(9000))
    if name.endswith("gz"):
        packed = gzip.compress(b"text\n" + lines.encode())
    else:
        rows = "".join(f'{{"text": {line}}}\n' for line in lines.splitlines())
        packed = pa.Codec("zstd").compress(rows.encode(), asbytes=True)
    source = tmp_path / name
    source.write_bytes(packed[: len(packed) * 9 // 10])
    with pytest.raises(DataError, match="is damaged after row") as broken:
        run(source, tmp_path / "out.csv")
    assert "rows are done and kept" in str(broken.value)
    assert journal_of(tmp_path / "out.csv").exists()


def test_a_disk_that_fills_up(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the output does not fit, the answers are kept and the next run only writes."""
    output = tmp_path / "out.csv"

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tactful.corpora.write._Table._write", full)
        with pytest.raises(TactfulError, match="No space left on device") as stop:
            run(source, output)
    assert "100 rows are done and kept" in str(stop.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv.journal"]
    engine = Shout(0)
    assert run(source, output, engine=engine).resumed == 100
    assert len(values(output)) == 100


def test_json_lines_whose_columns_change(tmp_path: Path) -> None:
    """Columns that come late have their place, and mixed values are text, in order, none lost."""
    source = tmp_path / "in.jsonl"
    rows: list[dict[str, Any]] = [{"text": f"t{n}", "n": n, "x": n} for n in range(1500)]
    rows[1200] |= {"late": {"a": 1}, "n": "many", "x": 0.5}
    rows[1201] |= {"late": {"b": [2]}, "big": 2**70}
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(source, tmp_path / "out.parquet")
    run(source, tmp_path / "out.csv")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names[:6] == ["text", "n", "x", "late", "big", "_text"]
    found = table.to_pylist()
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert [found[1199][k] for k in ("n", "x", "late", "big")] == ["1199", 1199.0, None, None]
    assert [found[1200][k] for k in ("n", "x", "late", "big")] == ["many", 0.5, '{"a": 1}', None]
    assert [found[1201][k] for k in ("late", "big")] == ['{"b": [2]}', str(2**70)]
    assert values(tmp_path / "out.csv")[1201]["late"] == '{"b": [2]}'


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    """Also where the first rows are empty, and where Python cannot hold a value."""
    source = tmp_path / "in.parquet"
    far = pa.array([None] * 1100 + [800_000_000_000], pa.timestamp("s"))
    columns = {
        "text": pa.array(["a"] * 1100 + [None], pa.large_string()),
        "when": far,
        "day": pa.array([date(2026, 1, 2)] * 1101),
        "price": pa.array([Decimal("1.50")] * 1101),
        "tags": pa.array([None] * 1100 + [[{"k": 1}]]),
        "kind": pa.array(["x", "y", "x"] * 367).dictionary_encode(),
        "at": pa.array([datetime(2026, 1, 2)] * 1101, pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(columns), source)
    run(source, tmp_path / "out.parquet")
    before, after = pq.read_table(source), pq.read_table(tmp_path / "out.parquet")
    for name in columns:
        assert after.column(name).type == before.column(name).type, name
        if name == "kind":
            # Each group of rows numbers its words anew.
            assert after.column(name).to_pylist() == before.column(name).to_pylist()
        else:
            assert after.column(name).equals(before.column(name)), name
    assert str(after.schema.field("_fluency").type) == "double"
    assert after.column("_status").to_pylist()[-2:] == ["rewritten", "error"]


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    """They come out in their place with the reason, and what was half read is not printed."""
    source = tmp_path / "in.csv"
    source.write_bytes(b'id,text\n1,fine\n2,caf\xe9\n3\n4,ok,more\n5,"open')
    report = run(source, tmp_path / "out.csv")
    rows = values(tmp_path / "out.csv")
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["_text"] for row in rows] == ["FINE", "", "", "", ""]
    assert [bool(row["_reason"]) for row in rows] == [False, True, True, True, True]
    assert "['more']" in rows[3]["_reason"]
    assert report.statuses == {"rewritten": 1, "error": 4}


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.txt", "in.parquet"])
def test_no_rows(tmp_path: Path, name: str) -> None:
    """An empty table gives an empty table."""
    if name == "in.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / name)
    else:
        (tmp_path / name).write_text("text\n" if name == "in.csv" else "")
    if name == "in.jsonl":
        with pytest.raises(DataError, match='no column "text"'):
            run(tmp_path / name, tmp_path / "out.csv")
        return
    report = run(tmp_path / name, tmp_path / "out.csv")
    assert (report.rows, report.rate) == (0, 0.0)
    assert list(read_rows(tmp_path / "out.csv")) == []


def test_long_texts_are_not_held_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk ends by its characters, too, and many rows of one text end one as well."""
    monkeypatch.setattr(files, "_CHARS", 100)
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{'x' * 60} {n}\n" for n in range(5)) + "same\n" * 65)
    engine = Shout(3)
    report = run(source, tmp_path / "out.txt", engine=engine)
    assert (engine.chunks, report.rows, report.repeated) == (0, 70, 64)
    assert [rows for _, rows in report.pace] == [0, 2, 4, 34, 64, 70]
