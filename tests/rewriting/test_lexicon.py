from __future__ import annotations

from importlib import resources

import yaml

from tactful.records import Span
from tactful.rewriting.lexicon import flagged_words, lookup, replacements
from tests.fakes import KeywordScreener


def test_look_up() -> None:
    """Words are found in any case, with their group; others are in none."""
    assert lookup("Idiot") == ("person", replacements("person"))
    assert lookup("shut up")[0] == "silence"
    assert lookup("table") == ("", ())


def test_table_is_sound() -> None:
    """Words are listed in lower case, and none is offered in the place of its own group."""
    raw = resources.files("tactful").joinpath("assets/replacements.yaml").read_text("utf-8")
    for group, entry in yaml.safe_load(raw).items():
        for word in entry["words"]:
            assert word == word.lower(), group
            assert word not in entry["with"], group


def test_flagged_words_are_whole_and_phrases_stay_together() -> None:
    """A flagged piece grows to its word or its known phrase; function words are left out."""
    screener = KeywordScreener({"idio": 0.9, "hell": 0.8, "your": 0.7})
    text = "why the hell is your plan idiotic?"
    assert [text[a:b] for a, b in flagged_words(text, screener)] == ["the hell", "idiotic"]


def test_spelled_out_and_foreign_looking_words_are_one_word() -> None:
    """Spaces inside a disguised word do not cut it; look-alike letters find their group."""

    class Pointer(KeywordScreener):
        def explain(self, text: str) -> list[Span]:
            return [Span(4, 13, 1.0)]

    text = "you i d i o t"
    assert [text[a:b] for a, b in flagged_words(text, Pointer({}))] == ["i d i o t"]
    assert lookup("ｉｄｉｏｔ")[0] == "person"


def test_a_flag_inside_a_protected_piece_is_the_piece() -> None:
    """Half of a link is worse than none of it."""
    text = "see `rm idiot -rf` now"
    assert [text[a:b] for a, b in flagged_words(text, KeywordScreener({"idiot": 1.0}))] == [
        "`rm idiot -rf`"
    ]
