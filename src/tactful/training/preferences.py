"""What people preferred, as the playground's export and TRL's preference data have it.

    {"text": source, "prompt": ..., "chosen": ..., "rejected": ...}     one row, one pair
    {"text": source, "prompt": ..., "rejected": ...}                    nothing better is known

`prompt` is there for TRL, which completes it as it stands; here `text` is enough, and the prompt
is made anew. `chosen` and `rejected` are texts, or lists with one message of an assistant, as TRL's
conversational form has them. Other keys are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tactful.corpora.read import Row, listed, read_rows
from tactful.errors import DataError
from tactful.training.pairs import Pair, PushDown
from tactful.training.warm_found import Demonstration

PERSON = "person"
"""The kind of a demonstration that a person accepted or wrote."""
_TOLD = 5
"""Faults that are told; the others are likely alike."""

R = TypeVar("R")


def read_preferences(path: Path) -> list[Pair]:
    """The pairs of a file, in order; every row must be one. What is wrong is told by row.

    Raises DataError when the file cannot be read, holds nothing, or has a row that is no pair.
    """
    return _read(path, _pair)


def read_rejections(path: Path) -> list[PushDown]:
    """The rewrites of a file that people turned down without naming a better one."""
    return _read(path, _push_down)


def read_accepted(path: Path) -> list[Demonstration]:
    """What people chose in a file of preferences, to be shown to a model as what to answer."""
    return [Demonstration(pair.source, pair.chosen, PERSON) for pair in read_preferences(path)]


def _read(path: Path, made: Callable[[Row], R]) -> list[R]:
    found: list[R] = []
    faults: list[str] = []
    for row in read_rows(path):
        try:
            found.append(made(row))
        except DataError as error:
            faults.append(f"row {row.number}: {error}")
    if faults:
        more = [f"and {len(faults) - _TOLD:,} more"] if len(faults) > _TOLD else []
        raise DataError(f"{path} is not usable\n  " + "\n  ".join([*faults[:_TOLD], *more]))
    if not found:
        raise DataError(f"{path} holds no row; export some decisions from the playground first")
    return found


def _pair(row: Row) -> Pair:
    source, chosen, rejected = _values(row, ("text", "chosen", "rejected"))
    if chosen == rejected:
        raise DataError("chosen and rejected are the same text, so nothing is preferred")
    return Pair(source, chosen, rejected)


def _push_down(row: Row) -> PushDown:
    if row.values.get("chosen") is not None:
        raise DataError("has a chosen text: it is a pair, read it with `read_preferences`")
    return PushDown(*_values(row, ("text", "rejected")))


def _values(row: Row, names: Sequence[str]) -> list[str]:
    if row.error is not None:
        raise DataError(row.error)
    missing = [name for name in names if row.values.get(name) is None]
    if missing:
        hint = "; a row that was only rejected is no pair" if missing == ["chosen"] else ""
        raise DataError(f"no {listed(missing)} in this row, which has {listed(row.values)}{hint}")
    return [_text(name, row.values[name]) for name in names]


def _text(name: str, value: Any) -> str:
    said = value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        said = value[0].get("content")
    if not isinstance(said, str):
        # Not the value: it may be a text, and errors are what people paste into tickets.
        raise DataError(
            f"{name} must be a text or a list with one message, found {type(value).__name__}"
        )
    if not said.strip():
        raise DataError(f"{name} is empty")
    return said.strip()
