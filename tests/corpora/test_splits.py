from __future__ import annotations

import random
import time

import pytest

from tactful.corpora.splits import Leak, find_leaks, fold_of, near_duplicates, normalise

NEAR = (
    "the bridge is closed on monday from nine",
    "the bridge is closed on monday from nine!!! ok",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You're  AN idiot !!!", "youre an idiot"),
        ("you’re an_idiot", "youre an idiot"),
        ("ｆｕｌｌ ＷＩＤＴＨ ①", "full width 1"),
        ("Straße\tund\nCafé", "straße und café"),
        ("😀  😀", "😀 😀"),
        ("???", "???"),
        ("  ", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    """Letters and digits remain; a text with none of them stays itself."""
    assert normalise(text) == expected


def test_copies_share_a_fold() -> None:
    """Case, spacing and punctuation do not move a text to another fold."""
    assert len({fold_of(text) for text in ("You idiot!", "you idiot", " YOU, idiot ... ")}) == 1


def test_folds_stay_as_they_are() -> None:
    """Folds of published data depend on these numbers, so a change of the hash must be noticed.

    blake2b with an 8-byte digest, big-endian, modulo the number of folds.
    """
    assert [fold_of(text) for text in ("you idiot", "what a day", "")] == [5, 5, 6]
    assert fold_of("you idiot", folds=1) == 0
    fold_of("\ud800")


def test_folds_are_of_similar_size() -> None:
    """Ten thousand texts spread over ten folds within five standard deviations (30 each)."""
    sizes = [0] * 10
    for number in range(10_000):
        sizes[fold_of(f"text {number}")] += 1
    assert all(850 < size < 1150 for size in sizes)


def test_exact_leaks() -> None:
    """Every pair of copies is named by position, equal but for case and punctuation."""
    train = ["You idiot!", "a fine day", "you  IDIOT"]
    assert find_leaks(train, ["no match at all", "you idiot"]) == [Leak(0, 1, 1.0), Leak(2, 1, 1.0)]


def test_near_leaks_by_hand() -> None:
    """Similarity is the Jaccard index of character 4-grams.

    "abcdefghij" has 7 of them, "abcdefghix" shares all but the last: 6 common of 8 = 0.75.
    "abcdefgxyz" shares the first four: 4 of 10 = 0.4.
    """
    assert find_leaks(["abcdefghij"], ["abcdefghix"]) == [Leak(0, 0, 0.75)]
    assert find_leaks(["abcdefghij"], ["abcdefghix"], threshold=0.76) == []
    assert find_leaks(["abcdefghij"], ["abcdefgxyz"]) == []
    assert find_leaks(["abcdefghij"], ["abcdefgxyz"], threshold=0.4) == [Leak(0, 0, 0.4)]


def test_short_texts() -> None:
    """Texts of less than four characters, and none at all, are compared as wholes."""
    assert find_leaks(["ab", "", "no"], ["AB", "ax", "?"]) == [Leak(0, 0, 1.0)]
    assert find_leaks([], ["a"]) == find_leaks(["a"], []) == []


def test_no_near_pair_is_missed_and_none_is_made_up() -> None:
    """The search agrees with comparing every pair with every other."""
    rng = random.Random(0)
    words = ["the", "red", "old", "car", "house", "dog", "ran", "sat", "fast", "here", "idiot"]
    train = [" ".join(rng.choices(words, k=8)) for _ in range(300)]
    test = [text.replace("dog", "cat") for text in train[:60]] + train[60:70]

    def grams(text: str) -> set[str]:
        return {text[i : i + 4] for i in range(len(text) - 3)}

    expected = {
        (i, j)
        for i, a in enumerate(train)
        for j, b in enumerate(test)
        if len(grams(a) & grams(b)) >= 0.75 * len(grams(a) | grams(b))
    }
    assert len(expected) >= 40
    assert {(leak.train, leak.test) for leak in find_leaks(train, test)} == expected


def test_near_duplicates() -> None:
    """Pairs within one list: copies point to the first of them, near ones to each other."""
    texts = [NEAR[0], "something else", NEAR[1], NEAR[0].upper(), "something else!"]
    assert near_duplicates(texts) == [(0, 2), (0, 3), (1, 4)]
    assert near_duplicates([]) == []


def test_speed() -> None:
    """2,000 against 500 texts take a few seconds at most (20,000 x 2,000 well under a minute)."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=5)) for _ in range(3000)]
    texts = [" ".join(rng.choices(words, k=20)) for _ in range(2500)]
    start = time.perf_counter()
    find_leaks(texts[:2000], texts[2000:])
    assert time.perf_counter() - start < 10
