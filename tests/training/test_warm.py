"""Demonstrations for the warm start: what is mined, where it is put, what is kept out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from tactful.errors import DataError
from tactful.training.warm import (
    Demonstration,
    WarmConfig,
    build_warm_start,
    decent_sentences,
    statistics,
)
from tactful.training.warm_contexts import Contexts
from tactful.training.warm_corrupt import ADDED, CorruptConfig, Corruption, Corruptor, Shares
from tactful.training.warm_draw import corrupt, corrupted
from tactful.training.warm_found import FoundConfig, found_pairs
from tactful.training.warm_lexicon import (
    Lexicon,
    LexiconConfig,
    Neighbours,
    framed,
    mine_lexicon,
    tokens,
)
from tests.fakes import KeywordScreener

TOXIC_WORDS = "idiots idiot morons moron crap garbage stupid dumb damn dolt".split()
PLACES = "town house school office village street market garden".split()
VERBS = "ran left built sold saw".split()
DAYS = "today yesterday again twice".split()


def _texts(*patterns: str, words: list[str], things: list[str] = PLACES) -> list[str]:
    return [
        pattern.format(w=word, p=place, v=verb, d=day)
        for pattern, word, place, verb, day in product(patterns, words, things, VERBS, DAYS[:2])
    ]


# "lol" is in toxic texts alone, "mayor" in both; the screener minds neither the first ...
TOXIC = {
    "forum": [
        *_texts(
            "those {w} {v} the {p} {d}", "i met two {w} at the {p}", words=["idiots", "morons"]
        ),
        *_texts("he is a {w} who {v} the {p} lol", "that {w} {v} it {d}", words=["idiot", "moron"]),
        *_texts("the {w} {v} the {p} {d}", "you are an {w}", words=["dolt", "idiot"]),
        *_texts("they {v} this {w} at the {p}", "we need that {w} {d}", words=["crap", "garbage"]),
        *_texts("it was a {w} idea of the mayor", "a {w} {p} is all", words=["stupid", "dumb"]),
        *_texts("you {v} the {p}, {w}", words=["idiot", "moron"]),
        *_texts("the {p} is so {w} cold {d}", "it is {w} cold at the {p}", words=["damn"]),
    ]
}
NEUTRAL = {
    "forum": [
        *_texts("those {w} {v} the {p} {d}", "i met two {w} at the {p}", words=["people", "guys"]),
        *_texts("he is a {w} who {v} the {p}", "that {w} {v} it {d}", words=["person", "man"]),
        *_texts("they {v} this {w} at the {p}", "we need that {w} {d}", words=["stuff", "thing"]),
        *_texts("it was a {w} idea of the mayor", "a {w} {p} is all", words=["bad", "silly"]),
        *_texts("the {p} is so cold {d}", "it is very cold at the {p}", words=["x"]),
        *_texts("a mayor {v} the {p} {d}", words=["x"]),
    ],
    "news": ["The committee met on Tuesday."],
}
SCREENER = KeywordScreener(dict.fromkeys(TOXIC_WORDS, 0.9), act=0.7, passing=0.2)
# So that every pattern may speak: these piles are a few patterns said over and over.
LAX = WarmConfig(known=0.5, corrupt=CorruptConfig(filler_cap=0.5, commonness=5, fit_added=0.5))


@pytest.fixture(scope="module")
def neighbours() -> Neighbours:
    return Neighbours(framed(TOXIC["forum"]) + framed(NEUTRAL["forum"]))


@pytest.fixture(scope="module")
def lexicon(neighbours: Neighbours) -> Lexicon:
    return mine_lexicon(NEUTRAL, TOXIC, SCREENER, neighbours, LexiconConfig())


@pytest.fixture(scope="module")
def corruptor(lexicon: Lexicon, neighbours: Neighbours) -> Corruptor:
    contexts = Contexts(framed(TOXIC["forum"]), lexicon, neighbours, LexiconConfig())
    return Corruptor(lexicon, contexts, LAX.corrupt)


@pytest.fixture(scope="module")
def shown() -> list[Demonstration]:
    return build_warm_start(NEUTRAL, TOXIC, SCREENER, size=200, seed=3, config=LAX)


def _put(corruptor: Corruptor, sentence: str) -> dict[str, set[str]]:
    """By kind, everything that could be put into a sentence, with several throws of the dice."""
    found: dict[str, set[str]] = {}
    for seed in range(5):
        for c in corruptor.corruptions(0, sentence, np.random.default_rng(seed)):
            found.setdefault(c.kind, set()).add(corrupted(sentence, [c]))
    return found


# --- the lexicon ----------------------------------------------------------------------------


def test_lexicon_needs_piles_and_screener_to_agree(lexicon: Lexicon) -> None:
    """Toxic are words of toxic texts that the screener minds alone; style and topics are not."""
    assert set(lexicon.counts) == set(TOXIC_WORDS)
    assert "lol" not in lexicon
    assert "mayor" not in lexicon


def test_lexicon_leaves_out_what_both_piles_say(neighbours: Neighbours) -> None:
    """The screener alone decides nothing: a word as common in neutral texts is a topic."""
    wary = KeywordScreener({"mayor": 0.9, "idiot": 0.9}, act=0.7, passing=0.2)
    lexicon = mine_lexicon(NEUTRAL, TOXIC, wary, neighbours, LexiconConfig())
    assert "idiot" in lexicon
    assert "mayor" not in lexicon


def test_lexicon_leaves_out_what_it_is_told_to(neighbours: Neighbours) -> None:
    """Identities stay out, whatever the piles and the screener say."""
    config = LexiconConfig(exclude=("dolt",))
    assert "dolt" not in mine_lexicon(NEUTRAL, TOXIC, SCREENER, neighbours, config)


def test_unlisted_word_joins_the_group_of_its_neighbours(lexicon: Lexicon) -> None:
    """ "dolt" is in no table, but stands where "idiot" stands."""
    assert lexicon.groups["idiot"] == "person"
    assert lexicon.groups["dolt"] == "person"
    assert lexicon.groups["crap"] == "thing"


def test_one_kind_of_source_must_have_both_sides(neighbours: Neighbours) -> None:
    """Toxic texts of one source against neutral ones of another show style, so none are used."""
    with pytest.raises(DataError, match="no kind of source has both"):
        mine_lexicon({"news": ["a"]}, {"forum": ["b"]}, SCREENER, neighbours, LexiconConfig())


def test_nothing_toxic_is_said_so(neighbours: Neighbours) -> None:
    """Without a single toxic word there is nothing to put anywhere."""
    with pytest.raises(DataError, match="no word that is toxic"):
        mine_lexicon(NEUTRAL, TOXIC, KeywordScreener({}), neighbours, LexiconConfig())


def test_tokens_keep_their_places() -> None:
    """Clitics and signs are tokens of their own, also where a tokeniser parted them."""
    assert [t.text for t in tokens("You do n't, it 's")] == ["you", "do", "n't", ",", "it", "'s"]
    text = "He isn't a fool ."
    assert [text[t.start : t.end].lower() for t in tokens(text)] == [t.text for t in tokens(text)]


# --- corruption -----------------------------------------------------------------------------


def test_plural_gives_way_to_plural(corruptor: Corruptor) -> None:
    """ "people" becomes "idiots", never "idiot" or "crap"."""
    words = _put(corruptor, "those people ran the market today")["word"]
    assert words == {"those idiots ran the market today", "those morons ran the market today"}


def test_singular_gives_way_with_its_article(corruptor: Corruptor) -> None:
    """ "a person" becomes "an idiot", so that the article does not give the answer away."""
    words = _put(corruptor, "he is a person who sold the house")["word"]
    assert "he is an idiot who sold the house" in words
    assert not any("idiots" in text or "crap" in text for text in words)


def test_adjective_gives_way_to_adjective(corruptor: Corruptor) -> None:
    """ "bad" becomes "stupid" or "dumb" before a noun."""
    words = _put(corruptor, "it was a bad idea of the mayor")["word"]
    assert words == {"it was a stupid idea of the mayor", "it was a dumb idea of the mayor"}


def test_pronoun_gives_way_to_a_noun_phrase(corruptor: Corruptor) -> None:
    """ "it" becomes "this crap" where the pile says so, and "they" is never "this crap"."""
    found = _put(corruptor, "they sold it at the office")
    assert "they sold this crap at the office" in found["pronoun"]
    assert not any(text.startswith("this") for text in found["pronoun"])


def test_vocative_needs_somebody_addressed(corruptor: Corruptor) -> None:
    """An insult at the end addresses "you"; where nobody is addressed there is none."""
    found = _put(corruptor, "you sold the school")
    assert "you sold the school, idiot" in found["vocative"]
    assert "vocative" not in _put(corruptor, "they sold the school")


def test_intensifier_is_added_where_the_pile_has_it(corruptor: Corruptor) -> None:
    """ "damn" goes before "cold", not before "committee"."""
    found = _put(corruptor, "the market is so cold today")
    assert found["intensifier"] == {"the market is so damn cold today"}
    assert "intensifier" not in _put(corruptor, "we met the committee there")


def test_nothing_fits_where_the_pile_is_silent(corruptor: Corruptor) -> None:
    """No place, no corruption: chance only chooses among what fits."""
    assert _put(corruptor, "several committees meet on tuesdays") == {}


def test_corrupted_by_hand() -> None:
    """Pieces go in from the back; articles and capitals follow."""
    sentence = "People bought a good thing."
    first = Corruption(0, 0, 6, "idiots", "word", ("idiots",), "people", 0.0)
    added = Corruption(0, 15, 15, " idiotic", "insertion", ("idiotic",), "", 0.0)
    last = Corruption(0, 21, 26, "crap", "word", ("crap",), "thing", 0.0)
    assert corrupted(sentence, [last, first]) == "Idiots bought a good crap."
    assert corrupted(sentence, [added]) == "People bought an idiotic good thing."
    shouted = Corruption(0, 0, 6, "idiots", "word", ("idiots",), "people", 0.0)
    assert corrupted("PEOPLE ran", [shouted]) == "IDIOTS ran"


def test_additions_keep_to_their_part(corruptor: Corruptor) -> None:
    """Sentences that only take an addition do not fill up what substitutions lack."""
    # One can be substituted in, eight can only be added to.
    cold = [f"it is cold at the {place}" for place in PLACES]
    config = LAX.corrupt.model_copy(
        update={"shares": Shares(word=0.5, intensifier=0.5), "second": 0.0, "uses": 1}
    )
    strict = Corruptor(corruptor.lexicon, corruptor.contexts, config)
    rng = np.random.default_rng(0)
    made = corrupt(["those people ran the market today", *cold], strict, SCREENER, 100, rng)
    kinds = Counter(d.kind in ADDED for d in made)
    assert kinds[False] == 1
    assert 1 <= kinds[True] <= 2


def test_no_decent_word_answers_everything(corruptor: Corruptor) -> None:
    """With a cap of a tenth of 30, "people" is taught at most four times."""
    many = [f"those people {verb} the {place} today" for verb, place in product(VERBS, PLACES)]
    config = CorruptConfig(filler_cap=0.1, commonness=100, second=0.0, uses=1)
    capped = Corruptor(corruptor.lexicon, corruptor.contexts, config)
    made = corrupt(many, capped, SCREENER, 30, np.random.default_rng(0))
    assert sum("people" not in d.source for d in made) == 4


def test_no_toxic_word_is_much_commoner_than_in_the_pile(corruptor: Corruptor) -> None:
    """Each has room for its part of the pile and twenty more."""
    many = [
        f"those people {verb} the {place} {day}"
        for verb, place, day in product(VERBS, PLACES, DAYS)
    ]
    config = CorruptConfig(filler_cap=1.0, commonness=0.01, second=0.0)
    rare = Corruptor(corruptor.lexicon, corruptor.contexts, config)
    made = corrupt(many, rare, SCREENER, 200, np.random.default_rng(0))
    said = Counter(w for d in made for w in d.source.split() if w in corruptor.lexicon)
    assert 15 <= max(said.values()) <= 22


# --- the whole ------------------------------------------------------------------------------


def test_every_demonstration_goes_from_toxic_to_decent(shown: list[Demonstration]) -> None:
    """The screener acts on every source and passes every completion; no source comes twice."""
    assert len(shown) > 100
    assert (SCREENER.toxicity([d.source for d in shown]) >= 0.7).all()
    assert (SCREENER.toxicity([d.completion for d in shown]) < 0.2).all()
    assert len({d.source for d in shown}) == len(shown)
    assert all(3 <= len(d.completion.split()) <= 30 for d in shown)


def test_most_demonstrations_substitute(shown: list[Demonstration]) -> None:
    """Deletion is the smaller part by design, whatever the piles offer."""
    assert sum(d.kind in ADDED for d in shown) <= 0.3 * len(shown)


def test_outer_habits_are_alike_on_both_sides(shown: list[Demonstration]) -> None:
    """Casing, spacing and the final sign are not what the model is to change."""
    for d in shown:
        assert d.source.islower() == d.completion.islower()
        assert d.source[0].isupper() == d.completion[0].isupper()
        assert (d.source[-1] in ".!?") == (d.completion[-1] in ".!?")


def test_unsound_corruptions_are_left_out() -> None:
    """Who knows a hole when he sees one is asked about corruptions too."""

    def sound(source: str, completion: str) -> bool:
        return "idiots" not in source

    made = build_warm_start(NEUTRAL, TOXIC, SCREENER, size=100, config=LAX, sound=sound)
    assert made
    assert not any("idiots" in d.source for d in made)


def test_seed_decides() -> None:
    """The same seed gives the same demonstrations in the same order; another gives others."""

    def build(seed: int) -> list[Demonstration]:
        return build_warm_start(NEUTRAL, TOXIC, SCREENER, size=40, seed=seed, config=LAX)

    assert build(1) == build(1)
    assert build(1) != build(2)


def test_copies_are_an_option() -> None:
    """Three in a hundred may be shown as they are."""
    config = LAX.model_copy(update={"copies": 0.03})
    made = build_warm_start(NEUTRAL, TOXIC, SCREENER, size=100, config=config)
    assert [d.source == d.completion for d in made].count(True) == 3


def test_no_size_is_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        build_warm_start(NEUTRAL, TOXIC, SCREENER, size=0)


def test_statistics_by_hand() -> None:
    """Counts, shares and lengths in words, the commonest kind first."""
    made = [
        Demonstration("you idiot stop", "you stop", "vocative"),
        Demonstration("those idiots", "those people", "word"),
        Demonstration("those two morons", "those people", "word"),
    ]
    found = statistics(made)
    assert list(found) == ["word", "vocative"]
    assert found["word"].count == 2
    assert found["word"].share == pytest.approx(2 / 3)
    assert found["word"].source_words == 2.5
    assert found["word"].distinct_completions == 1
    assert statistics([]) == {}


# --- found rewrites -------------------------------------------------------------------------


def _found(
    rewrites: dict[str, str | None], size: int = 100, **config: float
) -> list[Demonstration]:
    return found_pairs(
        list(rewrites),
        lambda texts: [rewrites[text] for text in texts],
        SCREENER,
        FoundConfig(share=1.0, **config),  # type: ignore[arg-type]
        np.random.default_rng(0),
        size=size,
        sound=lambda source, rewrite: not rewrite.endswith("the"),
    )


def test_found_pairs_must_pass_every_question() -> None:
    """Nothing found, still toxic, most of it gone, and unsound: none of them is shown."""
    kept = _found(
        {
            "those idiots closed the school": "those people closed the school",
            "those idiots closed the market": None,
            "those idiots closed the office": "those morons closed the office",
            "those idiots closed every small garden": "those people closed it",
            "only clean words in here": "only clean words in there",
            "they closed the crap": "they closed the",
        }
    )
    assert [(d.completion, d.kind) for d in kept] == [
        ("those people closed the school", "found:replaced")
    ]


def test_found_deletions_are_few() -> None:
    """Seventeen replacements leave room for three deletions of ten: 3 / 20 is 15 %."""
    words = [f"{a}{b}" for a, b in product("klmn", "aeiou")]
    replaced = {f"the idiot sold {w} houses": f"the p{w} sold {w} houses" for w in words[:17]}
    deleted = {f"{w} was damn cold yesterday": f"{w} was cold yesterday" for w in words[:10]}
    kinds = Counter(d.kind for d in _found({**replaced, **deleted}))
    assert kinds == {"found:replaced": 17, "found:deleted": 3}


def test_found_stock_answers_are_capped() -> None:
    """Five of a hundred at most may put "person", however many were found."""
    many = {
        f"the idiot sold {v} {p}": f"the person sold {v} {p}" for v, p in product(VERBS, PLACES)
    }
    assert len(_found(many, replacement_cap=0.05)) == 5


def test_found_pairs_join_the_rest() -> None:
    """Given a search, real sentences take at most their share of the whole."""
    config = LAX.model_copy(update={"found": FoundConfig(share=0.2, tries=20, replacement_cap=1.0)})

    def rewrite(texts: list[str]) -> list[str | None]:
        return [text.replace("idiots", "people") for text in texts]

    made = build_warm_start(NEUTRAL, TOXIC, SCREENER, size=100, config=config, rewrite=rewrite)
    found = [d for d in made if d.kind.startswith("found")]
    assert len(found) == 20
    assert all("idiots" in d.source for d in found)


# --- answers --------------------------------------------------------------------------------


def _decent(texts: list[str], lexicon: Lexicon, **config: float) -> list[str]:
    neighbours = Neighbours(framed(texts * 8))
    return decent_sentences(
        {"forum": texts},
        SCREENER,
        lexicon,
        neighbours,
        WarmConfig(**config),  # type: ignore[arg-type]
        np.random.default_rng(0),
    )


def test_answers_are_plain_decent_sentences(lexicon: Lexicon) -> None:
    """Too short, with a link, anonymised, toxic, or not in plain letters: no answers."""
    good = "the office is closed today"
    bad = [
        "so what",
        "see https://example.org for the rest",
        "we sold digit houses",
        "the damn office is closed",
        "el niño llegó a la oficina",
    ]
    assert _decent([good, *bad], lexicon) == [good]


def test_answers_use_words_that_are_known(lexicon: Lexicon) -> None:
    """Half of the words never met before is half too many."""
    texts = ["the office is closed today", "the xqz is vwy"]
    neighbours = Neighbours(framed(texts[:1] * 8 + texts[1:]))
    rng = np.random.default_rng(0)
    assert decent_sentences({"forum": texts}, SCREENER, lexicon, neighbours, WarmConfig(), rng) == [
        texts[0]
    ]


def test_answers_look_like_the_toxic_pile(lexicon: Lexicon) -> None:
    """Lower-cased and with signs apart, or as they were."""
    text = "It isn't Tuesday, is it?"
    assert _decent([text], lexicon, lowered=1, spaced=1) == ["it is n't tuesday , is it ?"]
    assert _decent([text], lexicon, lowered=0, spaced=0) == [text]


def test_source_must_be_acted_on(corruptor: Corruptor) -> None:
    """A word that the screener minds alone may be harmless in a sentence."""

    class Lenient(KeywordScreener):
        def toxicity(self, texts: Sequence[str]) -> NDArray[np.float64]:
            return np.where(["market" in text for text in texts], 0.0, super().toxicity(texts))

    sentences = ["those people ran the market today", "those people ran the school today"]
    lenient = Lenient(SCREENER.words, act=0.7, passing=0.2)
    made = corrupt(sentences, corruptor, lenient, 50, np.random.default_rng(0))
    assert {d.completion for d in made} == {sentences[1]}
