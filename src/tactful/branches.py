"""One prompt, several continuations, read in one row: the prompt's work is done once.

Each continuation sees the prompt and itself, never its neighbours, and counts its positions from
where the prompt ends. So hidden states are what separate rows would give, and a source with four
rewrites costs little more than one with two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Models known to take masks and positions as they are given; the others get a row for each.
_KNOWN = ("llama", "mistral", "qwen2", "qwen3", "smollm3")

Tokens = Sequence[int]
Group = tuple[Tokens, Sequence[Tokens]]
"""A prompt and what may follow it."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Hidden states of groups, and where each continuation stands in them."""

    hidden: Tensor
    """(rows, width, size)."""
    places: list[list[tuple[int, int]]]
    """By group and continuation: its row, and where in it the continuation begins."""


def read_branches(
    backbone: Any, groups: Sequence[Group], device: torch.device | str = "cpu"
) -> Branches:
    """Read every continuation after its prompt; on the right, where nobody sees it, is padding."""
    branching = can_branch(backbone)
    rows, places = _rows(groups, branching)
    width = max(len(prompt) + sum(map(len, those)) for prompt, those in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros_like(ids)
    # Who wrote what: 0 the prompt, 1 and up the continuations, -1 nobody.
    owner = torch.full_like(ids, -1)
    for row, (prompt, those) in enumerate(rows):
        at = 0
        for number, tokens in enumerate((prompt, *those)):
            end = at + len(tokens)
            begin = len(prompt) if number else 0
            ids[row, at:end] = torch.tensor(list(tokens), dtype=torch.long)
            positions[row, at:end] = torch.arange(begin, begin + len(tokens))
            owner[row, at:end] = number
            at = end
    given: dict[str, Tensor] = {"input_ids": ids, "attention_mask": (owner >= 0).long()}
    if branching:
        given |= {"attention_mask": _sight(owner, backbone), "position_ids": positions}
    given = {name: tensor.to(device) for name, tensor in given.items()}
    return Branches(backbone(**given, use_cache=False).last_hidden_state, places)


def can_branch(backbone: Any) -> bool:
    """Whether a model is known to read branches as it would read rows."""
    config = getattr(backbone, "config", None)
    return (
        config is not None
        and config.model_type in _KNOWN
        and config._attn_implementation in ("sdpa", "eager")
        and not getattr(config, "sliding_window", None)
    )


def _rows(
    groups: Sequence[Group], branching: bool
) -> tuple[list[Group], list[list[tuple[int, int]]]]:
    rows: list[Group] = []
    places: list[list[tuple[int, int]]] = []
    for prompt, those in groups:
        if branching:
            begins = [len(prompt) + sum(map(len, those[:i])) for i in range(len(those))]
            places.append([(len(rows), begin) for begin in begins])
            rows.append((prompt, those))
        else:
            places.append([(len(rows) + i, len(prompt)) for i in range(len(those))])
            rows += [(prompt, [tokens]) for tokens in those]
    return rows, places


def _sight(owner: Tensor, backbone: Any) -> Tensor:
    """(rows, 1, width, width): which position sees which."""
    same = owner[:, :, None] == owner[:, None, :]
    prompt = owner[:, None, :] == 0
    width = owner.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool).tril()
    # Everything sees itself: who sees nothing has no attention to share out.
    sees = ((same | prompt) & earlier | torch.eye(width, dtype=torch.bool))[:, None]
    if backbone.config._attn_implementation == "sdpa":
        return sees
    kind = next(backbone.parameters()).dtype
    return torch.zeros(sees.shape, dtype=kind).masked_fill(~sees, torch.finfo(kind).min)
