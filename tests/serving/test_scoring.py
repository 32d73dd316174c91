from __future__ import annotations

import numpy as np
import pytest

from tactful.screeners.calibration import Calibration
from tactful.screeners.kinds import Kinds
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


# A word that is known speaks for an insult by 2 - 1; where none is, the bias of -1 is left.
KINDS = Kinds(["insult"], ["idiot"], np.array([[2.0]], np.float16), [-1.0], [Calibration()])
KNOWN, UNKNOWN = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))


def test_kinds_of_the_whole_and_of_its_sentences() -> None:
    """Each sentence's toxicity times its own P(kind | toxic); the worst one speaks for the text."""
    text = "You idiot!  Hmpf. Fine."
    (found,) = score(SCREENER, [Question(text, by_sentence=True, kinds=True)], KINDS)
    insult = found.kinds["insult"]
    assert insult.probability == pytest.approx(0.9 * KNOWN)
    assert [text[s.start : s.end] for s in insult.sentences] == ["You idiot!", "Hmpf.", "Fine."]
    weights = [s.weight for s in insult.sentences]
    assert weights == pytest.approx([0.9 * KNOWN, 0.3 * UNKNOWN, 0.0])
    assert [s.weight for s in found.sentences] == [0.9, 0.3, 0.0]


def test_kinds_are_looked_for_only_when_asked() -> None:
    """The work is not done, and nothing is said, for others in the same batch."""

    class Counting(Kinds):
        asked = 0

        def probabilities(self, *args: object) -> dict[str, np.ndarray]:
            self.asked += 1
            return super().probabilities(*args)  # type: ignore[arg-type]  # handed on

    kinds = Counting(["insult"], ["idiot"], np.array([[2.0]], np.float16), [-1.0], [Calibration()])
    german = "das habe ich leider nicht verstanden"
    questions = [Question("idiot"), Question(german, kinds=True), Question("idiot", kinds=True)]
    without, foreign, with_kinds = score(SCREENER, questions, kinds)
    assert (dict(without.kinds), dict(foreign.kinds)) == ({}, {})
    assert list(with_kinds.kinds) == ["insult"]
    assert kinds.asked == 1
