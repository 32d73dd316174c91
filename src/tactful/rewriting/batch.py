"""Texts from a file, through a rewriter, in order: every row comes out, bad ones with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from tactful.corpora.read import Row
from tactful.records import Rewrite

if TYPE_CHECKING:
    from tactful.rewriting.rewriter import Rewriter

ADDED = (
    "_text",
    "_status",
    "_reason",
    "_toxicity_before",
    "_toxicity_after",
    "_similarity",
    "_fluency",
)
"""The columns that a rewritten file gains; the others stay as they were."""


def rewrite_rows(
    rows: Iterable[Row], rewriter: Rewriter, column: str, *, force: bool = False, chunk: int = 64
) -> Iterator[tuple[Row, Rewrite]]:
    """Rewrite one column of a stream of rows, a chunk at a time."""
    stream = iter(rows)
    while batch := list(islice(stream, chunk)):
        # A row that could not be read has no text worth rewriting: it goes through, flagged.
        good = [row for row in batch if row.error is None]
        results = iter(rewriter.rewrite_many([row.values.get(column) for row in good], force=force))
        for row in batch:
            yield row, next(results) if row.error is None else unread(row, column)


def as_columns(result: Rewrite) -> dict[str, Any]:
    """The added columns of one row."""
    before, after = result.toxicity
    values = (
        result.text,
        result.status,
        result.reason,
        before,
        after,
        result.similarity,
        result.fluency,
    )
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in zip(ADDED, values, strict=True)
    }


def summary(counts: Counter[str]) -> str:
    """One line: how many of each status."""
    total = sum(counts.values())
    parts = [f"{count:,} {status}" for status, count in counts.most_common()]
    return f"{total:,} {'text' if total == 1 else 'texts'}: {', '.join(parts) or 'nothing to do'}"


def unread(row: Row, column: str) -> Rewrite:
    """The result of a row that could not be read."""
    text = str(row.values.get(column, ""))
    # What was half read was never screened: it must not be printed as if it had been.
    return Rewrite(text, "", "error", reason=row.reason)
