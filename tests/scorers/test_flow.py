"""How a text goes on, counted by hand with a reader whose likelihoods are known."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from tactful.scorers.flow import Flow, after_changes

END = 0


class Pairs:
    """A reader to whom a word's likelihood depends on the word before it alone."""

    def __init__(self, likely: dict[tuple[str, str], float]) -> None:
        self.likely = likely
        self.words = [".", *sorted({word for pair in likely for word in pair})]

    def encode(self, text: str) -> list[int]:
        return [*(self.words.index(word) for word in text.split()), END]

    def log_likelihood(
        self, lines: Sequence[Sequence[Sequence[int]]], places: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[list[float]]]:
        def one(line: Sequence[int], place: int) -> float:
            pair = self.words[line[place - 1]], self.words[line[place]]
            return float(np.log(self.likely[pair]))

        return [
            [[one(line, place) for place in at] for line, at in zip(group, asked, strict=True)]
            for group, asked in zip(lines, places, strict=True)
        ]


READER = Pairs(
    {
        ("fool", "parks"): 0.4,
        ("man", "parks"): 0.4,
        ("the", "parks"): 0.01,
        ("sad", "parks"): 0.1,
        ("dumb", "fool"): 0.5,
        ("the", "fool"): 0.2,
        ("parks", "here"): 0.9,
        ("here", "."): 0.5,
        ("parks", "."): 0.6,
    }
)


def test_it_is_the_worst_that_follows_a_change() -> None:
    """0.01 / 0.4 where the noun is gone, 0.1 / 0.4 for a poor one; no more than 1 where it is better."""
    sources = ["the fool parks here"] * 4
    rewrites = ["the parks here", "the sad parks here", "the man parks here", "the fool parks"]
    assert Flow(READER)(sources, rewrites) == pytest.approx([0.025, 0.25, 1.0, 1.0])


def test_two_changes_count_as_the_worse_one_and_no_change_as_one() -> None:
    """Sources come back to their places, whatever stands between."""
    sources = ["the dumb fool parks", "the fool parks", "the dumb fool parks"]
    rewrites = ["the fool parks here", "the fool parks", "the dumb fool parks"]
    # 0.2 / 0.5 for the adjective that went, 0.5 / 0.6 for the word that came.
    assert Flow(READER)(sources, rewrites) == pytest.approx([0.4, 1.0, 1.0])
    assert Flow(READER)([], []).shape == (0,)


def test_what_follows_a_change_is_found_in_both() -> None:
    """Replaced, deleted, put in, and at the end."""
    assert after_changes([1, 2, 3, END], [1, 9, 9, 3, END]) == [(2, 3)]
    assert after_changes([1, 2, 3, END], [1, 3, END]) == [(2, 1)]
    assert after_changes([1, 3, END], [2, 1, 3, 4, END]) == [(0, 1), (2, 4)]
    assert after_changes([1, END], [END]) == [(1, 0)]
    assert after_changes([1, END], [1, END]) == []


def test_a_text_of_thousands_of_words_takes_no_minutes() -> None:
    """Each token of it stands everywhere in the other, which an exact comparison tries in turn."""
    began = time.monotonic()
    after_changes([1, 2, 3] * 1000 + [END], [4, 2, 3] * 1000 + [END])
    assert time.monotonic() - began < 5
