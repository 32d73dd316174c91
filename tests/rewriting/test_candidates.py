from __future__ import annotations

import pytest

from tactful.prompts import few_shot, zero_shot
from tactful.rewriting.candidates import Copy, Deletion, PromptedModel, strike
from tactful.rollouts.base import Sampling
from tests.fakes import CannedBackend, KeywordScreener

SCREENER = KeywordScreener({"idiot": 0.9, "clown": 0.8})


def test_copy_proposes_the_source() -> None:
    """The baseline that changes nothing."""
    assert Copy().propose(["a", ""]) == [["a"], [""]]


def test_deletion_removes_what_the_screener_points_at() -> None:
    """Only the flagged words go, and the rest reads on."""
    proposed = Deletion(SCREENER).propose(["you idiot, nice try, clown", "all good"])
    assert proposed == [["you, nice try"], ["all good"]]


def test_strike_masks_and_ends() -> None:
    """A mask that is itself toxic does not loop for ever."""
    masked = strike("an idiot and a clown", SCREENER, replacement="***")
    assert masked == "a *** and a ***"
    stubborn = KeywordScreener({"***": 0.9, "idiot": 0.95})
    assert strike("you idiot", stubborn, replacement="***") == "you ***"


def test_prompted_model_asks_with_the_prompt_and_the_budget() -> None:
    """Every source is asked once, with room that grows with its length."""
    backend = CannedBackend({"you idiot": ["You are wrong."]})
    model = PromptedModel(backend, prompt=zero_shot, sampling=Sampling(num=2))
    assert model.propose(["you idiot"]) == [["you are wrong", "you are wrong"]]
    (request,) = backend.requests
    assert request.prompt == zero_shot("you idiot")
    assert request.max_new_tokens == int(1.2 * 9 / 3) + 12
    assert model.name == "canned@test+zero_shot"


def test_cut_off_completions_are_no_candidates() -> None:
    """A text that hit the length limit may lack its end; it is not proposed."""
    backend = CannedBackend({"hi": ["word " * 50]})
    assert PromptedModel(backend, sampling=Sampling(num=1)).propose(["hi"]) == [[]]


def test_seed_belongs_to_the_text() -> None:
    """The same text gets the same seed wherever it stands, another text another one."""
    backend = CannedBackend({}, default="x")
    PromptedModel(backend, seed=1).propose(["a", "b", "a"])
    first, second, third = (request.seed for request in backend.requests)
    assert first == third != second


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        ("you idiot", "You are wrong.", "you are wrong"),
        ("You idiot.", "You are wrong.", "You are wrong."),
        ("You idiot", '"You are wrong"', "You are wrong"),
        ("you idiot", "you are\nwrong", "you are wrong"),
        ("You idiot", "wait...", "wait..."),
    ],
)
def test_answers_take_the_outer_habits_of_their_source(
    source: str, answer: str, expected: str
) -> None:
    """Casing, the last stop and wrapping quotes follow the source."""
    backend = CannedBackend({source: [answer]})
    assert PromptedModel(backend, sampling=Sampling(num=1)).propose([source]) == [[expected]]


def test_few_shot_examples_alternate() -> None:
    """Examples are turns of a user and an assistant; the text to rewrite comes last."""
    roles = [message["role"] for message in few_shot("x")]
    assert roles[0] == "system"
    assert roles[1:] == ["user", "assistant"] * ((len(roles) - 2) // 2) + ["user"]
