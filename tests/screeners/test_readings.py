"""Unknown words one disguise away from an insult are read as it, innocent ones are left alone."""

from __future__ import annotations

import pytest

from tactful.screeners.readings import Readings

WORDS = {"idiot": 2.2, "stupid": 2.1, "fool": 1.7, "morons": 2.0, "cocks": 2.0, "the": 0.0}
WORDS |= {"silly": 1.0, "food": -0.1, "person": 0.0}


@pytest.fixture
def read() -> Readings:
    return Readings(WORDS, silent=["stupid"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("f00l", "fool"),
        ("id1o7", "idiot"),
        ("1diot", "idiot"),
        ("id*ot", "idiot"),
        ("i***t", "idiot"),
        ("idoit", "idiot"),
        ("idot", "idiot"),
        ("idioot", "idiot"),
        ("idiit", "idiot"),
        ("aidiot", "idiot"),
        ("iидіоt".replace("и", ""), None),
        ("fооl", None),  # the normaliser's business
        ("морon", None),
        ("pеrsoп", None),
        ("fo0d", None),  # a food is no insult
        ("sily", None),  # too mild to be read into anything
        ("stup1d", None),  # silent by decree
        ("mormons", None),  # innocent, and one letter away
        ("clocks", None),
        ("4f0", None),
        ("x" * 4000, None),
        ("fol", None),  # three letters may be anything
    ],
)
def test_reads(read: Readings, written: str, meant: str | None) -> None:
    """By hand, both ways."""
    assert read(written) == meant


def test_latin_words_with_a_foreign_letter(read: Readings) -> None:
    """A letter that Unicode does not call confusable is read in a word that is otherwise Latin."""
    assert read("persoп") == "person"
    assert read("пе") is None
