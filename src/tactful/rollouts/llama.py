"""A Llama in few, large multiplications: the same weights, read into fewer tensors.

A step of transformers is some two thousand small operations here, most of them on a handful of
rows, and an adapter beside the model triples its multiplications: the processor mostly waits for
the next one to be told. Here an adapter is merged, queries, keys and values are one
multiplication, gate and up another, and keys and values are written to a place that was made for
them instead of being copied with every token.

Rows come and go: one that ends leaves its place to the next prompt at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_DEFAULT_ROPE = "default"

Multiply = Callable[[Tensor], Tensor]
"""States times the weights of one linear layer."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one layer does to its states."""

    before: Tensor
    qkv: Multiply
    out: Multiply
    after: Tensor
    gate_up: Multiply
    down: Multiply


class FusedLlama:
    """The weights of a Llama of transformers, ready to write with."""

    def __init__(self, model: Any) -> None:
        """Take over the weights of a plain `LlamaForCausalLM`; `can_fuse` says which are."""
        config = model.config
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.size = config.head_dim or config.hidden_size // config.num_attention_heads
        self.epsilon = config.rms_norm_eps
        self.embedding = model.get_input_embeddings().weight.detach()
        self.output = _multiply(model.get_output_embeddings().weight.detach())
        self.norm = model.model.norm.weight.detach()
        self.layers = [_layer(layer) for layer in model.model.layers]
        inverse = model.model.rotary_emb.inv_freq.float()
        angles = torch.arange(config.max_position_embeddings, device=inverse.device)[:, None]
        angles = (angles * inverse[None]).repeat(1, 2)
        # As transformers does: worked out in float32, used in the model's own precision.
        self.cos, self.sin = angles.cos().to(self.norm.dtype), angles.sin().to(self.norm.dtype)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = self.norm.device
        return found

    def read(self, prompts: Sequence[Sequence[int]], cache: Cache, rows: Sequence[int]) -> Tensor:
        """Prompts for new rows of the cache; the logits that follow each one's last token.

        `rows` says which prompt each new row has: what is sampled from one prompt is read once.
        """
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        width = int(lengths.max())
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        ids, back = ids.to(self.device), torch.tensor(rows, device=self.device)
        new = slice(len(cache.lengths), len(cache.lengths) + len(rows))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            cache.keys[layer][new, :, :width] = k[back]
            cache.values[layer][new, :, :width] = v[back]
            # What fills a row up stands behind it, where causal attention does not look.
            return F.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=self.heads != self.groups
            ).transpose(1, 2)

        cos, sin = self.cos[:width], self.sin[:width]
        states = self._through(F.embedding(ids, self.embedding), cos, sin, attend)
        cache.lengths = torch.cat([cache.lengths, lengths[back]])
        last = states[torch.arange(len(prompts), device=self.device), lengths - 1]
        return self._logits(last)[back]

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """One token of every row in the cache, behind what stands there; the logits after it."""
        place, rows = cache.lengths, torch.arange(len(tokens), device=tokens.device)
        cos, sin = self.cos[place][:, None], self.sin[place][:, None]
        width = int(place.max()) + 1
        mask = (torch.arange(width, device=place.device) <= place[:, None])[:, None, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.keys[layer][rows, :, place] = k[:, 0]
            cache.values[layer][rows, :, place] = v[:, 0]
            # Heads that share keys stand together, as if they were several tokens of one.
            q = q.view(len(rows), self.groups, self.heads // self.groups, self.size)
            keys = cache.keys[layer][: len(rows), :, :width]
            values = cache.values[layer][: len(rows), :, :width]
            return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

        states = self._through(F.embedding(tokens[:, None], self.embedding), cos, sin, attend)
        cache.lengths = place + 1
        return self._logits(states[:, -1])

    def _through(
        self,
        states: Tensor,
        cos: Tensor,
        sin: Tensor,
        attend: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        rows, width, _ = states.shape
        turned = self.heads + self.groups
        cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
        for number, layer in enumerate(self.layers):
            seen = F.rms_norm(states, (states.shape[-1],), layer.before, self.epsilon)
            parts = layer.qkv(seen).view(rows, width, -1, self.size)
            # Queries and keys are turned together.
            both, value = parts[:, :, :turned], parts[:, :, turned:]
            both = both * cos + _half_turned(both) * sin
            query, key = both[:, :, : self.heads], both[:, :, self.heads :]
            found = attend(number, query, key, value)
            states = states + layer.out(found.reshape(rows, width, -1))
            seen = F.rms_norm(states, (states.shape[-1],), layer.after, self.epsilon)
            gate, up = layer.gate_up(seen).chunk(2, dim=-1)
            states = states + layer.down(F.silu(gate) * up)
        return states

    def _logits(self, states: Tensor) -> Tensor:
        return self.output(F.rms_norm(states, (states.shape[-1],), self.norm, self.epsilon))


class Cache:
    """Keys and values of all rows, in place, and how many tokens of each row stand there."""

    def __init__(self, model: FusedLlama, rows: int, width: int) -> None:
        shape = (rows, model.groups, width, model.size)
        kind, device = model.norm.dtype, model.device
        # Zeros, since what lies there by chance may be no number, which no mask hides.
        self.keys = [torch.zeros(shape, dtype=kind, device=device) for _ in model.layers]
        self.values = [torch.zeros(shape, dtype=kind, device=device) for _ in model.layers]
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Let go of all other rows; returns which row stands at each place now.

        The last rows move into the places that became free: the fewest copies.
        """
        order = list(range(len(rows)))
        free = sorted(set(order) - set(rows))
        moved = [row for row in rows if row >= len(rows)]
        for place, row in zip(free, moved, strict=True):
            order[place] = row
        if free:
            width = int(self.lengths.max())
            for held in (*self.keys, *self.values):
                held[free, :, :width] = held[moved, :, :width]
        self.lengths = self.lengths[order]
        return order


def can_fuse(model: Any) -> bool:
    """Whether it is a Llama without anything that is not told here."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return (
        type(model).__name__ == "LlamaForCausalLM"
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and rope.get("rope_type", _DEFAULT_ROPE) == _DEFAULT_ROPE
    )


def _multiply(weight: Tensor) -> Multiply:
    """Multiplication by a weight (out, in), in the order the processor likes best, where it has one.

    oneDNN turns a bfloat16 weight into its own order each time it multiplies, unless it is given it
    so: then it takes half the time for one row, three quarters for 32.
    """
    if weight.dtype == torch.bfloat16 and weight.device.type == "cpu":
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 8)
            multiply = torch.ops.mkldnn._linear_pointwise
            # Tried here, so that a torch without it is found before there is work.
            multiply(weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], "")
        except (AttributeError, NotImplementedError, RuntimeError):
            pass
        else:
            return lambda states: multiply(states, packed, None, "none", [], "")
    return lambda states: F.linear(states, weight)


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = [getattr(attention, f"{name}_proj").weight.detach() for name in "qkv"]
    return _Layer(
        before=layer.input_layernorm.weight.detach(),
        qkv=_multiply(torch.cat(qkv)),
        out=_multiply(attention.o_proj.weight.detach()),
        after=layer.post_attention_layernorm.weight.detach(),
        gate_up=_multiply(torch.cat([mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()])),
        down=_multiply(mlp.down_proj.weight.detach()),
    )


def _half_turned(states: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
