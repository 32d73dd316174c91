"""What is done of a file, kept beside its output until all is: a run that was killed goes on.

One line for each chunk of rows, in order, with a checksum, and before them one that says of what
run they are. It holds what the rewriter said and not the other columns; the output is written
from the input and the journal together, once, at the end. A last line that broke off is cut away.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from filelock import FileLock, Timeout

from tactful.errors import DataError

Answer = list[Any]
"""The values of the added columns of one row; the text is None where it is the source's."""


class Refused(DataError):
    """What is done is not of this run, so that running again would not help."""


_MAGIC = '{"tactful_journal": 1, '
# A killed process loses nothing that was written; a power cut loses what is younger than this.
_SYNC_SECONDS = 5.0
# A run that was killed while it started a process holds the lock until that process is there.
_PATIENCE = 5.0


class Chunk(NamedTuple):
    """Answers that were written together, and for how many seconds they were worked on."""

    answers: list[Answer]
    seconds: float


def journal_of(output: Path) -> Path:
    """Where the journal of an output file is."""
    return output.with_name(output.name + ".journal")


class Journal:
    """The journal of one output file, which one process at a time may hold.

    with Journal(output) as journal:
        journal.agree(head)                  # is what stands there of the same run?
        for chunk in journal.chunks(): ...   # what is done
        journal.begin(head)
        journal.append(answers)
        journal.remove()                     # when the output is written
    """

    def __init__(self, output: Path, *, fresh: bool = False, of: str = "row") -> None:
        self._of = of
        self.path = journal_of(output)
        self._output = output
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        self._fresh = fresh
        self._file: IO[bytes] | None = None
        self._head: dict[str, Any] | None = None
        self._body = 0
        self.rows = 0
        """How many rows are done."""
        self._synced = self._appended = time.monotonic()

    def __enter__(self) -> Journal:
        try:
            self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise DataError(
                f"another process is writing {self._output} at this moment; wait for it, or give "
                "another --output"
            ) from None
        except OSError as error:
            raise self._cannot(error) from error
        try:
            if self._fresh:
                self.path.unlink(missing_ok=True)
            self._open()
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise self._cannot(error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What broke first is what the user must read.
        with suppress(DataError):
            self.sync()
        self._let_go()

    @property
    def head(self) -> Mapping[str, Any]:
        """Of what run it is; empty when nothing is done."""
        return self._head or {}

    def agree(self, head: Mapping[str, Any]) -> None:
        """Raises DataError when the journal is of a run with another value for a key of `head`."""
        if self._head is None:
            return
        differing = [
            f"  {name}: it was {_shown(self._head.get(name))}, now it is {_shown(value)}"
            for name, value in head.items()
            if self._head.get(name) != value
        ]
        if differing:
            raise Refused(
                "\n".join([f"{self.path} is of another run of which {self._progress}:", *differing])
                + "\nGive what it was to go on, another --output to keep both, or --fresh to throw "
                "away what is done and start over"
            )

    def begin(self, head: Mapping[str, Any], *, since: float | None = None) -> None:
        """Write down of what run the rows to come are; of a run that goes on, make sure.

        The first of them have been worked on `since` then (by the monotonic clock), or from now on.
        """
        self._appended = time.monotonic() if since is None else since
        if self._head is not None:
            self.agree(head)
            return
        self._head = dict(head)
        self._write(_MAGIC + json.dumps(self._head)[1:])
        self.sync()

    def chunks(self) -> Iterator[Chunk]:
        """What is done, from the disk, in constant memory."""
        with self.path.open("rb") as lines:
            lines.seek(self._body)
            left = self.rows
            while left > 0:
                content = _content(lines.readline())
                if content is None:
                    raise DataError(f"{self.path} was changed by someone else; run again")
                chunk = Chunk(*json.loads(content))
                left -= len(chunk.answers)
                yield chunk

    def append(self, answers: Sequence[Answer]) -> None:
        """Write down the answers to the next rows."""
        now = time.monotonic()
        self._write(json.dumps([answers, round(now - self._appended, 4)], separators=(",", ":")))
        self._appended = now
        self.rows += len(answers)
        if now - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Have the operating system bring to the disk what was written."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._cannot(error) from error
            self._synced = time.monotonic()

    def remove(self) -> None:
        """The output is there: nothing is left to go on with."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)

    @property
    def _progress(self) -> str:
        return f"{self.rows:,} {self._of}{' is' if self.rows == 1 else 's are'} done"

    def _open(self) -> None:
        end = self._read() if self.path.exists() else 0
        self._file = self.path.open("ab", buffering=0)
        self._file.truncate(end)

    def _read(self) -> int:
        """What stands there; returns where what is whole ends."""
        with self.path.open("rb") as lines:
            first = lines.readline()
            content = _content(first)
            if content is None or not content.startswith(_MAGIC):
                if _begun_to_write(first):
                    return 0
                raise DataError(
                    f"{self.path} is in the way and is no journal of ours; move it away, or give "
                    "--fresh to throw it away"
                )
            end = lines.tell()
            # The first line that is not whole ends it: what came later was never relied upon.
            while (chunk := _content(line := lines.readline())) is not None:
                self.rows += len(json.loads(chunk)[0])
                end += len(line)
        if not self.rows:
            return 0
        self._head = json.loads(content)
        del self._head["tactful_journal"]
        self._body = len(first)
        return end

    def _write(self, content: str) -> None:
        assert self._file is not None
        raw = content.encode("ascii")
        line = memoryview(b"%08x %b\n" % (zlib.crc32(raw), raw))
        start = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except BaseException as error:
            # A second try in this process must not come behind half a line.
            with suppress(OSError):
                self._file.truncate(start)
            if isinstance(error, OSError):
                raise self._cannot(error) from error
            raise
        if not self._body:
            self._body = len(raw) + 10

    def _cannot(self, error: OSError) -> DataError:
        return DataError(f"{self.path} cannot be written: {error.strerror or error}")

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self.rows:
                # Nothing is done: then nothing needs to lie about, either.
                self.path.unlink(missing_ok=True)
        # Before it is released: later it may be another's.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def _content(line: bytes) -> str | None:
    """What a line says, None when it is not whole."""
    if len(line) < 10 or line[-1:] != b"\n" or line[8:9] != b" ":
        return None
    content = line[9:-1]
    return content.decode("ascii") if b"%08x" % zlib.crc32(content) == line[:8] else None


def _begun_to_write(line: bytes) -> bool:
    """True for nothing, and for a first line that a kill cut off."""
    if line.endswith(b"\n"):
        return False
    start = line[9 : 9 + len(_MAGIC)]
    checksum = all(character in b"0123456789abcdef " for character in line[:9])
    return checksum and _MAGIC.encode().startswith(start)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
