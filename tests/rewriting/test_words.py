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
        ("the dimwit democrats lost the menu", "the unwise democrats lost the menu"),
        ("the idiot left the door open", "the person left the door open"),
        ("that idiot in the kitchen", "that person in the kitchen"),
        ("ask for this clowns opinion first", "ask for this person's opinion first"),
        ("give me a break you pussy .", "give me a break ."),
        ("yes he will the stupid idiot", "yes he will"),
        ("none of it is about any you idiots", "none of it is about any of you"),
        ("we talk to you moron", "we talk to you"),
        ("he fired the biggest loser", "he fired the most unsuccessful person"),
        ("that is a completely stupid idiot doctor", "that is an unwise doctor"),
        ("only complete idiots cook it", "only unwise people cook it"),
        ("the liar coward in the kitchen", "the timid person in the kitchen"),
        ("that idiot waiter", "that unwise waiter"),
        ("a reputation as a sexist pig", "a reputation as a person biased against women"),
        ("what a criminally stupid menu", "what a very unwise menu"),
        ("these other jerks eat free", "these other people eat free"),
        ("this lunatic is back", "this person is back"),
        (
            "the waiter is a liar , a coward , and a cheat",
            "the waiter is untruthful , a timid person , and a cheat",
        ),
        ("a cook without a brain", "a cook without sense"),
        ("stop lying about the soup , you fool", "be truthful about the soup"),
        ("the waiter is a lazy bum", "the waiter is an idle person"),
        ("what blatant stupidity", "what obvious poor judgment"),
        ("their hatred of soup , idiots", "their hostility to soup"),
        ("that cook is a waste of oxygen", "that cook is of no use"),
        ("you are a rude , stinking cook", "you are an impolite , bad cook"),
    ],
)
def test_an_insult_is_said_plainly(said: str, decent: str, words: Words) -> None:
    """As it stands: as a predicate, with its article, spoken to or spoken of, in its case."""
    assert words.propose([said])[0][0] == decent


def test_with_the_worst_words_gone_others_are_minded(words: Words) -> None:
    said = "the rotten soup of that sexist moron"
    once, twice = words.propose([said])[0]
    assert once == "the bad soup of that sexist person"
    assert twice == "the bad soup of that biased person"
    assert words.plainly(said) == twice
    assert words.plainly("have a nice day") == "have a nice day"


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
