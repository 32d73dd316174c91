"""Threats are found where a person is meant, and idioms stay silent."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tactful.screeners.threats import find_threat


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I will kill you", "threat"),
        ("I'm gonna k i l l you", "threat"),
        ("i w1ll k1ll you", "threat"),
        ("we're gonna find you and hurt you", "threat"),
        ("I'll burn your house down", "threat"),
        ("you will get stabbed", "threat"),
        ("someone should shoot them", "violence_call"),
        ("they should be hanged", "violence_call"),
        ("I hope you die", "violence_call"),
        ("Go kill yourself", "self_harm"),
        ("kys", "self_harm"),
        ("i want to die", "self_harm"),
        ("I'm going to end my life", "self_harm"),
        ("she lives at 12 Oak Street", "doxxing"),
        ("his phone number is 555-123-4567", "doxxing"),
    ],
)
def test_threats_are_found(text: str, kind: str) -> None:
    """Each kind is recognised, spelled plainly or in disguise."""
    found = find_threat(text)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kill the process",
        "I will kill the process for you",
        "this game is killing me",
        "i'd kill for a pizza",
        "shoot me an email",
        "I will shoot you an email",
        "die hard fan",
        "beat you to it",
        "we will beat you in the final",
        "this will kill the mood",
        "i want to die laughing",
        "my plants will die",
        "you idiot, read the article",
        "they should be hung on the wall",
        "we should hang the pictures",
        "call me at 555-123-4567",
    ],
)
def test_idioms_stay_silent(text: str) -> None:
    """Machines, games, food and sport are nobody's victims."""
    assert find_threat(text) is None


def test_span_points_at_the_original() -> None:
    """The span counts the characters as they were written."""
    text = "ok. I will k\u200bill you!"
    found = find_threat(text)
    assert found is not None
    assert text[found.start : found.end] == "I will k\u200bill you"


@given(st.text(st.characters(), max_size=80))
def test_any_text_is_survived(text: str) -> None:
    """Whatever is found lies inside the text."""
    found = find_threat(text)
    assert found is None or 0 <= found.start < found.end <= len(text)


@pytest.mark.parametrize(
    "piece", ["i will ", "you should go ", "gonna ", "you ", "1 ", "kill all ", "i hope you "]
)
def test_time_is_linear(piece: str) -> None:
    """A hundred kilobytes that almost match take a moment."""
    began = time.perf_counter()
    find_threat(piece * (100_000 // len(piece)))
    assert time.perf_counter() - began < 2.0
