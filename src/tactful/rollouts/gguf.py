"""Rollouts through llama.cpp, in this process: the fastest for one text at a time on a CPU.

The base's GGUF file and an adapter become one file of eight bits a weight, made once
(`conversion.py`); without an adapter the file is read as it is. llama.cpp's server does the work
without its HTTP: it lets texts share its slots and fills a slot again as soon as one has ended, and
reads a prompt once for all its samples.

Random numbers belong to a request and a sample, as everywhere. They are llama.cpp's own, so what is
sampled is not what another engine samples.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tactful.errors import ConfigError, DataError, MissingExtraError, TactfulError
from tactful.models import quiet_transformers, resolve, version_of
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.rollouts.conversion import Precision, gguf_adapter, gguf_merged
from tactful.rollouts.local import encode_prompt
from tactful.rollouts.openai import sample_seed

# llama.cpp sorts the vocabulary to find top-p; these hold its mass but for a flat row's.
_LIKELY = 512


class GGUFBackend:
    """A Llama in llama.cpp that answers requests side by side, in slots."""

    def __init__(
        self,
        base: Path,
        adapter: Path | None,
        tokenizer: Any,
        name: str,
        *,
        slots: int = 16,
        context: int = 4096,
        threads: int | None = None,
    ) -> None:
        """Load the files.

        Args:
            base: The GGUF file of the model.
            adapter: A GGUF file with a LoRA adapter for it.
            tokenizer: The model's, of transformers: prompts are cut as in training.
            name: What results call it.
            slots: Completions that are written side by side.
            context: Tokens that all slots hold together, prompts and answers.
            threads: As many as torch uses where none are given.
        """
        self.tokenizer = tokenizer
        self.name = name
        self.slots = slots
        self.context = context
        self._server = _start(base, adapter, slots, context, threads)
        self._room = _Room(slots, context)
        # Asked at once, so that one that cannot answer is found here, and the first text is as fast
        # as the others. Besides, a server that is let go before it has begun never ends.
        self.generate([Request("a", 1)], Sampling(temperature=0))

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "base",
        *,
        adapter: Path | None = None,
        precision: Precision | None = None,
        slots: int = 16,
        context: int = 4096,
        threads: int | None = None,
    ) -> GGUFBackend:
        """Load a model that is on this machine and has a GGUF file; convert once what is needed.

        Args:
            name_or_path: What `tactful.models.resolve` understands.
            adapter: A folder with a LoRA adapter in safetensors.
            precision: `q8_0`, the default where there is an adapter, and `f16` write both as one file
                of eight or sixteen bits a weight; `as it is`, the default without one, reads the GGUF
                file that is there. With an adapter beside it, that takes half as long again: every
                layer then has more multiplications to begin.
            slots: Completions that are written side by side.
            context: Tokens that all slots hold together.
            threads: As many as torch uses where none are given.
        """
        from transformers import AutoTokenizer

        files = resolve(name_or_path)
        if files.gguf is None:
            raise ConfigError(
                f"{files.folder} holds no GGUF file, which llama.cpp reads. Convert the model with "
                "llama.cpp's convert_hf_to_gguf.py and put the file there, or use another engine."
            )
        precision = precision or ("q8_0" if adapter else "as it is")
        name = f"{files.name}+gguf"
        if adapter is not None:
            name += f"+{version_of(adapter)}"
        if precision == "as it is":
            base, beside = files.gguf, gguf_adapter(adapter, files) if adapter else None
        else:
            base, beside = gguf_merged(files, adapter, precision), None
            name += f"+{precision}"
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                files.folder, local_files_only=True, trust_remote_code=False
            )
        return cls(base, beside, tokenizer, name, slots=slots, context=context, threads=threads)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Answer every request with `sampling.num` completions, in the order of the requests."""
        # Greedy completions of one prompt are all the same, so one is enough.
        num = sampling.num if sampling.temperature > 0 else 1
        prompts = [self._encode(request) for request in requests]
        pieces = [
            (place, first, min(self.slots, num - first))
            for place in range(len(requests))
            for first in range(0, num, self.slots)
        ]
        if not pieces:
            return []
        answers: list[list[Completion]] = [[] for _ in requests]
        with ThreadPoolExecutor(min(self.slots, len(pieces))) as pool:
            asked = [
                pool.submit(self._ask, prompts[place], requests[place], sampling, first, count)
                for place, first, count in pieces
            ]
            try:
                for (place, _, _), future in zip(pieces, asked, strict=True):
                    answers[place] += future.result()
            except BaseException:
                # What is not asked yet would only be asked in vain.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [answer * (sampling.num // num) for answer in answers]

    def _encode(self, request: Request) -> list[int]:
        tokens = encode_prompt(self.tokenizer, request.prompt, name=self.name)
        if len(tokens) + request.max_new_tokens > self.context:
            raise DataError(
                f"A prompt of {len(tokens)} tokens with {request.max_new_tokens} to come does not "
                f"fit into the {self.context} tokens that {self.name} holds. Shorten the text."
            )
        return tokens

    def _ask(
        self, prompt: list[int], request: Request, sampling: Sampling, first: int, count: int
    ) -> list[Completion]:
        """Samples `first` up to `first + count` of a request; the prompt is read once for them."""
        asked: dict[str, Any] = {
            # As tokens: in a text that it cuts itself, control tokens would be what they say.
            "prompt": prompt,
            "n_predict": request.max_new_tokens,
            "n": count,
            # llama.cpp adds a sample's number to the seed.
            "seed": (sample_seed(request.seed, 0) + first) & 0x7FFFFFFF,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": _LIKELY,
            # Nothing that was not asked for: its own defaults would cut and bend what is drawn.
            "samplers": ["top_k", "temperature", "top_p"],
            # Half read before, a prompt is rounded otherwise, and what is drawn would depend on what
            # was asked before. Messages share long beginnings, for which that is worth it.
            "cache_prompt": not isinstance(request.prompt, str),
        }
        with self._room.take(
            count, min(self.context, len(prompt) + count * request.max_new_tokens)
        ):
            found = self._server.handle_completions(asked)
        choices = found.get("choices") if isinstance(found, dict) else None
        if not choices or len(choices) != count:
            raise TactfulError(f"llama.cpp gave no answer: {json.dumps(found)[:500]}")
        return [
            Completion(choice["text"].strip(), finished=choice["finish_reason"] == "stop")
            for choice in sorted(choices, key=lambda choice: choice["index"])
        ]


class _Room:
    """Slots and tokens that are free; whoever needs more than there are waits.

    llama.cpp would take more than it has room for, and break off what it then cannot hold.
    """

    def __init__(self, slots: int, tokens: int) -> None:
        self.slots, self.tokens = slots, tokens
        self._changed = threading.Condition()

    @contextmanager
    def take(self, slots: int, tokens: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self.slots >= slots and self.tokens >= tokens)
            self.slots -= slots
            self.tokens -= tokens
        try:
            yield
        finally:
            with self._changed:
                self.slots += slots
                self.tokens += tokens
                self._changed.notify_all()


def _start(base: Path, adapter: Path | None, slots: int, context: int, threads: int | None) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError("llama.cpp", "gguf") from error
    import torch

    params = xllamacpp.CommonParams()
    params.model.path = str(base)
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    params.n_ctx, params.n_parallel, params.kv_unified = context, slots, True
    params.cpuparams.n_threads = threads or torch.get_num_threads()
    params.cpuparams_batch.n_threads = threads or torch.get_num_threads()
    params.warmup, params.verbosity = False, 0
    # By default it keeps what it has read in up to 8 GiB of memory.
    params.cache_ram_mib = 0
    # A rewrite mostly repeats its source: where its last two tokens stand there, too, the next six
    # are guessed from there and read at once. What is written stays the same.
    copying = params.speculative
    copying.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    copying.ngram_simple.size_n, copying.ngram_simple.size_m = 2, 6
    copying.ngram_simple.min_hits = 1
    # It listens on a port of this machine, which nobody shall use: the key is told to no one.
    params.api_keys = [secrets.token_hex(32)]
    params.ui = params.endpoint_slots = False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        beside = f" with {adapter}" if adapter else ""
        raise TactfulError(
            f"llama.cpp cannot load {base}{beside}: {error}. Is the file whole, and is there memory "
            "for it? `tactful doctor` looks at the files."
        ) from error
