"""Candidates by putting decent words where the screener points: no training, no sampling.

For each flagged piece the word's own group of replacements is looked up, or guessed from where the
word stands ("you are an X", "you X", "these X"). All combinations up to a limit are proposed; which
one stays is left to the gates and the ranking, whose fluency scorer knows what reads well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import product

import yaml

from tactful.rewriting.edits import Edit, apply_edits
from tactful.screeners.base import Screener

_BE = r"\b(?:is|are|am|was|were|be|being|been|'s|'re|'m|’s|’re|’m|sounds?|seems?|looks?)"
_ADVERB = r"(?:\s+(?:just|such|really|so|very|all|still|clearly|obviously|simply|a\s+bunch\s+of|full\s+of))*"
_PREDICATE = re.compile(
    rf"{_BE}{_ADVERB}(?P<article>\s+(?:an?|the|such\s+an?))?\s+$", re.IGNORECASE
)
_VOCATIVE = re.compile(r"(?:^|[,.!?;]\s*)(?:you\s+)?$", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:,\s*|\b)you\s+$", re.IGNORECASE)
_END = re.compile(r"\s*(?:$|[.,!?;:])")


class Replacement:
    """Proposes each source with its flagged words replaced by decent ones."""

    name = "replacement"

    def __init__(self, screener: Screener, *, most: int = 48) -> None:
        self.screener = screener
        self.most = most

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [self._propose(source) for source in sources]

    def _propose(self, source: str) -> list[str]:
        flagged = [(span.start, span.end) for span in self.screener.explain(source)]
        slots = [_options(source, start, end) for start, end in _slots(source, flagged)]
        if not slots:
            return []
        # With many slots each gets fewer choices, so that the number of candidates stays bounded.
        each = max(2, int(self.most ** (1 / len(slots))))
        choices = product(*(options[:each] for options in slots))
        texts = (
            apply_edits(source, edits) for edits, _ in zip(choices, range(self.most), strict=False)
        )
        return list(dict.fromkeys(text for text in texts if text != source))


@cache
def lexicon() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Word or phrase -> (its group, what may stand in its place)."""
    raw = resources.files("tactful").joinpath("assets/replacements.yaml").read_text("utf-8")
    table: dict[str, tuple[str, tuple[str, ...]]] = {}
    for group, entry in yaml.safe_load(raw).items():
        for word in entry["words"]:
            # A word listed twice belongs to the group that names it first.
            table.setdefault(word, (group, tuple(entry["with"])))
    return table


@cache
def _group(name: str) -> tuple[str, ...]:
    raw = resources.files("tactful").joinpath("assets/replacements.yaml").read_text("utf-8")
    return tuple(yaml.safe_load(raw)[name]["with"])


@cache
def _phrases() -> re.Pattern[str]:
    listed = sorted((p for p in lexicon() if " " in p), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, listed)) + r")\b", re.IGNORECASE)


def _slots(text: str, flagged: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Flagged pieces widened to whole words and known phrases, without overlap, left to right."""
    words = [match.span() for match in re.finditer(r"[^\s,.!?;:\"“”()]+", text)]
    phrases = [match.span() for match in _phrases().finditer(text)]
    found = set()
    for start, end in flagged:
        inside = next((p for p in phrases if p[0] < end and start < p[1]), None)
        if inside:
            found.add(inside)
        else:
            found.update(word for word in words if word[0] < end and start < word[1])
    slots: list[tuple[int, int]] = []
    for slot in sorted(found):
        if not slots or slot[0] >= slots[-1][1]:
            slots.append(slot)
    return slots


def _options(text: str, start: int, end: int) -> list[Edit]:
    """What may be done about one flagged piece, likeliest first, deletion always among them."""
    return list(dict.fromkeys(_edits(text, start, end)))


def _edits(text: str, start: int, end: int) -> Iterator[Edit]:
    before, after = text[:start], text[end:]
    group, replacements = lexicon().get(text[start:end].lower(), ("", ()))
    predicate = _PREDICATE.search(before)
    closes = bool(_END.match(after))
    nominal = group in ("person", "people", "thing", "")
    if nominal and closes and _ADDRESS.search(before):
        yield Edit(start, end, "")
    if nominal and closes and _VOCATIVE.search(before):
        yield Edit(_VOCATIVE.search(before).start(), end, "")  # type: ignore[union-attr]  # searched above
    if nominal and closes and predicate:
        article = predicate.start("article")
        for word in _group("predicate"):
            yield Edit(
                article if article >= 0 else start, end, (" " if article >= 0 else "") + word
            )
    for word in replacements or _guess(before, after):
        yield Edit(start, end, word)
    yield Edit(start, end, "")


def _guess(before: str, after: str) -> tuple[str, ...]:
    """Replacements for a word that is in no group, by its neighbours."""
    determined = re.search(
        r"\b(?:an?|the|this|that|these|those|my|your|his|her|their|of|some|such|no)\s+(?:\w+\s+)?$",
        before,
        re.IGNORECASE,
    )
    if _END.match(after) or not determined:
        if determined:
            plural = re.search(
                r"\b(?:these|those|some|of|you)\s+(?:\w+\s+)?$", before, re.IGNORECASE
            )
            return _group("people") if plural else ("person", "thing", "one")
        return ("bad", "people", "")
    return _group("quality")
