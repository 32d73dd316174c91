from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tactful.errors import DataError
from tactful.rewriting.journal import Journal, Refused, journal_of

HEAD = {"input": "in.csv", "column": "text", "all": False}
ROWS: list[list[Any]] = [[None, "unchanged", "", 0.1, 0.1, None, None], ["é \ud800", "error", "x"]]


def write(output: Path, *chunks: list[list[Any]]) -> bytes:
    """A journal as a killed run leaves it."""
    with Journal(output) as journal:
        journal.begin(HEAD)
        for chunk in chunks:
            journal.append(chunk)
    return journal_of(output).read_bytes()


def done(output: Path) -> list[list[list[Any]]]:
    with Journal(output) as journal:
        journal.agree(HEAD)
        return [chunk.answers for chunk in journal.chunks()]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Answers come back as they were, half characters included, and more can follow."""
    output = tmp_path / "out.csv"
    write(output, ROWS, ROWS[:1])
    assert done(output) == [ROWS, ROWS[:1]]
    write(output, ROWS)
    assert done(output) == [ROWS, ROWS[:1], ROWS]


def test_a_journal_cut_anywhere_is_what_was_whole(tmp_path: Path) -> None:
    """Whatever byte a kill or a full disk cut at, whole lines count, and the rest is written anew."""
    output = tmp_path / "out.csv"
    whole = write(output, ROWS, ROWS[:1], ROWS)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole)):
        journal_of(output).write_bytes(whole[:cut])
        chunks = max(0, sum(end <= cut for end in ends) - 1)
        assert done(output) == [ROWS, ROWS[:1], ROWS][:chunks]
    journal_of(output).write_bytes(whole[: ends[1] + 5])
    write(output, ROWS[1:])
    assert done(output) == [ROWS, ROWS[1:]]


def test_a_damaged_line_ends_it(tmp_path: Path) -> None:
    """What a disk spoiled is worked on again, and all behind it."""
    output = tmp_path / "out.csv"
    whole = bytearray(write(output, ROWS, ROWS, ROWS))
    middle = [place for place, byte in enumerate(whole) if byte == ord("\n")][1] + 20
    whole[middle] ^= 1
    journal_of(output).write_bytes(whole)
    assert done(output) == [ROWS]


def test_another_run_is_refused_in_words(tmp_path: Path) -> None:
    """What differs is said with both values, and how to start over; the work stays."""
    output = tmp_path / "out.csv"
    before = write(output, ROWS)
    with pytest.raises(Refused) as error, Journal(output) as journal:
        journal.agree({**HEAD, "column": "body", "all": True})
    message = str(error.value)
    assert "2 rows are done" in message
    assert "column: it was text, now it is body" in message
    assert "all: it was false, now it is true" in message
    assert "input" not in message
    assert "--fresh" in message
    assert journal_of(output).read_bytes() == before
    with Journal(output, fresh=True) as journal:
        assert journal.rows == 0


def test_nothing_done_leaves_nothing(tmp_path: Path) -> None:
    """A run that ends before its first row leaves no file, and removing leaves none either."""
    with Journal(tmp_path / "out.csv") as journal:
        journal.begin(HEAD)
    assert list(tmp_path.iterdir()) == []
    with Journal(tmp_path / "out.csv") as journal:
        journal.begin(HEAD)
        journal.append(ROWS)
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_someone_else_stays(tmp_path: Path) -> None:
    """A file that only has the name of a journal is not touched."""
    output = tmp_path / "out.csv"
    for content in (b"dear diary\n", b"notes", b"12345678 {}\n"):
        journal_of(output).write_bytes(content)
        with pytest.raises(DataError, match="is no journal of ours"), Journal(output):
            pytest.fail("opened")
        assert journal_of(output).read_bytes() == content


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs into one file would mix their rows."""
    monkeypatch.setattr("tactful.rewriting.journal._PATIENCE", 0.1)
    output = tmp_path / "out.csv"
    with Journal(output) as first:
        first.begin(HEAD)
        first.append(ROWS)
        with pytest.raises(DataError, match="another process is writing"), Journal(output):
            pytest.fail("opened")
    assert done(output) == [ROWS]


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before stays whole, and a later try comes behind it."""
    output = tmp_path / "out.csv"
    with Journal(output) as journal:
        journal.begin(HEAD)
        journal.append(ROWS)
        whole = journal_of(output).read_bytes()
        handle = journal._file

        class Full:
            """Takes five bytes and no more."""

            written = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(handle, name)

            def write(self, line: memoryview) -> int:
                if self.written:
                    raise OSError(28, "No space left on device")
                self.written = 1
                assert handle is not None
                return handle.write(line[:5])

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(DataError, match="cannot be written: No space left on device"):
            journal.append(ROWS)
        assert journal_of(output).read_bytes() == whole
        monkeypatch.setattr(journal, "_file", handle)
        journal.append(ROWS[:1])
    assert done(output) == [ROWS, ROWS[:1]]


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    """What the operating system says is said in words, and the lock is given back."""
    journal_of(tmp_path / "out.csv").mkdir()
    for _ in range(2):
        with (
            pytest.raises(DataError, match="cannot be written: Is a directory"),
            Journal(tmp_path / "out.csv"),
        ):
            pytest.fail("opened")
