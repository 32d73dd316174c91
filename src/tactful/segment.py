"""Cut a text into sentence-like pieces that join back to it byte for byte.

Screening judges each piece, so one insult in a long comment is not diluted; rewriting touches only
the pieces that fail. A rule-based splitter is enough for both: a wrong cut costs a little context,
never a character. The white space between two sentences belongs to the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_WORDS = 60
MAX_CHARACTERS = 400

# Runs are consumed whole and judged afterwards: a pattern that also demanded what must follow
# would rescan "!!!!...x" from every exclamation mark.
_STOP = re.compile(r"[.!?…](?:\s?[.!?…])*+[\"'”’»)\]]*+(\s*+)|\n\s*+")
_TOKEN = re.compile(r"\S++\s*+")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st vs etc eg e.g ie i.e cf approx dept est fig gen gov inc jr sr ltd no "
    "rep sen rev sgt capt col vol pp u.s u.k a.m p.m jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
# Longer than any abbreviation: looking back further cannot change the verdict.
_LOOK_BACK = 8


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of sentence-like pieces, in order, that tile the text; none for an empty text."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _STOP.finditer(text):
        end = match.end()
        if end < len(text) and _ends_sentence(text, start, match):
            spans += _shorten(text, start, end)
            start = end
    if start < len(text):
        spans += _shorten(text, start, len(text))
    return spans


def split(text: str) -> list[str]:
    """The sentence-like pieces themselves; joined they are the text."""
    return [text[start:end] for start, end in sentences(text)]


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    following = text[match.end()]
    sign = match[0]
    if sign[0] == "\n":
        # A single line break inside a sentence is only wrapping.
        return sign.count("\n") > 1 or not following.islower()
    if not match[1]:
        return False  # no space after it: a decimal, an address, an initialism
    if "\n" in match[1] or "!" in sign or "?" in sign:
        return True
    if len(sign.split()[0]) > 1:
        return not following.islower()  # an ellipsis in mid-sentence
    before = text[max(start, match.start() - _LOOK_BACK) : match.start()].split(" ")[-1]
    word = before.lower().lstrip("(\"'“‘[")
    if len(word) == 1 and word.isalpha():
        return word == "i"  # an initial; only the pronoun can end a sentence
    # "No." can be an answer: it abbreviates "number" only before one.
    return word not in _ABBREVIATIONS or (word == "no" and not following.isdigit())


def _shorten(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut what has no punctuation for very long at white space."""
    if end - start <= MAX_CHARACTERS:
        yield start, end
        return
    words = 0
    for match in _TOKEN.finditer(text, start, end):
        if words == MAX_WORDS or (words and match.end() - start > MAX_CHARACTERS):
            yield start, match.start()
            start, words = match.start(), 0
        words += 1
    yield start, end
