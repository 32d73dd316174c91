"""Is this text in a language the screener was taught? Today that is English.

Two plain tests, both on words: is the script Latin, and are enough of the words English ones? A
handful of words proves little, so very short texts in Latin script are taken for English.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib import resources

from tactful.rewriting.gates import words

_LEAST_WORDS = 4
_LEAST_SHARE = 0.4


def why_not_english(text: str) -> str:
    """Why a text is out of scope, in words; "" when it may be screened as English."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    found = [word for word in words(plain) if any(c.isalpha() for c in word)]
    if not found:
        return ""
    foreign = sum(not word.isascii() and not _has_latin(word) for word in found)
    if foreign * 2 > len(found):
        return "not in Latin script; only English is screened"
    if len(found) < _LEAST_WORDS:
        return ""
    known = sum(word.replace("’", "'") in english_words() for word in found)
    if known < _LEAST_SHARE * len(found):
        return f"{known} of {len(found)} words look English; only English is screened"
    return ""


@cache
def english_words() -> frozenset[str]:
    """Frequent English words, informal spellings included, lower-cased."""
    listed = resources.files("tactful").joinpath("assets/english_words.txt")
    return frozenset(listed.read_text(encoding="utf-8").split())


def _has_latin(word: str) -> bool:
    """Whether a word has any Latin letter: one written half in look-alikes is not foreign."""
    return any("LATIN" in unicodedata.name(c, "") for c in word)
