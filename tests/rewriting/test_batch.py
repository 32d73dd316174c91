from __future__ import annotations

from collections import Counter

from tactful.corpora.read import Row
from tactful.rewriting.batch import ADDED, as_columns, rewrite_rows, summary
from tests.rewriting.test_rewriter import Table, rewriter


def test_every_row_comes_out_in_order() -> None:
    """Bad rows come out where they went in, flagged, and their half-read text is not printed."""
    rows = [
        Row(1, {"text": "you idiot"}, None),
        Row(2, {"text": "you idi"}, "not UTF-8 at byte 7"),
        Row(3, {"other": 1}, None),
        Row(4, {"text": "fine"}, None),
    ]
    out = list(rewrite_rows(rows, rewriter(Table({"you idiot": ["you"]})), "text", chunk=3))
    assert [row.number for row, _ in out] == [1, 2, 3, 4]
    assert [r.status for _, r in out] == ["rewritten", "error", "error", "unchanged"]
    assert [r.text for _, r in out] == ["you", "", "", "fine"]
    assert out[1][1].reason == "not UTF-8 at byte 7"


def test_columns_and_summary() -> None:
    """The added columns have fixed names; the summary counts each status."""
    columns = as_columns(rewriter(Table({})).rewrite("fine"))
    assert tuple(columns) == ADDED
    assert columns["_status"] == "unchanged"
    assert summary(Counter(unchanged=1200, error=1)) == "1,201 texts: 1,200 unchanged, 1 error"
    assert summary(Counter()) == "0 texts: nothing to do"
