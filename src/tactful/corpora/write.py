"""Rows into CSV, TSV, JSON Lines, Parquet and text files, whole or not at all.

Rows go to `<name>.part` and the file gets its name only when all went well, so that half a result
is never taken for a result.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tactful.corpora.read import TEXT_COLUMN, Packing, kind_of
from tactful.errors import DataError

_BATCH = 1024
_FRAME = 2**20
# How spreadsheets are told that a cell is a formula (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Writer(Protocol):
    """What `open_writer` hands out."""

    def write(self, values: dict[str, Any]) -> None: ...


@contextmanager
def open_writer(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    types: Mapping[str, Any] | None = None,
    neutralise_formulas: bool = False,
) -> Iterator[Writer]:
    """Opens a file for rows; what kind is told from its name, as in `read_rows`.

    `columns` fixes the columns of CSV, TSV and Parquet; without it the first row does. The target
    is opened at once, so that one that cannot be written raises DataError before any work is
    done. `types` are Arrow types for columns of Parquet; the others are made out from the first
    rows. `neutralise_formulas` puts a ' before cells of CSV and TSV that a spreadsheet would run.
    """
    kind, packing = kind_of(path)
    require_target(path)
    part = part_of(path)
    try:
        raw = part.open("wb")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    handle = _packed(raw, packing)
    writer: _Target
    if kind == "parquet":
        writer = _Parquet(path, handle, columns, types or {})
    elif kind in ("csv", "tsv"):
        writer = _Table(path, handle, columns, "," if kind == "csv" else "\t", neutralise_formulas)
    else:
        writer = _Lines(path, handle, json_line if kind == "jsonl" else _text_line)
    try:
        yield writer
        with _saying_what_broke(path):
            writer.close()
            if handle is not raw:
                handle.close()
            # On the disk before it gets its name: what comes back after a power cut is whole, too.
            raw.flush()
            os.fsync(raw.fileno())
            raw.close()
            part.replace(path)
    except BaseException:
        # Closing what is broken may fail again; what broke first is what the user must read.
        for close in (writer.close, handle.close, raw.close):
            with suppress(Exception):
                close()
        part.unlink(missing_ok=True)
        raise


def require_target(path: Path) -> None:
    """Raises DataError when no file could get this name."""
    kind_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a file name in it")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written: there is no folder {path.parent}; make it")


def part_of(path: Path) -> Path:
    """Where the rows of a file are until all are there."""
    return path.with_name(path.name + ".part")


def _packed(raw: IO[bytes], packing: Packing) -> IO[bytes]:
    if packing == "gz":
        # No time stamp and no name inside: the same rows give the same bytes.
        return cast(IO[bytes], gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
    if packing == "zst":
        return cast(IO[bytes], io.BufferedWriter(_Frames(raw), _FRAME))
    return raw


class _Frames(io.RawIOBase):
    """Zstandard, a frame for each block: a failing disk is then told by the write that failed."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self._codec = pa.Codec("zstd")

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self._raw.write(self._codec.compress(bytes(block), asbytes=True))
        return len(block)


def json_line(values: dict[str, Any]) -> str:
    """Gives a row as one line of JSON; what JSON cannot hold (dates, bytes) becomes a string."""
    return json.dumps(_plain(values), ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        # NaN is how tables say "nothing here"; JSON has no word for it but null.
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _text_line(values: dict[str, Any]) -> str:
    if TEXT_COLUMN not in values:
        raise DataError(f'a text file holds the column "{TEXT_COLUMN}"; got {sorted(values)}')
    return re.sub(r"[\r\n]+", " ", cell(values[TEXT_COLUMN])) + "\n"


@contextmanager
def _saying_what_broke(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


class _Target:
    """A file that takes rows; a failing disk is said in words."""

    def __init__(self, path: Path, handle: IO[bytes], columns: Sequence[str] | None = None) -> None:
        self._path = path
        self._handle = handle
        self._columns = columns

    def write(self, values: dict[str, Any]) -> None:
        with _saying_what_broke(self._path):
            self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is still held back; the handle is the opener's to close."""

    def _columns_for(self, values: dict[str, Any]) -> Sequence[str]:
        if self._columns is None:
            self._columns = list(values)
        if unknown := [name for name in values if name not in self._columns]:
            raise DataError(
                f"{self._path} has the columns {list(self._columns)}, and a row brings {unknown}; "
                "give all columns when opening it"
            )
        return self._columns


class _Lines(_Target):
    """JSON Lines and text: one function makes the line."""

    def __init__(
        self, path: Path, handle: IO[bytes], line: Callable[[dict[str, Any]], str]
    ) -> None:
        super().__init__(path, handle)
        self._line = line

    def _write(self, values: dict[str, Any]) -> None:
        self._handle.write(self._line(values).encode(errors="replace"))


class _Table(_Target):
    """CSV and TSV; the header is written with the first row, or alone when there is none."""

    def __init__(
        self,
        path: Path,
        handle: IO[bytes],
        columns: Sequence[str] | None,
        delimiter: str,
        neutralise_formulas: bool,
    ) -> None:
        super().__init__(path, handle, columns)
        self._neutralise = neutralise_formulas
        self._started = False
        self._line = io.StringIO(newline="")
        # Line ends stay CR LF (RFC 4180): the csv module quotes a cell with a lone CR only when
        # CR is part of the line end.
        self._csv = csv.writer(self._line, delimiter=delimiter)

    def _write(self, values: dict[str, Any]) -> None:
        columns = self._columns_for(values)
        self._start(columns)
        self._put([cell(values.get(name)) for name in columns])

    def close(self) -> None:
        self._start(self._columns or ())

    def _start(self, columns: Sequence[str]) -> None:
        if columns and not self._started:
            self._started = True
            self._put(columns)

    def _put(self, cells: Sequence[str]) -> None:
        if self._neutralise:
            cells = ["'" + cell if cell.startswith(_FORMULA) else cell for cell in cells]
        self._csv.writerow(cells)
        self._handle.write(self._line.getvalue().encode(errors="replace"))
        self._line.seek(0)
        self._line.truncate()


def cell(value: Any) -> str:
    """A value as the cell of a table: text as it is, nothing as "", all else as JSON."""
    value = _plain(value)
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


class _Parquet(_Target):
    """Parquet; the types are those given, else those of the first rows written together."""

    def __init__(
        self,
        path: Path,
        handle: IO[bytes],
        columns: Sequence[str] | None,
        types: Mapping[str, Any],
    ) -> None:
        super().__init__(path, handle, columns)
        self._types = types
        self._rows: list[dict[str, Any]] = []
        self._file: pq.ParquetWriter | None = None

    def _write(self, values: dict[str, Any]) -> None:
        columns = self._columns_for(values)
        self._rows.append({name: values.get(name) for name in columns})
        if len(self._rows) == _BATCH:
            self._flush()

    def close(self) -> None:
        try:
            if self._rows or self._file is None:
                self._flush()
        finally:
            if self._file is not None:
                self._file.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        try:
            if self._file is None:
                self._file = pq.ParquetWriter(self._handle, self._schema(rows))
            cells = [
                _arrow_column([row[field.name] for row in rows], field.type)
                for field in self._file.schema
            ]
            self._file.write_table(pa.Table.from_arrays(cells, schema=self._file.schema))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"{self._path}: rows do not fit one Parquet table: {error}. Write .jsonl instead, "
                "or give every row of a column the same type"
            ) from error

    def _schema(self, rows: list[dict[str, Any]]) -> Any:
        columns = self._columns or ()
        given = {name: type_ for name, type_ in self._types.items() if name in columns}
        open_ = [{n: v for n, v in row.items() if n not in given} for row in rows]
        inferred = pa.Table.from_pylist(open_).schema if rows else pa.schema([])
        # A column without a value yet has no type: text is what most later values are.
        types = {f.name: f.type for f in inferred if not pa.types.is_null(f.type)} | given
        return pa.schema([(name, types.get(name, pa.string())) for name in columns])


def _arrow_column(values: list[Any], type_: Any) -> Any:
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        # What Python cannot hold, such as a day far away, was read as text (`corpora.read`).
        if not any(isinstance(value, str) for value in values):
            raise
        return pa.chunked_array([_arrow_cell(value, type_) for value in values]).combine_chunks()


def _arrow_cell(value: Any, type_: Any) -> Any:
    if not isinstance(value, str):
        return pa.array([value], type_)
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        # Arrow writes years that it does not read again.
        return pa.array([np.datetime64(value.removesuffix("Z"))]).cast(type_)
    return pa.array([value]).cast(type_)
