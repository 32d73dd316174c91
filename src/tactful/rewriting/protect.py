"""What a rewrite must not touch: links, mentions, hashtags, code, numbers and quoted speech.

Such pieces at the edges of a sentence are set aside before a model sees it and put back after;
inside a sentence they must come back character for character, or the candidate is refused.
"""

from __future__ import annotations

import re
from collections import Counter

_LINK = r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]']"
_MENTION = r"(?<![\w@])@\w+"
_HASHTAG = r"(?<![\w#])#\w+"
_CODE = r"`[^`\n]+`"
_NUMBER = r"(?<![\w.])[$€£]?\d[\d.,:/]*\d%?(?!\w)|(?<![\w.])[$€£]?\d%?(?!\w)"
# Marks that hug what they quote: doubled ones, or one with spaces around it, are what a table or a
# tokeniser left, and nobody can say what they open or close.
_QUOTE = r"(?<![\w\"])\"(?=[^\s\"])[^\"\n]*[^\s\"]\"(?![\w\"])|“[^”\n]+”"

_PROTECTED = re.compile("|".join((_CODE, _QUOTE, _LINK, _MENTION, _HASHTAG, _NUMBER)))
_TAG = f"(?:{_LINK}|{_MENTION}|{_HASHTAG})"
_LEADING = re.compile(rf"\s*(?:(?:rt\s+)?{_MENTION}[:,]?\s+)+", re.IGNORECASE)
_TRAILING = re.compile(rf"(?:\s+{_TAG})+\s*$")


def protected_spans(text: str) -> list[str]:
    """The pieces of a text that must survive, in order, repeats included."""
    return [text[start:end] for start, end in protected_ranges(text)]


def protected_ranges(text: str) -> list[tuple[int, int]]:
    """Where the pieces that must survive stand."""
    return [m.span() for m in _PROTECTED.finditer(text) if not _is_irony(m.group())]


def _is_irony(piece: str) -> bool:
    """One word in quotes is usually irony ("genius"), not somebody's speech."""
    return piece[0] in '"“' and len(piece.split()) < 2


def peel(text: str) -> tuple[str, str, str]:
    """Split into (lead, core, trail): outer whitespace, leading mentions, trailing links and tags.

    Joining the three gives the text back. A text that is nothing but tags has an empty core.
    """
    lead = _LEADING.match(text)
    start = lead.end() if lead else len(text) - len(text.lstrip())
    trail = _TRAILING.search(text, start)
    end = trail.start() if trail else len(text.rstrip())
    end = max(start, end)
    return text[:start], text[start:end], text[end:]


def keeps(source: str, rewrite: str) -> bool:
    """Whether every protected piece of the source stands in the rewrite, as often as before."""
    return Counter(protected_spans(source)) <= Counter(protected_spans(rewrite))
