"""Overlap of two texts with vectors short enough to work it out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tactful.evaluation.vectors import StaticVectors

WORDS = {"[unk]": 0, "cats": 1, "dogs": 2, "both": 3, "the": 4}
# cats and dogs share nothing, "both" is between them, "the" is short.
TABLE = np.array([[0, 0], [3, 0], [0, 4], [1, 1], [0.1, 0.0]], dtype=np.float32)


@pytest.fixture
def vectors() -> StaticVectors:
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[unk]"))
    tokenizer.pre_tokenizer = Whitespace()
    return StaticVectors(TABLE, tokenizer, "by-hand")


def test_by_hand(vectors: StaticVectors) -> None:
    """Source "cats dogs": sums (3, 4); rewrite "cats": (3, 0)."""
    found = vectors.compare(["cats dogs"], ["cats"])
    assert found.cosine[0] == pytest.approx(9 / (5 * 3))
    # cats (3) are found again, dogs (4) have nothing near them.
    assert found.recall[0] == pytest.approx(3 / 7)
    assert found.precision[0] == pytest.approx(1.0)


def test_what_is_near_counts_in_part(vectors: StaticVectors) -> None:
    """ "both" lies at 45 degrees to cats."""
    found = vectors.compare(["cats"], ["both"])
    assert found.recall[0] == pytest.approx(math.sqrt(0.5))
    assert found.cosine[0] == pytest.approx(math.sqrt(0.5))


def test_short_vectors_hardly_matter(vectors: StaticVectors) -> None:
    found = vectors.compare(["the cats"], ["cats"])
    assert found.recall[0] > 0.99


def test_nothing_said_has_nothing_in_common(vectors: StaticVectors) -> None:
    found = vectors.compare(["cats", "", "..."], ["", "cats", "..."])
    for column in (found.cosine, found.recall, found.precision):
        assert column.tolist() == [0.0, 0.0, 0.0]


def test_case_and_tokenisation_do_not_matter(vectors: StaticVectors) -> None:
    found = vectors.compare(["Cats , dogs ."], ["cats, dogs"])
    assert found.cosine[0] == pytest.approx(1.0)
