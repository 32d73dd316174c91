"""The command line on files, killed, stopped, starved: real processes, small files."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from benchmarks.files_reliability import (
    bad_rows,
    chunks_done,
    finish,
    kill_when,
    start,
    write_input,
)
from benchmarks.files_speed import memory
from benchmarks.files_stub import Words

from tactful.corpora.read import read_rows
from tactful.errors import DataError
from tactful.rewriting.files import rewrite_file
from tactful.rewriting.journal import Journal, journal_of
from tactful.rewriting.workers import Workers

ROWS = 2500
SLOW = {"STUB_SECONDS": "0.03"}
HERE = ("--workers", "0")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input with the outputs of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("plain")
    write_input(folder / "in.csv", ROWS)
    for name in ("out.csv.gz", "out.jsonl", "out.parquet"):
        rewrite_file(folder / "in.csv", folder / name, "comment", Workers(Words, 0))
    return folder


def rewrite(source: Path, output: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    return start("rewrite", source, "-c", "comment", "-o", output, *more, **environment)


@pytest.mark.parametrize(
    ("name", "workers", "chunks"),
    [("out.csv.gz", 1, 1), ("out.jsonl", 2, 3), ("out.parquet", 2, 5)],
)
def test_killed_in_the_middle(
    plain: Path, tmp_path: Path, name: str, workers: int, chunks: int
) -> None:
    """kill -9, and the same command again: the same bytes, so every row once and in order."""
    output = tmp_path / name
    options = ("--workers", str(workers))
    process = rewrite(plain / "in.csv", output, *options, **SLOW)
    ours = psutil.Process(process.pid)
    family: list[psutil.Process] = []

    def moment() -> bool:
        reached = chunks_done(output, chunks)()
        if reached:
            family.extend(ours.children(recursive=True))
        return reached

    assert kill_when(process, moment)[0]
    assert not output.exists()
    assert len(family) >= workers
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    # Another number of processes is no other run.
    code, said = finish(rewrite(plain / "in.csv", output, *HERE))
    assert code == 0, said
    assert f"{ROWS:,} texts" in said
    assert "rows were done by an earlier run" in said
    assert output.read_bytes() == (plain / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    ids = [int(row.values["id"]) for row in read_rows(output)]
    assert ids == list(range(ROWS))


@pytest.mark.parametrize(
    ("asked", "everyone"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["ctrl-c", "term"]
)
def test_stopped_on_request(
    plain: Path, tmp_path: Path, asked: signal.Signals, everyone: bool
) -> None:
    """Ctrl-C reaches the workers, too: one clean message, exit 130, and the run goes on later."""
    output = tmp_path / "out.jsonl"
    # Slow enough to be stopped before it is done, on the busiest machine.
    process = rewrite(plain / "in.csv", output, "--workers", "2", STUB_SECONDS="0.3")
    while not chunks_done(output, 2)():
        assert process.poll() is None
        time.sleep(0.001)
    (os.killpg if everyone else os.kill)(process.pid, asked)
    code, said = finish(process)
    assert code == 130, said
    assert said.startswith("tactful: stopped; ")
    assert f"rows are done and kept in {journal_of(output)}; run the same command again" in said
    assert said.count("\n") == 1, said
    assert finish(rewrite(plain / "in.csv", output, *HERE))[0] == 0
    assert output.read_bytes() == (plain / "out.jsonl").read_bytes()


@pytest.mark.parametrize("blocks", [60, 400], ids=["journal", "output"])
def test_a_full_disk(plain: Path, tmp_path: Path, blocks: int) -> None:
    """A file that may not grow any more (in KiB): a message, and with room again the rest."""
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "benchmarks.files_stub", "rewrite", str(plain / "in.csv")]
    command += ["-c", "comment", "-o", str(output), *HERE]
    done = subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "rows are done and kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.journal"]
    assert finish(rewrite(plain / "in.csv", output, *HERE))[0] == 0
    assert output.read_bytes() == (plain / "out.jsonl").read_bytes()


def test_texts_that_kill_and_hang(tmp_path: Path) -> None:
    """Their rows get a reason, all others an answer, and no chunk comes twice."""
    source, output, log = tmp_path / "in.txt", tmp_path / "out.csv", tmp_path / "log"
    bad = {30: "a word that kills", 500: "a word that once kills", 700: "a word that hangs"}
    texts = [bad.get(number, f"idiot {number}") for number in range(800)]
    source.write_text("\n".join(texts) + "\n")
    options = ("--workers", "2", "--timeout", "3", "--strict")
    process = start("rewrite", source, "-o", output, *options, STUB_LOG=str(log))
    code, said = finish(process)
    assert code == 3, said
    assert "worker processes died or took too long; they were replaced" in said
    rows = [row.values for row in read_rows(output)]
    assert [row["text"] for row in rows] == texts
    assert [n for n, row in enumerate(rows) if row["_status"] == "error"] == [30, 700]
    assert "killed by signal 9" in rows[30]["_reason"]
    assert "took longer than 3 seconds" in rows[700]["_reason"]
    assert rows[500]["_status"] == "unchanged"
    assert rows[31]["_text"] == "friend 31"


def test_the_stub_would_tell() -> None:
    """All these runs are offline: a process of theirs that asks for the network ends at once."""
    code = "import benchmarks.files_stub as s, socket; s._stub(); socket.getaddrinfo('example.org', 80)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, b"asked for the network" in done.stderr) == (97, True)


def test_an_engine_that_always_dies(tmp_path: Path) -> None:
    """The run ends with a message instead of a night of restarts, and leaves nothing behind."""
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    process = start("rewrite", tmp_path / "in.txt", "-o", tmp_path / "o.txt", STUB_LOAD="dies")
    code, said = finish(process)
    assert code == 1
    assert "the process that loads the rewriter was killed by signal 9 (SIGKILL), 3 times" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_a_second_run_into_the_same_file(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused while the first is at work, and the first is not disturbed."""
    monkeypatch.setattr("tactful.rewriting.journal._PATIENCE", 0.1)
    output = tmp_path / "out.jsonl"
    first = rewrite(plain / "in.csv", output, STUB_SECONDS="0.1")
    while not chunks_done(output, 1)():
        assert first.poll() is None
        time.sleep(0.001)
    with pytest.raises(DataError, match="another process is writing"), Journal(output):
        pytest.fail("opened")
    assert finish(first)[0] == 0
    assert output.read_bytes() == (plain / "out.jsonl").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_bad_rows(tmp_path: Path, kind: str) -> None:
    """Nulls, broken bytes, huge and ragged rows through our own rewriter: none is lost."""
    found = bad_rows(tmp_path, kind, rows=600)
    assert found["rows_lost"] == 0
    assert found["without_reason"] == {}
    assert (found["exit_code"], found["exit_code_strict"]) == (0, 3)
    assert found["held"], found


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """50 MB more of text take less than 32 MB more memory."""
    found = memory(tmp_path, few=300, many=17_000, chars=3000)
    assert found["input_mb"][1] - found["input_mb"][0] > 45
    assert found["grown_mb"] < 32, found


def test_a_person_sees_a_bar(plain: Path, tmp_path: Path) -> None:
    """On a terminal: rows of all rows, how fast, how long still; it is gone at the end."""
    command = [sys.executable, "-m", "benchmarks.files_stub", "rewrite", plain / "in.csv"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, "-c", "comment", "-o", tmp_path / "out.csv"],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"STUB_SECONDS": "0.2", "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    seen = b""
    # Linux ends a terminal without a writer with an error.
    with suppress(OSError):
        while block := os.read(ours, 4096):
            seen += block
    os.close(ours)
    assert process.wait(30) == 0
    assert b"rewriting" in seen
    assert b" rows " in seen
    assert b" a second" in seen
    assert b" left" in seen
    assert seen.rstrip().endswith(b"rows a second")
