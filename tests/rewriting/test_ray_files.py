"""Files over Ray: what its workers do, here without Ray; with it, and killed, they are killed below."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.files_ray import killed
from benchmarks.files_reliability import write_input
from benchmarks.files_stub import Words

from tactful.corpora.read import read_rows
from tactful.errors import ConfigError, DataError, InterruptedRunError, TactfulError
from tactful.rewriting import ray_files
from tactful.rewriting.files import FileReport, rewrite_file
from tactful.rewriting.journal import journal_of
from tactful.rewriting.ray_files import RayWorkers, data_files, rewrite_folder
from tactful.rewriting.workers import Workers


class Named(Words):
    """The stub under another name."""

    def __init__(self, name: str) -> None:
        self.name = name


class Inline(RayWorkers):
    """Its workers in this process and one after another; `stop` ends it before that many items."""

    def __init__(self, load: Callable[[], Any] = Words, *, stop: int = 10**6) -> None:
        super().__init__(load)
        self.stop = stop
        self.done: list[str] = []

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was begun."""

    def _map(
        self, kind: type[Any], items: list[dict[str, Any]], *given: Any, in_order: bool
    ) -> Iterator[dict[str, Any]]:
        # Two, as more machines have; they take turns.
        made = [kind(self._load, 60.0, False, *given) for _ in range(2)]
        for worker in made:
            # Its engine in this process, as nothing breaks it here.
            worker._workers._count = 0
        for number, item in enumerate(items):
            if number == self.stop:
                raise KeyboardInterrupt
            self.done.append(str(item.get("source", "")))
            batch = {name: [value] for name, value in item.items()}
            told = json.loads(made[number % 2](batch)["told"][0])
            yield ray_files.or_raise(told)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder as programs leave it: parts at two depths, and a mark that all is there."""
    for number, place in enumerate((".", "day=1", "day=2")):
        (tmp_path / "in" / place).mkdir(parents=True, exist_ok=True)
        write_input(tmp_path / "in" / place / f"part-{number}.csv", 40, seed=number)
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / ".part-0.csv.crc").touch()
    return tmp_path / "in"


def folder(parts: Path, cluster: Inline | None = None, **options: Any) -> FileReport:
    output = parts.parent / "out"
    return rewrite_folder(parts, output, "comment", cluster or Inline(), **options)


def same_as_alone(parts: Path) -> bool:
    """Whether every part of the output has the bytes that it has when it is rewritten by itself."""
    for name in data_files(parts):
        alone = parts.parent / "alone.csv"
        rewrite_file(parts / name, alone, "comment", Workers(Words, 0))
        if alone.read_bytes() != (parts.parent / "out" / name).read_bytes():
            return False
    return True


@pytest.mark.parametrize("name", ["out.csv.gz", "out.parquet"])
def test_slices_make_the_same_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers a slice, the bytes are the same; so they are after a stop."""
    monkeypatch.setattr(ray_files, "_SLICE", 70)
    source, output = tmp_path / "in.csv", tmp_path / name
    write_input(source, 400)
    plain = rewrite_file(source, tmp_path / f"plain.{name}", "comment", Workers(Words, 0))
    with pytest.raises(InterruptedRunError, match="210 rows are done"):
        rewrite_file(source, output, "comment", Inline(stop=3))
    report = rewrite_file(source, output, "comment", Inline())
    assert output.read_bytes() == (tmp_path / f"plain.{name}").read_bytes()
    assert (report.resumed, report.rows, report.statuses) == (210, 400, plain.statuses)
    assert report.repeated > 0
    assert not journal_of(output).exists()


def test_a_run_of_another_rewriter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when no row is left, and only the output is to be written."""
    monkeypatch.setattr(ray_files, "_SLICE", 50)
    source, output = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("".join(f"idiot {n}\n" for n in range(100)))
    with pytest.raises(InterruptedRunError):
        rewrite_file(source, output, "text", Inline(stop=1))
    for stop in (2, 10):
        with pytest.raises(DataError, match=r"rewriter: it was words@1, now it is words@2"):
            rewrite_file(source, output, "text", Inline(partial(Named, "words@2"), stop=stop))
    rewrite_file(source, output, "text", Inline())
    assert output.read_text().splitlines()[99] == "friend 99"


def test_a_folder_is_its_files(parts: Path) -> None:
    """Each under its name, as it would be alone; the report counts them together."""
    report = folder(parts)
    assert data_files(parts) == ["day=1/part-1.csv", "day=2/part-2.csv", "part-0.csv"]
    assert data_files(parts.parent / "out") == data_files(parts)
    assert same_as_alone(parts)
    assert (report.rows, report.statuses.total(), sum(report.before)) == (120, 120, 120)
    assert report.rewriter == "words@1"
    assert sorted(path.name for path in parts.parent.iterdir()) == ["alone.csv", "in", "out"]


def test_a_folder_goes_on(parts: Path) -> None:
    """What is done is not done again, unless its input changed or its output is gone."""
    with pytest.raises(InterruptedRunError, match="2 files are done; run the same command again"):
        folder(parts, Inline(stop=2))
    write_input(parts / "day=2" / "part-2.csv", 50, seed=7)
    again = Inline()
    report = folder(parts, again)
    assert [Path(name).name for name in again.done] == ["part-2.csv", "part-0.csv"]
    assert (report.rows, report.resumed) == (130, 40)
    assert same_as_alone(parts)


def test_another_run_over_a_folder_is_refused(parts: Path) -> None:
    """Other settings, another rewriter; --fresh starts over."""
    with pytest.raises(InterruptedRunError):
        folder(parts, Inline(stop=1))
    with pytest.raises(DataError, match=r"1 file is done:\n  policy: it was null, now it is keep"):
        folder(parts, settings={"policy": "keep"})
    with pytest.raises(TactfulError, match=r"rewriter: it was words@1, now it is words@2"):
        folder(parts, Inline(partial(Named, "words@2")))
    report = folder(parts, Inline(partial(Named, "words@2")), fresh=True)
    assert (report.rewriter, report.resumed, report.rows) == ("words@2", 0, 120)


def test_a_bad_file_does_not_stop_the_others(parts: Path) -> None:
    """It is named at the end, and mended it is the only one that is done again."""
    bad = parts / "day=1" / "part-1.csv"
    whole = bad.read_text()
    bad.write_text(whole.replace("comment", "words", 1))
    with pytest.raises(
        DataError, match=r"(?s)1 file could not .*no column \"comment\".*2 files are"
    ):
        folder(parts)
    bad.write_text(whole)
    again = Inline()
    folder(parts, again)
    assert [Path(name).name for name in again.done] == ["part-1.csv"]
    assert same_as_alone(parts)


def test_what_cannot_work_over_ray_is_said(parts: Path, tmp_path: Path) -> None:
    """An output inside the input, a folder without rows, no worker, more workers than cores."""
    with pytest.raises(DataError, match="lies in the folder that is read"):
        rewrite_folder(parts, parts / "out", "comment", Inline())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file of rows"):
        data_files(tmp_path / "empty")
    with pytest.raises(ConfigError, match="at least one worker, not 0"):
        RayWorkers(Words, 0)

    def cluster(*cores: int) -> Any:
        nodes = [{"Alive": True, "Resources": {"CPU": float(count)}} for count in cores]
        return SimpleNamespace(nodes=lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64}}])

    assert ray_files._cores_each(cluster(8, 8), 3) == 4
    assert ray_files._cores_each(cluster(16), 1) == 16
    with pytest.raises(ConfigError, match="--workers 3 is more than the 2 cores"):
        ray_files._cores_each(cluster(1, 1), 3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("what", "leader"),
    [
        ("file", False),
        pytest.param("folder", False, marks=pytest.mark.slow),
        pytest.param("file", True, marks=pytest.mark.slow),
        pytest.param("folder", True, marks=pytest.mark.slow),
    ],
)
def test_killed_on_a_cluster(tmp_path: Path, what: str, leader: bool) -> None:
    """Two workers of a real cluster, kill -9 in the middle: the bytes of a run left alone."""
    pytest.importorskip("ray")
    found = killed(tmp_path, what, rows=2400, leader=leader)
    assert found["held"], json.dumps(found, indent=1)


def test_rows_that_cannot_be_read_come_out(tmp_path: Path) -> None:
    """As without Ray: in their place, with the reason."""
    source = tmp_path / "in.csv"
    source.write_bytes(b"id,text\n1,fine\n2,caf\xe9\n3\n4,idiot\n")
    rewrite_file(source, tmp_path / "out.jsonl", "text", Inline())
    rows = [row.values for row in read_rows(tmp_path / "out.jsonl")]
    assert [row["_status"] for row in rows] == ["unchanged", "error", "error", "rewritten"]
