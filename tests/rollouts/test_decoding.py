"""Token by token: draws worked out by hand, and rows that know nothing of each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    OPTConfig,
    OPTForCausalLM,
)

from tactful.rollouts.decoding import draw, write
from tests.tiny import tiny_causal_lm, tiny_seq2seq

PROMPTS = [[5, 6, 7, 8], [9], [5, 6, 7, 8], [10, 11], [12, 13, 14, 15, 16, 17]]
LIMITS = [9, 3, 1, 12, 6]


@pytest.mark.parametrize(
    ("number", "token"),
    # softmax of log(.1 .5 .1 .3) at temperature 1; top-p .75 keeps .5 and .3 (tokens 1 and 3),
    # so draws below .5 / .8 = .625 take token 1 and those above take token 3.
    [(0.0, 1), (0.62, 1), (0.63, 3), (0.999999, 3)],
)
def test_top_p_by_hand(number: float, token: int) -> None:
    """The nucleus is cut and shared out as worked out by hand."""
    logits = torch.tensor([[0.1, 0.5, 0.1, 0.3]]).log()
    numbers = torch.tensor([number], dtype=torch.float64)
    assert draw(logits, numbers, temperature=1.0, top_p=0.75).tolist() == [token]


def test_temperature_by_hand() -> None:
    """At temperature 1/2 odds are squared: .2 : .8 becomes 1 : 16; 1/17 = 0.0588."""
    logits = torch.tensor([[0.2, 0.8]] * 2).log()
    numbers = torch.tensor([0.058, 0.059], dtype=torch.float64)
    assert draw(logits, numbers, temperature=0.5, top_p=1.0).tolist() == [0, 1]


def test_a_flat_row_is_sorted_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose likely tokens do not reach top-p are cut exactly as rows where they do."""
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    numbers = torch.full((6,), 0.7, dtype=torch.float64)
    full = draw(logits, numbers, temperature=1.0, top_p=0.9)
    monkeypatch.setattr("tactful.rollouts.decoding._LIKELY", 30)
    assert torch.equal(draw(logits, numbers, temperature=1.0, top_p=0.9), full)


def likeliest(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
    return logits.argmax(dim=-1)


def opt() -> Any:
    """A model with learned positions, which it works out of the mask by itself."""
    config = OPTConfig(
        vocab_size=64,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        init_std=0.3,
    )
    torch.manual_seed(0)
    return OPTForCausalLM(config).eval()


@pytest.fixture(params=["llama", "opt", "t5"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "opt":
        return opt()
    if request.param == "t5":
        return AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq(tmp_path)).eval()
    return AutoModelForCausalLM.from_pretrained(tiny_causal_lm(tmp_path)).eval()


def test_a_row_writes_what_it_would_alone(model: Any) -> None:
    """Whatever prompts stand beside it, whoever has ended, and whether its prompt stands twice."""
    together = write(model, PROMPTS, LIMITS, [2], likeliest)
    assert all(len(tokens) <= limit for tokens, limit in zip(together, LIMITS, strict=True))
    for prompt, limit, tokens in zip(PROMPTS, LIMITS, together, strict=True):
        assert write(model, [prompt], [limit], [2], likeliest) == [tokens]
    assert together[0][:1] == together[2]


def test_it_writes_what_the_model_would(model: Any) -> None:
    """Step by step without a cache: the likeliest token after all that stands there."""
    (written,) = write(model, [PROMPTS[0]], [6], [2], likeliest)
    tokens: list[int] = []
    start = getattr(model.config, "decoder_start_token_id", None)
    for _ in written:
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                said = model(
                    input_ids=torch.tensor([PROMPTS[0]]),
                    decoder_input_ids=torch.tensor([[start, *tokens]]),
                )
            else:
                said = model(input_ids=torch.tensor([[*PROMPTS[0], *tokens]]))
        tokens.append(int(said.logits[0, -1].argmax()))
    assert written == tokens


def test_an_end_token_is_the_last(model: Any) -> None:
    """A row that ends leaves; the others write on to their limits."""

    def ends_early(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
        return torch.tensor([2 if row == step else 30 + row for row in rows])

    assert write(model, PROMPTS[:3], [5, 5, 2], [2], ends_early) == [[2], [31, 2], [32, 32]]
