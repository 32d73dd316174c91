from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tactful.rewriting.protect import keeps, peel, protected_spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://example.org/a?b=1, ok", ["https://example.org/a?b=1"]),
        ("@sam_b told #team5 twice", ["@sam_b", "#team5"]),
        ("run `rm -rf x` now", ["`rm -rf x`"]),
        ("it cost $1,200.50 or 15% in 2024", ["$1,200.50", "15%", "2024"]),
        ('he said "you are wrong" again', ['"you are wrong"']),
        ('what a "genius" you are', []),
        ('("you are wrong", he said)', ['"you are wrong"']),
        ('i read it as a "" you are wrong , again """', []),
        ('so " you are wrong " , he said', []),
        ("b2b and a1 are names, not numbers", []),
        ("mail me@example.org", []),
    ],
)
def test_finds_what_must_survive(text: str, expected: list[str]) -> None:
    """Links, mentions, hashtags, code, numbers and speech are found; irony quotes, and marks that
    may open or close anything, are not."""
    assert protected_spans(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  @a @b: you fool #x https://e.org ", ("  @a @b: ", "you fool", " #x https://e.org ")),
        ("plain", ("", "plain", "")),
        ("@only", ("", "@only", "")),
        ("@a #b", ("@a ", "#b", "")),
        ("   ", ("   ", "", "")),
    ],
)
def test_sets_edges_aside(text: str, expected: tuple[str, str, str]) -> None:
    """Leading mentions and trailing links and tags are set aside with their spaces."""
    assert peel(text) == expected


@given(st.text(alphabet="ab @#:/.\n\t0", max_size=40))
def test_peeling_loses_nothing(text: str) -> None:
    """The three parts always join to the text."""
    assert "".join(peel(text)) == text


def test_keeps_counts_repeats() -> None:
    """A number that stood twice must stand twice."""
    assert keeps("2 and 2 make 4", "4 is 2 plus 2")
    assert not keeps("2 and 2 make 4", "4 is the double of 2")
    assert not keeps("ask @sam", "ask Sam")
