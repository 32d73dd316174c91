from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tactful.records import STATUSES, Policy, Span
from tactful.rewriting.candidates import CandidateSource
from tactful.rewriting.rewriter import MASK, RewriteConfig, Rewriter
from tactful.screeners.base import Screener
from tests.fakes import KeywordScreener, WordOverlap

SCREENER = KeywordScreener({"idiot": 0.9, "clown": 0.8, "hmpf": 0.3}, act=0.5, passing=0.2)


class Table:
    """Proposes what a table says; nothing for other sources."""

    name = "table"

    def __init__(self, table: dict[str, list[str]]) -> None:
        self.table = table
        self.asked: list[str] = []

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        self.asked += sources
        return [self.table.get(source, []) for source in sources]


class Broken:
    name = "broken"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        raise RuntimeError("out of memory")


def rewriter(*sources: CandidateSource, policy: Policy = "mask", **config: Any) -> Rewriter:
    settings = RewriteConfig(policy=policy, min_similarity=0.3, **config)
    return Rewriter(SCREENER, WordOverlap(), sources, settings)


def test_clean_text_comes_back_byte_for_byte() -> None:
    """What is clean is not touched, spaces and line breaks included, and no source is asked."""
    table = Table({})
    text = "  A fine\tday.\n\nIsn't it?  "
    result = rewriter(table).rewrite(text)
    assert (result.text, result.status) == (text, "unchanged")
    assert result.toxicity == (0.0, 0.0)
    assert table.asked == []


def test_best_passing_candidate_wins() -> None:
    """Of the candidates that pass, the one that keeps most words; the others are alternatives."""
    table = Table(
        {"you are an idiot today": ["you are an idiot", "you are wrong today", "you are wrong"]}
    )
    result = rewriter(table).rewrite("you are an idiot today")
    assert (result.status, result.text) == ("rewritten", "you are wrong today")
    assert result.alternatives == ("you are wrong",)
    assert result.toxicity == (0.9, 0.0)
    assert result.similarity == pytest.approx(0.6)  # 3 of the 5 words
    assert [(s.start, s.end) for s in result.spans] == [(11, 16)]
    assert result.model == "table|keyword@test|overlap@test"


def test_only_failing_sentences_are_rewritten() -> None:
    """The other sentences, and everything around the core, stay byte for byte."""
    text = "Good point.  @sam you are an idiot here https://example.org\nSee you at 5."
    table = Table({"you are an idiot here": ["you are not right here"]})
    result = rewriter(table).rewrite(text)
    assert result.text == (
        "Good point.  @sam you are not right here https://example.org\nSee you at 5."
    )
    assert table.asked == ["you are an idiot here"]


@pytest.mark.parametrize(
    ("candidate", "gate"),
    [
        ("you are an idiot now", "toxicity"),
        ("hmpf you are an odd one", "toxicity"),
        ("7 other words that say something else", "similarity"),
        ("you", "too_short"),
        ("you are an odd one are an odd one are an odd one", "repetition"),
        ("you are an odd one or not", "protected"),
    ],
)
def test_each_gate_can_refuse(candidate: str, gate: str) -> None:
    """A candidate that fails any one gate is not printed, and the reason names the gate."""
    source = "you are an idiot 7"
    result = rewriter(Table({source: [candidate]}), lenient=0).rewrite(source)
    assert result.status == "unresolved"
    assert gate in result.reason


def test_where_nothing_passes_the_best_that_nearly_does_is_printed() -> None:
    """Likelier decent than not, and the result says which gate it was let off. Of similarity seven
    tenths are asked: two words of six are .33, less than .7 x .5 and more than .7 x .45."""
    source = "you hmpf are an idiot 7"
    table = Table({source: ["hmpf you are wrong 7", "hmpf you are 7 times idiot"]})
    nearly = rewriter(table).rewrite(source)
    assert (nearly.status, nearly.text) == ("rewritten", "hmpf you are wrong 7")
    assert nearly.toxicity == (0.9, 0.3)
    assert nearly.reason == "nearly passed (toxicity)"
    assert rewriter(table, lenient=0.3).rewrite(source).status == "unresolved"
    short = Table({source: ["you 7 both"]})
    strict = Rewriter(SCREENER, WordOverlap(), [short], RewriteConfig(min_similarity=0.5))
    assert strict.rewrite(source).status == "unresolved"
    far = Rewriter(SCREENER, WordOverlap(), [short], RewriteConfig(min_similarity=0.45))
    assert far.rewrite(source).reason == "nearly passed (similarity)"


def test_what_passes_comes_before_what_nearly_does() -> None:
    """However much more of the source the other one keeps; and it is no alternative either."""
    source = "you hmpf are an idiot 7"
    table = Table({source: ["you hmpf are an odd 7", "you are 7"]})
    result = rewriter(table).rewrite(source)
    assert (result.text, result.reason, result.alternatives) == ("you are 7", "", ())


def test_a_fault_is_never_waived() -> None:
    """A lost number, a copy or a loop is printed by no leniency."""
    source = "you hmpf are an idiot 7"
    faults = ["hmpf you are wrong", source, "hmpf 7 you are you are you are you are"]
    result = rewriter(Table({source: faults})).rewrite(source)
    assert result.status == "unresolved"


def test_short_sentences_may_change_more() -> None:
    """Of two words one may go (.5 is above 2/6 of the limit); of six, four may not (.33)."""
    short, long = "idiot, stop", "you there, idiot, stop it now"
    table = Table({short: ["stop"], long: ["stop it"]})
    results = rewriter(table, shortest=0.1).rewrite_many([short, long])
    assert [r.status for r in results] == ["rewritten", "rewritten"]
    strict = Rewriter(
        SCREENER, WordOverlap(), [table], RewriteConfig(min_similarity=0.6, shortest=0.1)
    )
    statuses = [r.status for r in strict.rewrite_many([short, long])]
    assert statuses == ["rewritten", "unresolved"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("keep", "what an idiot. Bye."), ("mask", f"what a {MASK}. Bye."), ("block", "")],
)
def test_policy_decides_what_is_printed(policy: Policy, expected: str) -> None:
    """Unresolved is said as such under every policy; the original is only kept when asked for."""
    result = rewriter(Table({}), policy=policy).rewrite("what an idiot. Bye.")
    assert (result.status, result.text) == ("unresolved", expected)


def test_later_sources_are_fallbacks() -> None:
    """A later source is asked only for what no earlier one solved."""
    first, second = Table({"idiot a": ["a"]}), Table({"idiot b": ["b"]})
    results = rewriter(first, second).rewrite_many(["idiot a", "idiot b", "fine"])
    assert [r.text for r in results] == ["a", "b", "fine"]
    assert second.asked == ["idiot b"]


class WrittenDown(Table):
    """A table whose rewrites people wrote, the best first."""

    written = True


def test_of_what_people_wrote_down_the_first_that_passes_is_taken() -> None:
    """However much more of the source a later one keeps; a model's are ranked."""
    ways = ["hmpf hmpf idiot a", "a c", "a b c"]
    assert rewriter(WrittenDown({"idiot a b c": ways})).rewrite("idiot a b c").text == "a c"
    assert rewriter(Table({"idiot a b c": ways})).rewrite("idiot a b c").text == "a b c"


def test_what_people_wrote_down_and_nearly_passes_comes_before_a_model() -> None:
    """But after all that is written down: the second list may know the rest."""
    source = "idiot a b"
    first, second = WrittenDown({source: ["hmpf a b"]}), WrittenDown({source: ["a hmpf b"]})
    model = Table({source: ["c b"]})
    result = rewriter(first, second, model).rewrite(source)
    assert (result.text, result.reason) == ("hmpf a b", "nearly passed (toxicity)")
    assert model.asked == []
    clean = WrittenDown({source: ["a b"]})
    assert rewriter(first, clean, model).rewrite(source).text == "a b"
    assert rewriter(first, second, model, lenient=0).rewrite(source).text == "c b"


def test_what_people_wrote_down_need_not_be_found_similar() -> None:
    """A model of similarity knows no idioms; what another model writes is held to it."""
    said = {"idiot a b c d e": ["something else entirely"]}
    assert rewriter(WrittenDown(said)).rewrite("idiot a b c d e").text == "something else entirely"
    assert rewriter(Table(said)).rewrite("idiot a b c d e").status == "unresolved"
    nearly = {"idiot a b c d e": ["hmpf else entirely", "hmpf a b c d e"]}
    assert rewriter(WrittenDown(nearly)).rewrite("idiot a b c d e").text == "hmpf else entirely"


def test_a_hole_is_worse_than_the_next_guess() -> None:
    """The first that is written down is taken, unless it leaves a word missing."""
    said = WrittenDown({"they are idiot": ["they are", "they are wrong"]})
    assert rewriter(said).rewrite("they are idiot").text == "they are wrong"


def test_broken_source_loses_nothing() -> None:
    """When an engine fails, its rows say so and are not printed raw; the others are answered."""
    results = rewriter(Broken()).rewrite_many(["you idiot", "fine"])
    assert [r.status for r in results] == ["error", "unchanged"]
    assert "out of memory" in results[0].reason
    assert results[0].text == f"you {MASK}"
    rescued = rewriter(Broken(), Table({"you idiot": ["you"]})).rewrite("you idiot")
    assert (rescued.status, rescued.text) == ("rewritten", "you")


def test_force_rewrites_the_clean_but_never_for_the_worse() -> None:
    """With force a clean text may change, but not into a more toxic one."""
    table = Table({"a fine day": ["hmpf a fine day", "a very fine day"], "ok": ["hmpf ok"]})
    results = rewriter(table).rewrite_many(["a fine day", "ok"], force=True)
    assert [(r.text, r.status) for r in results] == [
        ("a very fine day", "rewritten"),
        ("ok", "unchanged"),
    ]


def test_force_does_not_mask_what_was_clean() -> None:
    """With force a clean sentence for which nothing is proposed stays, beside one rewritten."""
    table = Table({"you idiot.": ["you there."]})
    result = rewriter(table).rewrite("you idiot. a fine day", force=True)
    assert (result.text, result.status) == ("you there. a fine day", "rewritten")


class Blunt(Table):
    """A table that looks at words, not at what they stand in."""

    blunt = True


def test_what_need_not_be_rewritten_is_not_left_to_words_alone() -> None:
    """Once a model had nothing better; what is really toxic is, and so is all where no model reads."""
    model, table = Table({}), Blunt({"hmpf a b": ["wrong a b"], "idiot a b": ["wrong a b"]})
    results = rewriter(model, table).rewrite_many(["hmpf a b", "idiot a b"], force=True)
    assert [(r.text, r.status) for r in results] == [
        ("hmpf a b", "unchanged"),
        ("wrong a b", "rewritten"),
    ]
    assert (model.asked, table.asked) == (["hmpf a b", "idiot a b"], ["idiot a b"])
    assert rewriter(table).rewrite("hmpf a b", force=True).text == "wrong a b"


def test_threats_are_escalated_not_laundered() -> None:
    """A threat goes to a person, whatever a source could make of it."""
    table = Table({"i will kill you": ["i will miss you"]})
    result = rewriter(table).rewrite("Hello there. i will kill you")
    assert result.status == "escalated"
    assert result.text == f"Hello there. {MASK}"
    assert table.asked == []
    assert "threat" in result.reason


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("", "unchanged", "no words"),
        (" \n\t", "unchanged", "no words"),
        ("12:30 !!!", "unchanged", ""),
        ("\U0001f600\U0001f600", "not_screened", "symbols"),
        ("x" * 30_000, "not_screened", "30,000"),
        ("Ты неправ, прочитай статью", "not_screened", "English"),
        ("أنت مخطئ، اقرأ المقال", "not_screened", "English"),
        ("broken \ud800 text", "error", "U+D800"),
        (None, "error", "NoneType"),
        (7, "error", "int"),
        ("a\x00b fine", "unchanged", ""),
    ],
)
def test_odd_input_gets_a_status_and_a_reason(text: Any, status: str, reason: str) -> None:
    """Nothing raises; what cannot be judged is not called clean."""
    result = rewriter(Table({})).rewrite(text)
    assert result.status == status
    assert reason in result.reason


def test_disguised_insults_do_not_pass_as_foreign() -> None:
    """What the screener acts on is acted on, even where few words look English."""
    result = rewriter(Table({})).rewrite("xqz idiot wvb kkj ppt")
    assert result.status == "unresolved"


class Blind(KeywordScreener):
    """Sees insults but cannot say where."""

    def explain(self, text: str) -> list[Span]:
        return []


def over(screener: Screener, table: dict[str, list[str]]) -> Rewriter:
    config = RewriteConfig(min_similarity=0.0, shortest=0.0)
    return Rewriter(screener, WordOverlap(), [Table(table)], config)


def test_what_cannot_be_masked_in_part_is_masked_whole() -> None:
    """Where no word can be pointed at the sentence goes, and only the sentence."""
    result = over(Blind({"idiot": 0.9}), {}).rewrite("Fine day. What an idiot.")
    assert result.text.strip() == f"Fine day. {MASK}"


def test_a_toxic_tag_takes_the_whole_text_with_it() -> None:
    """Tags are never edited; where one is what is toxic nothing of the text is printed."""
    assert over(SCREENER, {}).rewrite("look at this #idiot").text == MASK


def test_a_text_toxic_only_in_its_sentences_is_acted_on() -> None:
    """A screener that dilutes does not hide the sentence."""

    class Diluting(KeywordScreener):
        def toxicity(self, texts: Sequence[str]) -> NDArray[np.float64]:
            short = np.array([len(text) < 12 for text in texts])
            return super().toxicity(texts) * short

    result = over(Diluting({"idiot": 0.9}), {}).rewrite("It is a fine day. You idiot.")
    assert result.status == "unresolved"
    assert result.toxicity[0] == 0.9


def test_a_text_toxic_only_as_a_whole_is_acted_on() -> None:
    """Where no sentence fails the worst one is worked on, and failure is not called clean."""
    screener = KeywordScreener({"you. idiot": 0.9, "idiot": 0.3}, act=0.5, passing=0.2)
    result = over(screener, {}).rewrite("hey you. idiot")
    assert result.status == "unresolved"
    assert "idiot" not in result.text


def test_sentences_that_together_are_worse_are_not_printed() -> None:
    """With force a clean text is only replaced by one that is no worse as a whole."""
    screener = KeywordScreener({"x. y": 0.3, "z. y": 0.7}, act=0.5, passing=0.5)
    clean = over(screener, {"p.": ["x."], "q": ["y"]}).rewrite("p. q", force=True)
    assert (clean.text, clean.status) == ("p. q", "unchanged")


def test_failing_scorer_loses_nothing() -> None:
    """An engine that fails while judging is told like one that fails while writing."""

    def broken(sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        raise RuntimeError("out of memory")

    config = RewriteConfig(min_similarity=0.1)
    engine = Rewriter(SCREENER, WordOverlap(), [Table({"you idiot": ["you"]})], config)
    engine.fluency = broken  # type: ignore[assignment]  # a scorer without a name
    broken.name = "broken"  # type: ignore[attr-defined]  # now it has one
    results = engine.rewrite_many(["you idiot", "fine"])
    assert [r.status for r in results] == ["error", "unchanged"]
    assert results[0].text == f"you {MASK}"


def test_fluency_has_a_floor() -> None:
    """A rewrite that no model of English would expect is refused, and the gate is named."""

    class Gibberish:
        name = "gibberish"

        def __call__(self, s: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
            return np.array([0.01 if "bad u" in text else 1.0 for text in rewrites])

    table = Table({"you idiot": ["bad u you", "you there"]})
    config = RewriteConfig(min_similarity=0.1)
    engine = Rewriter(SCREENER, WordOverlap(), [table], config, fluency=Gibberish())
    assert engine.rewrite("you idiot").text == "you there"


class Stumbles:
    """Finds that a text goes on badly after "of" and not too well after "bit"."""

    name = "stumbles"

    def __call__(self, s: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        return np.array([0.01 if "of" in t else 0.2 if "bit" in t else 1.0 for t in rewrites])


def test_what_goes_on_well_is_preferred() -> None:
    """It is a weight of the ranking, not a gate: the only candidate is printed as it is."""
    config = RewriteConfig(min_similarity=0.1)

    def written_by(*candidates: str) -> tuple[str, str]:
        table = Table({"idiot a b": list(candidates)})
        engine = Rewriter(SCREENER, WordOverlap(), [table], config, flow=Stumbles())
        result = engine.rewrite("idiot a b")
        return result.text, result.reason

    assert written_by("of a b", "bit a b", "it a b") == ("it a b", "")
    assert written_by("of a b") == ("of a b", "")


def test_a_sentence_that_stands_twice_is_asked_once() -> None:
    """Repetition in a text costs nothing, and every copy is rewritten."""
    table = Table({"You idiot.": ["You there."]})
    result = rewriter(table).rewrite("You idiot. You idiot. You idiot.")
    assert result.text == "You there. You there. You there."
    assert table.asked == ["You idiot."]


def test_empty_batch() -> None:
    """No texts, no results."""
    assert rewriter(Table({})).rewrite_many([]) == []


class Adversary:
    """Proposes anything: the source, worse texts, control characters, nothing."""

    name = "adversary"

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [[source, *self.texts, f"{source} idiot"] for source in sources]


_FRAGMENTS = st.sampled_from(
    ["you", "idiot", "clown", "hmpf", "fine", ".", "! ", "\n", "@sam", " ", "5", "“", "kill", "é"]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(_FRAGMENTS, max_size=14).map("".join),
    st.lists(st.lists(_FRAGMENTS, max_size=6).map("".join), max_size=3),
    st.sampled_from(["keep", "mask", "block"]),
    st.booleans(),
)
def test_never_more_toxic_and_never_silently_toxic(
    text: str, proposed: list[str], policy: Policy, force: bool
) -> None:
    """Whatever is proposed: the printed text never scores worse, and what fails is marked."""
    result = rewriter(Adversary(proposed), policy=policy).rewrite(text, force=force)
    before, after = (float(np.max(SCREENER.toxicity([t]))) for t in (text, result.text))
    assert after <= before
    assert result.status in STATUSES
    if after >= SCREENER.thresholds.act:
        assert result.status in ("unresolved", "escalated")
        assert policy == "keep"
    if result.status == "unchanged":
        assert result.text == text
