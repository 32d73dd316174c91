"""Plain insults: said plainly, or left alone."""

from __future__ import annotations

import pytest

from tactful.rewriting.idioms import listed
from tactful.rewriting.words import Words
from tactful.screeners.linear import LinearScreener
from tests.fakes import KeywordScreener


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(LinearScreener.load())


@pytest.mark.parametrize(
    ("said", "decent"),
    [
        ("you are an idiot, read the article", "you are unwise, read the article"),
        ("he is such a total hypocrite !", "he is insincere !"),
        ("the two of them are really just clowns", "the two of them are really just unserious"),
        ("it looks like a clown", "it looks unserious"),
        ("they are just a bunch of clowns", "they are just unserious"),
        ("he writes idiot comments", "he writes unwise comments"),
        ("late , cold and stupid all say it", "late , cold and unwise all say it"),
        ("you are a loud , proud racist .", "you are a loud , proud prejudiced person ."),
        ("we have a fool for a president", "we have an unwise person for a president"),
        ("we have a coward for a president", "we have a timid person for a president"),
        ("this stupid liar is at it again", "this untruthful person is at it again"),
        ("this stupid fool is at it again", "this person is at it again"),
        ("read the article , you moron !", "read the article !"),
        ("keep them coming, fools !", "keep them coming !"),
        ("how dumb the plan is", "how unwise the plan is"),
        ("a dumber plan", "a worse plan"),
        ("we hate them", "we dislike them"),
        ("read the article, moron", "read the article"),
        ("Moron, read the article first.", "Read the article first."),
        ("you idiots think it is free", "you people think it is free"),
        ("those fools in the office know it", "those people in the office know it"),
        ("it is a clown show", "it is an unserious show"),
        ("they look like fools", "they look unwise"),
        ("Idiots everywhere!", "Unwise people everywhere!"),
        ("your ignorance is pathetic", "your lack of knowledge is disappointing"),
        ("the dumbest thing of all", "the worst thing of all"),
        ("the new bus timetable sucks .", "the new bus timetable is bad ."),
        ("the cook keeps spouting nonsense", "the cook keeps spouting things that make no sense"),
        ("he believes that drivel", "he believes things that make no sense"),
        ("you killed the dog", "you took the life of the dog"),
    ],
)
def test_an_insult_is_said_plainly(said: str, decent: str, words: Words) -> None:
    """As it stands: as a predicate, with its article, spoken to or spoken of, in its case."""
    assert words.propose([said])[0][0] == decent


@pytest.mark.parametrize(
    "text",
    [
        "have a nice day",
        'she said "you are an idiot" to him',
        "ask @idiot about it",
        "a fools errand",
        "",
    ],
)
def test_other_words_names_and_quotations_are_left(text: str, words: Words) -> None:
    assert words.propose([text]) == [[]]


def test_only_what_the_screener_minds_is_said_otherwise() -> None:
    """The fat of a soup is no insult to a screener that knows it."""
    minding = Words(KeywordScreener({"lazy": 0.9}))
    assert minding.propose(["the fat of a lazy soup"])[0][0] == "the fat of an idle soup"


def test_what_is_said_instead_is_decent() -> None:
    """Or the rule would be there for nothing: the gates would refuse whatever it makes."""
    screener = LinearScreener.load()
    texts = [f"they are {says} ." for says in listed()["people"]]
    assert (screener.toxicity(texts) < screener.thresholds.passing).all()


@pytest.mark.timeout(30)
def test_a_text_full_of_insults_is_not_gone_through_from_each_of_them(words: Words) -> None:
    """Words that may stand before an insult are few, or each would read on to the end."""
    assert words.propose(["stupid " * 1500])
