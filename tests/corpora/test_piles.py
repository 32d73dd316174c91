from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tactful.corpora.piles import Example, Pile, own_corpus, read_piles
from tactful.corpora.splits import fold_of, near_duplicates
from tactful.errors import DataError


def jsonl(folder: Path, name: str, *rows: Any) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_two_piles(tmp_path: Path) -> None:
    """Examples come in the order of piles and rows; a row's own fold and source hold."""
    jsonl(tmp_path, "bad.jsonl", {"text": "you idiot", "source": "wiki", "fold": 3}, {"text": "x"})
    (tmp_path / "good.csv").write_text("text,fold\nhello,7\n")
    examples = read_piles(
        tmp_path, [Pile(file="bad.jsonl", toxic=True), Pile(file="good.csv", toxic=False)]
    )
    assert examples == [
        Example("you idiot", True, "wiki", 3),
        Example("x", True, "bad", fold_of("x")),
        Example("hello", False, "good", 7),
    ]


def test_labels_and_filter(tmp_path: Path) -> None:
    """Values of a column decide what is toxic, a list by any of its items, others what is kept."""
    jsonl(
        tmp_path,
        "a.jsonl",
        {"text": "a", "label": "hate", "ok": 1},
        {"text": "b", "label": "neither", "ok": 1},
        {"text": "c", "label": ["none", "hate"], "ok": 1},
        {"text": "", "label": None, "ok": 0},
    )
    pile = Pile(file="a.jsonl", toxic={"label": ["hate"]}, keep={"ok": [1]}, source="s")
    assert [(e.text, e.toxic, e.source) for e in read_piles(tmp_path, [pile])] == [
        ("a", True, "s"),
        ("b", False, "s"),
        ("c", True, "s"),
    ]


def test_numbers_fit_their_text(tmp_path: Path) -> None:
    """A recipe that says 1 fits the "1" of a CSV."""
    (tmp_path / "a.csv").write_text("text,bad,ok\na,1,yes\nb,0,yes\nc,1,no\n")
    pile = Pile(file="a.csv", toxic={"bad": [1]}, keep={"ok": ["yes"]})
    assert [(e.text, e.toxic) for e in read_piles(tmp_path, [pile])] == [("a", True), ("b", False)]


def test_list_valued_column(tmp_path: Path) -> None:
    """Each item of a list is an example, in the fold of its row."""
    jsonl(tmp_path, "a.jsonl", {"refs": ["a", "b"], "fold": 4}, {"refs": [], "fold": 5})
    pile = Pile(file="a.jsonl", column="refs", toxic=False)
    assert read_piles(tmp_path, [pile]) == [
        Example("a", False, "a", 4),
        Example("b", False, "a", 4),
    ]


def test_bad_rows_are_all_counted_and_the_first_shown(tmp_path: Path) -> None:
    """Training data must be right: file, row and reason of the first few, and how many."""
    jsonl(
        tmp_path,
        "a.jsonl",
        {"text": "fine"},
        {"text": ""},
        {"text": 5},
        {"words": "x"},
        [1],
        {"text": "x", "fold": "two"},
        {"text": "x", "fold": -1},
        {"text": ["fine", None]},
    )
    with pytest.raises(DataError) as caught:
        read_piles(tmp_path, [Pile(file="a.jsonl", toxic=True)])
    first, *lines, last = str(caught.value).splitlines()
    path = tmp_path / "a.jsonl"
    assert first == "bad rows: 7"
    assert lines[0] == f"  {path} row 2: column \"text\" should hold text, found ''"
    assert lines[1] == f'  {path} row 3: column "text" should hold text, found 5'
    assert lines[2] == f'  {path} row 4: no column "text" in this row'
    assert "row 5: expected a JSON object" in lines[3]
    assert (
        lines[4] == f"  {path} row 6: column \"fold\" should hold a number from 0 up, found 'two'"
    )
    assert last == "  ..."
    assert len(lines) == 5


@pytest.mark.parametrize(
    "pile",
    [
        Pile(file="a.csv", column="txt", toxic=True),
        Pile(file="a.csv", toxic={"txt": [1]}),
        Pile(file="a.csv", toxic=True, keep={"txt": [1]}),
    ],
)
def test_a_column_that_is_not_there(tmp_path: Path, pile: Pile) -> None:
    """A wrong column name is one error, not one per row."""
    (tmp_path / "a.csv").write_text("text\nx\ny\n")
    with pytest.raises(DataError, match=r'no column "txt"\. Did you mean "text"\?'):
        read_piles(tmp_path, [pile])


def test_missing_file(tmp_path: Path) -> None:
    """A pile that is not on this machine is named with its path."""
    with pytest.raises(DataError, match=r"nowhere\.csv is not there"):
        read_piles(tmp_path, [Pile(file="nowhere.csv", toxic=True)])


def test_pile_is_strict() -> None:
    """An unknown field is refused, and a pile cannot be changed."""
    with pytest.raises(ValidationError, match="colunm"):
        Pile.model_validate({"file": "a.csv", "toxic": True, "colunm": "text"})
    with pytest.raises(ValidationError, match="frozen"):
        Pile(file="a.csv", toxic=True).file = "b.csv"


def test_own_corpus() -> None:
    """The shipped corpus has two full piles, every text once, none nearly twice."""
    examples = own_corpus()
    sizes = Counter(example.toxic for example in examples)
    assert min(sizes[True], sizes[False]) >= 160
    assert {example.source for example in examples} == {"tactful"}
    assert {example.fold for example in examples} == set(range(10))
    assert near_duplicates([example.text for example in examples], threshold=0.6) == []
    lengths = [len(example.text.split()) for example in examples]
    assert min(lengths) >= 3
    assert max(lengths) <= 40


def test_own_corpus_gives_no_style_away() -> None:
    """Casing, links, mentions and questions occur in both piles, so none of them tells which."""
    for toxic in (True, False):
        texts = [example.text for example in own_corpus() if example.toxic is toxic]
        assert sum(text[0].islower() for text in texts) >= 25
        assert sum(text.isupper() for text in texts) >= 2
        for sign in ("@", "#", "example.org", "?", "!"):
            assert any(sign in text for text in texts)
