"""Signs that a policy has found a way to win that nobody wants, and what to do about each.

A follower that can be fooled will be. The ways are few and look alike from run to run: writing
nothing, copying, deleting, repeating, running into the length limit, one polite phrase for
everything, another language. Each is a rate over the rewrites of a round or a look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tactful.config import Config

Rate = Annotated[float, Field(gt=0, le=1)]


class Alarms(Config):
    """From which rate on each alarm rings, and what then happens."""

    empty: Rate = 0.05
    copies: Rate = 0.5
    deletion: Rate = 0.6
    repetition: Rate = 0.05
    truncation: Rate = 0.1
    stock_phrase: Rate = 0.2
    language: Rate = 0.1
    unanswered: Rate = 0.2
    then: Literal["warn", "stop"] = "warn"


@dataclass(frozen=True, slots=True)
class Alarm:
    """What rang, how loud, and what to do."""

    name: str
    rate: float
    limit: float
    advice: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.rate:.0%} of the rewrites (limit {self.limit:.0%}). {self.advice}"
        )


@dataclass(frozen=True, slots=True)
class Written:
    """A rewrite with its source, whether it ended by itself, and whether every follower spoke."""

    source: str
    text: str
    finished: bool = True
    answered: bool = True


Foreign = Callable[[str], bool]
"""Says of a text whether it is in a language that the screener cannot follow."""


def alarms_of(
    written: Sequence[Written], settings: Alarms, foreign: Foreign | None = None
) -> list[Alarm]:
    """Every alarm that rings over these rewrites, the loudest first.

    Without `foreign` only another script is noticed, not another language in the same letters.
    """
    if not written:
        return []
    limits = settings.model_dump(exclude={"then"})
    rates = {name: measure(written) for name, (measure, _) in _SIGNS.items()}
    if foreign is not None:
        rates["language"] = _share(lambda one: foreign(one.text) > foreign(one.source))(written)
    found = [
        Alarm(name, rate, limits[name], _SIGNS[name][1])
        for name, rate in rates.items()
        if rate >= limits[name]
    ]
    return sorted(found, key=lambda alarm: -alarm.rate / alarm.limit)


# --- signs ----------------------------------------------------------------------------------


def _share(holds: Callable[[Written], bool]) -> Callable[[Sequence[Written]], float]:
    return lambda written: sum(map(holds, written)) / len(written)


def _words(text: str) -> list[str]:
    return text.lower().split()


def _is_empty(one: Written) -> bool:
    return not any(char.isalnum() for char in one.text)


def _is_copy(one: Written) -> bool:
    return _words(one.text) == _words(one.source)


def _is_deletion(one: Written) -> bool:
    """The source's words in order, some of them gone, and nothing new."""
    source, text = _words(one.source), _words(one.text)
    rest = iter(source)
    return 0 < len(text) < len(source) and all(word in rest for word in text)


def _repeats(one: Written) -> bool:
    """A phrase of three words that comes three times, or a word four times in a row."""
    words = _words(one.text)
    phrases = Counter(zip(words, words[1:], words[2:], strict=False))
    runs = zip(words, words[1:], words[2:], words[3:], strict=False)
    return max(phrases.values(), default=0) >= 3 or any(len(set(run)) == 1 for run in runs)


def _is_cut(one: Written) -> bool:
    return not one.finished


def _stock_phrase(written: Sequence[Written]) -> float:
    """The share of openings of sources that all get one and the same opening for an answer."""
    answers: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for one in written:
        asked, opening = tuple(_words(one.source)[:4]), tuple(_words(one.text)[:4])
        if len(opening) == 4 and opening != asked:
            answers.setdefault(opening, set()).add(asked)
    openings = len({tuple(_words(one.source)[:4]) for one in written})
    most = max(map(len, answers.values()), default=0)
    return most / openings if most > 1 else 0.0


def _is_foreign(one: Written) -> bool:
    """Mostly letters that its source has none of: no model of languages, just scripts."""
    letters = [char for char in one.text if char.isalpha()]
    other = [char for char in letters if not char.isascii()]
    return bool(letters) and len(other) > len(letters) / 4 and one.source.isascii()


_SIGNS: dict[str, tuple[Callable[[Sequence[Written]], float], str]] = {
    "empty": (
        _share(_is_empty),
        "Nothing passes as decent: add a similarity or length gate, or lower push_down.",
    ),
    "copies": (
        _share(_is_copy),
        "It plays safe: check the warm start, raise the temperature, or prefer rewrites to copies.",
    ),
    "deletion": (
        _share(_is_deletion),
        "It only leaves words out: use a warm start that substitutes, and a fluency gate that bites.",
    ),
    "repetition": (
        _share(_repeats),
        "The likelihood of ending falls: raise the anchor, lower the learning rate or push_down.",
    ),
    "truncation": (
        _share(_is_cut),
        "Answers do not end: raise play.longest, or go back to an earlier checkpoint.",
    ),
    "stock_phrase": (
        _stock_phrase,
        "One phrase answers everything: add or raise the similarity gate.",
    ),
    "language": (
        _share(_is_foreign),
        "It left English, where the screener cannot follow: add a gate that keeps the language.",
    ),
    "unanswered": (
        _share(lambda one: not one.answered),
        "A follower is silent: is its server running, or does its panel disagree too often?",
    ),
}
