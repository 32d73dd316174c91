"""A file through a rewriter, overnight: `rewrite_file` goes on where a killed run ended.

    rows ─► chunks of texts not answered before ─► workers ─► journal ─┐
    rows again ────────────────────────────────────────────────────────┴─► output, whole

Memory does not grow with the file. Every row comes out once and in its place, with the answer that
is in the journal.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from sys import getsizeof
from types import TracebackType
from typing import Any, Protocol

import pyarrow as pa

from tactful.corpora.read import (
    TEXT_COLUMN,
    Row,
    Survey,
    column_names,
    column_types,
    kind_of,
    read_rows,
    require_columns,
    survey,
)
from tactful.corpora.write import cell, open_writer, part_of, require_target
from tactful.errors import DataError, InterruptedRunError, TactfulError
from tactful.rewriting.batch import ADDED, unread
from tactful.rewriting.journal import Answer, Journal, Refused
from tactful.rewriting.workers import Workers, answer_of

# Enough for an engine to fill its batches where few texts need it, and little enough to lose.
_TEXTS = 256
_CHARS = 2**16
# A chunk ends here too, however many of its texts were answered before.
_ROWS = 4096
KNOWN_BYTES = 16 * 2**20
"""How much memory the answers to texts that may come again take, at most: some 25,000 comments."""
_OVERHEAD = 400
BINS = 20
_POINTS = 500

_STATUS, _BEFORE, _AFTER = (
    ADDED.index(f"_{n}") for n in ("status", "toxicity_before", "toxicity_after")
)

Told = Callable[[str, int, int | None], None]
"""Takes what is being done, how many rows of it are, and how many there will be, if known."""


@dataclass
class FileReport:
    """What became of a file; `seconds` are those that were worked on it, all runs together."""

    source: str
    output: str
    rewriter: str
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    resumed: int = 0
    """Rows that an earlier run had done."""
    repeated: int = 0
    """Rows whose text was answered before."""
    lost: int = 0
    """Worker processes that had to be replaced in this run."""
    before: list[int] = field(default_factory=lambda: [0] * BINS)
    after: list[int] = field(default_factory=lambda: [0] * BINS)
    """How many screened rows had a toxicity from i / BINS on, before and after."""
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    pace: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    """Seconds worked and rows done, at some points."""

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def mean_toxicity(self) -> tuple[float, float] | None:
        """Before and after, over the rows that were screened."""
        count = sum(self.before)
        return (self.sums[0] / count, self.sums[1] / count) if count else None

    def to_dict(self) -> dict[str, Any]:
        """All figures, and no text."""
        return {
            "source": self.source,
            "output": self.output,
            "rewriter": self.rewriter,
            "rows": self.rows,
            "statuses": dict(self.statuses.most_common()),
            "rows_resumed": self.resumed,
            "rows_repeated": self.repeated,
            "workers_lost": self.lost,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rate, 3),
            "mean_toxicity": self.mean_toxicity,
            "toxicity_before": self.before,
            "toxicity_after": self.after,
        }

    def count(self, answer: Answer) -> None:
        """Take one more row in."""
        self.rows += 1
        self.statuses[answer[_STATUS]] += 1
        before, after = answer[_BEFORE], answer[_AFTER]
        if before is None or after is None:
            return
        for bins, place, value in ((self.before, 0, before), (self.after, 1, after)):
            bins[min(BINS - 1, int(value * BINS))] += 1
            self.sums[place] += value

    def point(self, seconds: float) -> None:
        """So many more seconds brought us to where we are."""
        self.seconds += seconds
        self.pace.append((self.seconds, self.rows))
        if len(self.pace) > 2 * _POINTS:
            self.pace = [*self.pace[:-1:2], self.pace[-1]]


class Elsewhere(Protocol):
    """Answers from other machines, which read the file themselves; `ray_files.RayWorkers` is one."""

    lost: int
    repeated: int

    def __enter__(self) -> Any: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def answers(
        self, source: Path, column: str, first: int, rows: int | None
    ) -> tuple[str, Iterator[list[Answer]]]: ...


def rewrite_file(
    source: Path,
    output: Path,
    column: str,
    workers: Workers | Elsewhere,
    *,
    settings: Mapping[str, Any] | None = None,
    neutralise_formulas: bool = False,
    fresh: bool = False,
    told: Told = lambda what, done, total: None,
) -> FileReport:
    """Rewrites a column of a file into another file, or goes on where an earlier run ended.

    An earlier run must have had the same input, column, `settings` (whatever else decides the
    result) and rewriter; DataError says what differs, and `fresh` throws its work away. What stops
    a run (KeyboardInterrupt, a full disk, a broken engine) leaves what is done in the journal, and
    the message says how to go on.
    """
    require_target(output)
    kind_of_output, _ = kind_of(output)
    columns = _Columns(source)
    require_columns(source, columns.names, [column])
    _refuse_input(source, output)
    # Before it is read, so that no change after that goes unnoticed.
    stamp = _stamp(source)
    look = survey(source)
    head = {
        "input": source.name,
        "size": look.size,
        "sha256": look.sha256,
        "column": column,
        **(settings or {}),
    }
    with Journal(output, fresh=fresh) as journal, _saying_how_to_go_on(journal):
        journal.agree(head)
        _refuse_half_written(output, journal, fresh)
        with workers:
            # They load while we read again what is done.
            stream, known = columns.seen(read_rows(source)), Known()
            _skip(stream, column, journal, known, told, look.rows)
            since: float | None = None
            if isinstance(workers, Workers):
                name, found = workers.name, answers_here(workers, stream, column, known)
            else:
                since = time.monotonic()
                name, found = workers.answers(source, column, journal.rows, look.rows)
                found = _beside(found, stream)
            journal.begin(head | {"rewriter": name}, since=since)
            report = FileReport(source.name, output.name, name, resumed=journal.rows)
            told("rewriting", journal.rows, look.rows)
            for answers in found:
                journal.append(answers)
                told("rewriting", journal.rows, look.rows)
            report.repeated, report.lost = known.hits, workers.lost
            if not isinstance(workers, Workers):
                report.repeated += workers.repeated
        _require_unchanged(source, look, stamp)
        with open_writer(
            output,
            [*columns.names, *ADDED],
            types=columns.types,
            neutralise_formulas=neutralise_formulas,
        ) as writer:
            for values in _answered(source, column, journal, report, told):
                writer.write(columns.fit(values, kind_of_output))
        journal.remove()
    return report


# ---- what is refused ----------------------------------------------------------------------------


def _refuse_input(source: Path, output: Path) -> None:
    if output.exists() and output.samefile(source):
        raise DataError(f"{output} is the input; give another --output")


def _refuse_half_written(output: Path, journal: Journal, fresh: bool) -> None:
    part = part_of(output)
    # With rows in the journal it is the last step of the run that goes on here.
    if part.exists() and not journal.rows and not fresh:
        raise DataError(
            f"{part} is the half-written output of another run. Move it away, or give --fresh to "
            "throw it away and start over"
        )


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _require_unchanged(source: Path, look: Survey, stamp: tuple[int, int]) -> None:
    if _stamp(source) != stamp and survey(source) != look:
        raise _changed(source)


def _changed(source: Path) -> Refused:
    return Refused(
        f"{source} changed while it was read. Put back what it was to go on, or start over with "
        "--fresh"
    )


@contextmanager
def _saying_how_to_go_on(journal: Journal) -> Iterator[None]:
    try:
        yield
    except (TactfulError, KeyboardInterrupt) as error:
        stopped = isinstance(error, KeyboardInterrupt)
        kept = (
            f"{journal.rows:,} rows are done and kept in {journal.path}; run the same command "
            "again to go on"
        )
        if stopped:
            what = f"stopped; {kept}" if journal.rows else "stopped before any row was done"
            raise InterruptedRunError(what) from None
        if journal.rows and not isinstance(error, Refused):
            error.args = (f"{error}\n{kept}",)
        raise


# ---- columns ------------------------------------------------------------------------------------


class _Columns:
    """The columns of the output and their types.

    JSON Lines says only at its end which columns it had and of what types, so they are noted while
    its rows are read. What Parquet would not take in one column, or only in part (numbers and
    words, nested values), is written to it as text.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._found = dict.fromkeys(column_names(source))
        self._lines = kind_of(source)[0] == "jsonl"
        self._types = column_types(source)
        self._kinds: dict[str, set[Any]] = {}
        self._as_text: set[str] = set()
        self._refuse_ours(self._found)

    @property
    def names(self) -> list[str]:
        return list(self._found)

    def seen(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, noted."""
        if not self._lines:
            yield from rows
            return
        for row in rows:
            if not row.values.keys() <= self._found.keys():
                self._refuse_ours(row.values)
                self._found.update(dict.fromkeys(row.values))
            for name, value in row.values.items():
                kind: Any = type(value)
                if kind is int and abs(value) > 2**53:
                    # Not exact beside fractions, or too large altogether.
                    kind = "large" if -(2**63) <= value < 2**63 else "huge"
                self._kinds.setdefault(name, set()).add(kind)
            yield row

    @property
    def types(self) -> dict[str, Any]:
        """Arrow types of all columns."""
        types = dict(self._types)
        for name, kinds in self._kinds.items():
            known = _PARQUET.get(frozenset(kinds - {type(None)}))
            types[name] = known or pa.string()
            if known is None:
                self._as_text.add(name)
        words = ("_text", "_status", "_reason")
        return types | {name: pa.string() if name in words else pa.float64() for name in ADDED}

    def fit(self, values: dict[str, Any], kind: str) -> dict[str, Any]:
        """The values of a row as the output takes them."""
        if kind == "txt":
            return {TEXT_COLUMN: values["_text"]}
        if kind == "parquet":
            for name in self._as_text & values.keys():
                if values[name] is not None:
                    values[name] = cell(values[name])
        return values

    def _refuse_ours(self, names: Iterable[str]) -> None:
        taken = [name for name in ADDED if name in names]
        if taken:
            raise Refused(
                f"{self._source} already has {', '.join(taken)}, which would be written over; "
                "rename or drop these columns first"
            )


_PARQUET: dict[frozenset[Any], Any] = {
    frozenset({str}): pa.string(),
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({"large"}): pa.int64(),
    frozenset({int, "large"}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}

# ---- rows into chunks ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Answered:
    """The place of an answer, which rows of one text share; None until it is there."""

    answer: Answer | None = None


@dataclass(slots=True)
class _Chunk:
    """Rows that are answered together: for each where its answer will be, and what to ask."""

    rows: list[_Answered] = field(default_factory=list)
    texts: list[Any] = field(default_factory=list)
    asked: list[_Answered] = field(default_factory=list)

    def take(self, answers: Iterable[Answer]) -> None:
        for place, answer in zip(self.asked, answers, strict=True):
            place.answer = answer

    @property
    def answers(self) -> list[Answer]:
        found = [row.answer for row in self.rows if row.answer is not None]
        assert len(found) == len(self.rows)
        return found


def _texts(chunk: _Chunk) -> list[Any]:
    return chunk.texts


def answers_here(
    workers: Workers, rows: Iterable[Row], column: str, known: Known
) -> Iterator[list[Answer]]:
    """Answers to rows, chunk by chunk, in order."""
    for chunk, answers in workers.map(_chunks(rows, column, known), _texts):
        chunk.take(answers)
        yield chunk.answers


def _beside(found: Iterable[list[Answer]], rows: Iterator[Row]) -> Iterator[list[Answer]]:
    """The same answers; the rows they are for are passed over, as they say what the columns are."""
    for answers in found:
        for _ in islice(rows, len(answers)):
            pass
        yield answers


class Known:
    """Answers by text. Beyond a bound of memory those that nobody asked for longest are forgotten.

    Which are known depends on the rows before alone, not on who was quicker or whether a run was
    resumed, so that the same file gives the same questions.
    """

    def __init__(self, limit: int = KNOWN_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._answers: OrderedDict[bytes, tuple[_Answered, int]] = OrderedDict()
        self.hits = 0

    def find(self, text: str) -> tuple[_Answered, bool]:
        """The place for the answer to a text, and whether it was known."""
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if (entry := self._answers.get(key)) is not None:
            self._answers.move_to_end(key)
            self.hits += 1
            return entry[0], True
        place, size = _Answered(), _OVERHEAD + getsizeof(text)
        self._answers[key] = place, size
        self._held += size
        while self._held > self._limit:
            self._held -= self._answers.popitem(last=False)[1][1]
        return place, False


def _chunks(rows: Iterable[Row], column: str, known: Known) -> Iterator[_Chunk]:
    chunk, chars = _Chunk(), 0
    for row in rows:
        text = row.values.get(column)
        if row.error is not None:
            place = _Answered(answer_of(unread(row, column), None))
        else:
            place, old = known.find(text) if isinstance(text, str) else (_Answered(), False)
            if not old:
                chunk.texts.append(text)
                chunk.asked.append(place)
                chars += len(text) if isinstance(text, str) else 0
        chunk.rows.append(place)
        if len(chunk.texts) >= _TEXTS or chars >= _CHARS or len(chunk.rows) >= _ROWS:
            yield chunk
            chunk, chars = _Chunk(), 0
    if chunk.rows:
        yield chunk


def _skip(
    rows: Iterator[Row],
    column: str,
    journal: Journal,
    known: Known,
    told: Told,
    total: int | None,
) -> None:
    """Pass over the rows that are done, and learn their answers again."""
    done = 0
    for chunk in journal.chunks():
        for answer in chunk.answers:
            row = next(rows, None)
            if row is None:
                raise DataError(f"{journal.path} has more rows than the input; give --fresh")
            text = row.values.get(column)
            if row.error is None and isinstance(text, str):
                place, old = known.find(text)
                if not old:
                    place.answer = answer
        done += len(chunk.answers)
        told("reading what is done", done, total)


# ---- the output ---------------------------------------------------------------------------------


def _answered(
    source: Path, column: str, journal: Journal, report: FileReport, told: Told
) -> Iterator[dict[str, Any]]:
    """Rows and answers put together. It takes seconds where the answers took hours."""
    rows = read_rows(source)
    for chunk in journal.chunks():
        for answer in chunk.answers:
            row = next(rows, None)
            if row is None:
                raise _changed(source)
            text = row.values.get(column) if answer[0] is None else answer[0]
            report.count(answer)
            yield {**row.values, **dict(zip(ADDED, [text, *answer[1:]], strict=True))}
        report.point(chunk.seconds)
        told("writing", report.rows, journal.rows)
    if next(rows, None) is not None:
        raise _changed(source)
