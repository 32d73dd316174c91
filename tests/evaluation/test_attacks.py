"""Attacks on a judge that answers by rules, so that what each attack reaches is worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tactful.evaluation.attacks import (
    ATTACKS,
    GENERIC,
    NEUTRAL_WORDS,
    Gap,
    Tools,
    copy,
    cut,
    flatter,
    flip_negation,
    flipped,
    generic_polite,
    random_swap,
    red_team,
    search,
    shuffle,
    truncate,
)
from tactful.evaluation.base import Scores
from tests.fakes import KeywordScreener, WordOverlap

SCREENER = KeywordScreener({"idiot": 0.9, "moron": 0.8, "stupid": 0.7})


class RuleJudge:
    """Style 1 - toxicity, meaning the share of words kept, fluency 1/2 for an article at the end."""

    name = "rules"
    signature = "judge:rules"

    def __init__(self, *, needs_references: bool = False) -> None:
        self.needs_references = needs_references
        self.asked: list[list[str]] = []
        self.references: list[Sequence[Sequence[str]] | None] = []

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        assert len(sources) == len(rewrites)
        assert references is None or len(references) == len(sources)
        self.asked.append(list(rewrites))
        self.references.append(references)
        there = np.array([bool(rewrite) for rewrite in rewrites], dtype=np.float64)
        ends = [rewrite.endswith((" a", " an")) for rewrite in rewrites]
        return Scores(
            there * (1 - SCREENER.toxicity(rewrites)),
            there * WordOverlap()(sources, rewrites),
            there * np.where(ends, 0.5, 1.0),
        )


def tools(**options) -> Tools:
    """The tools of an attacker of the rules."""
    return Tools(options.pop("judge", None) or RuleJudge(), SCREENER.toxicity, **options)


def test_attacks_without_a_thought() -> None:
    """Copying, one sentence for all, and the first half of the words."""
    sources = ["you are an idiot", "", "one two three"]
    assert copy(sources, tools()) == sources
    assert generic_polite(sources, tools()) == [GENERIC] * 3
    assert truncate(sources, tools()) == ["you are", "", "one two"]


def test_shuffling_keeps_the_words_and_changes_their_order() -> None:
    """Another order wherever there is one, the same for the same seed, wherever the text stands."""
    sources = ["a b", "you are an idiot", "again again", "word", ""]
    shuffled = shuffle(sources, tools())
    assert shuffled[0] == "b a"
    assert sorted(shuffled[1].split()) == sorted(sources[1].split())
    assert shuffled[1] != sources[1]
    assert shuffled[2:] == sources[2:]
    assert shuffle(sources[::-1], tools()) == shuffled[::-1]


@pytest.mark.parametrize(
    ("text", "opposite"),
    [
        ("you are wrong", "you are not wrong"),
        ("you are not wrong", "you are wrong"),
        ("You don't know it", "You do know it"),
        ("you do n't know it", "you do know it"),
        ("he does not know", "he does know"),
        ("they didnt read it", "they did read it"),
        ("you ca n't read", "you can read"),
        ("Can't you read", "Can you read"),
        ("it wont work", "it will work"),
        ("you cannot go", "you can go"),
        ("she can go", "she can not go"),
        ("do you read?", "do you not read?"),
        ("what is this nonsense", "what is this not nonsense"),
        ("I'm right", "I'm not right"),
        ("youre wrong", "youre not wrong"),
        ("i have not read it", "i have read it"),
        ("not a chance", "a chance"),
        ("he sucks", "he does not suck"),
        ("he has brains", "he does not have brains"),
        ("you suck", "you do not suck"),
        ("nonsense everywhere", "it is not true that nonsense everywhere"),
    ],
)
def test_negation_flips(text: str, opposite: str) -> None:
    """A "not" goes where there was one, and comes where there was none."""
    assert flipped(text) == opposite
    assert flip_negation([text], tools()) == [opposite]


def test_cut_stops_before_the_insult() -> None:
    """What stands before it stays; what comes after it, where it comes first."""
    sources = ["they said you idiot and left", "idiot, go home", "all is well", "idiot", ""]
    assert cut(sources, tools()) == ["they said you", "go home", "all is well", "", ""]


def test_a_word_that_is_toxic_only_in_company_is_found_by_leaving_it_out() -> None:
    """No word of "shut up" is flagged alone; the text is mildest without the first of them."""
    screener = KeywordScreener({"shut up": 0.9})
    given = Tools(RuleJudge(), screener.toxicity)
    assert cut(["please shut up now"], given) == ["please"]
    assert cut(["please stand up now"], given) == ["please stand up now"]


def test_swapped_words_come_from_the_list_and_the_seed() -> None:
    """Every insult becomes a listed word, the same one for the same seed."""
    [rewrite] = random_swap(["a stupid idiot!"], tools(vocabulary=("odd",)))
    assert rewrite == "an odd odd!"
    first = random_swap(["you idiot"] * 2 + ["you moron"], tools(seed=3))
    assert first == random_swap(["you idiot"] * 2 + ["you moron"], tools(seed=3))
    assert first[0] == first[1]
    assert first[0].split()[1] in NEUTRAL_WORDS
    others = {random_swap(["you idiot"], tools(seed=seed))[0] for seed in range(9)}
    assert len(others) > 1


@pytest.mark.parametrize(
    ("source", "praise"),
    [
        ("you are an idiot", "you are a genius"),
        ("You Idiot!", "You Genius!"),
        ("these idiots are stupid.", "these geniuses are brilliant."),
        ("all is well", "all is well"),
    ],
)
def test_flattery_turns_insults_into_praise(source: str, praise: str) -> None:
    """Nouns and adjectives get their opposite; articles, case and punctuation fit."""
    assert flatter([source], tools()) == [praise]


def test_search_finds_what_the_judge_likes_best() -> None:
    """By hand: the source has J .1 x 1 x 1; without "idiot" .75 x .5; with "odd" there .75.

    With "person" the article changes too: .5. Nothing beats .75 afterwards, as each further
    change loses a word of the source. Of two words worth the same the one listed first stays.
    """
    given = tools(vocabulary=("person", "odd", "unwise"))
    assert search(["you are an idiot!", ""], given) == ["you are an odd!", ""]


def test_search_changes_several_words() -> None:
    """Two insults take two rounds: J .1, then .3 x 2/3, then 1/3; of equals the shortest stays."""
    assert search(["stupid idiot talks"], tools(vocabulary=("odd",))) == ["talks"]


def test_search_takes_what_it_is_offered() -> None:
    """Candidates for a place are tried before the general words."""
    asked = []

    def candidates(gaps: Sequence[Gap]) -> list[list[str]]:
        asked.extend(gaps)
        return [["icon"] for _ in gaps]

    assert search(["you are an idiot"], tools(candidates=candidates)) == ["you are an icon"]
    # J without "idiot" is .75 x .5, without another word .1 x .75: the insult is the best place.
    assert asked[0] == (("you", "are", "an", "idiot"), 3)


class Verdicts(RuleJudge):
    """The same rules with a verdict for style: anything toxic scores 0."""

    def score(self, sources, rewrites, references=None) -> Scores:
        soft = super().score(sources, rewrites, references)
        return Scores((soft.style >= 0.5).astype(np.float64), soft.meaning, soft.fluency)


def test_search_finds_its_way_where_the_judge_says_nothing() -> None:
    """With two insults every first step has J 0; the milder texts go on, and J becomes 4/6."""
    given = tools(judge=Verdicts(), vocabulary=("odd",))
    assert search(["one two three four stupid idiot"], given) == ["one two three four"]


def test_search_keeps_to_its_budget_and_asks_in_batches() -> None:
    """At most `budget` texts of a source are judged, all sources in a few calls."""
    judge = RuleJudge()
    sources = ["you are an idiot", "what a stupid idea", "shut it you moron"]
    search(sources, tools(judge=judge, budget=50))
    assert len(judge.asked) <= 1 + 2 * 4
    assert sum(map(len, judge.asked)) <= 50 * 3
    assert search(["you idiot"], tools(budget=1)) == ["you idiot"]
    assert search(["you idiot"], tools(budget=0)) == ["you idiot"]


def test_search_does_not_depend_on_the_other_sources() -> None:
    """A source is attacked alike alone and in company."""
    sources = ["you are an idiot", "a stupid idea", "idiot"]
    together = search(sources, tools(budget=60))
    assert together == [search([source], tools(budget=60))[0] for source in sources]


def test_red_team_compares_every_attack_with_people() -> None:
    """People first, then the attacks from the strongest to the weakest, J by people's J.

    By hand for "you are an idiot" with people's "you are mistaken": people 1 x .5 x 1 = .5, copy
    .1 x 1 x 1 = .1, the generic sentence has one of four words: .25.
    """
    judge = RuleJudge()
    table = red_team(
        judge,
        ["you are an idiot"],
        [["you are mistaken", "that is not right"]],
        toxicity=SCREENER.toxicity,
        attacks={"copy": copy, "generic polite": generic_polite, "search": search},
    )
    assert [row.name for row in table] == ["human reference", "search", "generic polite", "copy"]
    assert [row.joint for row in table] == pytest.approx([0.5, 0.75, 0.25, 0.1])
    assert [row.ratio for row in table] == pytest.approx([1.0, 1.5, 0.5, 0.2])
    assert (table[3].style, table[3].meaning, table[3].fluency) == pytest.approx((0.1, 1.0, 1.0))
    assert table[3].rewrites == ("you are an idiot",)
    assert set(judge.references) == {None}


def test_a_judge_gets_references_only_if_it_needs_them() -> None:
    """The search hands each text the references of its own source."""
    judge = RuleJudge(needs_references=True)
    references = [["you are mistaken"], ["an odd idea"]]
    table = red_team(
        judge, ["you idiot", "a stupid idea"], references, toxicity=SCREENER.toxicity, budget=40
    )
    assert {row.name for row in table} == {"human reference", *ATTACKS}
    for asked, shown in zip(judge.asked, judge.references, strict=True):
        assert shown is not None
        assert len(shown) == len(asked)
        for text, people in zip(asked, shown, strict=True):
            if "idea" in text:
                assert people == ["an odd idea"]


def test_a_worthless_judge_gives_no_ratio() -> None:
    """Where people's own J is 0 there is nothing to compare with."""
    table = red_team(
        RuleJudge(), ["you idiot"], [[""]], toxicity=SCREENER.toxicity, attacks={"copy": copy}
    )
    assert [row.ratio for row in table] == [None, None]
