"""Rows from CSV, TSV, JSON Lines, Parquet and text files, one at a time.

A row that cannot be used is still a row: it comes with `error` in plain words and with what could
be had of its values, so that nothing is lost on the way and the caller decides. Only a fault of
the file as a whole raises DataError. Every string handed out can be written as UTF-8.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tactful.errors import DataError

Kind = Literal["csv", "tsv", "jsonl", "txt", "parquet"]
Packing = Literal["", "gz", "zst"]
"""How a text format is compressed."""
KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "txt",
    ".parquet": "parquet",
}
TEXT_COLUMN = "text"
"""The one column of a text file."""

# The default of the csv module, 128 KiB, is less than a long comment page. A limit there must be:
# a quote that is never closed would otherwise read the rest of the file into one cell.
_CELL_LIMIT = 2**26
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BATCH = 1024
# pyarrow reads a column of a whole row group ahead unless told to go in steps of so many bytes.
_BUFFER = 2**20
PACKINGS: dict[str, Packing] = {".gz": "gz", ".zst": "zst"}
_PEEK = 100
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file; `error` says in words why it cannot be trusted, None that it can.

    `number` counts from 1: lines in JSONL and text files, rows below the header elsewhere.
    """

    number: int
    values: dict[str, Any]
    error: str | None = None
    surplus: tuple[str, ...] = ()
    """Cells beyond the last column, which have no name."""

    @property
    def reason(self) -> str:
        """The error with the surplus cells, for the one who owns the texts; "" for a good row."""
        cells = f"; beyond the last column: {list(self.surplus)}" if self.surplus else ""
        return (self.error or "") + cells


def kind_of(path: Path) -> tuple[Kind, Packing]:
    """Says from the name of a file what it holds and how that is compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = PACKINGS.get("".join(suffixes[-1:]), "")
    extension = "".join(suffixes[:-1][-1:] if packing else suffixes[-1:])
    kind = KINDS.get(extension)
    if kind is None or (packing and kind == "parquet"):
        raise DataError(
            f"{path}: what kind of file this is cannot be told from its name. Use one of "
            f"{', '.join(KINDS)}; each but .parquet may be followed by {' or '.join(PACKINGS)}"
        )
    return kind, packing


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file is known by: its bytes; `rows` are counted where that costs nothing.

    The rows of Parquet are exact. In text formats they are lines, so cells with line breaks and
    blank lines count too much; compressed ones are not counted.
    """

    size: int
    sha256: str
    rows: int | None


def survey(path: Path) -> Survey:
    """Reads a file once, as bytes."""
    kind, packing = kind_of(path)
    _require_readable(path)
    if not path.is_file():
        raise DataError(f"{path} is a pipe or device; what is read twice must be a file")
    digest, size, lines, last = hashlib.sha256(), 0, 0, b"\n"
    try:
        with path.open("rb", buffering=0) as handle:
            while block := handle.read(_BUFFER):
                digest.update(block)
                size += len(block)
                lines += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    lines += last != b"\n"
    if kind == "parquet":
        rows = next(_saying_what_broke(path, _length(path))).number
    else:
        # The header is a line, too.
        rows = max(0, lines - (kind in _DELIMITERS))
    return Survey(size, digest.hexdigest(), None if packing else rows)


def _length(path: Path) -> Iterator[Row]:
    """Gives one row whose number is how many there are."""
    with pq.ParquetFile(path) as file:
        yield Row(file.metadata.num_rows, {})


def read_rows(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Gives the rows of a file in order, in constant memory.

    `columns` names those that must be there, and then only these are handed out; without it all
    are. Faults of the path raise at once, other faults of the file when the iteration meets them:
    the rows before the damage are given first. Blank lines of JSONL and CSV are passed over,
    except in a CSV of one column, where they are an empty cell.
    """
    kind, packing = kind_of(path)
    _require_readable(path)
    return _saying_what_broke(path, _rows(path, kind, packing, columns))


def column_names(path: Path) -> list[str]:
    """Says which columns a file has; for JSONL, those of its first hundred rows."""
    kind, packing = kind_of(path)
    _require_readable(path)
    if kind == "txt":
        return [TEXT_COLUMN]
    if kind == "jsonl":
        return _names_in(islice(read_rows(path), _PEEK))
    names: list[str] = []
    for row in _saying_what_broke(path, _header_only(path, kind, packing)):
        names.extend(row.values)
    return names


def column_types(path: Path) -> dict[str, Any]:
    """Says of what Arrow types the cells are that `read_rows` hands out; {} where each has its own."""
    kind, _ = kind_of(path)
    if kind == "jsonl":
        return {}
    if kind != "parquet":
        return dict.fromkeys(column_names(path), pa.string())
    _require_readable(path)
    try:
        fields = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}. Make or fetch it again") from error
    return {field.name: pa.string() if _is_nanoseconds(field) else field.type for field in fields}


def require_columns(path: Path, names: Sequence[str], wanted: Iterable[str]) -> None:
    """Raises DataError when a wanted column is not among the names, with the nearest that is."""
    for name in wanted:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
            raise DataError(f'{path} has no column "{name}".{hint} It has: {listed(names)}')


def listed(names: Iterable[str]) -> str:
    """Column names in quotes, for messages."""
    return ", ".join(f'"{name}"' for name in names) or "none"


def _require_readable(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a file in it")
    if not path.exists():
        raise DataError(f"{path} is not there; check the path (now in {Path.cwd()})")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} cannot be read: permission denied")


def _saying_what_broke(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    number = 0
    try:
        for row in rows:
            number = row.number
            yield row
    except (EOFError, zlib.error, OSError, csv.Error, pa.ArrowException) as error:
        where = f"is damaged after row {number}" if number else "cannot be read"
        raise DataError(f"{path} {where}: {error}. Make or fetch it again") from error


def _rows(path: Path, kind: Kind, packing: Packing, columns: Sequence[str] | None) -> Iterator[Row]:
    if kind == "parquet":
        yield from _parquet_rows(path, columns)
        return
    with _opened(path, packing) as handle:
        if kind == "jsonl":
            yield from _jsonl_rows(handle, path, columns)
        elif kind == "txt":
            yield from _txt_rows(handle, path, columns)
        else:
            with _as_text(handle) as text:
                yield from _csv_rows(_Lines(text), _DELIMITERS[kind], path, columns)


def _header_only(path: Path, kind: Kind, packing: Packing) -> Iterator[Row]:
    """Gives one row whose keys are the columns."""
    if kind == "parquet":
        with pq.ParquetFile(path) as file:
            yield Row(0, dict.fromkeys(_distinct(file.schema_arrow.names, path)))
        return
    with _opened(path, packing) as handle, _as_text(handle) as text:
        lines = _Lines(text)
        yield Row(0, dict.fromkeys(_header(_reader(lines, _DELIMITERS[kind]), lines, path)))


@contextmanager
def _opened(path: Path, packing: Packing) -> Iterator[BinaryIO]:
    with _unpacked(path, packing) as handle:
        if handle.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path} is UTF-16; save it as UTF-8")
        yield cast(BinaryIO, handle)


def _unpacked(path: Path, packing: Packing) -> Any:
    if packing == "gz":
        return gzip.open(path, "rb")
    if packing == "zst":
        stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        return io.BufferedReader(stream, 2**16)
    return path.open("rb")


# ---- text ---------------------------------------------------------------------------------------


def _lines(handle: BinaryIO) -> Iterator[tuple[int, str, str | None]]:
    """Gives line number, text without its line end, and what is wrong with its encoding."""
    for number, line in enumerate(handle, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield number, *_decode(line.removesuffix(b"\n").removesuffix(b"\r"), "line")


def _decode(raw: bytes, whole: str) -> tuple[str, str | None]:
    try:
        return raw.decode(), None
    except UnicodeDecodeError as error:
        wrong = f"invalid UTF-8 at byte {error.start + 1} of the {whole}"
        return raw.decode(errors="replace"), wrong


def _txt_rows(handle: BinaryIO, path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    require_columns(path, [TEXT_COLUMN], columns or ())
    for number, text, error in _lines(handle):
        yield Row(number, {TEXT_COLUMN: text}, error)


# ---- JSON Lines ---------------------------------------------------------------------------------


def _jsonl_rows(handle: BinaryIO, path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    rows = (
        Row(number, *_json_object(text, error))
        for number, text, error in _lines(handle)
        if text.strip()
    )
    if columns is None:
        yield from rows
        return
    # JSON Lines has no header. A column that none of the first rows has is a wrong name; one that
    # a single row lacks is a fault of that row.
    head = list(islice(rows, _PEEK))
    if names := _names_in(head):
        require_columns(path, names, columns)
    for row in chain(head, rows):
        yield _only(row, columns)


def _names_in(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _only(row: Row, columns: Sequence[str]) -> Row:
    missing = [name for name in columns if name not in row.values]
    error = row.error
    if error is None and missing:
        error = f"no {listed(missing)} in this row, which has {listed(row.values)}"
    kept = {n: row.values[n] for n in columns if n in row.values}
    return Row(row.number, kept, error, row.surplus)


def _json_object(text: str, error: str | None) -> tuple[dict[str, Any], str | None]:
    try:
        value = json.loads(text)
    except RecursionError:
        return {}, error or "invalid JSON: nested too deeply"
    except ValueError as fault:
        return {}, error or f"invalid JSON: {fault}"
    if not isinstance(value, dict):
        found = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number")
        found = "true or false" if isinstance(value, bool) else found
        return {}, error or f'expected a JSON object such as {{"text": "..."}}, found {found}'
    # Only an escape can bring half a surrogate pair past the decoder, and UTF-8 cannot carry it.
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        return _whole(value), error or "half a surrogate pair (\\ud800 to \\udfff), not a character"
    return value, error


def _whole(value: Any) -> Any:
    """Puts U+FFFD for every half surrogate pair, however deep."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


# ---- CSV and TSV --------------------------------------------------------------------------------


def _as_text(handle: BinaryIO) -> io.TextIOWrapper:
    """Decodes for the csv reader; bytes that are no UTF-8 come as lone surrogates (`_mend`)."""
    return io.TextIOWrapper(handle, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Lines:
    """Lines for the csv reader that know how many they were and whether they ended."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.count = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.count += 1
        return line


def _reader(lines: _Lines, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))
    return csv.reader(lines, delimiter=delimiter)


def _csv_rows(
    lines: _Lines, delimiter: str, path: Path, columns: Sequence[str] | None
) -> Iterator[Row]:
    reader = _reader(lines, delimiter)
    header = _header(reader, lines, path)
    require_columns(path, header, columns or ())
    number = 0
    while True:
        before = lines.count
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            number += 1
            yield Row(number, {}, f"invalid CSV: {fault}; is there a quote that is never closed?")
            continue
        if not cells and len(header) > 1:
            continue
        number += 1
        row = _csv_row(number, header, cells or [""])
        # The reader asks for a line beyond the last only while it is inside quotes.
        if lines.ended:
            swallowed = lines.count - before - 1
            error = f"a quote opened here is never closed; it swallowed {swallowed} more lines"
            row = Row(number, row.values, error, row.surplus)
        yield _only(row, columns) if columns is not None else row


def _header(reader: Iterator[list[str]], lines: _Lines, path: Path) -> list[str]:
    header = next((cells for cells in reader if cells), None)
    if header is None:
        raise DataError(f"{path} is empty: it has not even a header line")
    if lines.ended:
        raise DataError(f"{path}: a quote opened in the header line is never closed")
    for name in header:
        if _mend(name)[1]:
            raise DataError(f"{path}: the header line is not UTF-8; save the file as UTF-8")
    return _distinct(header, path)


def _distinct(names: list[str], path: Path) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f'{path} has {names.count(name)} columns named "{name}"; rename them')
    return names


def _csv_row(number: int, header: list[str], cells: list[str]) -> Row:
    error = None
    values = {}
    # Too few or too many cells: what stands under a name is kept, and the error says the rest.
    for name, cell in zip(header, cells, strict=False):
        values[name], wrong = _mend(cell)
        error = error or (wrong and f'column "{name}": {wrong}')
    if len(cells) != len(header):
        error = f"expected {len(header)} cells as in the header, found {len(cells)}"
    return Row(number, values, error, tuple(_mend(cell)[0] for cell in cells[len(header) :]))


def _mend(cell: str) -> tuple[str, str | None]:
    if cell.isascii() or not _SURROGATE.search(cell):
        return cell, None
    return _decode(cell.encode(errors="surrogateescape"), "cell")


# ---- Parquet ------------------------------------------------------------------------------------


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
        names = _distinct(file.schema_arrow.names, path)
        require_columns(path, names, columns or ())
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
            for values, error in _records(batch):
                number += 1
                yield Row(number, values, error)


def _records(batch: Any) -> Iterator[tuple[dict[str, Any], str | None]]:
    for place, field in enumerate(batch.schema):
        # Nanoseconds become what is installed: nothing, or a type of pandas. As text they are exact.
        if _is_nanoseconds(field):
            batch = batch.set_column(place, field.name, batch.column(place).cast(pa.string()))
    try:
        for values in batch.to_pylist():
            yield values, None
    except (ValueError, OverflowError):
        # One cell that Python cannot hold spoils the whole batch: go through it cell by cell.
        for index in range(batch.num_rows):
            values, error = {}, None
            for name in batch.schema.names:
                values[name], wrong = _cell(batch.column(name)[index])
                error = error or (wrong and f'column "{name}": {wrong}')
            yield values, error


def _is_nanoseconds(field: Any) -> bool:
    return getattr(field.type, "unit", None) == "ns"


def _cell(scalar: Any) -> tuple[Any, str | None]:
    try:
        return scalar.as_py(), None
    except UnicodeDecodeError:
        if hasattr(scalar, "as_buffer"):
            return _decode(scalar.as_buffer().to_pybytes(), "cell")
        return None, "invalid UTF-8"
    except (ValueError, OverflowError) as fault:
        # Such as a year that Python's datetime cannot hold: exact as text.
        try:
            return scalar.cast(pa.string()).as_py(), None
        except pa.ArrowException:
            return None, f"not readable: {fault}"
