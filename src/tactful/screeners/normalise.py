"""Fold the many spellings of a word into one, and remember where each character came from.

Letters from other scripts, digits for letters, spaced and stretched words, casing, tokenisation
and typography all end in the same plain words, so a screener learns words and not disguises.
`Normalised` maps every character back to a non-empty piece of the original, so an explanation can
point at what the user really wrote.

Every step is one linear regular expression with one replacement function; plain text and text
with offsets go through the same steps and can therefore not disagree. Left out on purpose: folding
of leading digits ("1diot"), because "4chan", "1st" and "2nd" are words too, and any dictionary.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

Offsets = list[tuple[int, int]]
_Step = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


@dataclass(frozen=True, slots=True)
class Folds:
    """Which differences in spelling are ignored; each can be switched off."""

    entities: bool = True  # &amp; and &#39;, left over from web pages
    compatibility: bool = True  # NFKD without accents: full width, ligatures, bold letters
    invisible: bool = True  # zero-width and direction marks
    confusables: bool = True  # Cyrillic or Greek letters that look Latin
    case: bool = True
    apostrophes: bool = True  # don't, don’t, do n't and dont
    leet: bool = True  # id1ot, a$$hole
    spacing: bool = True  # i d i o t, i.d.i.o.t
    repeats: bool = True  # idiooooot


DEFAULT_FOLDS = Folds()


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalised text and, for each of its characters, a non-empty piece of the original."""

    text: str
    offsets: Offsets

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]`, which must not be empty, stood in the original."""
        return self.offsets[start][0], self.offsets[end - 1][1]


def normalise(text: str, folds: Folds = DEFAULT_FOLDS) -> str:
    """The normalised text alone; the fast way in."""
    return _run(text, None, folds)


def normalise_with_offsets(text: str, folds: Folds = DEFAULT_FOLDS) -> Normalised:
    """The normalised text with the way back to the original."""
    offsets = [(i, i + 1) for i in range(len(text))]
    return Normalised(_run(text, offsets, folds), offsets)


def _run(text: str, offsets: Offsets | None, folds: Folds) -> str:
    if folds.entities and "&" in text:
        text = _apply(_ENTITY, text, offsets)
    if not text.isascii():
        text = _apply(_character_step(folds), text, offsets)
    if folds.case:
        text = text.lower() if text.isascii() else text.translate(_ASCII_LOWER)
    if folds.apostrophes:
        text = _apply(_APOSTROPHE, text, offsets)
    if folds.leet and _LEET_HINT.search(text):
        text = _apply(_LEET, text, offsets)
    if folds.spacing and _SPACING_HINT.search(text):
        text = _apply(_SPACING, text, offsets)
    if folds.repeats:
        text = _apply(_REPEATS, text, offsets)
    return text


def _apply(step: _Step, text: str, offsets: Offsets | None) -> str:
    """Substitute, and keep `offsets` (changed in place) in step with the text.

    A replacement as long as its match is taken character by character; of any other, every
    character points at the whole match.
    """
    pattern, replace = step
    if offsets is None:
        return pattern.sub(replace, text)
    pieces: list[str] = []
    kept: Offsets = []
    last = 0
    for match in pattern.finditer(text):
        start, end = match.span()
        new = replace(match)
        pieces += (text[last:start], new)
        kept += offsets[last:start]
        if len(new) == end - start:
            kept += offsets[start:end]
        else:
            kept += [(offsets[start][0], offsets[end - 1][1])] * len(new)
        last = end
    if last:
        offsets[:] = kept + offsets[last:]
        text = "".join(pieces) + text[last:]
    return text


# --- characters -----------------------------------------------------------------------------

_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_ENTITY: _Step = (
    re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});"),
    lambda match: html.unescape(match[0]),
)
# What Unicode would decompose into a space and a mark, or leave alone.
_PUNCTUATION = (
    dict.fromkeys("‘’‚‛ʼʹ′´＇", "'") | dict.fromkeys("“”„‟″", '"') | dict.fromkeys("‐‑‒–—−", "-")
)
# One character of the Arabic presentation forms stands for eighteen; nothing we look for does.
_MAX_EXPANSION = 4


@lru_cache(maxsize=64)
def _character_step(folds: Folds) -> _Step:
    @lru_cache(maxsize=65_536)
    def fold(character: str) -> str:
        return _fold_character(character, folds)

    return re.compile(r"[^\x00-\x7f]"), lambda match: fold(match[0])


def _fold_character(character: str, folds: Folds) -> str:
    if folds.apostrophes and character in _PUNCTUATION:
        return _PUNCTUATION[character]
    if folds.invisible and unicodedata.category(character) == "Cf":
        return ""
    # Case first: a capital and its small letter may resemble different Latin letters.
    folded = character.lower() if folds.case else character
    if folds.compatibility:
        decomposed = unicodedata.normalize("NFKD", folded)
        folded = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")[:_MAX_EXPANSION]
        folded = folded.lower() if folds.case else folded
    if folds.confusables:
        lookalikes = _lookalikes()
        folded = "".join(lookalikes.get(c, c) for c in folded)
    return folded.lower() if folds.case else folded


@lru_cache(maxsize=1)
def _lookalikes() -> dict[str, str]:
    """Non-ASCII characters that pass for an ASCII letter; a megabyte of JSON, so read on demand."""
    from confusable_homoglyphs.confusables import confusables_data

    table = {}
    for character, others in confusables_data.items():
        letters = [
            o["c"] for o in others if len(o["c"]) == 1 and o["c"].isascii() and o["c"].isalpha()
        ]
        if len(character) == 1 and not character.isascii() and letters:
            # A stroke passes for I, l and 1 alike; a real small letter is the better guess.
            table[character] = next((c for c in letters if c.islower()), letters[0])
    return table


# --- words ----------------------------------------------------------------------------------

# Inside a word the apostrophe goes, and so does the space that tokenisers put before it.
_APOSTROPHE: _Step = (
    re.compile(
        r"(?i)(?<=[a-z]) (?=n'?t\b)"
        r"|(?<=[a-z]) ?['`] ?(?=(?:s|t|re|ve|ll|d|m)\b)"
        r"|(?<=[a-z])['`](?=[a-z])"
        r"|(?<=\bgon) (?=na\b)|(?<=\bwan) (?=na\b)|(?<=\bgot) (?=ta\b)|(?<=\bcan) (?=not\b)"
    ),
    lambda match: "",
)

_LEET_LETTERS = str.maketrans("013457@$!", "oieastasi")
_LEET_HINT = re.compile(r"[A-Za-z][013457@$!]")
_LEET_INSIDE = re.compile(r"(?<=[A-Za-z])[013457@$!]{1,2}(?=[A-Za-z])|(?<=[A-Za-z])\$\$(?![\w$])")


def _fold_leet(match: re.Match[str]) -> str:
    """Read signs between letters as letters, unless the token is an id, address or mention."""
    token = match[0]
    if token[0] in "@#" or "://" in token or _looks_like_address(token):
        return token
    signs = sum(map(len, _LEET_INSIDE.findall(token)))
    letters = sum(map(str.isalpha, token))
    other_digits = sum(map(str.isdigit, token)) > signs
    # "b2b" and "h1n1" have too few letters, "x3f9a7" too many digits, "no!you" is two words.
    if not signs or other_digits or _TWO_WORDS.search(token):
        return token
    if letters < (2 if _NO_NUMBER.search(token) else 3) or signs > letters:
        return token
    return _LEET_INSIDE.sub(lambda sign: sign[0].translate(_LEET_LETTERS), token)


_TWO_WORDS = re.compile(r"[A-Za-z]{3}!(?![A-Za-z](?![A-Za-z]))")
# "l1@r": a sign that stands in no number and no code.
_NO_NUMBER = re.compile(r"[A-Za-z]\d?[@$]\d?[A-Za-z]")


def _looks_like_address(token: str) -> bool:
    """True of joe@example.org: an at sign with a dot somewhere after it."""
    at = token.find("@")
    return at >= 0 and "." in token[at:].rstrip(".")


_LEET: _Step = (re.compile(r"\S+"), _fold_leet)

_SPACING_HINT = re.compile(r"(?<![^\W_])[A-Za-z]([ ._*-])[A-Za-z]\1[A-Za-z](?![^\W_])")
_SPACING: _Step = (
    # Three letters are enough around dots ("u.s.a"), four around spaces ("plan a b c" is none).
    re.compile(
        r"(?<![^\W_])[A-Za-z](?:([._*-])[A-Za-z](?:\1[A-Za-z])+| [A-Za-z](?: [A-Za-z]){2,})(?![^\W_])"
    ),
    lambda match: "".join(filter(str.isalpha, match[0])),
)

# "www." is left alone: the screener recognises web addresses by it.
_REPEATS: _Step = (
    re.compile(r"(?i)(?!www\.)([a-z])\1{2,}"),
    lambda match: match[0][:2],
)
