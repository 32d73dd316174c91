from __future__ import annotations

import pytest

from tactful.rewriting.gates import (
    is_chatter,
    is_repetitive,
    length_ratio,
    text_gates,
    turns_feeling,
)


def test_length_ratio_by_hand() -> None:
    """Words are counted, punctuation is not: 3 of 4 words is 0.75."""
    assert length_ratio("you're wrong , my friend", "you're wrong - friend") == 0.75
    assert length_ratio("...", "two words") == 2.0


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("stop it", "no no no", True),
        ("no no no", "no no no", False),
        ("fix it", "please fix it please fix it", True),
        ("fix it", "please fix it and test it", False),
        ("a b", "very very good", True),
    ],
)
def test_repetition_is_relative_to_the_source(source: str, rewrite: str, expected: bool) -> None:
    """A loop is one that the source did not have."""
    assert is_repetitive(source, rewrite) is expected


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        ("Here is the polite version: you are wrong", True),
        ("I'm sorry, but I can't help with that.", True),
        ("Polite: you are wrong", True),
        ("what was before. Toxic: you are wrong", True),
        ("sure, but the price is too high", True),
        ("i am sorry that you lost", False),
        ("here we go again, a bad plan", False),
    ],
)
def test_chatter_is_talk_about_the_task(rewrite: str, expected: bool) -> None:
    """Refusals and announcements are told from rewrites."""
    assert is_chatter("you fool", rewrite) is expected


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("i hate these fools", "i love these people", True),
        ("i hate these fools", "i dislike these people", False),
        ("i love it and hate them", "i love it and dislike them", False),
        ("they hate fools", "they do not hate people", False),
        ("i hated it", "i enjoyed it", True),
        ("i hate it", "i like it", True),
        ("i hate it", "i don't enjoy it", False),
        ("i hate it", "it looks like this", False),
    ],
)
def test_a_dislike_must_not_become_a_liking(source: str, rewrite: str, expected: bool) -> None:
    """Decent, fluent, one word away, and the opposite."""
    assert turns_feeling(source, rewrite) is expected


def test_text_gates_name_every_fault_in_order() -> None:
    """All faults are named, so that a report can say what stood in the way."""
    gates = text_gates("call @sam at 5 or so today", "no", shortest=0.34, longest=2.0)
    assert gates == ("too_short", "protected")
    assert text_gates("a fool", "!!!", shortest=0.3, longest=2) == ("empty",)
    assert text_gates("you fool", "you are mistaken", shortest=0.3, longest=2) == ()
    assert text_gates("i hate fools", "i love a", shortest=0.3, longest=2) == ("hole", "turned")
    assert text_gates("you fool", "a b c d e", shortest=0.3, longest=2) == ("too_long",)
    assert text_gates("fool", "you are mistaken", shortest=0.3, longest=2) == ()
