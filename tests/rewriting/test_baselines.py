"""Baselines on a model that answers from lists, so that each choice can be read off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tactful.prompts import EXAMPLES
from tactful.rewriting.baselines import (
    FILLERS,
    TRIPLES,
    ContrastivePrompt,
    MaskAndRefill,
    contrastive,
)
from tactful.rollouts.base import Completion, Request, Sampling
from tests.fakes import CannedBackend, KeywordScreener

SCREENER = KeywordScreener({"idiot": 0.9, "moron": 0.8, "stupid": 0.7})


class ListedModel:
    """Goes on after a context as listed; a text is as likely as its likeliest listed word."""

    name = "listed@test"

    def __init__(self, after: Mapping[str, Sequence[str]], likely: Mapping[str, float]) -> None:
        self.after, self.likely = after, likely
        self.requests: list[Request] = []
        self.calls = 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        self.calls += 1
        self.requests += requests
        return [
            [Completion(text, finished=False) for text in self.after.get(str(request.prompt), [""])]
            for request in requests
        ]

    def mean_logp(self, texts: Sequence[str]) -> np.ndarray:
        return np.array(
            [max([-9.0, *(p for word, p in self.likely.items() if word in text)]) for text in texts]
        )


def test_the_likeliest_decent_word_fills_the_gap() -> None:
    """Toxic continuations are left out, the article follows, and the rest of the text stays."""
    model = ListedModel(
        {"you are an": ["idiot at", "honest man", "moron", "person,"]},
        {"honest": -3.0, "person": -2.0, "moron": -1.0},
    )
    proposed = MaskAndRefill(model, SCREENER).propose(["you are an idiot, read it", "all good", ""])
    assert proposed == [["you are a person, read it"], ["all good"], [""]]
    [request] = model.requests
    assert request.prompt == "you are an"


def test_gaps_are_filled_from_left_to_right() -> None:
    """The second gap is refilled after the first one's new word, which was longer than the old."""
    model = ListedModel(
        {"what a": ["complicated"], "what a complicated": ["thing"]},
        {"complicated stupid": -5.0, "thing": -1.0},
    )
    [[rewrite]] = MaskAndRefill(model, SCREENER).propose(["what a stupid idiot!"])
    assert rewrite == "what a complicated thing!"
    assert [request.prompt for request in model.requests] == ["what a", "what a complicated"]


def test_where_the_model_offers_nothing_the_list_helps() -> None:
    """Only insults, numbers or nothing came back: the likeliest of the listed words is taken."""
    model = ListedModel({"you": ["idiot", "42", "...", ""]}, {FILLERS[3]: -1.0})
    assert MaskAndRefill(model, SCREENER).propose(["you idiot"]) == [[f"you {FILLERS[3]}"]]


def test_the_word_that_is_gone_does_not_come_back() -> None:
    """A word that is flagged only in company is decent alone, and still not what is wanted."""
    model = ListedModel({"you": ["clown", "guy"]}, {"clown": -1.0})
    proposed = MaskAndRefill(model, KeywordScreener({"you clown": 0.9})).propose(["you clown"])
    assert proposed == [["you guy"]]


def test_a_refilled_word_has_the_case_of_the_old_one() -> None:
    """A sentence goes on beginning with a capital."""
    model = ListedModel({"": ["people"]}, {})
    assert MaskAndRefill(model, SCREENER).propose(["Idiot at work"]) == [["People at work"]]


def test_all_sources_are_asked_about_at_once() -> None:
    """As many calls as the worst source has gaps, and alike with other company."""
    model = ListedModel({"a": ["odd"], "you": ["guy"], "a odd": ["plan"]}, {})
    sources = ["a stupid idiot", "you moron", "fine"]
    together = MaskAndRefill(model, SCREENER).propose(sources)
    assert model.calls == 2
    alone = [MaskAndRefill(model, SCREENER).propose([source])[0] for source in sources]
    assert together == alone


def test_the_seed_belongs_to_the_context() -> None:
    """The same context draws alike wherever it stands; another seed draws otherwise."""
    model = ListedModel({}, {})
    MaskAndRefill(model, SCREENER).propose(["you idiot", "you moron"])
    MaskAndRefill(model, SCREENER, seed=1).propose(["you idiot"])
    first, second, third = (request.seed for request in model.requests)
    assert first == second != third


def test_the_contrastive_prompt_shows_failures_and_asks_for_a_list() -> None:
    """System, then question and answer for each triple, then the text with its copy as failure."""
    messages = contrastive("you clown")
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 4, "user"]
    for triple, question, answer in zip(TRIPLES, messages[1::2], messages[2::2], strict=False):
        assert question["content"] == f"Comment: {triple.source}\nBad rewrite: {triple.failed}"
        assert answer["content"] == f"Avoid: {triple.avoid}\nRewrite: {triple.passed}"
    assert messages[-1]["content"] == "Comment: you clown\nBad rewrite: you clown"


def test_the_triples_are_the_few_shot_examples() -> None:
    """So that a difference between the two prompts is the contrast's alone."""
    assert tuple((triple.source, triple.passed) for triple in TRIPLES) == EXAMPLES
    assert all(triple.failed not in (triple.source, triple.passed) for triple in TRIPLES)


class Fixed(CannedBackend):
    """Gives one completion as it is, line breaks included."""

    def __init__(self, completion: Completion) -> None:
        super().__init__({})
        self.completion = completion

    def _answer(self, request: Request, num: int) -> list[Completion]:
        return [self.completion] * num


@pytest.mark.parametrize(
    ("completion", "proposed"),
    [
        (Completion("Avoid: insults\nRewrite: You are wrong.\nMore"), ["you are wrong"]),
        (Completion("avoid: insults\n  REWRITE:you are wrong"), ["you are wrong"]),
        (Completion("you are wrong"), []),
        (Completion("Avoid: insults\nRewrite:"), []),
        (Completion("Avoid: insults\nRewrite: you are", finished=False), []),
    ],
)
def test_only_the_rewrite_is_proposed(completion: Completion, proposed: list[str]) -> None:
    """The list before it is not; nor what lacks the label or was cut off."""
    model = ContrastivePrompt(Fixed(completion), sampling=Sampling(num=1))
    assert model.propose(["you idiot"]) == [proposed]


def test_the_list_has_room_of_its_own() -> None:
    """32 tokens more than the rewrite gets, and a name that says how it was asked."""
    backend = Fixed(Completion(""))
    model = ContrastivePrompt(backend, sampling=Sampling(num=1))
    model.propose(["you idiot"])
    [request] = backend.requests
    assert request.max_new_tokens == int(1.2 * 9 / 3) + 12 + 32
    assert model.name == "canned@test+contrastive"
