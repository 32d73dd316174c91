"""From verdicts to pairs, on groups small enough to sort by hand."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tactful.errors import ConfigError
from tactful.training.pairs import (
    COPY,
    Judged,
    Pair,
    Pairing,
    PushDown,
    Scored,
    advantages,
    best_of,
    clear_cut,
    confident,
    gap_pairs,
    group_pairs,
    labelled,
    paper_pairs,
    ranked_pairs,
    tone_pairs,
)

SOURCE = "you idiot, read the article"


def judged(rewrite: str, value: float, *failed: str, source: str = SOURCE) -> Judged:
    """A rewrite, what it is worth, and the gates it failed."""
    return Judged(source, rewrite, {}, failed, value=value)


GOOD = judged("please read the article", 0.9)
FAIR = judged("read the article", 0.6)
POOR = judged("read", 0.3)
RUDE = judged("read the article, fool", 0.2, "toxicity")
RAMBLE = judged("read read read read", 0.1, "toxicity", "repetition")


def test_paper_pairs_take_each_rewrite_alone() -> None:
    """A pass is preferred to the bare source, a fail is pushed down."""
    got = paper_pairs([GOOD, RUDE])
    assert got.pairs == (Pair(SOURCE, "please read the article", SOURCE),)
    assert got.push_downs == (PushDown(SOURCE, "read the article, fool"),)
    assert got.reasons == {"toxicity": 1}


def test_paper_pairs_of_several_sources_and_samples() -> None:
    """Every pass gives a pair of its own."""
    other = judged("you are wrong", 0.8, source="you moron")
    got = paper_pairs([GOOD, other, FAIR])
    assert set(got.pairs) == {
        Pair(SOURCE, "please read the article", SOURCE),
        Pair(SOURCE, "read the article", SOURCE),
        Pair("you moron", "you are wrong", "you moron"),
    }
    assert got.push_downs == ()


def test_the_best_meets_the_copy_and_the_worst() -> None:
    """Of five, 0.9 passed best and 0.1 failed worst; what is between is not used."""
    got = group_pairs([FAIR, RUDE, GOOD, RAMBLE, POOR])
    assert got.pairs == (
        Pair(SOURCE, "please read the article", SOURCE),
        Pair(SOURCE, "please read the article", "read read read read"),
    )
    assert got.push_downs == ()
    assert got.reasons == {"toxicity": 2, "repetition": 1}


def test_a_failed_rewrite_is_rejected_before_one_that_passed() -> None:
    """Worth 0.5 but rude, it is worse than a poor one that passed with 0.3."""
    rude = judged("read it, fool", 0.5, "toxicity")
    assert group_pairs([GOOD, POOR, rude]).pairs[1].rejected == "read it, fool"


def test_one_that_passed_is_rejected_where_all_passed() -> None:
    """The best teaches against the worst even where every gate was passed."""
    assert group_pairs([POOR, FAIR, GOOD]).pairs[1].rejected == "read"


@pytest.mark.parametrize(("margin", "expected"), [(0.3, 2), (0.31, 1)])
def test_the_worst_must_be_worse_by_the_margin(margin: float, expected: int) -> None:
    """0.6 against 0.9 is 0.3 worse."""
    best, other = judged("please read it", 1.0), judged("read it", 0.7)
    assert len(group_pairs([best, other], margin=margin).pairs) == expected


def test_a_failed_rewrite_needs_no_margin() -> None:
    """At 0.85 the rude one has nearly the best value, but a gate has told it apart."""
    rude = judged("read it, fool", 0.85, "toxicity")
    assert group_pairs([GOOD, POOR, rude]).pairs[1].rejected == "read it, fool"


def test_the_worth_of_a_failed_rewrite_never_makes_it_the_best() -> None:
    """The verdict comes first: 0.99 that failed stays behind 0.3 that passed."""
    tempting = judged("you lovely idiot", 0.99, "toxicity")
    got = group_pairs([tempting, POOR])
    assert [pair.chosen for pair in got.pairs] == ["read", "read"]
    assert [pair.rejected for pair in got.pairs] == [SOURCE, "you lovely idiot"]


def test_where_none_passed_the_worst_is_pushed_down_or_all() -> None:
    """The rest of a failing group is left alone unless asked for."""
    group = [RUDE, RAMBLE]
    worst = group_pairs(group)
    assert (worst.pairs, worst.push_downs) == ((), (PushDown(SOURCE, RAMBLE.rewrite),))
    every = group_pairs(group, push_down="all")
    assert set(every.push_downs) == {PushDown(SOURCE, r.rewrite) for r in group}


def test_where_none_passed_what_fails_least_may_be_preferred() -> None:
    """By .6 against .3 a pair, by less than the margin none; a copy is never the better one."""
    less, more = judged("read it, fool", 0.6, "toxicity"), judged("fool", 0.3, "toxicity", "length")
    copy = judged(SOURCE, 0.9, "toxicity")
    got = group_pairs([more, copy, less], push_down="rank")
    assert (got.pairs, got.push_downs) == ((Pair(SOURCE, less.rewrite, more.rewrite),), ())
    assert group_pairs([more, less], push_down="rank", margin=0.31).pairs == ()
    assert group_pairs([copy, judged(SOURCE + " ", 0.1)], push_down="rank").pairs == ()
    # Where one passed, nothing is different.
    assert group_pairs([GOOD, RUDE], push_down="rank") == group_pairs([GOOD, RUDE])


def test_where_none_passed_nothing_may_be_pushed_down() -> None:
    got = group_pairs([RUDE, RAMBLE], push_down="none")
    assert (got.pairs, got.push_downs) == ((), ())
    assert got.reasons


def test_where_one_passed_none_is_pushed_down() -> None:
    """A group with a winner has something better to learn."""
    assert group_pairs([GOOD, RUDE, RAMBLE], push_down="all").push_downs == ()


@pytest.mark.parametrize("pairs", [paper_pairs, group_pairs])
@pytest.mark.parametrize("copy", [SOURCE, " you  idiot, read\nthe article "])
def test_a_copy_never_passes(pairs, copy: str) -> None:
    """Even where all followers let it through: spaces make no other text."""
    got = pairs([judged(copy, 1.0)])
    assert got.pairs == ()
    assert got.push_downs == (PushDown(SOURCE, copy.strip()),)
    assert got.reasons == {COPY: 1}


def test_a_copy_among_others_is_rejected_once() -> None:
    """It is the first pair's rejected side, so the second looks for another text."""
    copy = judged(SOURCE, 0.0, "toxicity")
    got = group_pairs([GOOD, copy, POOR])
    assert [pair.rejected for pair in got.pairs] == [SOURCE, "read"]
    assert got.reasons == {"toxicity": 1, COPY: 1}
    assert len(group_pairs([GOOD, copy]).pairs) == 1


def test_a_copy_that_was_named_one_is_not_counted_twice() -> None:
    """The gate may have been asked before."""
    assert paper_pairs([judged(SOURCE, 0.0, COPY)]).reasons == {COPY: 1}


@pytest.mark.parametrize("pairs", [paper_pairs, group_pairs])
def test_duplicates_count_once(pairs) -> None:
    """The same words with other spaces are the same rewrite."""
    again = judged("please  read the article\n", 0.9)
    got = pairs([GOOD, again, GOOD])
    assert len(got.pairs) == 1
    rude_again = judged("read the article,  fool", 0.2, "toxicity")
    assert pairs([RUDE, rude_again]).reasons == {"toxicity": 1}
    assert len(pairs([RUDE, rude_again]).push_downs) == 1


def test_judges_at_odds_over_the_same_words_are_not_trusted() -> None:
    """Of two verdicts on one text the worse holds."""
    doubted = judged("please read  the article", 0.4, "fluency")
    assert group_pairs([GOOD, doubted]).pairs == ()


def test_ties_are_settled_by_the_text() -> None:
    """Which sample came first decides nothing."""
    twins = [judged("a", 0.5), judged("b", 0.5), judged("d", 0.1), judged("c", 0.1)]
    for order in (twins, twins[::-1]):
        assert group_pairs(order).pairs == (Pair(SOURCE, "b", SOURCE), Pair(SOURCE, "b", "c"))


def test_the_ends_of_a_source_are_trimmed_in_its_copy() -> None:
    """Rewrites come without outer spaces; with them a copy would be told by its spaces."""
    got = paper_pairs([judged("read it", 0.9, source=" read it, you fool\n")])
    assert got.pairs == (Pair(" read it, you fool\n", "read it", "read it, you fool"),)


def test_sources_keep_their_order_and_do_not_mix() -> None:
    """Groups are told apart by source, wherever their samples stand."""
    other = [judged(text, value, source="you moron") for text, value in [("no", 0.4), ("so", 0.8)]]
    got = group_pairs([other[0], GOOD, other[1], POOR])
    assert [pair.source for pair in got.pairs] == ["you moron", "you moron", SOURCE, SOURCE]
    assert [pair.chosen for pair in got.pairs] == ["so", "so", GOOD.rewrite, GOOD.rewrite]


def test_nothing_gives_nothing() -> None:
    """No responses, no pairs."""
    assert group_pairs([]) == paper_pairs([]) == Pairing((), (), paper_pairs([]).reasons)
    assert not group_pairs([]).reasons


def test_a_value_that_is_no_number_is_refused() -> None:
    """It would make the ranking depend on the order."""
    with pytest.raises(ValueError, match="not a number"):
        judged("read it", math.nan)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_must_tell_apart(margin: float) -> None:
    """Without one, equals would be trained against each other."""
    with pytest.raises(ConfigError, match="above 0"):
        group_pairs([], margin=margin)


words = st.text("ab ", min_size=1, max_size=4)
gates = st.lists(st.sampled_from(["toxicity", "fluency"]), unique=True, max_size=2)
responses = st.lists(
    st.builds(
        lambda source, rewrite, value, failed: judged(rewrite, value, *failed, source=source),
        st.sampled_from(["a a", "b", " b "]),
        words,
        st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        gates,
    ),
    max_size=12,
)


def plain(text: str) -> str:
    """A text without regard to spaces."""
    return " ".join(text.split())


@given(responses, st.sampled_from(["paper", "worst", "all"]))
def test_what_holds_of_all_pairs(given_responses: list[Judged], kind: str) -> None:
    """Chosen passed, is no copy, is not its own rejected side; nothing comes twice."""
    if kind == "paper":
        got = paper_pairs(given_responses)
    else:
        got = group_pairs(given_responses, push_down=kind)
    passed = {plain(r.rewrite) for r in given_responses if r.passed}
    for pair in got.pairs:
        assert plain(pair.chosen) in passed
        assert plain(pair.chosen) not in (plain(pair.source), plain(pair.rejected))
    assert len(set(got.pairs)) == len(got.pairs)
    downs = {(plain(down.source), plain(down.rewrite)) for down in got.push_downs}
    assert len(downs) == len(got.push_downs)
    # Every source that was answered teaches something.
    taught = {plain(entry.source) for entry in (*got.pairs, *got.push_downs)}
    assert taught == {plain(r.source) for r in given_responses}


@given(responses, st.randoms())
def test_the_order_of_samples_decides_nothing(
    given_responses: list[Judged], shuffler: random.Random
) -> None:
    """The same responses in another order give the same pairs."""
    shuffled = shuffler.sample(given_responses, len(given_responses))
    for pairs in (paper_pairs, group_pairs):
        one, other = pairs(given_responses), pairs(shuffled)
        assert set(one.pairs) == set(other.pairs)
        assert set(one.push_downs) == set(other.push_downs)
        assert one.reasons == other.reasons


# --- what the neighbours make of the same samples -------------------------------------------


def test_ranked_pairs_take_the_ends() -> None:
    """The best that passed over the worst that failed; what is between is not used."""
    got = ranked_pairs([FAIR, RUDE, GOOD, RAMBLE, POOR])
    assert got.pairs == (Pair(SOURCE, GOOD.rewrite, RAMBLE.rewrite),)
    assert (got.push_downs, got.scored) == ((), ())
    assert got.reasons == {"toxicity": 2, "repetition": 1}


@pytest.mark.parametrize(("margin", "expected"), [(0.09, 1), (0.11, 0)])
def test_ranked_pairs_of_a_tie_need_the_margin(margin: float, expected: int) -> None:
    """Both failed, with 0.2 and 0.1: a pair where a tenth is enough, which SRO would not make."""
    assert len(ranked_pairs([RUDE, RAMBLE], margin=margin).pairs) == expected
    assert group_pairs([RUDE, RAMBLE], margin=margin).pairs == ()


def test_gap_pairs_by_hand() -> None:
    """Values .9, .6, .3, .1 at tau .25. sigmoid(.3 / .25) = .77 and sigmoid(.2 / .25) = .69 are too
    near; .5 / .25 gives .88, .6 gives .92 and .8 gives .96. The widest come first."""
    got = gap_pairs([GOOD, FAIR, POOR, RAMBLE], least=0.8, tau=0.25)
    widest = [(GOOD, RAMBLE), (GOOD, POOR), (FAIR, RAMBLE)]
    assert got.pairs == tuple(Pair(SOURCE, a.rewrite, b.rewrite) for a, b in widest)
    assert gap_pairs([GOOD, FAIR, POOR, RAMBLE], least=0.8, tau=0.25, most=1).pairs == got.pairs[:1]
    # At tau 1 even 0 and 1 are too near.
    assert gap_pairs([judged("a", 1.0), judged("b", 0.0)], least=0.8).pairs == ()


def test_labels_are_verdicts() -> None:
    """Each different rewrite once, a copy failed."""
    got = labelled([GOOD, GOOD, RUDE, judged(SOURCE, 0.9)])
    assert {one.rewrite: one.score for one in got.scored} == {
        GOOD.rewrite: 1.0,
        RUDE.rewrite: 0.0,
        SOURCE: 0.0,
    }
    assert len(got.scored) == 3


def test_the_best_is_imitated_where_it_passed() -> None:
    assert best_of([FAIR, GOOD, RUDE]).scored == (Scored(SOURCE, GOOD.rewrite, 1.0),)
    assert best_of([RUDE, RAMBLE]).scored == ()


def test_advantages_by_hand() -> None:
    """Values .9, .9 and .3: mean .7, spread sqrt(.08) = .282843. Equal samples count twice."""
    got = advantages([GOOD, GOOD, POOR])
    expected = [0.2 / 0.282843, 0.2 / 0.282843, -0.4 / 0.282843]
    assert [one.score for one in got.scored] == pytest.approx(expected, abs=1e-5)
    assert [one.rewrite for one in got.scored] == [GOOD.rewrite, GOOD.rewrite, POOR.rewrite]


def test_equal_values_give_no_advantage() -> None:
    """Rounding is no difference."""
    assert advantages([judged("a", 0.3), judged("b", 0.1 + 0.2)]).scored == ()


def test_tone_pairs_by_hand() -> None:
    """Five fresh ones lose to the demonstration, so 5 x .2 / .7 = 1.4, one, older pair does and
    5 x .1 / .7 = .7, one, of fresh over older; what equals the demonstration is left out."""
    fresh = [(SOURCE, text) for text in ("a", "b", "c", "d", "e", "own", "a")]
    older = [(SOURCE, "x"), (SOURCE, "own"), (SOURCE, "y"), ("other", "z")]
    got = tone_pairs({SOURCE: "own"}, fresh, older)
    assert got.pairs == (
        *(Pair(SOURCE, "own", text) for text in "abcde"),
        Pair(SOURCE, "own", "x"),
        Pair(SOURCE, "a", "x"),
    )


def test_clear_cut_pairs_are_the_least_alike() -> None:
    """Of three pairs, two thirds: those with cosine .1 and .5, in their order."""
    pairs = [Pair(SOURCE, text, "worse") for text in "abc"]
    assert clear_cut(pairs, [0.5, 0.9, 0.1], 0.6) == (pairs[0], pairs[2])
    assert clear_cut(pairs, [0.5, 0.9, 0.1], 1.0) == tuple(pairs)
    assert clear_cut([], [], 0.5) == ()


@pytest.mark.parametrize("rule", [ranked_pairs, gap_pairs, labelled, best_of, advantages])
def test_no_samples_give_nothing(rule) -> None:  # type: ignore[no-untyped-def]
    assert rule([]) == Pairing((), (), Counter())


def test_confident_pairs_by_hand() -> None:
    """Gaps of .6 and .2 weigh 1.5 and .5; a copy that nobody judged weighs 1; where nobody is ahead,
    all stay as they are.
    """
    values = {"good": 0.9, "bad": 0.3, "fair": 0.5}
    responses = [Judged("s", text, {}, (), value=value) for text, value in values.items()]
    pairs = [Pair("s", "good", "bad"), Pair("s", "fair", " bad"), Pair("s", "good", "s")]
    assert [p.weight for p in confident(pairs, responses)] == pytest.approx([1.5, 0.5, 1.0])
    backwards = [Pair("s", "bad", "good")]
    assert confident(backwards, responses) == tuple(backwards)
