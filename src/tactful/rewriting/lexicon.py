"""Which words carry an insult, and what a decent writer would have put there."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import yaml

from tactful.screeners.base import Screener

# A screener may hold these against a text; no replacement for them makes it milder.
_FUNCTION_WORDS = frozenset(
    "a an the this that these those i me my mine we us our you u your yours ur he him his she her "
    "hers it its they them their who what which when where why how is are am was were be been being "
    "do does did have has had will would can could should shall may might must not no nor and or but "
    "if so as at by for from in into of off on out over to up down with about than then too very "
    "just all any some each one im youre hes shes theyre dont ya yo".split()
)
_WORD = re.compile(r"[^\s,.!?;:\"“”()\[\]]+")


def flagged_words(text: str, screener: Screener) -> list[tuple[int, int]]:
    """What the screener points at, as whole words and known phrases, left to right.

    Function words are left out: they are flagged for their company.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    phrases = [match.span() for match in _phrases().finditer(text)]
    found = set()
    for span in screener.explain(text):
        inside = next((p for p in phrases if p[0] < span.end and span.start < p[1]), None)
        if inside:
            found.add(inside)
            continue
        for start, end in words:
            plain = text[start:end].lower().replace("'", "").replace("’", "")
            if start < span.end and span.start < end and plain not in _FUNCTION_WORDS:
                found.add((start, end))
    slots: list[tuple[int, int]] = []
    for slot in sorted(found, key=lambda slot: (slot[0], -slot[1])):
        if not slots or slot[0] >= slots[-1][1]:
            slots.append(slot)
    return slots


def lookup(word: str) -> tuple[str, tuple[str, ...]]:
    """The group of a word or phrase and what may stand in its place; ("", ()) when not listed."""
    return _by_word().get(word.lower(), ("", ()))


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
