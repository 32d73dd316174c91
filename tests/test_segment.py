"""Sentences are found, and nothing is lost between them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tactful.segment import MAX_CHARACTERS, MAX_WORDS, sentences, split


def pieces(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One", ["One"]),
        ("One. Two!  Three?", ["One. ", "Two!  ", "Three?"]),
        ("one . two ! ? three", ["one . ", "two ! ? ", "three"]),
        ("See e.g. Mr. Smith. Then go.", ["See e.g. Mr. Smith. ", "Then go."]),
        ("It costs 3.50 at a.org. Yes.", ["It costs 3.50 at a.org. ", "Yes."]),
        ("No. 5 is here. No. Really", ["No. 5 is here. ", "No. ", "Really"]),
        ("J. Doe and I. Then", ["J. Doe and I. ", "Then"]),
        ("well ... maybe", ["well ... maybe"]),
        ("Well... Maybe", ["Well... ", "Maybe"]),
        ('He said "no." Then left', ['He said "no." ', "Then left"]),
        ("a line\nthat wraps", ["a line\nthat wraps"]),
        ("A title\nThe text", ["A title\n", "The text"]),
        ("one\n\ntwo", ["one\n\n", "two"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    """Cuts fall after sentences, not after abbreviations, decimals, addresses or in wrapped lines."""
    assert pieces(text) == expected


def test_long_runs_are_cut_at_spaces() -> None:
    """Without punctuation a piece ends after so many words or characters."""
    many = pieces("word " * 150)
    assert [len(piece.split()) for piece in many] == [MAX_WORDS, MAX_WORDS, 30]
    assert all(len(piece) <= MAX_CHARACTERS for piece in pieces("extraordinarily " * 80))


@given(
    st.one_of(st.text(st.characters()), st.text(st.sampled_from("aA .!?\n\"'…e.g1"), max_size=80))
)
def test_pieces_tile_the_text(text: str) -> None:
    """Joining all pieces gives the text back, and no piece is empty."""
    assert "".join(pieces(text)) == text
    assert all(pieces(text))


@pytest.mark.parametrize("piece", ["!", " ", "\n", ". ", ".a", '"', "a ", "a"])
def test_time_is_linear(piece: str) -> None:
    """A quarter of a megabyte of one pattern takes a moment."""
    began = time.perf_counter()
    sentences(piece * (250_000 // len(piece)) + "x")
    assert time.perf_counter() - began < 2.0


def test_split_gives_the_pieces() -> None:
    """The pieces of the spans, which join back to the text."""
    text = "One. Two?  Three"
    assert split(text) == ["One. ", "Two?  ", "Three"]
    assert split("") == []
