"""Real toxic sentences with the rewrites a search found for them, as demonstrations.

A search prefers to delete, and what deletion leaves often reads complete to a language model
("the next president will be"). So deletions are few here, a rewrite must keep or replace most of
what was said, and no stock word may become the answer to everything.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from tactful.config import Config
from tactful.screeners.base import Screener
from tactful.training.warm_lexicon import SMALL, is_word, tokens

Rewrite = Callable[[list[str]], list[str | None]]
"""A search for rewrites; None where it found none."""
Sound = Callable[[str, str], bool]
"""Whether a rewrite has no hole where its source had a point."""

DEMONSTRATIONS = "demonstrations.jsonl"
"""Where a warm start's run keeps them."""

DELETED = "found:deleted"
REPLACED = "found:replaced"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A toxic source, the decent text a rewriter should answer, and how the two were made."""

    source: str
    completion: str
    kind: str


def read_demonstrations(path: Path) -> list[Demonstration]:
    """Read what a warm start kept of what it was shown."""
    return [Demonstration(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


class FoundConfig(Config):
    """Which found rewrites are shown."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.4
    """The largest part of all demonstrations that real toxic sentences may be."""
    tries: Annotated[float, Field(ge=1)] = 2.0
    """How many sentences are given to the search for each pair that is wanted."""
    shortest: Annotated[int, Field(ge=1)] = 3
    longest: Annotated[int, Field(ge=1)] = 30
    kept_content: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Of a sentence's content words, how many its rewrite must keep or replace."""
    deletions: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """The largest part of found pairs in which something only went."""
    replacement_cap: Annotated[float, Field(gt=0, le=1)] = 0.03
    """The largest part of all demonstrations in which the search put one and the same word."""


_FUNCTION = SMALL | frozenset(
    "i me my he him his she her it its we us our they them their who is are was were am be been do "
    "does did have has had will would can could should not no n't but if at by for from into on off "
    "out over to up with about than then too very just really 's 're 'm 've 'll 'd how why when".split()
)


@dataclass(frozen=True, slots=True)
class _Change:
    """What a rewrite did to the words of its source."""

    kept: float
    put: tuple[str, ...]


def found_pairs(
    texts: Sequence[str],
    rewrite: Rewrite,
    screener: Screener,
    config: FoundConfig,
    rng: np.random.Generator,
    *,
    size: int,
    sound: Sound | None = None,
) -> list[Demonstration]:
    """Real toxic sentences with what a search made of them, where it kept their point.

    At most `config.share` of `size` demonstrations, of which a part of `config.deletions` may only
    delete; no word is put more often than `config.replacement_cap` times `size`.
    """
    wanted = int(config.share * size)
    sources = list(dict.fromkeys(" ".join(text.split()) for text in texts))
    acted_on = screener.toxicity(sources) >= screener.thresholds.act
    sources = [
        text
        for text, bad in zip(sources, acted_on, strict=True)
        if bad and config.shortest <= len(text.split()) <= config.longest
    ]
    sources = [sources[i] for i in rng.permutation(len(sources))][: int(config.tries * wanted)]
    answers = [(s, a) for s, a in zip(sources, rewrite(sources), strict=True) if a and a != s]
    decent = screener.toxicity([a for _, a in answers]) < screener.thresholds.passing
    replaced: list[Demonstration] = []
    deleted: list[Demonstration] = []
    taught: Counter[str] = Counter()
    for (source, answer), ok in zip(answers, decent, strict=True):
        if not ok or len(answer.split()) < config.shortest:
            continue
        change = _change(source, answer)
        if change.kept < config.kept_content or (sound and not sound(source, answer)):
            continue
        if not change.put:
            deleted.append(Demonstration(source, answer, DELETED))
        elif all(taught[word] < config.replacement_cap * size for word in change.put):
            taught.update(change.put)
            replaced.append(Demonstration(source, answer, REPLACED))
    replaced = replaced[:wanted]
    most = int(len(replaced) * config.deletions / max(1e-9, 1 - config.deletions))
    return [*replaced, *deleted[:most]][:wanted]


def _change(source: str, answer: str) -> _Change:
    ours = [t.text for t in tokens(source) if is_word(t.text)]
    theirs = [t.text for t in tokens(answer) if is_word(t.text)]
    content = sum(word not in _FUNCTION for word in ours)
    kept = 0
    put: list[str] = []
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for what, a, b, c, d in matcher.get_opcodes():
        old = [word for word in ours[a:b] if word not in _FUNCTION]
        new = [word for word in theirs[c:d] if word not in _FUNCTION]
        kept += len(old) if what == "equal" else min(len(old), len(new))
        put += new if what != "equal" else []
    return _Change(kept / max(1, content), tuple(put))
