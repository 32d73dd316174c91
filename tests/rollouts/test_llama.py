"""Fused, a Llama says what it says in transformers, and its places are filled again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.decoding import write, write_refilled
from tactful.rollouts.llama import Cache, FusedLlama, can_fuse
from tactful.rollouts.local import LocalBackend
from tests.rollouts.test_ct2 import tiny_adapter
from tests.rollouts.test_decoding import opt
from tests.tiny import tiny_causal_lm

PROMPTS = [[5, 6, 7, 8], [9], [5, 6, 7, 8], [10, 11], [12, 13, 14, 15, 16, 17], [18, 19]]
LIMITS = [9, 3, 1, 12, 6, 8]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_causal_lm(tmp_path)).eval()


def likeliest(logits: Tensor, rows: Sequence[int], step: Any) -> Tensor:
    return logits.argmax(dim=-1)


def test_its_logits_are_those_of_transformers(model: Any) -> None:
    """After prompts of different lengths, and after more tokens behind them."""
    fused = FusedLlama(model)
    prompts, rows = [[5, 6, 7, 8], [9, 10]], [0, 1, 0]
    with torch.inference_mode():
        cache = Cache(fused, 3, 16)
        told = [fused.read(prompts, cache, rows)]
        tails: list[list[int]] = [[], [], []]
        for tokens in ([20, 21, 22], [23, 24, 25]):
            told.append(fused.step(torch.tensor(tokens), cache))
            for tail, token in zip(tails, tokens, strict=True):
                tail.append(token)
        for row, prompt in enumerate(rows):
            ids = torch.tensor([prompts[prompt] + tails[row]])
            expected = model(input_ids=ids).logits[0, len(prompts[prompt]) - 1 :]
            found = torch.stack([logits[row] for logits in told])
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("places", [1, 2, 4, 99])
def test_rows_come_and_go_without_a_trace(model: Any, places: int) -> None:
    """However many write at a time, each writes what it would alone."""
    fused = FusedLlama(model)
    expected = write(model, PROMPTS, LIMITS, [2], likeliest)
    assert write_refilled(fused, PROMPTS, LIMITS, [2], likeliest, rows=places) == expected


def test_a_row_knows_how_far_it_is(model: Any) -> None:
    """Rows that began at different times are told their own number of tokens."""

    def ends_late(logits: Tensor, rows: Sequence[int], steps: Any) -> Tensor:
        return torch.tensor(
            [2 if step == row else 30 + step for row, step in zip(rows, steps, strict=True)]
        )

    found = write_refilled(FusedLlama(model), [[5]] * 4, [9] * 4, [2], ends_late, rows=2)
    assert found == [[2], [30, 2], [30, 31, 2], [30, 31, 32, 2]]


def test_the_last_rows_close_the_gaps(model: Any) -> None:
    """What a row had read moves with it."""
    fused = FusedLlama(model)
    with torch.inference_mode():
        cache = Cache(fused, 4, 8)
        fused.read([[5], [6, 7], [8], [9, 10, 11]], cache, [0, 1, 2, 3])
        before = cache.keys[1].clone()
        assert cache.keep([1, 3]) == [3, 1]
    assert cache.lengths.tolist() == [3, 2]
    torch.testing.assert_close(cache.keys[1][0, :, :3], before[3, :, :3])


def test_fused_it_writes_and_samples_the_same(tmp_path: Path) -> None:
    """Through the backend, with an adapter, whether few or many rows are under way."""
    folder = tiny_causal_lm(tmp_path / "tiny")
    adapter = tiny_adapter(folder, tmp_path / "polite", seed=1)
    plain = LocalBackend.load(folder, adapter=adapter, dtype="float32", device="cpu")
    requests = [Request("you idiot", 12, seed=3), Request("x" * 200, 9, seed=4), Request("no", 5)]
    for places in (2, 32):
        fused = LocalBackend.load(
            folder, adapter=adapter, dtype="float32", device="cpu", fuse=True, batch_size=places
        )
        assert fused.name == plain.name + "+fused"
        for sampling in (Sampling(temperature=0), Sampling(num=5, temperature=0.9)):
            assert fused.generate(requests, sampling) == plain.generate(requests, sampling)


def test_in_bfloat16_it_differs_by_rounding_alone(model: Any) -> None:
    """Also where weights are kept in the processor's own order."""
    fused = FusedLlama(model.to(torch.bfloat16))
    with torch.inference_mode():
        found = fused.read([[5, 6, 7]], Cache(fused, 1, 8), [0]).float()
        expected = model.float()(input_ids=torch.tensor([[5, 6, 7]])).logits[:, -1]
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_what_is_no_plain_llama_is_left_as_it_is(model: Any, tmp_path: Path) -> None:
    """Another architecture, or a Llama with something that is not told there."""
    assert can_fuse(model)
    assert not can_fuse(opt())
    model.config.rope_parameters = {"rope_type": "llama3", "factor": 8.0}
    assert not can_fuse(model)
