from __future__ import annotations

import math

import pytest

from tactful.records import Response
from tactful.rewriting.rerank import merit, rank


def response(text: str, toxicity: float, **scores: float) -> Response:
    return Response("source", text, {"toxicity": toxicity, **scores})


def test_merit_by_hand() -> None:
    """log(1 - .2) + 2 log(.5), and a score that was not measured does not count."""
    value = merit({"toxicity": 0.2, "similarity": 0.5}, {"similarity": 2.0, "fluency": 1.0})
    assert value == pytest.approx(math.log(0.8) + 2 * math.log(0.5))


def test_weights_decide_between_meaning_and_decency() -> None:
    """With little weight on meaning the decent one wins, with much the faithful one."""
    decent, faithful = response("a", 0.0, similarity=0.5), response("b", 0.3, similarity=0.9)
    assert rank([faithful, decent], meaning=0.1)[0] is decent
    assert rank([decent, faithful], meaning=2.0)[0] is faithful


def test_ties_and_repeats() -> None:
    """A tie goes to the first proposed; equal texts count once."""
    first, second = response("a", 0.1, similarity=0.5), response("b", 0.1, similarity=0.5)
    again = response("a", 0.1, similarity=0.5)
    assert [r.rewrite for r in rank([first, second, again])] == ["a", "b"]
    assert rank([]) == []


def test_what_is_agreed_on_ranks_first() -> None:
    shared, odd = (
        Response("s", text, {"toxicity": 0.1, "consensus": value})
        for text, value in (("a", 0.9), ("b", 0.3))
    )
    assert rank([odd, shared], consensus=1.0)[0] is shared
    assert rank([odd, shared])[0] is odd
