"""What the columns of a data set mean: which is the text, which the label, by name and by value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tactful.corpora.read import listed
from tactful.errors import DataError


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which columns hold what: one text with labels, or a toxic text beside neutral ones.

    Either `text` and `deciding` are set, and a row is toxic when any deciding label is, or
    `toxic_text` and `neutral_texts` are, and one row belongs to both piles. `labels` are all
    label columns, those that do not decide included.
    """

    shape: Literal["jigsaw", "civil_comments", "paradetox", "labelled"]
    text: str | None = None
    deciding: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    toxic_text: str | None = None
    neutral_texts: tuple[str, ...] = ()


_TEXTS = ("comment_text", "text", "comment", "sentence", "tweet", "content", "message", "body")
_LABELS = ("is_toxic", "toxic", "toxicity", "label", "labels", "target")
_TOXIC_TEXTS = ("en_toxic_comment", "toxic_comment", "toxic")
_NEUTRAL_TEXTS = re.compile(r"(en_)?neutral(_comment)?_?\d*|references?")
_KINDS_OF_TOXICITY = (
    "severe_toxic",
    "severe_toxicity",
    "obscene",
    "threat",
    "insult",
    "identity_hate",
    "identity_attack",
    "sexual_explicit",
)
_YES = frozenset({"1", "true", "yes", "toxic", "hate", "hateful", "offensive", "abusive"})
_NO = frozenset(
    {"0", "false", "no", "neutral", "neither", "clean", "normal"}
    | {"non-toxic", "nontoxic", "non_toxic", "not toxic", "not_toxic"}
)


def text_column(names: Sequence[str]) -> str | None:
    """Gives the column that by its name holds the text, None when no name is known."""
    by_lower = {name.lower().strip(): name for name in names}
    return next((by_lower[name] for name in _TEXTS if name in by_lower), None)


def map_columns(
    names: Sequence[str],
    sample: Sequence[Mapping[str, Any]] = (),
    *,
    text: str | None = None,
    label: str | None = None,
) -> ColumnMap:
    """Recognises well-known shapes: Jigsaw, Civil Comments, ParaDetox, and text with a label.

    A column `toxic` is a label in Jigsaw and a text in ParaDetox: the values in `sample` (rows of
    the file) decide, and without them whether a text or a neutral column stands beside it.
    `text` and `label` are columns the user named; what was not named is looked for.
    """
    by_lower = {name.lower().strip(): name for name in names}
    neutral = tuple(by_lower[name] for name in by_lower if _NEUTRAL_TEXTS.fullmatch(name))
    toxic_text = next((by_lower[name] for name in _TOXIC_TEXTS if name in by_lower), None)
    named = text or label
    text = text or text_column([name for name in names if name != label])
    if toxic_text and neutral and not named and not _is_label(toxic_text, text, sample):
        return ColumnMap("paradetox", toxic_text=toxic_text, neutral_texts=neutral)
    label = label or next(
        (by_lower[name] for name in _LABELS if by_lower.get(name, text) != text), None
    )
    if text is None or label is None:
        missing = [word for word, got in (("text", text), ("label", label)) if got is None]
        raise DataError(
            f"the {' and the '.join(missing)} column could not be made out among "
            f"{listed(names)}. Name it with --column (text) or --label, or give two files with "
            "--toxic and --neutral"
        )
    kinds = tuple(by_lower[name] for name in _KINDS_OF_TOXICITY if name in by_lower)
    if label.lower() == "toxic" and kinds:
        return ColumnMap("jigsaw", text, (label, *kinds), (label, *kinds))
    if label.lower() in ("target", "toxicity"):
        return ColumnMap("civil_comments", text, (label,), (label, *kinds))
    return ColumnMap("labelled", text, (label,), (label,))


def _is_label(column: str, text: str | None, sample: Sequence[Mapping[str, Any]]) -> bool:
    values = [row[column] for row in sample if row.get(column) not in (None, "")]
    if not values:
        return text is not None
    try:
        for value in values:
            is_toxic(value)
    except ValueError:
        return False
    return True


def is_toxic(value: Any) -> bool:
    """Reads a label: a number from 0 to 1 is toxic from 0.5 on; common words are known.

    Anything else raises ValueError with the reason.
    """
    if value is None or value == "":
        raise ValueError("no label")
    word = str(value).strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{value!r} is no label: expected a number from 0 to 1, or toxic/neutral")
    return number >= 0.5
