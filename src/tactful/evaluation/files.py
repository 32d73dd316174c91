"""Sources, references and systems' outputs from files, in the shapes in which they are published.

Rows belong together by position, except where the files say more: by `id` (CLEF TextDetox, JSON
Lines) or by the toxic sentence itself (its tables). A file with any row that cannot be used is
refused as a whole, all faults at once: leaving rows out would flatter the system.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tactful.corpora.columns import text_column
from tactful.corpora.read import Row, column_names, kind_of, listed, read_rows, require_columns
from tactful.corpora.write import open_writer
from tactful.errors import DataError
from tactful.evaluation.evaluate import join_faults

T = TypeVar("T")

_SOURCES = ("toxic", "toxic_sentence", "en_toxic_comment", "toxic_comment", "original", "source")
_REFERENCES = re.compile(r"(en_)?neutral(_comment|_sentence)?_?\d*|references?")
# `_text` is what `tactful rewrite` adds; there, "text" is the source.
_OUTPUTS = ("_text", "rewrite", "rewritten", "neutral_sentence", "output", "prediction")
_ID = "id"
_LANG = "lang"
_CLEF_SOURCE = "toxic_sentence"
_CLEF_OUTPUT = "neutral_sentence"
# Beside these, "text" can only be the output.
_NO_TEXTS = {"id", "idx", "lang", "text"}


@dataclass(frozen=True, slots=True)
class ClefRow:
    """One row of a CLEF TextDetox submission: with an `id` in JSON Lines, a `source` in tables."""

    text: str
    id: str | None = None
    source: str | None = None
    lang: str = "en"


def read_sources(
    path: Path, column: str | None = None, references: str | None = None
) -> tuple[list[str], list[list[str]] | None]:
    """The texts to rewrite, and people's rewrites of each where the file has some.

    Columns that were not named are known by usual names: `toxic`, `original`, `text` ...;
    `references` (a list, as JSON in tables) or `neutral1`, `neutral2` ...
    """
    names = column_names(path)
    column = column or _first(names, _SOURCES) or text_column(names) or _only(names)
    if column is None:
        raise DataError(f"{path}: name the column that holds the sources. It has: {listed(names)}")
    chosen = (
        [references]
        if references
        else [n for n in names if n != column and _REFERENCES.fullmatch(n.lower().strip())]
    )
    require_columns(path, names, [column, *chosen])

    def pick(row: Row) -> tuple[str, list[str]]:
        texts = (text for name in chosen for text in _references(row.values.get(name), name))
        return _text(row.values.get(column), column), [text for text in texts if text.strip()]

    rows = _read(path, pick, [column])
    return [text for text, _ in rows], [refs for _, refs in rows] if chosen else None


def read_outputs(path: Path, column: str | None = None) -> list[str]:
    """A system's rewrites in the order of the file; a missing one is "".

    Columns that were not named are known by usual names; `text` alone or beside ids will do.
    """
    column = _output_column(path, column)
    return _read(path, lambda row: _output(row, column), [column])


def read_aligned(
    path: Path,
    sources: Sequence[str],
    ids: Sequence[str] | None = None,
    column: str | None = None,
) -> list[str | None]:
    """A system's rewrites in the order of the sources; None where the file has none.

    By `id` where both sides have one, by `toxic_sentence` where the file has such a column, else
    by position.
    """
    names = column_names(path)
    if ids is not None and _ID in names:
        return _by_id(path, ids, _output_column(path, column))
    if _CLEF_SOURCE in names:
        return _by_source(path, sources, _output_column(path, column))
    chosen = _output_column(path, column)
    beside = _first([name for name in names if name != chosen], (*_SOURCES, "text"))
    if beside is not None and chosen != "text":
        _require_same_sources(path, beside, sources)
    return list(read_outputs(path, chosen))


def _require_same_sources(path: Path, column: str, sources: Sequence[str]) -> None:
    """Rows that stand in another order would be judged against other people's sources."""
    theirs = _read(path, lambda row: str(row.values.get(column) or ""), [column])
    faults = [
        f'row {number}: its "{column}" is not the source of that row'
        for number, (ours, source) in enumerate(zip(theirs, sources, strict=False), 1)
        if ours.split() != source.split()
    ]
    if faults:
        raise DataError(join_faults(str(path), faults))


def read_ids(path: Path) -> list[str] | None:
    """The ids of a file's rows as text, None when it has no column `id`."""
    if _ID not in column_names(path):
        return None
    ids = _read(path, lambda row: _id(row.values.get(_ID)), [_ID])
    repeated = [key for key, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(
            join_faults(str(path), [f"id {key!r} comes more than once" for key in repeated])
        )
    return ids


def read_clef(path: Path) -> list[ClefRow]:
    """Reads a CLEF TextDetox submission: JSON Lines of 2024, or the table of either year."""
    if kind_of(path)[0] == "jsonl":
        return _read(path, _clef_line, [_ID, "text"])
    return _read(path, _clef_cells, [_CLEF_SOURCE, _CLEF_OUTPUT])


def write_clef(path: Path, rows: Sequence[ClefRow]) -> None:
    """Writes a CLEF TextDetox submission; the ending of the name says which kind.

    .jsonl has `id` and `text`, .tsv has `lang`, `toxic_sentence` and `neutral_sentence`.
    """
    lines = kind_of(path)[0] == "jsonl"
    key = "id" if lines else "source"
    lacking = [n for n, row in enumerate(rows, 1) if getattr(row, key) is None]
    if lacking:
        raise DataError(join_faults(str(path), [f"row {n} has no {key}" for n in lacking]))
    columns = [_ID, "text"] if lines else [_LANG, _CLEF_SOURCE, _CLEF_OUTPUT]
    with open_writer(path, columns) as writer:
        for row in rows:
            cells = (row.id, row.text) if lines else (row.lang, row.source, row.text)
            writer.write(dict(zip(columns, cells, strict=True)))


def _clef_line(row: Row) -> ClefRow:
    return ClefRow(_output(row, "text"), id=_id(row.values.get(_ID)))


def _clef_cells(row: Row) -> ClefRow:
    return ClefRow(
        _output(row, _CLEF_OUTPUT),
        source=_text(row.values.get(_CLEF_SOURCE), _CLEF_SOURCE),
        lang=row.values.get(_LANG) or "en",
    )


# --- aligning -------------------------------------------------------------------------------


def _by_id(path: Path, ids: Sequence[str], column: str) -> list[str | None]:
    pairs = _read(path, lambda row: (_id(row.values.get(_ID)), _output(row, column)), [column])
    known = set(ids)
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    unknown = dict.fromkeys(key for key, _ in pairs if key not in known)
    faults = [f"id {key!r} comes more than once" for key in repeated]
    faults += [f"id {key!r} is none of the sources'" for key in unknown]
    if faults:
        raise DataError(join_faults(str(path), faults))
    found = dict(pairs)
    return [found.get(key) for key in ids]


def _by_source(path: Path, sources: Sequence[str], column: str) -> list[str | None]:
    """Other rows, such as those of other languages, are passed over."""
    answers: dict[str, list[str]] = {}
    for source, rewrite in _read(
        path,
        lambda row: (_text(row.values.get(_CLEF_SOURCE), _CLEF_SOURCE), _output(row, column)),
        [_CLEF_SOURCE, column],
    ):
        answers.setdefault(source.strip(), []).append(rewrite)
    if not any(source.strip() in answers for source in sources):
        raise DataError(f'{path}: no "{_CLEF_SOURCE}" in it is one of the sources')
    # A source that comes twice takes its rewrites in turn, and the last one for all that remain.
    return [
        None if not (left := answers.get(source.strip())) else left.pop(0) if left[1:] else left[0]
        for source in sources
    ]


# --- cells ----------------------------------------------------------------------------------


def _read(path: Path, pick: Callable[[Row], T], columns: Sequence[str]) -> list[T]:
    """One value for each row, or one DataError for all rows that have none."""
    require_columns(path, column_names(path), columns)
    values: list[T] = []
    faults: list[str] = []
    for row in read_rows(path):
        try:
            if row.error is not None:
                raise ValueError(row.error)
            values.append(pick(row))
        except ValueError as error:
            faults.append(f"row {row.number}: {error}")
    if faults:
        raise DataError(join_faults(str(path), faults))
    return values


def _output_column(path: Path, column: str | None) -> str:
    names = column_names(path)
    alone = "text" if "text" in names and set(names) <= _NO_TEXTS else None
    found = column or _first(names, _OUTPUTS) or alone or _only(names)
    if found is None:
        raise DataError(f"{path}: name the column that holds the outputs. It has: {listed(names)}")
    return found


def _first(names: Sequence[str], known: Iterable[str]) -> str | None:
    return next((name for name in known if name in names), None)


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'"{column}": expected text, got {type(value).__name__} ({value!r})')
    return value


def _output(row: Row, column: str) -> str:
    value = row.values.get(column)
    return "" if value is None else _text(value, column)


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f'"{_ID}": expected text or a whole number, got {value!r}')
    return str(value)


def _references(value: Any, column: str) -> Iterator[str]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    if value is None:
        return
    for text in value if isinstance(value, list) else [value]:
        yield _text(text, column)
