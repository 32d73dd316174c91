from __future__ import annotations

from typing import Any

import pytest

from tactful.corpora.columns import ColumnMap, is_toxic, map_columns
from tactful.errors import DataError

KINDS = ("severe_toxic", "obscene", "threat", "insult", "identity_hate")


@pytest.mark.parametrize(
    ("names", "sample", "expected"),
    [
        (
            ["id", "comment_text", "toxic", *KINDS],
            [{"toxic": "0"}, {"toxic": "1"}],
            ColumnMap("jigsaw", "comment_text", ("toxic", *KINDS), ("toxic", *KINDS)),
        ),
        (
            ["id", "target", "comment_text", "severe_toxicity", "obscene"],
            [],
            ColumnMap(
                "civil_comments",
                "comment_text",
                ("target",),
                ("target", "severe_toxicity", "obscene"),
            ),
        ),
        (
            ["text", "toxicity", "insult"],
            [],
            ColumnMap("civil_comments", "text", ("toxicity",), ("toxicity", "insult")),
        ),
        (
            ["toxic", "neutral1", "neutral2", "neutral3"],
            [{"toxic": "you idiot"}],
            ColumnMap(
                "paradetox", toxic_text="toxic", neutral_texts=("neutral1", "neutral2", "neutral3")
            ),
        ),
        (
            ["en_toxic_comment", "en_neutral_comment"],
            [],
            ColumnMap(
                "paradetox",
                toxic_text="en_toxic_comment",
                neutral_texts=("en_neutral_comment",),
            ),
        ),
        (
            ["toxic", "references"],
            [],
            ColumnMap("paradetox", toxic_text="toxic", neutral_texts=("references",)),
        ),
        (
            ["text", "toxic", "neutral"],
            [{"toxic": 1, "neutral": 0}, {"toxic": 0, "neutral": 1}],
            ColumnMap("labelled", "text", ("toxic",), ("toxic",)),
        ),
        (["Text", "Label"], [], ColumnMap("labelled", "Text", ("Label",), ("Label",))),
        (["text", "toxic"], [], ColumnMap("labelled", "text", ("toxic",), ("toxic",))),
        (["tweet", "is_toxic"], [], ColumnMap("labelled", "tweet", ("is_toxic",), ("is_toxic",))),
    ],
)
def test_map_columns(names: list[str], sample: list[dict[str, Any]], expected: ColumnMap) -> None:
    """Well-known shapes are recognised; `toxic` is a label or a text by what stands beside it."""
    assert map_columns(names, sample) == expected


def test_map_columns_with_named_columns() -> None:
    """What the user names holds, and only the rest is looked for."""
    expected = ColumnMap("labelled", "post", ("verdict",), ("verdict",))
    assert map_columns(["post", "verdict", "text"], text="post", label="verdict") == expected
    assert map_columns(["post", "label"], text="post").deciding == ("label",)
    assert map_columns(["text", "verdict"], label="verdict").text == "text"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "b"], 'the text and the label column .* "a", "b".* --column .* --toxic'),
        (["text", "b"], "the label column"),
        (["a", "label"], "the text column"),
    ],
)
def test_columns_that_fit_nothing(names: list[str], reason: str) -> None:
    """The error says what was seen and which option to give."""
    with pytest.raises(DataError, match=reason):
        map_columns(names)


def test_is_toxic() -> None:
    """Numbers count from 0.5 on, words by meaning, and all else is refused."""
    toxic: list[Any] = [1, 1.0, "1", True, "true", 0.5, "0.73", "Toxic", "offensive"]
    clean: list[Any] = [0, "0", False, "FALSE", 0.49, "0.0", "neutral", "neither", "non-toxic"]
    assert all(is_toxic(value) for value in toxic)
    assert not any(is_toxic(value) for value in clean)
    for value in (-1, 2, "maybe", None, "", float("nan"), [1]):
        with pytest.raises(ValueError, match="no label"):
            is_toxic(value)
