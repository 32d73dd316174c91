"""How likely a model finds given completions: shifted, masked, the end counted.

Position t of a causal model predicts token t + 1; an encoder-decoder's decoder reads the start
token where it predicts the first one. Padding is on the right, where no real token can see it, so
positions count from 0 in every row and a row's value does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tactful.branches import read_branches
from tactful.errors import ConfigError

TokenIds = Sequence[int]

# Positions whose logits exist at the same time: 512 of 49,152 logits in float32 are 100 MB.
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Log-probabilities of completions, in float32.

    `per_token` is (rows, longest), 0 behind a row's last token; `tokens` is (rows,), the end
    included.
    """

    per_token: Tensor
    tokens: Tensor

    @property
    def total(self) -> Tensor:
        """Sum over each completion's tokens, of shape (rows,)."""
        return self.per_token.sum(dim=1)

    @property
    def mean(self) -> Tensor:
        """Mean over each completion's tokens, of shape (rows,)."""
        return self.total / self.tokens


def completion_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens a model has to write for `text`: the bare text and the end, no prefix.

    What a user wrote never becomes a control token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ConfigError("The tokenizer has no end-of-text token, so no completion ever ends.")
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return [*tokens, end]


def causal_logprobs(
    model: Any,
    prompts: Sequence[TokenIds],
    completions: Sequence[TokenIds],
    *,
    chunk: int = _CHUNK,
) -> LogProbs:
    """Log-probabilities of completions after their prompts under a causal language model.

    The output layer runs only at positions that predict a token of a completion, and on `chunk`
    of them at a time. A chunk's logits are not kept for the gradient but computed again: the
    output layer is a fifth of a small model's work, while kept logits would be most of its memory.
    So the adapter that is active here must be active in the backward pass too.

    Equal prompts are read once for all that follows them, and equal rows are computed once.

    Args:
        model: A transformers model, also with a peft adapter; not wrapped for distribution, as
            its parts are called one by one. Wrap a module that calls this function instead.
        prompts: Token ids a row, at least one.
        completions: Token ids a row; a finished one ends with its end token.
        chunk: More is faster and takes more memory.
    """
    _check_rows(prompts, completions)
    if not all(prompts):
        raise ValueError("A prompt is empty, so nothing predicts the first token after it.")
    backbone, head = _parts(model)
    wanted = [(tuple(p), tuple(c)) for p, c in zip(prompts, completions, strict=True)]
    groups: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for prompt, completion in wanted:
        groups.setdefault(prompt, {})[completion] = None
    # The last token predicts nothing that is asked for.
    to_read = [(prompt, [c[:-1] for c in those]) for prompt, those in groups.items()]
    found = read_branches(backbone, to_read, model.device)
    distinct = [completion for those in groups.values() for completion in those]
    at: list[tuple[int, int]] = []
    for (prompt, those), places in zip(groups.items(), found.places, strict=True):
        for completion, (place, begin) in zip(those, places, strict=True):
            at.append((place, len(prompt) - 1))
            at += [(place, begin + i) for i in range(len(completion) - 1)]
    rows, columns = torch.tensor(at, device=model.device).unbind(dim=1)
    targets = torch.tensor([t for c in distinct for t in c], device=model.device)
    logp = _token_logp(head, found.hidden[rows, columns], targets, chunk)
    row, step = _places(distinct, model.device)
    once = _collect(logp, row, step, distinct)
    keys = [(prompt, completion) for prompt, those in groups.items() for completion in those]
    number = {key: i for i, key in enumerate(keys)}
    back = torch.tensor([number[key] for key in wanted], device=model.device)
    return LogProbs(once.per_token[back], once.tokens[back])


def seq2seq_logprobs(
    model: Any,
    prompts: Sequence[TokenIds],
    completions: Sequence[TokenIds],
    *,
    chunk: int = _CHUNK,
) -> LogProbs:
    """Log-probabilities of completions given their prompts under an encoder-decoder.

    The decoder only ever sees completions, so the model is called as a whole: what it does to its
    logits (T5 scales, BART adds) is then done too. Only the float32 copy is made in chunks.

    Args:
        model: A transformers model, also with a peft adapter.
        prompts: Token ids a row for the encoder, as its tokenizer makes them.
        completions: Token ids a row; a finished one ends with its end token.
        chunk: More is faster and takes more memory.
    """
    _check_rows(prompts, completions)
    start = decoder_start(model)
    input_ids, mask = _pad(prompts, model.device)
    decoder_ids, _ = _pad([[start, *c[:-1]] for c in completions], model.device)
    logits = model(
        input_ids=input_ids, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False
    ).logits
    targets, _ = _pad(completions, model.device)
    logp = _token_logp(nn.Identity(), logits.flatten(0, 1), targets.flatten(), chunk)
    row, step = _places(completions, model.device)
    return _collect(logp.view_as(targets)[row, step], row, step, completions)


def _check_rows(prompts: Sequence[TokenIds], completions: Sequence[TokenIds]) -> None:
    if len(prompts) != len(completions) or not prompts:
        raise ValueError(
            f"Got {len(prompts)} prompts and {len(completions)} completions; as many of each are "
            "needed, and at least one."
        )
    if not all(completions):
        raise ValueError("A completion is empty; at the least it consists of the end token.")


def _pad(rows: Sequence[TokenIds], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows filled up on the right, and a mask of what is real.

    They are filled with 0, which every vocabulary has: no result depends on it.
    """
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device) < lengths[:, None]
    return ids, mask.long()


def _places(completions: Sequence[TokenIds], device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and step of every token of the completions, row by row."""
    places = [(row, step) for row, tokens in enumerate(completions) for step in range(len(tokens))]
    row, step = torch.tensor(places, device=device).unbind(dim=1)
    return row, step


def _token_logp(head: nn.Module, inputs: Tensor, targets: Tensor, chunk: int) -> Tensor:
    scores = [
        checkpoint(_score, head, part, wanted, use_reentrant=False)
        for part, wanted in zip(
            torch.split(inputs, chunk), torch.split(targets, chunk), strict=True
        )
    ]
    return torch.cat(scores)


def _score(head: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    # bfloat16 has three digits: too few for sums of many logs.
    return -F.cross_entropy(head(inputs).float(), targets, reduction="none")


def _collect(logp: Tensor, row: Tensor, step: Tensor, completions: Sequence[TokenIds]) -> LogProbs:
    lengths = [len(tokens) for tokens in completions]
    empty = logp.new_zeros(len(lengths), max(lengths))
    return LogProbs(
        per_token=empty.index_put((row, step), logp),
        tokens=torch.tensor(lengths, device=logp.device),
    )


def decoder_start(model: Any) -> int:
    """The token that an encoder-decoder's decoder reads where it predicts the first one."""
    for config in (model.config, getattr(model, "generation_config", None)):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    raise ConfigError(
        "The model does not say which token its decoder starts from; set "
        "decoder_start_token_id in its config.json."
    )


# Models whose output layer was found to be the last thing that happens to their logits.
_plain: WeakSet[nn.Module] = WeakSet()


def _parts(model: Any) -> tuple[nn.Module, nn.Module]:
    """The part of a causal model that makes hidden states, and the one that makes logits.

    Adapters as of LoRA live inside the layers and come along; those that live around the model
    would be left out without a word, so they are refused.
    """
    if hasattr(model, "get_base_model"):
        if model.active_peft_config.is_prompt_learning:
            raise ConfigError(
                "Adapters that put virtual tokens before the prompt cannot be trained; use LoRA."
            )
        model = model.get_base_model()
    backbone, head = model.get_decoder(), model.get_output_embeddings()
    if model not in _plain:
        if backbone is model or head is None or not _is_plain(model, backbone, head):
            raise ConfigError(
                f"{type(model).__name__} does more to its logits than its output layer (scales or "
                "caps them), so they cannot be computed for single positions. Use another model."
            )
        _plain.add(model)
    return backbone, head


def _is_plain(model: Any, backbone: nn.Module, head: nn.Module) -> bool:
    """Whether logits are what `head` makes of what `backbone` makes, by watching one token."""
    seen: dict[str, Tensor] = {}
    hooks = [
        backbone.register_forward_hook(
            lambda _m, _i, out: seen.update(hidden=out.last_hidden_state)
        ),
        head.register_forward_hook(lambda _m, args, out: seen.update(taken=args[0], made=out)),
    ]
    try:
        with torch.no_grad():
            logits = model(
                input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device)
            ).logits
    finally:
        for hook in hooks:
            hook.remove()
    # Some models make their logits float32 at the end, which changes no value.
    return torch.equal(seen["hidden"], seen["taken"]) and torch.equal(
        seen["made"].float(), logits.float()
    )
