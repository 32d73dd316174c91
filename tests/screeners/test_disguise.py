"""Disguises are the same for the same text and seed, and change as much as they say."""

from __future__ import annotations

import pytest

from tactful.errors import ConfigError
from tactful.screeners.disguise import DISGUISES, disguised, disguised_words
from tactful.screeners.normalise import normalise

TEXT = "nobody asked the stupid fool about that"


@pytest.mark.parametrize("how", DISGUISES)
def test_a_disguise_is_repeatable_and_spares_other_words(how: str) -> None:
    """The named word changes, always in the same way, and nothing around it does."""
    changed = disguised_words(TEXT, ["stupid"], how)
    assert changed == disguised_words(TEXT, ["stupid"], how)
    assert changed != TEXT
    assert changed.startswith("nobody asked the ")
    assert changed.endswith(" fool about that")
    assert len({disguised_words(TEXT, ["stupid"], how, seed=seed) for seed in range(20)}) > 1


@pytest.mark.parametrize("how", ["zero_width", "case", "spacing"])
def test_readable_disguises_fold_back(how: str) -> None:
    """What loses nothing is undone by the normaliser."""
    for seed in range(20):
        assert normalise(disguised_words("such fools", ["fools"], how, seed=seed)) == "such fools"


@pytest.mark.parametrize("how", DISGUISES)
def test_shares_grow(how: str) -> None:
    """No word at 0, every word of three letters at 1, and a larger share keeps what a smaller had."""
    words = TEXT.split()
    assert disguised(TEXT, how, 0.0) == TEXT
    if how == "spacing":
        return  # its words cannot be told apart by spaces
    few, many = (disguised(TEXT, how, share, seed=3).split() for share in (0.3, 1.0))
    assert all(b == a for w, a, b in zip(words, few, many, strict=True) if a != w)
    assert few != many


def test_a_share_is_a_share() -> None:
    """What is none is told."""
    with pytest.raises(ConfigError, match=r"1\.5"):
        disguised(TEXT, "leet", 1.5)


def test_by_hand() -> None:
    """Letters that have no digit stay; the first one always does."""
    assert disguised_words("dumb", ["dumb"], "leet") == "dumb"
    assert {disguised_words("aaa", ["aaa"], "leet", seed=s)[0] for s in range(20)} == {"a"}
    stars = {disguised_words("fool", ["fool"], "stars", seed=s) for s in range(30)}
    assert stars == {"f*ol", "fo*l", "f**l"}
