"""Damage is what it says, only where there is a place for it, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from tactful.evaluation import damage
from tactful.evaluation.damage import find_insults

PAIRS = [
    ("you are an idiot", "you are wrong"),
    ("what an idiot you are", "you are wrong"),
    ("this damn car broke", "this car broke"),
    ("the damn thing broke", "the thing broke"),
    ("the car is red", "the car is red"),
    ("the car broke", "the thing broke"),
]
WORDS = "reddit is full of ignorant people today".split()


def dice(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_insults_are_what_people_take_out() -> None:
    """Twice seen and twice gone; "car" was taken out once of three times, "an" is a small word."""
    found = find_insults(PAIRS)
    assert set(found.droppable) == {"idiot", "damn"}
    # Dropped and nothing else, of twice, smoothed: (2 + .1) / 3 and (0 + .1) / 3.
    assert found.droppable["damn"] == pytest.approx(2.1 / 3)
    assert found.droppable["idiot"] == pytest.approx(0.1 / 3)


def test_hang_breaks_off_after_a_small_word() -> None:
    ends = {tuple(damage.hang(WORDS, dice(seed)) or []) for seed in range(20)}
    assert ends == {("reddit", "is"), ("reddit", "is", "full", "of")}
    assert damage.hang(["idiots", "everywhere"], dice()) is None


@pytest.mark.parametrize("seed", range(10))
def test_each_kind_does_what_it_says(seed: int) -> None:
    fewer = damage.drop_word(WORDS, dice(seed))
    assert fewer is not None
    assert len(fewer) == len(WORDS) - 1
    swapped = damage.swap_neighbours(WORDS, dice(seed))
    assert swapped is not None
    assert sum(a != b for a, b in zip(swapped, WORDS, strict=True)) == 2
    again = damage.repeat(WORDS, dice(seed))
    assert again is not None
    assert len(again) > len(WORDS)
    assert set(again) == set(WORDS)
    other = damage.misplace(["teapot"])(WORDS, dice(seed))
    assert other is not None
    assert other.count("teapot") == 1
    assert [o for o in other if o in ("is", "of")] == ["is", "of"]
    assert sorted(damage.shuffle(WORDS, dice(seed)) or []) == sorted(WORDS)


def test_insults_are_filled_cut_or_dropped() -> None:
    insults = find_insults(PAIRS)
    words = "you damn idiot are late".split()
    assert damage.fill(insults, ["thing"])(words, dice()) == "you thing thing are late".split()
    assert damage.cut_before(insults)(words, dice()) == ["you"]
    assert damage.cut_before(insults)("idiot go home".split(), dice()) == ["go", "home"]
    assert damage.drop_insults(words, insults) == "you are late".split()
    assert damage.fill(insults, ["thing"])(["hello"], dice()) is None


@pytest.mark.parametrize("seed", range(10))
def test_thin_takes_words_that_matter(seed: int) -> None:
    """One to three content words go, the small ones stay, and something is left to say."""
    left = damage.thin(WORDS, dice(seed))
    assert left is not None
    assert 1 <= len(WORDS) - len(left) <= 3
    assert [w for w in left if w in ("is", "of")] == ["is", "of"]


@pytest.mark.parametrize("seed", range(10))
def test_patch_touches_insults_and_their_neighbours_only(seed: int) -> None:
    words = "you damn idiot are late for work".split()
    patched = damage.patch(find_insults(PAIRS), ["thing"])(words, dice(seed))
    assert patched is not None
    assert not {"damn", "idiot"} & set(patched)
    assert patched[-3:] == "late for work".split()


def test_flip_says_the_opposite() -> None:
    assert damage.flip("he is late".split(), dice()) == "he is not late".split()


def test_too_short_a_text_is_left_alone() -> None:
    for kind in (damage.drop_word, damage.shuffle, damage.swap_neighbours, damage.shorten):
        assert kind(["go", "home"], dice()) is None


def test_content_words_come_as_often_as_they_stand_there() -> None:
    words = damage.content_words(["the red car"] * 3 + ["a blue car"])
    assert sorted(words) == ["car"] * 4 + ["red"] * 3
