"""When an export counts as the model that was trained."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tactful.parity import Answer, Parity, Question, TorchEngine, compare, questions
from tests.tiny import tiny_tokenizer


def test_a_token_is_judged_by_what_was_read_before_it() -> None:
    """Prompt 0 1, completion 2: after the 1, token 2 has one half and is the likeliest."""
    seen = torch.tensor([[[0.8, 0.1, 0.1], [0.25, 0.25, 0.5], [0.1, 0.8, 0.1]]])

    class Model:
        config = SimpleNamespace(is_encoder_decoder=False)

        def __call__(self, input_ids: Any) -> Any:
            return SimpleNamespace(logits=seen.log())

    engine = TorchEngine(Model(), None)
    answer = engine.answer(Question("", prompt=[0, 1], completion=[2]))
    assert answer.logp.tolist() == pytest.approx([math.log(0.5)])
    assert answer.greedy.tolist() == [2]


def test_differences_are_counted_by_token() -> None:
    """Tokens -1, -2 | -3 in torch, -1, -2.5 | -3 in the export: at most 0.5, 1/6 on average."""
    parity = _compare([[-1.0, -2.0], [-3.0]], [[-1.0, -2.5], [-3.0]])
    assert parity.max_difference == pytest.approx(0.5)
    assert parity.mean_difference == pytest.approx(1 / 6)
    assert parity.tokens == 3
    # The base without the adapter was at -9: 8, 7 and 6 away.
    assert parity.adapter_effect == pytest.approx(7)
    assert parity.same_greedy == 1.0


def test_what_is_not_a_number_fails() -> None:
    """A comparison with NaN is never true, so it must not be asked the other way round."""
    assert not _compare([[-1.0]], [[float("nan")]]).passed


def test_an_export_as_near_to_the_base_as_to_the_adapter_fails() -> None:
    """A gentle adapter is within every limit even when it was left out: the ratio tells."""
    gentle = _compare([[-9.0001]], [[-9.0]], format="merged")
    assert gentle.max_difference < gentle.limits.max_difference
    assert gentle.faults == ("it is not clearly nearer to the adapted model than to the base",)
    assert _compare([[-9.0001]], [[-9.0001]], format="merged").passed


def test_an_engine_that_rounds_may_round_no_more_than_with_its_base() -> None:
    """It is 0.1 off with the adapter: fine where it is 0.08 off without, a fault at 0.07."""
    assert _compare([[-1.0]], [[-1.1]], bare_found=[[-9.08]]).passed
    assert not _compare([[-1.0]], [[-1.1]], bare_found=[[-9.07]]).passed


def test_questions_are_the_prompts_that_training_used() -> None:
    """And their completions end as a trained model ends."""
    tokenizer = tiny_tokenizer()
    asked = questions(tokenizer)
    assert len(asked) == 12
    assert all(q.text.startswith("Toxic: ") and q.text.endswith("\nPolite:\n") for q in asked)
    assert all(tokenizer.decode(q.prompt) == q.text for q in asked)
    assert {q.completion[-1] for q in asked} == {tokenizer.eos_token_id}


def _compare(
    expected: list[list[float]],
    found: list[list[float]],
    *,
    format: Any = "gguf",
    bare_found: list[list[float]] | None = None,
) -> Parity:
    """Of answers that all have the same greedy tokens; the base gives every token -9."""
    bare = [[-9.0] * len(row) for row in expected]
    return compare(
        format,
        "base@1",
        "adapter@1",
        *([_answer(row) for row in rows] for rows in (expected, bare, found)),
        None if bare_found is None else [_answer(row) for row in bare_found],
        same_tokens=True,
    )


def _answer(logp: list[float]) -> Answer:
    return Answer(np.array(logp), np.zeros(len(logp), np.int64))
