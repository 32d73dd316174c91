"""Disguises fold into plain words, and every folded character knows where it came from."""

import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tactful.screeners.normalise import Folds, normalise, normalise_with_offsets


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("You IDIOT", "you idiot"),
        ("ｉｄｉｏｔ", "idiot"),
        ("𝓲𝓭𝓲𝓸𝓽", "idiot"),
        ("іdіоt", "idiot"),  # Cyrillic і and о
        ("ïdíot", "idiot"),
        ("id\u200biot", "idiot"),
        ("id\u202eiot", "idiot"),
        ("id1ot and st00pid", "idiot and stoopid"),
        ("a$$hat", "asshat"),
        ("i d i o t", "idiot"),
        ("i.d.i.o.t", "idiot"),
        ("i-d-i-o-t!", "idiot!"),
        ("idiooooot", "idioot"),
        ("f*ol", "f*ol"),
        ("you&#39;re &amp; me", "youre & me"),
        ("“fool”", '"fool"'),
    ],
)
def test_disguises_fold(written: str, read: str) -> None:
    """One disguise at a time becomes the plain word."""
    assert normalise(written) == read


@pytest.mark.parametrize(
    "text",
    ["2024", "b2b", "m4a", "mp3", "4chan", "2nd", "h1n1", "x3f9a7", "joe@b4nd.org", "@us3rname",
     "a b c", "e.g. this", "www.example.org", "well!done", "10000"],
)  # fmt: skip
def test_what_is_no_disguise_stays(text: str) -> None:
    """Numbers, names of formats, ids, addresses and mentions are not read as words."""
    assert normalise(text) == text


@pytest.mark.parametrize(
    "texts",
    [
        ("don't", "don’t", "do n't", "dont", "don 't"),
        ("you're", "you 're", "youre"),
        ("can't", "ca n't", "cant"),
        ("cannot", "can not"),
        ("gonna", "gon na"),
        ("he's", "he 's", "hes"),
    ],
)
def test_tokenised_spellings_agree(texts: tuple[str, ...]) -> None:
    """A contraction is one word, however a tokeniser has cut it."""
    assert len({normalise(text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("fold", "text"),
    [
        ("entities", "&amp;"),
        ("compatibility", "ﬁne"),
        ("invisible", "id\u200biot"),
        ("confusables", "іdіоt"),
        ("case", "IDIOT"),
        ("apostrophes", "don't"),
        ("leet", "id1ot"),
        ("spacing", "i d i o t"),
        ("repeats", "sooooo"),
    ],
)
def test_each_fold_can_be_switched_off(fold: str, text: str) -> None:
    """With its fold off, a disguise stays as it is."""
    assert normalise(text) != text
    assert normalise(text, dataclasses.replace(Folds(), **{fold: False})) == text


def test_offsets_by_hand() -> None:
    """Kept characters point at themselves, a rewritten piece at all of what it replaced."""
    found = normalise_with_offsets("a i\u200bd1ot")
    assert found.text == "a idiot"
    assert found.original(2, 7) == (2, 8)
    assert found.offsets == [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7), (7, 8)]
    spaced = normalise_with_offsets("you i d i o t!")
    assert spaced.text == "you idiot!"
    assert spaced.original(4, 9) == (4, 13)


disguises = st.text(st.sampled_from("aidtAI .'*1@$!&#;\n-_\u200b\u0301іﬁé\ud800\x00"), max_size=40)


@given(st.one_of(st.text(st.characters(), max_size=60), disguises))
def test_offsets_hold_for_any_text(text: str) -> None:
    """Offsets are in range, never empty and never go back; both ways in agree; nothing raises."""
    found = normalise_with_offsets(text)
    assert found.text == normalise(text)
    assert len(found.offsets) == len(found.text)
    assert all(0 <= start < end <= len(text) for start, end in found.offsets)
    assert found.offsets == sorted(found.offsets)


@pytest.mark.parametrize(
    "piece", ["a", "a ", "a.", "a'", "!", "1a", "@a.", "&#", "\u0301", "i d i ", "aa1"]
)
def test_time_is_linear(piece: str) -> None:
    """A quarter of a megabyte of one pattern takes a moment, not minutes."""
    began = time.perf_counter()
    normalise(piece * (250_000 // len(piece)))
    assert time.perf_counter() - began < 2.5
