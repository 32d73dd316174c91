"""Vulgar idioms, each as a whole: what they mean, said decently.

A model that was never shown "like anyone gave a shit" beside "like anyone cared" replaces the word
and loses the point. These turns are fixed and known, so they are written down (assets/idioms.yaml)
instead of learned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice, product
from typing import Any

import yaml

from tactful.rewriting.candidates import CandidateSource
from tactful.rewriting.edits import Edit, apply_edits
from tactful.rewriting.lexicon import listing
from tactful.rewriting.protect import protected_ranges

_OBJECT = {
    "my": "me", "your": "you", "ur": "you", "yo": "you", "ya": "you", "his": "him", "her": "her",
    "its": "it", "our": "us", "their": "them", "cho": "you", "they": "them", "dey": "them",
}  # fmt: skip
_SUBJECT = {
    "my": "I", "your": "you", "ur": "you", "yo": "you", "ya": "you", "his": "he", "her": "she",
    "its": "it", "our": "we", "their": "they", "cho": "you", "dey": "they",
}  # fmt: skip
_SELF = {
    "my": "myself", "your": "yourself", "ur": "yourself", "yo": "yourself", "ya": "yourself",
    "his": "himself", "her": "herself", "its": "itself", "our": "ourselves", "their": "themselves",
}  # fmt: skip
_FORMS = {"obj": _OBJECT, "subj": _SUBJECT, "self": _SELF}
_SLOT = re.compile(r"<(?:(obj|subj|self) )?(\d)>")


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, and what may stand in its place, best guess first."""

    pattern: re.Pattern[str]
    options: tuple[str, ...]


Place = tuple[re.Match[str], tuple[str, ...]]
"""What a rule matched, and what may stand there."""


def soften(text: str, *, most: int = 6) -> list[str]:
    """The text with every known idiom said decently, in up to `most` ways, best guess first.

    None where it has no known idiom. Other insults stay as they are.
    """
    return ways(text, found(text, rules()), most=most)


def softened(text: str) -> str:
    """The text with every known idiom said decently, as is guessed best."""
    return next(iter(soften(text, most=1)), text)


def ways(text: str, places_found: Sequence[Place], *, most: int) -> list[str]:
    """The text with every place said otherwise, in up to `most` ways, best guess first."""
    places = [_edits(match, options) for match, options in places_found]
    if not places:
        return []
    # The best guess for every place, then the second best of one place at a time, and so on. No more
    # places vary than there are ways to be seen, or thirty idioms in a text would have 3^30 of them.
    several = [i for i, edits in enumerate(places) if len(edits) > 1]
    varied = set(several[max(0, len(several) - most + 1) :])
    ranges = [range(len(edits)) if i in varied else range(1) for i, edits in enumerate(places)]
    choices = sorted(product(*ranges), key=sum)
    edited = (
        apply_edits(text, [edits[i] for edits, i in zip(places, choice, strict=True)])
        for choice in islice(choices, most)
    )
    return [way for way in dict.fromkeys(edited) if way.strip() and way != text]


def found(text: str, searched: Sequence[Rule]) -> list[Place]:
    """The places that rules match, left to right; the first rule that matches a place has it."""
    # By character, as a long text has thousands of places, and each is held against all others.
    taken = marked(text, protected_ranges(text))
    matches = []
    for rule in searched:
        for match in rule.pattern.finditer(text):
            start, end = match.span()
            if not any(taken[start:end]):
                _mark(taken, start, end)
                matches.append((match, rule.options))
    return sorted(matches, key=lambda one: one[0].start())


def marked(text: str, spans: Iterable[tuple[int, int]]) -> bytearray:
    """For each character of a text whether it is in one of some spans."""
    marks = bytearray(len(text))
    for start, end in spans:
        _mark(marks, start, end)
    return marks


def _mark(marks: bytearray, start: int, end: int) -> None:
    marks[start:end] = bytes([1]) * (end - start)


def _edits(match: re.Match[str], options: Sequence[str]) -> list[Edit]:
    return [Edit(*match.span(), _filled(match, option)) for option in options[:3]]


def _filled(match: re.Match[str], option: str) -> str:
    def group(slot: re.Match[str]) -> str:
        said = match[int(slot[2])] or ""
        if slot[1] is None:
            return said
        return _FORMS[slot[1]].get(said.lower().rstrip(" '’"), said)

    text = _SLOT.sub(group, option)
    old = match.group()
    if len(old.strip()) > 1 and old.isupper():
        return text.upper()
    return text[:1].upper() + text[1:] if old[:1].isupper() else text


@cache
def rules() -> tuple[Rule, ...]:
    """The listed rules, ready to be matched."""
    return compiled(listed()["rules"])


@cache
def listed() -> dict[str, Any]:
    """The file, as it is."""
    text = resources.files("tactful").joinpath("assets/idioms.yaml").read_text("utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def compiled(written: Sequence[Sequence[str]]) -> tuple[Rule, ...]:
    """Rules as they are written, a pattern and its options, ready to be matched."""
    names = listed()["names"]

    def pattern(text: str) -> re.Pattern[str]:
        for _ in range(2):  # a name may stand in another
            for name, meaning in names.items():
                text = text.replace(f"<{name}>", f"(?:{meaning})")
        # Ends that are lookarounds or spaces bound themselves.
        return re.compile(rf"(?<![\w@#])(?:{text})(?:(?<=\s)|(?!\w))", re.IGNORECASE)

    return tuple(Rule(pattern(first), tuple(options)) for first, *options in written)


class Idioms:
    """The text with its idioms said decently, nothing else changed."""

    written = True

    @property
    def name(self) -> str:
        return listing("idioms")

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [soften(source) for source in sources]


class PastIdioms:
    """What a model proposes for the text, and for the text with what is known of it said `plainly`.

    Both it and the table of words do better when that is out of their way.
    """

    def __init__(
        self, model: CandidateSource, words: CandidateSource, plainly: Callable[[str], str]
    ) -> None:
        self.model = model
        self.words = words
        self.plainly = plainly
        self.name = f"{model.name}+idioms"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        proposed = self.model.propose(sources)
        said = {i: self.plainly(source) for i, source in enumerate(sources)}
        left = {i: text for i, text in said.items() if text != sources[i]}
        if left:
            for source in (self.model, self.words):
                for i, more in zip(left, source.propose(list(left.values())), strict=True):
                    proposed[i] = [*proposed[i], *more]
        return [list(dict.fromkeys(texts)) for texts in proposed]
