from __future__ import annotations

from tactful.serving.scoring import Question, Score, score
from tests.fakes import KeywordScreener

SCREENER = KeywordScreener({"idiot": 0.9, "hmpf": 0.3}, act=0.5, passing=0.2)


def ask(text: str, *, by_sentence: bool = False) -> Score:
    (found,) = score(SCREENER, [Question(text, by_sentence)])
    return found


def test_a_toxic_text_is_explained() -> None:
    """Probability, verdict, and the words that made it so."""
    found = ask("you idiot")
    assert (found.toxicity, found.toxic) == (0.9, True)
    assert [(s.start, s.end) for s in found.spans] == [(4, 9)]


def test_what_is_out_of_scope_gets_no_number() -> None:
    """Another language and mere symbols are not screened; an insult in one still is."""
    german = "das habe ich leider nicht verstanden"
    assert ask(german) == Score(None, None, "0 of 6 words look English; only English is screened")
    assert ask("🎉🎉").toxicity is None
    assert ask(german + " idiot").toxic is True
    assert ask("").toxicity == 0.0
    assert ask("12 + 30 = 42").toxicity == 0.0


def test_sentences_are_scored_without_their_white_space() -> None:
    """Offsets are those of the original; what is only white space is no sentence."""
    text = "  Fine.  You idiot!\n\nHmpf.  "
    found = ask(text, by_sentence=True)
    assert [(text[s.start : s.end], s.weight) for s in found.sentences] == [
        ("Fine.", 0.0),
        ("You idiot!", 0.9),
        ("Hmpf.", 0.3),
    ]


def test_order_is_kept() -> None:
    """The second answer belongs to the second question."""
    found = score(SCREENER, [Question("hmpf"), Question("idiot"), Question("fine")])
    assert [one.toxicity for one in found] == [0.3, 0.9, 0.0]
