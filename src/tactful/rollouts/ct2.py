"""Rollouts through CTranslate2: encoder-decoders, and processors without bfloat16.

CTranslate2 draws from one stream of its own, which cannot be set back: a text would depend on all
that was sampled before it. So it is only asked for the likeliest continuation and for what it
thought at each step, and the draws are made here, by the numbers that every other request and
sample has too. Where a draw differs from the likeliest token, the row goes on from there in the
next round. Few do: a rewrite mostly copies, and the samples of a text share what they have in common.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tactful.errors import ConfigError, DataError, MissingExtraError, TactfulError
from tactful.models import quiet_transformers, resolve, version_of
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.rollouts.conversion import ct2_folder
from tactful.rollouts.local import encode_prompt, uniform_draws

Stored = Literal["int8", "float32"]


class CT2Backend:
    """A model that was converted for CTranslate2, causal or encoder-decoder."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        compute: str = "default",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        """Load a converted model; `compute` is CTranslate2's `compute_type`."""
        try:
            import ctranslate2
        except ImportError as error:
            raise MissingExtraError("CTranslate2", "ct2") from error
        import torch
        from transformers import AutoTokenizer

        self.name = name
        self.batch_size = batch_size
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            # Only what has a decoder of its own says how that starts.
            self._translates = "decoder_start_token" in settings
            kind = ctranslate2.Translator if self._translates else ctranslate2.Generator
            self._model = kind(
                str(folder),
                compute_type=compute,
                intra_threads=threads or torch.get_num_threads(),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise TactfulError(f"CTranslate2 cannot load {folder}: {error}") from error
        with quiet_transformers():
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        self._end = self.tokenizer.eos_token_id
        limit = self.tokenizer.model_max_length
        self._limit = limit if limit and limit < 1 << 24 else None

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "base",
        *,
        adapter: Path | None = None,
        stored: Stored = "int8",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> CT2Backend:
        """Load a model that is on this machine; it is converted once into the cache.

        Args:
            name_or_path: What `tactful.models.resolve` understands.
            adapter: A folder with a LoRA adapter in safetensors; it is merged before rounding.
            stored: What weights are rounded to.
            batch_size: Rows in one pass.
            threads: As many as torch uses where none are given.
        """
        files = resolve(name_or_path)
        folder = ct2_folder(files, adapter, stored)
        name = f"{files.name}+ct2-{stored}"
        if adapter is not None:
            name += f"+{version_of(adapter)}"
        return cls(folder, name, batch_size=batch_size, threads=threads)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Answer every request with `sampling.num` completions, in the order of the requests."""
        if not requests:
            return []
        num = sampling.num if sampling.temperature > 0 else 1
        prompts = [self._encode(request) for request in requests]
        rows = [
            _Row(i, request.max_new_tokens, request.seed, sample)
            for i, request in enumerate(requests)
            for sample in range(num)
        ]
        open_rows = rows
        while open_rows:
            self._round(prompts, open_rows, sampling)
            open_rows = [row for row in open_rows if not row.done]
        completions = [self._completion(row) for row in rows]
        return [
            completions[start : start + num] * (sampling.num // num)
            for start in range(0, len(completions), num)
        ]

    def _round(self, prompts: list[list[int]], rows: list[_Row], sampling: Sampling) -> None:
        """Let every row go on until it is done, or draws another token than the likeliest."""
        alike: dict[tuple[int, tuple[int, ...], int], list[_Row]] = {}
        for row in rows:
            alike.setdefault((row.request, tuple(row.tokens), row.limit), []).append(row)
        # Alike lengths share a batch, so little is padded.
        order = sorted(alike, key=lambda key: -len(prompts[key[0]]) - len(key[1]))
        for start in range(0, len(order), self.batch_size):
            keys = order[start : start + self.batch_size]
            written = self._continue(
                [prompts[place] for place, _, _ in keys],
                [list(tokens) for _, tokens, _ in keys],
                [limit - len(tokens) for _, tokens, limit in keys],
                sampling.temperature > 0,
            )
            for key, (tokens, logits) in zip(keys, written, strict=True):
                for row in alike[key]:
                    row.go_on(tokens, logits, sampling, self._end)

    def _continue(
        self, prompts: list[list[int]], begun: list[list[int]], limits: list[int], told: bool
    ) -> list[tuple[list[int], Any]]:
        """The likeliest tokens behind each beginning, up to an end or a limit, and all logits."""
        words = self.tokenizer.convert_ids_to_tokens
        asked: dict[str, Any] = {
            "beam_size": 1,
            "return_end_token": True,
            "return_logits_vocab": told,
        }
        try:
            if self._translates:
                found = self._model.translate_batch(
                    [words(prompt) for prompt in prompts],
                    target_prefix=[words(tokens) for tokens in begun],
                    # Here a beginning counts.
                    max_decoding_length=max(
                        len(tokens) + limit for tokens, limit in zip(begun, limits, strict=True)
                    ),
                    min_decoding_length=0,
                    max_input_length=0,
                    **asked,
                )
                ids = [
                    [self.tokenizer.convert_tokens_to_ids(word) for word in one.hypotheses[0]]
                    for one in found
                ]
                ids = [all_[len(tokens) :] for all_, tokens in zip(ids, begun, strict=True)]
            else:
                found = self._model.generate_batch(
                    [words(prompt + tokens) for prompt, tokens in zip(prompts, begun, strict=True)],
                    max_length=max(limits),
                    min_length=0,
                    include_prompt_in_result=False,
                    **asked,
                )
                ids = [list(one.sequences_ids[0]) for one in found]
        except (RuntimeError, ValueError) as error:
            raise TactfulError(f"CTranslate2 failed: {error}") from error
        logits = [
            one.logits[0][-len(tokens) :] if told else None
            for one, tokens in zip(found, ids, strict=True)
        ]
        return list(zip(ids, logits, strict=True))

    def _encode(self, request: Request) -> list[int]:
        tokens = encode_prompt(self.tokenizer, request.prompt, name=self.name)
        # Of an encoder-decoder, prompt and answer stand in different places.
        room = request.max_new_tokens if not self._translates else 0
        if self._limit and len(tokens) + room > self._limit:
            raise DataError(
                f"A prompt of {len(tokens)} tokens with {request.max_new_tokens} to come does not "
                f"fit into the {self._limit} tokens that {self.name} reads. Shorten the text."
            )
        return tokens

    def _completion(self, row: _Row) -> Completion:
        finished = bool(row.tokens) and row.tokens[-1] == self._end
        tokens = row.tokens[:-1] if finished else row.tokens
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return Completion(text.strip(), finished=finished)


class _Row:
    """One sample of one request: what stands there, and the numbers it is drawn by."""

    def __init__(self, request: int, limit: int, seed: int, sample: int) -> None:
        self.request = request
        self.limit = limit
        self.tokens: list[int] = []
        self.done = False
        self._numbers = uniform_draws([(seed, sample)], limit)[0]

    def go_on(self, likeliest: list[int], logits: Any, sampling: Sampling, end: int) -> None:
        """Take tokens over as long as they are those that would have been drawn."""
        for step, token in enumerate(likeliest):
            if logits is not None:
                token, agreed = self._draw(logits[step], sampling), token
            else:
                agreed = token
            self.tokens.append(token)
            if token == end or len(self.tokens) == self.limit:
                self.done = True
                return
            if token != agreed:
                return
        if not likeliest:
            raise ConfigError("CTranslate2 wrote nothing where a token was asked for.")

    def _draw(self, logits: Any, sampling: Sampling) -> int:
        import torch

        from tactful.rollouts.decoding import draw

        values = torch.from_numpy(np.array(logits, dtype=np.float32))[None]
        number = self._numbers[len(self.tokens)][None]
        return int(draw(values, number, temperature=sampling.temperature, top_p=sampling.top_p))
