"""Writing many completions at once, token by token.

A prompt is read once for all that is sampled from it, and a row that has ended leaves the batch: of
32 rows most end long before the last, and all steps after that would be spent on them in vain.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tactful.rollouts.llama import Cache, FusedLlama

# Enough tokens to hold the top-p mass of most rows. Sorting the whole vocabulary for every row
# would take as long as the model itself.
_LIKELY = 512
# Prompts are read when this part of the places is free.
_REFILL = 4

Pick = Callable[[Tensor, Sequence[int], Any], Tensor]
"""Logits, the rows they belong to and how many tokens these have; the next token of each.

How many is one number where all rows began together, else one for each row."""


def write(
    model: Any,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: Sequence[int],
    pick: Pick,
) -> list[list[int]]:
    """The tokens that follow each prompt, up to an end token, which is the last, or the limit."""
    written: list[list[int]] = [[] for _ in prompts]
    rows = _Seq2Seq if model.config.is_encoder_decoder else _Causal
    going = list(range(len(prompts)))
    with torch.inference_mode():
        batch = rows(model, prompts, ends[0])
        logits = batch.start()
        for step in range(max(limits)):
            tokens = pick(logits, going, step)
            for row, token in zip(going, tokens.tolist(), strict=True):
                written[row].append(token)
            left = [
                place
                for place, row in enumerate(going)
                if written[row][-1] not in ends and len(written[row]) < limits[row]
            ]
            if not left:
                break
            if len(left) < len(going):
                keep = torch.tensor(left, device=tokens.device)
                batch.keep(keep)
                tokens, going = tokens[keep], [going[place] for place in left]
            logits = batch.step(tokens)
    return written


def write_refilled(
    model: FusedLlama,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: Sequence[int],
    pick: Pick,
    *,
    rows: int,
) -> list[list[int]]:
    """As `write`, at most `rows` at a time: a place that becomes free goes to the next prompt.

    Places are given out some at a time, since reading a prompt stops all that are writing.
    """
    written: list[list[int]] = [[] for _ in prompts]
    width = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
    waiting = list(range(len(prompts)))
    going: list[int] = []
    with torch.inference_mode():
        cache = Cache(model, min(rows, len(prompts)), width)
        tokens = torch.zeros(0, dtype=torch.long, device=model.device)
        while waiting or going:
            free = rows - len(going)
            if waiting and (free >= max(1, rows // _REFILL) or not going):
                new, waiting = waiting[:free], waiting[free:]
                once = {
                    prompt: at
                    for at, prompt in enumerate(dict.fromkeys(tuple(prompts[row]) for row in new))
                }
                logits = model.read(list(once), cache, [once[tuple(prompts[row])] for row in new])
                tokens = torch.cat([tokens, pick(logits, new, [0] * len(new))])
                going = going + new
                fresh = new
            else:
                logits = model.step(tokens, cache)
                tokens = pick(logits, going, [len(written[row]) for row in going])
                fresh = going
            for row, token in zip(fresh, tokens[len(going) - len(fresh) :].tolist(), strict=True):
                written[row].append(token)
            left = [
                place
                for place, row in enumerate(going)
                if written[row][-1] not in ends and len(written[row]) < limits[row]
            ]
            if len(left) < len(going):
                order = cache.keep(left)
                tokens, going = tokens[order], [going[place] for place in order]
    return written


class _Causal:
    """Rows of a model that goes on where its prompt ends."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], padding: int) -> None:
        self.model = model
        # On the left, so that every row goes on where its prompt ends.
        self.ids, self.mask, self.back = _distinct(prompts, padding, model.device, left=True)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        known = inspect.signature(base.forward).parameters
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._placed = "position_ids" in known
        self.positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        self.cache: Any = None

    def start(self) -> Tensor:
        logits = self._read(self.ids, self.positions)
        self.positions = self.positions[:, -1:]
        self.keep(self.back)
        return logits[self.back]

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.positions = self.positions + 1
        return self._read(tokens[:, None], self.positions)

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]

    def _read(self, ids: Tensor, positions: Tensor) -> Tensor:
        placed = {"position_ids": positions} if self._placed else {}
        said = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **placed,
            **self._only_last,
        )
        self.cache = said.past_key_values
        logits: Tensor = said.logits[:, -1]
        return logits


class _Seq2Seq:
    """Rows of a model whose answer stands by itself, behind the token that starts it."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], padding: int) -> None:
        from transformers.modeling_outputs import BaseModelOutput

        self.model = model
        ids, mask, back = _distinct(prompts, padding, model.device, left=False)
        read = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        self.source, self.mask = read[back], mask[back]
        self._wrap = BaseModelOutput
        self.cache: Any = None

    def start(self) -> Tensor:
        first = self.model.generation_config.decoder_start_token_id
        return self.step(torch.full((len(self.mask),), first, device=self.mask.device))

    def step(self, tokens: Tensor) -> Tensor:
        said = self.model(
            encoder_outputs=self._wrap(last_hidden_state=self.source),
            attention_mask=self.mask,
            decoder_input_ids=tokens[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = said.past_key_values
        logits: Tensor = said.logits[:, -1]
        return logits

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.source, self.mask = self.source[rows], self.mask[rows]


def _distinct(
    prompts: Sequence[Sequence[int]], padding: int, device: Any, *, left: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Each prompt once, padded, its mask, and for every row which of them is its own."""
    once = {prompt: place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    width = max(map(len, once))
    ids = torch.full((len(once), width), padding)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(once):
        where = slice(width - len(prompt), width) if left else slice(len(prompt))
        ids[row, where] = torch.tensor(prompt)
        mask[row, where] = 1
    back = torch.tensor([once[tuple(prompt)] for prompt in prompts])
    return ids.to(device), mask.to(device), back.to(device)


# --- drawing --------------------------------------------------------------------------------


def draw(logits: Tensor, numbers: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Each row's next token by its own random number in [0, 1), temperature and top-p.

    The draw walks through the tokens in the order of the vocabulary. Walking by probability
    would let two nearly equal tokens swap places, and with them all that come after.
    """
    probs = (logits.float() / temperature).softmax(dim=-1)
    if top_p < 1:
        probs = probs.masked_fill(probs < _cutoff(probs, top_p), 0.0)
    # In float64 a draw below 1 stays below the total.
    cumulated = probs.cumsum(dim=-1).double()
    return torch.searchsorted(cumulated, numbers[:, None] * cumulated[:, -1:], right=True)[:, 0]


def _cutoff(probs: Tensor, top_p: float) -> Tensor:
    """The least probability among each row's most likely tokens that together reach `top_p`."""
    top = probs.topk(min(_LIKELY, probs.shape[-1])).values
    cutoff = _last_inside(top, top_p)
    flat = top.sum(dim=-1) < top_p
    if bool(flat.any()):
        cutoff[flat] = _last_inside(probs[flat].sort(dim=-1, descending=True).values, top_p)
    return cutoff


def _last_inside(falling: Tensor, top_p: float) -> Tensor:
    before = falling.cumsum(dim=-1) - falling
    return falling.masked_fill(before >= top_p, float("inf")).amin(dim=-1, keepdim=True)
