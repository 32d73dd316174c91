"""Edits of a text that leave it tidy: spacing, stray commas, a/an before what now follows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"(?!one\b|uni[^mn]|us[ei]|eu)[aeiou]|hon|hour|heir", re.IGNORECASE)
_PUNCTUATION = " ,;:.!?-"


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `text` in the place of `[start:end]`; "" deletes."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """Apply edits that do not overlap, last first, so that offsets stay true."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = _splice(text[: edit.start], edit.text, text[edit.end :])
    return text


def _splice(before: str, text: str, after: str) -> str:
    if text:
        return _agree(before, text) + text + after
    if not before.strip():
        # The sentence now begins later; a comma or stop left in front would begin nothing.
        rest = after.lstrip(_PUNCTUATION)
        return before + (rest or after)
    rest = after.lstrip()
    if not rest or rest[0] in ",.;:!?":
        # "thanks, you idiot." -> "thanks." and not "thanks, ."
        return before.rstrip(" ,") + rest
    return _agree(before.rstrip() + " ", rest) + rest


def _agree(before: str, following: str) -> str:
    """`a` or `an` at the end of `before`, for what now follows, in the case it had."""
    article = "an" if _VOWEL_SOUND.match(following) else "a"
    return _ARTICLE.sub(
        lambda m: (article.capitalize() if m[1][0].isupper() else article) + m[2], before
    )
