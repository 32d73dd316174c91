from __future__ import annotations

import time

import pytest

from tactful.rewriting.holes import leaves_hole, tokens


@pytest.mark.parametrize(
    ("source", "rewrite"),
    [
        ("the other cooks are damned .", "the other cooks are ."),
        ("she 'll whine some more at lunch", "she 'll some more at lunch"),
        ("for the love of fools , stop it", "for the love of , stop it"),
        ("it was a fool on the roof", "it was a on the roof"),
        ("he is the champ these days", "he is the bad these days"),
        ("stop hitting them", "stop bad them"),
        ("what an incredibly stupid recipe .", "what an incredibly recipe ."),
        ("he is a bigger fool than you", "he is a bigger than you"),
        ("do not call me a lazy slacker again", "do not call me a lazy again"),
        ("those waiters are complete jerks .", "those waiters are complete people ."),
        ("he isn't a fool !", "he isn't a person !"),
        ("you are very dumb", "you are very"),
        ("he is a bigger fool", "he is a bigger"),
    ],
)
def test_what_is_plainly_missing_is_found(source: str, rewrite: str) -> None:
    """One word that calls for another, for each kind of them."""
    assert leaves_hole(source, rewrite)


@pytest.mark.parametrize(
    ("source", "rewrite"),
    [
        ("you are an idiot", "you are wrong"),
        ("what the hell are you talking about ?", "what are you talking about ?"),
        ("get the hell out of here", "get out of here"),
        ("it can't be that damn hard", "it can't be that hard"),
        ("that is a very bloody good idea", "that is a very good idea"),
        ("read it, you idiot", "read it"),
        ("these idiots are people too", "these people are people too"),
        ("this idiot parks here", "this person parks here"),
        (
            "it comes of the stupid and costly plan",
            "it comes of the bad and costly plan",
        ),
        ("he is a kind fool .", "he is a kind person ."),
        ("how laughable you sound", "how bad you sound"),
        ("he isn't a moron", "he isn't an unwise person"),
        ("can a moron do that ?", "can an unwise person do that ?"),
        ("what are you talking about you moron ?", "what are you talking about ?"),
        ("my damn back hurts", "my back hurts"),
        ("a really f*cking good idea", "a really good idea"),
        ("he is a liberal moron .", "he is a liberal ."),
        ("a really stupid , costly idea", "a really costly idea"),
        ("where is the .", "where is the ."),
        ("where is the . you fool", "where is the ."),
        ("", ""),
    ],
)
def test_sound_edits_and_holes_of_the_source_are_let_be(source: str, rewrite: str) -> None:
    """A word may go where none is missed, and what people wrote is not ours to mend."""
    assert not leaves_hole(source, rewrite)


def test_tokens_are_alike_however_they_are_spaced() -> None:
    """Corpora write "don 't", "do n't" and "don’t"."""
    for text in ("I don't!", "i do n't !", "I don ’t!", "i don 't !"):
        assert tokens(text) == ["i", "do", "n't", "!"]
    assert tokens("he 's Bob's") == ["he", "'s", "bob", "'s"]


def test_a_text_of_thousands_of_words_takes_no_minutes() -> None:
    """Each word of it stands everywhere in the other, which an exact comparison tries in turn."""
    began = time.monotonic()
    leaves_hole("dumb fool , " * 1000, "bad fool , " * 1000)
    assert time.monotonic() - began < 5
