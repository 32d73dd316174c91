"""Raw files into the two piles that training reads, with a report of all that was wrong.

Only good rows go through, and nothing goes missing unsaid: every row read is in a pile, a
duplicate, in contradiction with another, or bad.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tactful.corpora.columns import ColumnMap, is_toxic, map_columns, text_column
from tactful.corpora.read import Row, column_names, read_rows, require_columns
from tactful.corpora.splits import fold_of, near_duplicates, normalise
from tactful.corpora.write import json_line, open_writer
from tactful.errors import ConfigError, DataError

MIN_CHARS = 3
MAX_CHARS = 5000
_LISTED = 100
_SAMPLE = 100
_FEW = 20
_LOPSIDED = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """A place in a file and what is wrong there; never the text itself."""

    file: str
    row: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What `prepare` read, kept and refused.

    `problems` and `contradictions` list the first hundred; `bad_rows` and `contradictory_texts`
    count all. `data_hash` is the SHA-256 of the lines of toxic.jsonl followed by neutral.jsonl.
    """

    rows: int
    toxic: int
    neutral: int
    bad_rows: int
    duplicates: int
    contradictory_texts: int
    moved_to_twins_fold: int
    folds: tuple[int, ...]
    sources: dict[str, int]
    columns: dict[str, str]
    problems: tuple[Problem, ...]
    contradictions: tuple[Problem, ...]
    warnings: tuple[str, ...]
    data_hash: str
    written: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Gives the report as plain values, ready for JSON."""
        return asdict(self)

    def render(self) -> str:
        """Gives the report as lines for a person, the problems first."""
        lines = [
            f"{p.file}, row {p.row}: {f'{p.column}: ' if p.column else ''}{p.reason}"
            for p in self.problems
        ]
        if self.bad_rows > len(self.problems):
            lines.append(f"... and more: {self.bad_rows:,} bad rows in all")
        lines += [f"{file}: read as {reading}" for file, reading in self.columns.items()]
        lines.append(
            f"{self.rows:,} rows: {self.toxic:,} toxic and {self.neutral:,} neutral texts, "
            f"{self.bad_rows:,} bad rows, {self.duplicates:,} copies, "
            f"{self.contradictory_texts:,} in both piles, "
            f"{self.moved_to_twins_fold:,} moved to the fold of a near twin"
        )
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"wrote {path}" for path in self.written]
        return "\n".join([*lines, f"data hash {self.data_hash[:16]}"])


@dataclass(frozen=True, slots=True)
class _Found:
    """A usable text and where it stood."""

    text: str
    toxic: bool
    source: str
    labels: tuple[str, ...] | None
    file: str
    row: int
    column: str


@dataclass(frozen=True, slots=True)
class _Input:
    """A file and how its rows become texts."""

    path: Path
    columns: ColumnMap | None
    column: str
    toxic: bool

    @property
    def reading(self) -> str:
        """Says in words how the columns are understood."""
        if self.columns is None:
            return f'{"toxic" if self.toxic else "neutral"} texts in "{self.column}"'
        if self.columns.toxic_text:
            neutral = ", ".join(f'"{name}"' for name in self.columns.neutral_texts)
            return f'toxic texts in "{self.columns.toxic_text}", neutral ones in {neutral}'
        deciding = " or ".join(f'"{name}"' for name in self.columns.deciding)
        return f'texts in "{self.columns.text}", toxic where {deciding} is (from 0.5 on)'


def prepare(
    inputs: Sequence[Path],
    out: Path | None,
    *,
    column: str | None = None,
    label: str | None = None,
    toxic: Sequence[Path] = (),
    neutral: Sequence[Path] = (),
    check: bool = False,
    folds: int = 10,
    min_chars: int = MIN_CHARS,
    max_chars: int = MAX_CHARS,
) -> PrepareReport:
    """Makes `out/toxic.jsonl` and `out/neutral.jsonl` of labelled files, of two piles, or of both.

    `inputs` are labelled files: their columns are recognised, or named by `column` and `label`.
    `toxic` and `neutral` are files that hold one kind only. Copies (equal but for case, spacing
    and punctuation) are kept once, texts that stand in both piles in neither, and near duplicates
    share a fold. With `check` nothing is written.
    """
    given = [*inputs, *toxic, *neutral]
    if not given:
        raise ConfigError("nothing to prepare: give a labelled file, or --toxic and --neutral")
    if folds < 1 or not 1 <= min_chars <= max_chars:
        raise ConfigError(
            "expected folds >= 1 and 1 <= min_chars <= max_chars; got "
            f"folds={folds}, min_chars={min_chars}, max_chars={max_chars}"
        )
    if not check:
        _make_folder(out, given)
    files = [
        *(_labelled(path, column, label) for path in inputs),
        *(_pile(path, column, True) for path in toxic),
        *(_pile(path, column, False) for path in neutral),
    ]
    found: list[_Found] = []
    problems: list[Problem] = []
    rows = bad_rows = 0
    for file in files:
        for row in read_rows(file.path):
            rows += 1
            texts, faults = _texts(row, file, min_chars, max_chars)
            found += texts
            bad_rows += bool(faults)
            problems += faults[: _LISTED - len(problems)]
    kept, contradictory, duplicates = _once_each(found)
    fold_numbers, moved = _folds(kept, folds)
    lines: dict[str, list[dict[str, Any]]] = {"toxic.jsonl": [], "neutral.jsonl": []}
    for item, fold in zip(kept, fold_numbers, strict=True):
        lines["toxic.jsonl" if item.toxic else "neutral.jsonl"].append(_record(item, fold))
    toxic_count, neutral_count = len(lines["toxic.jsonl"]), len(lines["neutral.jsonl"])
    return PrepareReport(
        rows=rows,
        toxic=toxic_count,
        neutral=neutral_count,
        bad_rows=bad_rows,
        duplicates=duplicates,
        contradictory_texts=len({normalise(item.text) for item in contradictory}),
        moved_to_twins_fold=moved,
        folds=tuple(Counter(fold_numbers)[fold] for fold in range(folds)),
        sources=dict(Counter(item.source for item in kept)),
        columns={str(file.path): file.reading for file in files},
        problems=tuple(problems),
        contradictions=tuple(
            Problem(item.file, item.row, item.column, "in the toxic and in the neutral pile")
            for item in contradictory[:_LISTED]
        ),
        warnings=_warnings(toxic_count, neutral_count, rows, bad_rows, len(contradictory)),
        data_hash=_hash(lines),
        written=() if check or out is None else _write(out, lines),
    )


def _make_folder(out: Path | None, given: Sequence[Path]) -> None:
    """Makes the folder to write to, before any work, and sees that no input stands in the way."""
    if out is None:
        raise ConfigError("give a folder to write to with --output, or only look with --check")
    targets = {(out / name).resolve() for name in ("toxic.jsonl", "neutral.jsonl")}
    for path in given:
        if path.resolve() in targets:
            raise ConfigError(f"{path} would be written over; give another folder with --output")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out} cannot be made a folder: {error.strerror}") from error


def _labelled(path: Path, column: str | None, label: str | None) -> _Input:
    names = column_names(path)
    require_columns(path, names, [name for name in (column, label) if name])
    sample = [row.values for row in islice(read_rows(path), _SAMPLE)]
    try:
        return _Input(path, map_columns(names, sample, text=column, label=label), "", False)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _pile(path: Path, column: str | None, toxic: bool) -> _Input:
    names = column_names(path)
    only = names[0] if len(names) == 1 else "text"
    column = column or text_column(names) or only
    require_columns(path, names, [column])
    return _Input(path, None, column, toxic)


def _texts(
    row: Row, file: _Input, min_chars: int, max_chars: int
) -> tuple[list[_Found], list[Problem]]:
    """Gives the texts of a row and what is wrong with it; a row may hold both."""
    found: list[_Found] = []
    problems: list[Problem] = []
    where = file.path.name
    if row.error:
        return found, [Problem(where, row.number, "", row.error)]
    try:
        labels = _labels(row.values, file.columns)
    except _BadLabelError as bad:
        return found, [Problem(where, row.number, bad.column, str(bad))]
    # One label says no more than the pile does; several say why.
    several = labels if file.columns and len(file.columns.labels) > 1 else None
    source = str(row.values.get("source") or where.split(".")[0])
    for column, cell, toxic in _cells(row.values, file, labels):
        if fault := _fault(cell, min_chars, max_chars):
            problems.append(Problem(where, row.number, column, fault))
        else:
            text = cell.strip()
            found.append(_Found(text, toxic, source, several, where, row.number, column))
    return found, problems


class _BadLabelError(Exception):
    """A label that cannot be read, and the column it stands in."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column


def _labels(values: Mapping[str, Any], columns: ColumnMap | None) -> tuple[str, ...]:
    """Names the label columns that say toxic."""
    true = []
    for name in columns.labels if columns else ():
        try:
            if is_toxic(values.get(name)):
                true.append(name)
        except ValueError as error:
            raise _BadLabelError(name, str(error)) from error
    return tuple(true)


def _cells(
    values: Mapping[str, Any], file: _Input, labels: tuple[str, ...]
) -> Iterator[tuple[str, Any, bool]]:
    """Gives column, content and verdict of every text a row should hold."""
    columns = file.columns
    if columns is None:
        yield file.column, values.get(file.column), file.toxic
    elif columns.text is not None:
        toxic = any(name in columns.deciding for name in labels)
        yield columns.text, values.get(columns.text), toxic
    else:
        assert columns.toxic_text is not None
        yield columns.toxic_text, values.get(columns.toxic_text), True
        for name in columns.neutral_texts:
            cell = values.get(name)
            # ParaDetox leaves the second and third rewrite empty where there is none.
            yield from ((name, text, False) for text in _as_list(cell) if text not in (None, ""))


def _as_list(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [cell]


def _fault(cell: Any, min_chars: int, max_chars: int) -> str | None:
    if cell is None:
        return "empty"
    if not isinstance(cell, str):
        return f"expected text, found {type(cell).__name__}"
    length = len(cell.strip())
    if length == 0:
        return "empty"
    if length < min_chars:
        return f"length {length} is below {min_chars} characters"
    if length > max_chars:
        return f"length {length} is above {max_chars} characters"
    return None


def _once_each(found: Sequence[_Found]) -> tuple[list[_Found], list[_Found], int]:
    """Parts the texts into those to keep and those in contradiction, and counts the copies."""
    groups: dict[str, list[_Found]] = {}
    for item in found:
        groups.setdefault(normalise(item.text), []).append(item)
    kept: list[_Found] = []
    contradictory: list[_Found] = []
    duplicates = 0
    for group in groups.values():
        if len({item.toxic for item in group}) > 1:
            contradictory += group
        else:
            kept.append(group[0])
            duplicates += len(group) - 1
    return kept, contradictory, duplicates


def _folds(kept: Sequence[_Found], folds: int) -> tuple[list[int], int]:
    """Gives each text its fold, near duplicates that of the first of them, and how many moved.

    The first decides so that rows added below do not move those above.
    """
    own = [fold_of(item.text, folds) for item in kept]
    first = list(range(len(kept)))

    def root(position: int) -> int:
        while first[position] != position:
            first[position] = first[first[position]]
            position = first[position]
        return position

    for earlier, later in near_duplicates([item.text for item in kept]):
        one, other = sorted((root(earlier), root(later)))
        first[other] = one
    shared = [own[root(position)] for position in range(len(kept))]
    return shared, sum(a != b for a, b in zip(own, shared, strict=True))


def _record(item: _Found, fold: int) -> dict[str, Any]:
    record: dict[str, Any] = {"text": item.text, "source": item.source, "fold": fold}
    if item.labels is not None:
        record["labels"] = list(item.labels)
    return record


def _hash(lines: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    digest = hashlib.sha256()
    for rows in lines.values():
        for row in rows:
            digest.update(json_line(row).encode())
    return digest.hexdigest()


def _write(out: Path, lines: Mapping[str, Sequence[dict[str, Any]]]) -> tuple[str, ...]:
    for name, rows in lines.items():
        with open_writer(out / name) as writer:
            for row in rows:
                writer.write(row)
    return tuple(str(out / name) for name in lines)


def _warnings(
    toxic: int, neutral: int, rows: int, bad_rows: int, contradictory: int
) -> tuple[str, ...]:
    warnings = []
    for pile, count in (("toxic", toxic), ("neutral", neutral)):
        if count == 0:
            warnings.append(f"there is no {pile} text: nothing can be learned from one pile alone")
        elif count < _FEW:
            warnings.append(f"only {count} {pile} texts: {_FEW} is the least, hundreds are useful")
    if min(toxic, neutral) and max(toxic, neutral) > _LOPSIDED * min(toxic, neutral):
        warnings.append(f"one-sided: {toxic} toxic and {neutral} neutral texts")
    if bad_rows:
        warnings.append(f"{bad_rows} of {rows} rows were bad; see the problems")
    if contradictory:
        warnings.append(
            f"{contradictory} rows hold texts that stand in both piles; they are in neither"
        )
    return tuple(warnings)
