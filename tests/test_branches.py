"""Branches of one prompt against rows of their own, on models of several makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from tactful.branches import can_branch, read_branches

GROUPS = [
    ([5, 6, 7, 8, 9], [[1, 2], [3, 4, 5, 6], [7]]),
    ([10], [[11, 12, 13]]),
    ([14, 15], [[], [16, 17]]),
]
SMALL = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


def model(make: str, attention: str) -> Any:
    torch.manual_seed(0)
    kinds: dict[str, tuple[Any, Any]] = {
        "llama": (LlamaModel, LlamaConfig),
        "mistral": (MistralModel, MistralConfig),
        "qwen2": (Qwen2Model, Qwen2Config),
        "qwen3": (Qwen3Model, Qwen3Config),
    }
    kind, config = kinds[make]
    more = {"sliding_window": None} if make == "mistral" else {}
    built = kind(config(**SMALL, **more)).eval()
    built.set_attn_implementation(attention)
    return built


def alone(backbone: Any, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *tokens]])
    found: torch.Tensor = backbone(input_ids=ids, use_cache=False).last_hidden_state[0]
    return found


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("make", ["llama", "mistral", "qwen2", "qwen3"])
def test_branches_are_what_rows_of_their_own_would_be(make: str, attention: str) -> None:
    backbone = model(make, attention)
    assert can_branch(backbone)
    with torch.no_grad():
        found = read_branches(backbone, GROUPS)
        assert found.hidden.shape[0] == len(GROUPS)
        for (prompt, those), places in zip(GROUPS, found.places, strict=True):
            for tokens, (row, begin) in zip(those, places, strict=True):
                expected = alone(backbone, prompt, tokens)
                got = found.hidden[row]
                torch.testing.assert_close(
                    got[: len(prompt)], expected[: len(prompt)], atol=1e-5, rtol=1e-4
                )
                torch.testing.assert_close(
                    got[begin : begin + len(tokens)],
                    expected[len(prompt) :],
                    atol=1e-5,
                    rtol=1e-4,
                )


def test_a_model_that_is_not_known_gets_a_row_for_each() -> None:
    """GPT-2 adds learned positions and takes no mask of one's own; it reads what it always reads."""
    torch.manual_seed(0)
    backbone = GPT2Model(GPT2Config(vocab_size=32, n_embd=32, n_layer=2, n_head=4)).eval()
    assert not can_branch(backbone)
    with torch.no_grad():
        found = read_branches(backbone, GROUPS)
        assert found.hidden.shape[0] == 6
        row, begin = found.places[0][1]
        expected = alone(backbone, GROUPS[0][0], GROUPS[0][1][1])
    torch.testing.assert_close(
        found.hidden[row, begin : begin + 4], expected[5:], atol=1e-5, rtol=1e-4
    )


def test_a_window_that_slides_is_not_branched() -> None:
    assert not can_branch(MistralModel(MistralConfig(**SMALL, sliding_window=4)))
