"""Which words carry an insult, and what a decent writer would have put there."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources

import yaml

from tactful.rewriting.protect import protected_ranges
from tactful.screeners.base import Screener
from tactful.screeners.normalise import normalise

# A screener may hold these against a text; no replacement for them makes it milder.
_FUNCTION_WORDS = frozenset(
    "a an the this that these those i me my mine we us our you u your yours ur he him his she her "
    "hers it its they them their who what which when where why how is are am was were be been being "
    "do does did have has had will would can could should shall may might must not no nor and or but "
    "if so as at by for from in into of off on out over to up down with about than then too very "
    "just all any some each one im youre hes shes theyre dont ya yo".split()
)
# Letters and digits, with apostrophes and the signs that stand for letters in disguised words.
_WORD = re.compile(r"[^\W_]+(?:['’*@$][^\W_]+)*\*{0,8}")


@cache
def listing(name: str) -> str:
    """A list's name with what it says, as it stands in every result: a run over a file that goes on
    under another list would not be one run.
    """
    content = resources.files("tactful").joinpath("assets", f"{name}.yaml").read_bytes()
    return f"{name}@{hashlib.sha256(content).hexdigest()[:8]}"


def flagged_words(text: str, screener: Screener) -> list[tuple[int, int]]:
    """What the screener points at, as whole words and known phrases, left to right.

    Function words are left out: they are flagged for their company. A word spelled with spaces
    ("f o o l") is one piece. What is flagged inside a link, code or a quotation stands for the
    whole of it, since half of one is worse than none.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    whole = [*protected_ranges(text), *(match.span() for match in _phrases().finditer(text))]
    found = set()
    for span in screener.explain(text):
        inside = [piece for piece in whole if piece[0] < span.end and span.start < piece[1]]
        touched = [word for word in words if word[0] < span.end and span.start < word[1]]
        if inside:
            found.add(inside[0])
        elif len(touched) > 1 and all(end - start <= 2 for start, end in touched):
            found.add((touched[0][0], touched[-1][1]))
        else:
            found.update(word for word in touched if not _is_function_word(text[slice(*word)]))
    slots: list[tuple[int, int]] = []
    for slot in sorted(found, key=lambda slot: (slot[0], -slot[1])):
        if not slots or slot[0] >= slots[-1][1]:
            slots.append(slot)
    return slots


def _is_function_word(word: str) -> bool:
    return normalise(word).replace("'", "") in _FUNCTION_WORDS


def lookup(word: str) -> tuple[str, tuple[str, ...]]:
    """The group of a word or phrase and what may stand in its place; ("", ()) when not listed."""
    return _by_word().get(word.lower()) or _by_word().get(normalise(word), ("", ()))


@cache
def replacements(group: str) -> tuple[str, ...]:
    """What may stand in the place of any word of a group."""
    return tuple(_groups()[group]["with"])


@cache
def _groups() -> dict[str, dict[str, list[str]]]:
    listed = resources.files("tactful").joinpath("assets/replacements.yaml")
    groups: dict[str, dict[str, list[str]]] = yaml.safe_load(listed.read_text("utf-8"))
    return groups


@cache
def _by_word() -> dict[str, tuple[str, tuple[str, ...]]]:
    table: dict[str, tuple[str, tuple[str, ...]]] = {}
    for group, entry in _groups().items():
        for word in entry["words"]:
            # A word listed twice belongs to the group that names it first.
            table.setdefault(word, (group, tuple(entry["with"])))
    return table


@cache
def _phrases() -> re.Pattern[str]:
    listed = sorted((phrase for phrase in _by_word() if " " in phrase), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, listed)) + r")\b", re.IGNORECASE)
