from __future__ import annotations

import pytest

from tactful.evaluation.checks import (
    check,
    deletion_rate,
    drops_predicate,
    is_copy,
    is_pure_deletion,
    is_question,
    keeps_names,
    keeps_negation,
    keeps_numbers,
    keeps_tags,
    length_ratio,
    names_in,
    new_toxic_words,
    summarise,
    words,
)


def test_words_come_in_one_spelling() -> None:
    """However a contraction was split or typed, it is one word."""
    assert words("Do n't , it 's YOU ’re wrong") == ["don't", "it's", "you're", "wrong"]
    assert words("don’t it's you're") == ["don't", "it's", "you're"]
    assert words("@bob look www.example.org #fail 50%") == ["look", "50"]


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("you do n't read , fool .", "You don't read, fool!", True),
        ("you fool", "you, person", False),
        ("!!!", "!!!", True),
        ("!!!", "???", False),
        ("you fool", "", False),
    ],
)
def test_copy(source: str, rewrite: str, expected: bool) -> None:
    """Case, spacing and punctuation do not make a rewrite."""
    assert is_copy(source, rewrite) is expected


def test_length_ratio_by_hand() -> None:
    """3 of 4 words is 0.75; a source without words counts as one."""
    assert length_ratio("you do n't , really think", "you think so") == 0.75
    assert length_ratio("...", "two words") == 2.0


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        # ignorant, fools, run, reddit: two of four are gone.
        ("ignorant fools run reddit", "run reddit", 0.5),
        ("ignorant fools run reddit", "people run reddit", 0.0),
        # Only moved: nothing is gone.
        ("today this fool lost", "this fool lost today", 0.0),
        # Function words do not count: fool is one of fool, lost.
        ("you are the fool who lost", "you lost", 0.5),
        # Said twice, kept once: the other one has not moved, and is one of three.
        ("fools hate fools", "fools hate", 1 / 3),
        ("you are", "", 0.0),
        ("fools lost", "", 1.0),
    ],
)
def test_deletion_rate_by_hand(source: str, rewrite: str, expected: float) -> None:
    """What was replaced or moved was not deleted."""
    assert deletion_rate(source, rewrite) == expected


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("you are a stupid fool", "you are a fool", True),
        ("you are a stupid fool", "You are a fool!", True),
        ("you are a stupid fool", "you are a person", False),
        ("you are a stupid fool", "a fool you are", False),
        ("you fool", "you fool", False),
        ("you fool", "", False),
    ],
)
def test_pure_deletion(source: str, rewrite: str, expected: bool) -> None:
    """The source's words in order, fewer of them, and nothing else."""
    assert is_pure_deletion(source, rewrite) is expected


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("the next one will be crap too", "the next one will be", True),
        ("the next one will be crap too .", "the next one will be too .", True),
        ("the next one will be crap too", "the next one will be bad too", False),
        ("reddit is full of ignorant fools", "reddit is full of", True),
        ("reddit is full of ignorant fools", "reddit is full of people", False),
        ("reddit really is full of fools", "really is full of", True),
        ("he is a fool and a liar", "he is a and a liar", True),
        ("you're a clown , bob", "you're , bob", True),
        ("that is a fool , read it", "that is a , read it", True),
        ("the fool is here", "the is here", True),
        ("they are full of crap and lie", "they are full of and lie", True),
        ("he is dumb because he lies", "he is because he lies", True),
        ("go on and on , you fool", "go on and on", False),
        # What ends so in the source may end so in the rewrite.
        ("who do you fools think you are", "who do you think you are", False),
        ("what the heck is this crap about", "what is this about", False),
        ("i do n't know who they are , fool", "i do n't know who they are", False),
        ("you are a fool", "I know what you are", False),
        ("you fool", "you belong to the", True),
        ("stop it , you fool", "stop it", False),
        ("you fool", "", False),
    ],
)
def test_dropped_predicate(source: str, rewrite: str, expected: bool) -> None:
    """A rewrite must not stop where its source went on."""
    assert drops_predicate(source, rewrite) is expected


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("you do n't read", "you read", False),
        ("you do n't read", "you don’t read", True),
        ("you dont read", "you do not read", True),
        ("he can not read", "he cannot read", True),
        ("he ca n't read", "he is unable to read", True),
        # One negated clause, two words of negation.
        ("they ain't got no clue", "they don't have a clue", True),
        ("never trust fools without asking", "do not trust people who ask", True),
        # Two negated clauses, one of them turned round.
        ("he does n't read and you do n't write", "he doesn't read and you write", False),
        ("no , you fool", "you are mistaken", None),
        ("not only fools vote", "people vote", None),
        ("you fool", "you are not right", None),
    ],
)
def test_kept_negation(source: str, rewrite: str, expected: bool | None) -> None:
    """Negated clauses are counted, not negating words."""
    assert keeps_negation(source, rewrite) is expected


@pytest.mark.parametrize(
    ("source", "rewrite", "expected"),
    [
        ("2 fools and 30 % of it", "2 people and 30% of it", True),
        ("5 fools", "five people", True),
        ("15 fools", "16 people", False),
        ("3 fools , 3 liars", "3 people", False),
        ("u r 2 dumb", "you are too slow", True),
        ("the 1st fool in 1999", "the 1st one in 1999", True),
        ("a fool with 55 kb", "a person with 55kb", True),
        ("what an id1ot @user99", "what a person", None),
    ],
)
def test_kept_numbers(source: str, rewrite: str, expected: bool | None) -> None:
    """Numbers survive as often as they stood there; digits inside words are letters in disguise."""
    assert keeps_numbers(source, rewrite) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what is wrong with you fool", True),
        ("what the heck is this", True),
        ("are you a fool", True),
        ("do n't you read", True),
        ("why would a fool do this", True),
        ("so how stupid are you", True),
        ("who cares", True),
        ("you fool ? really .", True),
        ("what a fool", False),
        ("which is foolish", False),
        ("when i see fools i laugh", False),
        ("how stupid", False),
        ("do the right thing", False),
        ("you are what you eat", False),
    ],
)
def test_questions(text: str, expected: bool) -> None:
    """A question has its mark, or the word order of one."""
    assert is_question(text) is expected


def test_kept_tags() -> None:
    """Links, mentions and hashtags survive, as often as they stood there."""
    assert keeps_tags("@bob you fool #fail", "#Fail @Bob you are wrong") is True
    assert keeps_tags("@bob @ann you fools", "@bob you are wrong") is False
    assert keeps_tags("see www.example.org/a , fool", "see www.example.org/a") is True
    assert keeps_tags("you fool", "you @bob") is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("donald is a fool , new york 's worst", {"donald", "new york"}),
        ("i will mark the bill", set()),
        ("You met Zorblat, the fool, in Quxville.", {"zorblat", "quxville"}),
        ("YOU MET ZORBLAT", set()),
        ("Zorblatting is for fools.", set()),
        ("You are a Fool, he said.", set()),
        ("@donald you fool", set()),
    ],
)
def test_names(text: str, names: set[str]) -> None:
    """Listed names count in any case; others by a capital that nothing else explains."""
    assert names_in(text, toxic={"fool"}) == names


def test_kept_names() -> None:
    """A name is kept with any ending, and lost when only part of it is left."""
    assert keeps_names("donald is a fool", "Donald's wrong") is True
    assert keeps_names("that mcdonalds fool", "that McDonald's person") is True
    assert keeps_names("ann is a fool", "another is wrong") is False
    assert keeps_names("new york is full of fools", "york is full of people") is False
    assert keeps_names("you fool", "you, Donald") is None


def test_capitalised_insults_are_no_names() -> None:
    """With the toxic words known, a capital does not make a name of one."""
    assert keeps_names("so you met Dumbfool", "so you met them", {"dumbfool"}) is None
    assert keeps_names("so you met Dumbfool", "so you met them") is False


def test_new_toxic_words() -> None:
    """Only what the source did not say is new; a rule serves as well as a list."""
    assert new_toxic_words("you fool", "you fool and clown", {"fool", "clown"}) == ["clown"]
    assert new_toxic_words("you", "idiot, idiot!", lambda word: word == "idiot") == ["idiot"]
    assert new_toxic_words("you", "You moronic?", {"moron"}) == []


def test_check_puts_it_together() -> None:
    """One record says all about one rewrite."""
    found = check("donald do n't have 2 fools", "donald has", {"fools"})
    assert not found.empty
    assert not found.copy
    assert found.length_ratio == 0.4
    assert found.kept_names is True
    assert found.kept_negation is False
    assert found.kept_numbers is False
    assert found.kept_question is None
    assert found.new_toxicity is False


def test_empty_rewrites_keep_nothing() -> None:
    """Nothing written is empty, keeps nothing, and is no deletion in style."""
    found = check("are you not 3 fools, @bob of Paris?", "  ")
    assert found.empty
    assert (found.copy, found.pure_deletion, found.dropped_predicate) == (False, False, False)
    kept = (found.kept_negation, found.kept_numbers, found.kept_names, found.kept_tags)
    assert kept == (False, False, False, False)
    assert found.kept_question is False


def test_summary_by_hand() -> None:
    """A rate is over the sentences that can be asked; means leave empty rewrites out."""
    first = check("you do n't read", "you read")
    second = check("you do n't read", "you do not read")
    third = check("you fool", "")
    summary = summarise([first, second, third])
    assert summary["empty"] == {"rate": 1 / 3, "count": 1, "of": 3}
    assert summary["kept_negation"] == {"rate": 0.5, "count": 1, "of": 2}
    assert summary["new_toxicity"] == {"rate": None, "count": 0, "of": 0}
    # 2 of 3 words and 4 of 3.
    assert summary["length_ratio"] == {"mean": 1.0, "median": 1.0, "of": 2}
    nothing = summarise([third])
    assert nothing["length_ratio"] == {"mean": None, "median": None, "of": 0}
