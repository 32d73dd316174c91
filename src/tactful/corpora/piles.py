"""Files of labelled text as examples to learn from: the toxic and the neutral pile.

What teaches a model must be right, so a bad row here is an error and not a shrug; `prepare` is
where raw files are cleaned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tactful.corpora.read import Row, column_names, read_rows, require_columns
from tactful.corpora.splits import fold_of
from tactful.errors import DataError

_SHOWN = 5


class Pile(BaseModel):
    """One file of a corpus and how to read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    """Relative to the folder of the corpus."""
    column: str = "text"
    """Holds a text, or a list of texts."""
    toxic: bool | dict[str, list[Any]]
    """What all rows are, or which values of which columns mean toxic; one that fits is enough."""
    keep: dict[str, list[Any]] = {}
    """Only rows that have one of these values in every column named are read."""
    source: str | None = None
    """Where the texts come from; without it the row's `source`, else the name of the file."""


@dataclass(frozen=True, slots=True)
class Example:
    """A text, what it is, where it comes from, and its fold."""

    text: str
    toxic: bool
    source: str
    fold: int


def read_piles(folder: Path, piles: Sequence[Pile]) -> list[Example]:
    """Reads all examples of a corpus, in the order of the piles and their rows.

    A row's own `fold` holds; without one it is `fold_of(text)`. Raises DataError with the first
    bad rows and how many there are.
    """
    examples: list[Example] = []
    faults: list[str] = []
    for pile in piles:
        path = folder / pile.file
        labels = pile.toxic if isinstance(pile.toxic, dict) else {}
        require_columns(path, column_names(path), [pile.column, *pile.keep, *labels])
        for row in read_rows(path):
            try:
                examples += _examples(row, pile, path)
            except ValueError as fault:
                faults.append(f"  {path} row {row.number}: {fault}")
    if faults:
        more = ["  ..."] if len(faults) > _SHOWN else []
        raise DataError("\n".join([f"bad rows: {len(faults)}", *faults[:_SHOWN], *more]))
    return examples


def own_corpus() -> list[Example]:
    """Gives the small corpus that ships with the package: mild insults and decent remarks."""
    folder = resources.files("tactful") / "assets" / "corpus"
    piles = [
        Pile(file="toxic.jsonl", toxic=True, source="tactful"),
        Pile(file="neutral.jsonl", toxic=False, source="tactful"),
    ]
    with resources.as_file(folder) as path:
        return read_piles(path, piles)


def _examples(row: Row, pile: Pile, path: Path) -> Iterator[Example]:
    if row.error:
        raise ValueError(row.error)
    if not all(_fits(_value(row, column), values) for column, values in pile.keep.items()):
        return
    toxic = pile.toxic
    if not isinstance(toxic, bool):
        toxic = any(_fits(_value(row, column), values) for column, values in toxic.items())
    source = pile.source or row.values.get("source") or path.name.split(".")[0]
    cell = _value(row, pile.column)
    for text in cell if isinstance(cell, list) else [cell]:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f'column "{pile.column}" should hold text, found {_shown(text)}')
        yield Example(text, toxic, str(source), _fold(row.values, text))


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        raise ValueError(f'no column "{column}" in this row')
    return row.values[column]


def _fits(cell: Any, values: Sequence[Any]) -> bool:
    """True when the cell, or an item of a list in it, is one of the values.

    Compared as text too, since in a CSV the number 1 is the text "1".
    """
    items = cell if isinstance(cell, list) else [cell]
    return any(item == value or str(item) == str(value) for item in items for value in values)


def _fold(values: Mapping[str, Any], text: str) -> int:
    fold = values.get("fold")
    if fold is None or fold == "":
        return fold_of(text)
    try:
        number = int(str(fold))
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f'column "fold" should hold a number from 0 up, found {_shown(fold)}')
    return number


def _shown(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 40 else words[:37] + "..."
