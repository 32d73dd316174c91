"""Does the text go on after a change as well as it did before?

Where a word is missing or does not fit, what stands behind it comes as a surprise: "she 'll [whine]
at lunch". So a language model is asked how likely the first token behind each change is, after
what the rewrite has before it, and after what the source had. Likelihood as such would be no
answer: slang is unlikely before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Reader(Protocol):
    """A language model; `Taste` lends the one that it stands on."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a line, with what ends one."""
        ...

    def log_likelihood(
        self, lines: Sequence[Sequence[Sequence[int]]], places: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[list[float]]]:
        """For each line of each group, how likely its tokens at these places are, as logs."""
        ...


class Flow:
    """A follower: how much likelier what follows the worst change was in the source; 1 at best."""

    name = "flow"

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        """One score for each (source, rewrite), in order; a text that is the same has 1."""
        together: dict[str, dict[str, float]] = {}
        for source, rewrite in zip(sources, rewrites, strict=True):
            # What is the same goes on the same: nothing has to be read.
            if rewrite != source:
                together.setdefault(source, {})[rewrite] = 1.0
        lines = [
            [self.reader.encode(text) for text in (source, *those)]
            for source, those in together.items()
        ]
        behind = [[after_changes(old, new) for new in those] for old, *those in lines]
        places = [
            [[was for pairs in group for was, _ in pairs], *([now for _, now in p] for p in group)]
            for group in behind
        ]
        for those, (before, *after) in zip(
            together.values(), self.reader.log_likelihood(lines, places), strict=True
        ):
            olds = iter(before)
            for rewrite, news in zip(those, after, strict=True):
                worst = min((new - next(olds) for new in news), default=0.0)
                those[rewrite] = float(np.exp(min(0.0, worst)))
        return np.array(
            [together.get(s, {}).get(r, 1.0) for s, r in zip(sources, rewrites, strict=True)]
        )


def changes(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[int, int, int, int]]:
    """Where the new differs from the old: from and to in the old, from and to in the new."""
    # From two hundred tokens on, the frequent ones are no anchors: else this would take minutes.
    for tag, *where in SequenceMatcher(None, old, new).get_opcodes():
        if tag != "equal":
            was, until, begin, end = where
            yield was, until, begin, end


def after_changes(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, int]]:
    """Where the first token behind each change stands in the old and in the new.

    Both end with the same token, so there is one behind every change.
    """
    return [(until, end) for _, until, _, end in changes(old, new)]
