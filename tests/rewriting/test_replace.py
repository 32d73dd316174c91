from __future__ import annotations

import pytest

from tactful.rewriting.replace import Replacement
from tests.fakes import KeywordScreener

SCREENER = KeywordScreener(
    dict.fromkeys(
        (
            "idiot",
            "moron",
            "clown",
            "pathetic",
            "garbage",
            "shut up",
            "the hell",
            "zorp",
            "zorping",
        ),
        0.9,
    )
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("you are an idiot, read it", "you are wrong, read it"),
        ("what kind of moron parks here?", "what kind of person parks here?"),
        ("nobody asked you, clown.", "nobody asked you."),
        ("You idiot, fix it", "Fix it"),
        ("shut up and sit down", "please stop and sit down"),
        ("Shut up. Now", "Please stop. Now"),
        ("WHAT AN IDIOT HE IS", "WHAT A PERSON HE IS"),
        ("why the hell is it late?", "why is it late?"),
        ("he was a pathetic clown", "he was a bad person"),
        ("a zorp plan", "a poor plan"),
        ("a zorp clown", "a zorp person"),
        ("to zorp them", "to bother them"),
        ("they are zorping me", "they are bothering me"),
        ("he isn't an idiot", "he isn't wrong"),
        ("you are not an idiot", "you are not wrong"),
        ("are you an idiot?", "are you wrong?"),
        ("You idiot—read it", "You person—read it"),
        ("<b>you idiot</b> there", "<b>you person</b> there"),
        ("my boss/idiot/friend left", "my boss/person/friend left"),
    ],
)
def test_proposes_what_a_decent_writer_would_put(source: str, expected: str) -> None:
    """The flagged words are replaced by what fits where they stand."""
    assert expected in Replacement(SCREENER).propose([source])[0]


def test_proposals_are_bounded_distinct_and_never_the_source() -> None:
    """Many flagged words do not make endless combinations."""
    source = "you idiot, you moron, you pathetic clown, this garbage is pathetic, idiot"
    proposed = Replacement(SCREENER, most=20).propose([source])[0]
    assert 1 < len(proposed) <= 20
    assert len(set(proposed)) == len(proposed)
    assert source not in proposed


def test_nobody_is_declared_a_person() -> None:
    """ "You are not a person" would be worse than what was said."""
    for source in ("you are not an idiot", "are you an idiot?", "he isn't a moron"):
        assert not any("person" in text for text in Replacement(SCREENER).propose([source])[0])


def test_what_must_survive_is_left_to_the_gates() -> None:
    """An insult in a link, code or quotation is not edited there."""
    text = 'he said "you idiot there" to `idiot` https://e.org/idiot'
    assert Replacement(SCREENER).propose([text]) == [[]]


def test_no_noun_is_cut_out_of_its_phrase() -> None:
    """ "What kind of parks here?" is a hole, not a rewrite; a vocative may go."""
    for source in ("what kind of moron parks here?", "I met the idiot again"):
        proposed = Replacement(SCREENER).propose([source])[0]
        assert proposed
        assert not any("of parks" in text or "the again" in text for text in proposed)


def test_nothing_flagged_nothing_proposed() -> None:
    """A text without flagged words has no place to start."""
    assert Replacement(SCREENER).propose(["a fine day", ""]) == [[], []]
