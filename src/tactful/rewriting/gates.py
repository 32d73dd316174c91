"""Gates a candidate must pass, as pure functions of (source, rewrite).

The screener and the similarity scorer are gates too, but they are models and are asked in
batches; see `rewriter.py`. These are the ones that need nothing but the two texts.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from tactful.rewriting.holes import leaves_hole
from tactful.rewriting.protect import keeps

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_CHATTER = re.compile(
    r"^(?:here(?:'s| is| are)\b|sure[,!]|of course[,!]|certainly[,!]|i(?:'m| am) sorry, (?:but )?i can"
    r"|i can(?:no|')t (?:help|assist|rewrite|fulfil)|as an ai\b|(?:polite|rewritten|rewrite)\b[^.]{0,20}:)"
    # What our own prompts say around a text: whoever repeats that repeats what stood before it, too.
    r"|\b(?:toxic|polite):"
    r"|\brewritten (?:version|sentence|comment)\b|\bthe (?:original|rewritten) (?:sentence|comment|text)\b",
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    """The words of a text, lower-cased, without punctuation."""
    return [match.group().lower() for match in _WORD.finditer(text)]


def length_ratio(source: str, rewrite: str) -> float:
    """Words of the rewrite per word of the source; a source without words counts as one."""
    return len(words(rewrite)) / max(1, len(words(source)))


def is_repetitive(source: str, rewrite: str) -> bool:
    """Whether the rewrite says a phrase of three words, or a word in a row, more than its source.

    Degenerate generation loops; people who repeat themselves are left to it.
    """
    return _worst_repeat(words(rewrite)) > max(1, _worst_repeat(words(source)))


def _worst_repeat(tokens: list[str]) -> int:
    phrases = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    run = longest = 1
    for previous, current in pairwise(tokens):
        run = run + 1 if current == previous else 1
        longest = max(longest, run)
    return max(longest, max(phrases.values(), default=0))


def is_chatter(source: str, rewrite: str) -> bool:
    """Whether a model talks about the task, or refuses it, instead of rewriting."""
    return bool(_CHATTER.search(rewrite)) and not _CHATTER.search(source)


_DISLIKE = re.compile(r"\b(?:hat|despis|loath)(?:e|es|ed|ing)\b", re.IGNORECASE)
_LIKE = re.compile(
    r"(?:(?<!n't )(?<!n 't )(?<!not )(?<!never )(?<!no ))"
    r"\b(?:(?:lov|ador)(?:e|es|ed|ing)|enjoy(?:s|ed|ing)?|(?:i|you|we|they) like)\b",
    re.IGNORECASE,
)


def turns_feeling(source: str, rewrite: str) -> bool:
    """Whether a dislike became a liking: "i hate it" -> "i love it" sounds decent, and is the opposite."""
    fewer = len(_DISLIKE.findall(rewrite)) < len(_DISLIKE.findall(source))
    return fewer and len(_LIKE.findall(rewrite)) > len(_LIKE.findall(source))


def text_gates(source: str, rewrite: str, *, shortest: float, longest: float) -> tuple[str, ...]:
    """The names of the gates that two texts alone can fail, in order; empty when all pass."""
    if not words(rewrite):
        return ("empty",)
    ratio = length_ratio(source, rewrite)
    # Two words more are no ramble, however short the source: "idiot!" -> "you are mistaken!"
    added = len(words(rewrite)) - len(words(source))
    checks = {
        "too_short": ratio < shortest,
        "too_long": ratio > longest and added > 2,
        "repetition": is_repetitive(source, rewrite),
        "chatter": is_chatter(source, rewrite),
        "protected": not keeps(source, rewrite),
        "hole": leaves_hole(source, rewrite),
        "turned": turns_feeling(source, rewrite),
    }
    return tuple(name for name, failed in checks.items() if failed)
