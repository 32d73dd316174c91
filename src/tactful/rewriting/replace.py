"""Candidates by putting decent words where the screener points: no training, no sampling.

For each flagged piece the word's own group of replacements is looked up, or guessed from where the
word stands ("you are an X", "you X", "these X"). All combinations up to a limit are proposed; which
one stays is left to the gates and the ranking, whose fluency scorer knows what reads well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

from tactful.rewriting.edits import Edit, apply_edits
from tactful.rewriting.lexicon import flagged_words, listing, lookup, replacements
from tactful.rewriting.protect import protected_ranges
from tactful.screeners.base import Screener

_BE = r"\b(?:(?:is|are|was|were)(?:n['’]?t)?|am|be|being|been|['’](?:s|re|m)|sounds?|seems?|looks?)(?:\s+(?:not|never))?"
_ADVERB = r"(?:\s+(?:just|such|really|so|very|all|still|clearly|obviously|simply|a\s+bunch\s+of|full\s+of))*"
_PREDICATE = re.compile(
    rf"{_BE}{_ADVERB}(?P<article>\s+(?:an?|the|such\s+an?))?\s+$", re.IGNORECASE
)
# "are you an idiot?"
_ASKED = re.compile(
    r"^\W*(?:is|are|was|were|am)(?:n['’]?t)?\s+\S+(?P<article>\s+(?:an?|the|such\s+an?))\s+$",
    re.IGNORECASE,
)
_VOCATIVE = re.compile(r"(?:^|[,.!?;]\s*)(?:you\s+)?$", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:,\s*|\b)you\s+$", re.IGNORECASE)
_DETERMINED = re.compile(
    r"\b(?:an?|the|this|that|these|those|my|your|his|her|their|of|some|such|no)\s+(?:\w+\s+)?$",
    re.IGNORECASE,
)
_PLURAL = re.compile(r"\b(?:these|those|some|of|you)\s+(?:\w+\s+)?$", re.IGNORECASE)
_NEEDS_NOUN = re.compile(
    r"\b(?:an?|the|this|that|these|those|my|your|his|her|its|our|their|of|by|with|for|from|to|such|"
    r"some|any|no|every|each|another)\s+$",
    re.IGNORECASE,
)
_END = re.compile(r"\s*(?:$|[.,!?;:]|(?:and|but|or|so|because|who|that|if|when)\b)")
# "to hate them", "stab you": something is done to somebody.
_DOING = re.compile(
    r"\b(?:to|will|would|can|could|should|must|gonna|and|i|you|we|they|who|not|cannot|n['’]t)\s+$",
    re.IGNORECASE,
)
_DONE_TO = re.compile(
    r"\s+(?:(?P<pronoun>me|you|ya|him|us|them|everyone|everybody)|her|it|the|an?|my|your|his|our|their"
    r"|this|that|these|those)\b",
    re.IGNORECASE,
)

# By how the word ends, what may be done instead.
_DOES = {
    "ing": ("bothering", "upsetting", ""),
    "ed": ("bothered", "upset", ""),
    "": ("bother", "upset", ""),
}


class Replacement:
    """Proposes each source with its flagged words replaced by decent ones."""

    blunt = True

    def __init__(self, screener: Screener, *, most: int = 24) -> None:
        self.screener = screener
        self.most = most
        self.name = listing("replacements")

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [self._propose(source) for source in sources]

    def _propose(self, source: str) -> list[str]:
        slots = [
            _options(source, start, end) for start, end in flagged_words(source, self.screener)
        ]
        if not slots:
            return []
        # With many slots each gets fewer choices, so that the number of candidates stays bounded.
        each = max(2, int(self.most ** (1 / len(slots))))
        choices = product(*(options[:each] for options in slots))
        texts = (
            _capital(source, apply_edits(source, edits))
            for edits, _ in zip(choices, range(self.most), strict=False)
        )
        return list(dict.fromkeys(text for text in texts if text != source))


def _options(text: str, start: int, end: int) -> list[Edit]:
    """What may be done about one flagged piece, likeliest first, deletion always among them."""
    return list(dict.fromkeys(_edits(text, start, end)))


def _edits(text: str, start: int, end: int) -> Iterator[Edit]:
    before, after = text[:start], text[end:]
    word = text[start:end]
    group, listed = lookup(word)
    if not group:
        # Perhaps flagged for its company alone: then it may stay once the others are gone.
        yield Edit(start, end, word)
        if (start, end) in protected_ranges(text):
            return
    nominal = group in ("person", "people", "thing")
    if (nominal or not group) and _END.match(after):
        if _ADDRESS.search(before):
            yield Edit(start, end, "")
        if vocative := _VOCATIVE.search(before):
            yield Edit(vocative.start(), end, "")
        if predicate := _PREDICATE.search(before) or _ASKED.search(before):
            article = predicate.start("article")
            for put in replacements("predicate"):
                # "is an idiot" loses its article with its noun: "is wrong".
                yield Edit(start, end, put) if article < 0 else Edit(article, end, " " + put)
            if group == "person":
                # "You are (not) a person" would be worse than what was said.
                return
    for put in listed or _guess(before, word, after):
        # A noun cannot go alone from "kind of fools" or "the fool": that leaves a hole.
        if put or not (nominal and _NEEDS_NOUN.search(before)):
            yield Edit(start, end, put.upper() if word.isupper() and len(word) > 1 else put)
    if not (nominal and _NEEDS_NOUN.search(before)):
        yield Edit(start, end, "")


def _capital(source: str, text: str) -> str:
    """A sentence that began with a capital still does."""
    return text[:1].upper() + text[1:] if source[:1].isupper() else text


def _guess(before: str, word: str, after: str) -> tuple[str, ...]:
    """Replacements for a word that is in no group, by its neighbours."""
    determined = _DETERMINED.search(before)
    done_to = _DONE_TO.match(after)
    if done_to and (_DOING.search(before) or (done_to["pronoun"] and not determined)):
        return next(does for end, does in _DOES.items() if word.lower().endswith(end))
    if not determined:
        return ("bad", "people", "")
    if not _END.match(after):
        return replacements("quality")
    return replacements("people") if _PLURAL.search(before) else ("person", "thing")
