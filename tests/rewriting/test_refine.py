"""Refinement on a model that answers from lists: feedback, annealing, and what is proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tactful.prompts import EXAMPLES
from tactful.rewriting.refine import OwnValue, Refine, accepts, cooled, refining
from tactful.rollouts.base import Completion, Request, Sampling
from tests.fakes import CannedBackend, KeywordScreener, WordOverlap

SCREENER = KeywordScreener({"idiot": 0.9, "moron": 0.8, "stupid": 0.7})


class Steps(CannedBackend):
    """Answers what is listed for the text so far; "" leaves an answer cut off."""

    def __init__(self, steps: Mapping[str, str]) -> None:
        super().__init__({})
        self.steps = steps

    def _answer(self, request: Request, num: int) -> list[Completion]:
        asked = request.prompt[-1]["content"]  # type: ignore[index]  # messages, not a string
        so_far = asked.split("\n")[1].removeprefix("So far: ")  # type: ignore[attr-defined]
        answer = self.steps[so_far]
        return [Completion(answer, finished=bool(answer))]


class Listed:
    """The value of each text as listed."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self.values = values

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
        return np.array([self.values[rewrite] for rewrite in rewrites])


def test_annealing_by_hand() -> None:
    """Better or equal always; 0.2 worse at temperature 0.2 with P = exp(-1) = 0.368; at 0 never."""
    assert accepts(0.5, 0.5, 0.0, 0.99)
    assert accepts(0.3, 0.5, 0.2, 0.36)
    assert not accepts(0.3, 0.5, 0.2, 0.37)
    assert not accepts(0.3, 0.5, 0.0, 0.0)


def test_cooling_by_hand() -> None:
    """0.2 over four rounds: 0.2, 0.15, 0.1, 0.05."""
    assert [cooled(0.2, i, 4) for i in range(4)] == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_the_model_is_told_which_words_insult() -> None:
    """Source, text so far, and the screener's words, the few-shot examples before them."""
    messages = refining("you stupid idiot", "you idiot", ["idiot"])
    assert messages[-1]["content"] == (
        "Comment: you stupid idiot\nSo far: you idiot\nStill insulting: idiot"
    )
    assert [m["content"] for m in messages[2::2]] == [rewrite for _, rewrite in EXAMPLES]
    for message in messages[1:-1:2]:
        so_far, words = message["content"].split("\n")[1:]
        for word in words.removeprefix("Still insulting: ").split(", "):
            assert word in so_far


def test_a_text_is_revised_until_nothing_is_minded() -> None:
    """Two words, then one, then none: three texts were seen, the best is proposed first."""
    backend = Steps({"you stupid idiot": "you idiot", "you idiot": "you there"})
    value = Listed({"you stupid idiot": 0.1, "you idiot": 0.2, "you there": 0.9})
    refine = Refine(backend, SCREENER, value)
    assert refine.propose(["you stupid idiot"]) == [["you there", "you idiot"]]
    asked = [request.prompt[-1]["content"].split("\n")[2] for request in backend.requests]  # type: ignore[index]
    assert asked == ["Still insulting: stupid, idiot", "Still insulting: idiot"]
    assert refine.name == "canned@test+refine"


def test_what_is_worse_may_be_left_and_the_best_is_kept() -> None:
    """Without heat the walk stays where it is: the same text is asked about in every round."""
    backend = Steps({"idiot one": "moron two", "moron two": "three"})
    value = Listed({"idiot one": 0.5, "moron two": 0.4, "three": 0.3})
    cold = Refine(backend, SCREENER, value, rounds=3, temperature=0.0)
    assert cold.propose(["idiot one"]) == [["moron two"]]
    assert len(backend.requests) == 3
    assert len({request.seed for request in backend.requests}) == 3
    hot = Refine(Steps(backend.steps), SCREENER, value, rounds=3, temperature=1e9)
    assert hot.propose(["idiot one"]) == [["moron two", "three"]]


def test_no_feedback_no_proposal() -> None:
    """What passes, and what never got an answer, has nothing to propose."""
    refine = Refine(Steps({"you idiot": ""}), SCREENER, Listed({"fine": 1.0, "you idiot": 0.1}))
    assert refine.propose(["fine", "you idiot"]) == [[], []]
    assert refine.propose([]) == []


def test_a_text_is_refined_alike_in_any_company() -> None:
    """Its random numbers are its own."""
    steps = {"idiot a": "moron a", "moron a": "a", "idiot b": "moron b", "moron b": "b"}
    values = {"idiot a": 0.5, "moron a": 0.4, "a": 0.6, "idiot b": 0.5, "moron b": 0.3, "b": 0.9}

    def proposed(sources: list[str]) -> list[list[str]]:
        return Refine(Steps(steps), SCREENER, Listed(values), temperature=0.1).propose(sources)

    assert proposed(["idiot a", "idiot b"]) == [*proposed(["idiot a"]), *proposed(["idiot b"])]


def test_the_own_value_by_hand() -> None:
    """(1 - 0.7) x 0.5^2 x 0.8 = 0.06; what is far too long, empty or chatter has none."""

    def fluency(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
        return np.full(len(rewrites), 0.8)

    fluency.name = "fluent@test"  # type: ignore[attr-defined]
    value = OwnValue(
        SCREENER,
        WordOverlap(),
        fluency,  # type: ignore[arg-type]  # a function with a name is a scorer
        meaning=2.0,
        fluent=1.0,
        shortest=0.5,
        longest=1.5,
    )
    rewrites = ["you stupid", "you are now a rather strange goose", "", "here's you"]
    found = value(["you idiot"] * 4, rewrites)
    assert found == pytest.approx([0.06, 0.0, 0.0, 0.0])


def test_sampling_is_one_answer_a_round() -> None:
    """So that a budget of rounds is a budget of answers."""
    refine = Refine(Steps({}), SCREENER, Listed({}))
    assert refine.sampling == Sampling(num=1, temperature=0.7, top_p=0.9)
