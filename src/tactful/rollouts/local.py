"""Rollouts with a model in this process, through transformers `generate`.

Random numbers belong to a row, not to the batch: row `i` of a request draws from the stream of
(request.seed, i). So a text does not depend on its neighbours, beyond the rounding of the
model's own arithmetic (which in bfloat16 may turn a near tie).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError, DataError
from tactful.models import (
    ADAPTER_FILE,
    language_model,
    native_bfloat16,
    resolve,
    sound,
    version_of,
)
from tactful.records import Message, Prompt
from tactful.rollouts.base import Completion, Request, Sampling

if TYPE_CHECKING:
    from torch import Tensor, dtype

DType = Literal["auto", "bfloat16", "float32"]
"""`auto` is bfloat16 where the processor computes in it natively, else float32."""

# Tokens that a fused model holds at a time, and the width up to which rows share their places.
_TOKENS = 16_384
_PLACE = 128

_NO_TEMPLATE = (
    "The model {name} has no chat template, so it cannot take messages. Send a plain string, or "
    "use an instruct model."
)


class LocalBackend:
    """A language model, causal or encoder-decoder, that answers requests in batches."""

    def __init__(
        self, model: Any, tokenizer: Any, name: str, *, batch_size: int = 32, fused: Any = None
    ) -> None:
        """`fused` is the same model as a `FusedLlama`, which then writes in its place."""
        self.model = model.eval()
        self.fused = fused
        self.tokenizer = tokenizer
        self.name = name
        self.batch_size = batch_size
        self._ends = _end_tokens(model, tokenizer)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "base",
        *,
        dtype: DType = "auto",
        adapter: Path | None = None,
        device: str | None = None,
        batch_size: int = 32,
        fuse: bool = False,
    ) -> LocalBackend:
        """Load a model that is on this machine.

        Args:
            name_or_path: What `tactful.models.resolve` understands.
            dtype: What the model computes in.
            adapter: A folder with a LoRA adapter in safetensors. It stays beside the model:
                merged into bfloat16 weights, small changes would be rounded away.
            device: Where to compute; a GPU if there is one, else the CPU.
            batch_size: Rows in one pass: more is faster per text and takes more memory.
            fuse: Merge the adapter after all, in float32, and write with larger multiplications
                where the model is a plain Llama: about twice as fast, rounded a little otherwise.
        """
        import torch

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        files = resolve(name_or_path)
        computed = _torch_dtype(dtype, device)
        model, tokenizer = language_model(files, torch.float32 if fuse else computed)
        tame(model)
        name = files.name
        if adapter is not None:
            model = _with_adapter(model, adapter)
            name += f"+{version_of(adapter)}"
        fused = None
        if fuse:
            from tactful.rollouts.llama import FusedLlama, can_fuse

            if adapter is not None:
                model = model.merge_and_unload(safe_merge=True)
            model = model.to(device, computed)
            if can_fuse(model):
                fused = FusedLlama(model)
                name += "+fused"
        return cls(model.to(device), tokenizer, name, batch_size=batch_size, fused=fused)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Answer every request with `sampling.num` completions, in the order of the requests."""
        prompts = [self._encode(request) for request in requests]
        # Greedy completions of one prompt are all the same, so one is enough.
        num = sampling.num if sampling.temperature > 0 else 1
        rows = [(i, sample) for i in range(len(requests)) for sample in range(num)]
        # Alike lengths share a batch, so little is padded; the longest first, so that a batch
        # that does not fit into memory fails at once.
        rows.sort(key=lambda row: -len(prompts[row[0]]))
        answers: list[list[Completion]] = [[Completion("")] * num for _ in requests]
        for batch in self._batches(rows, prompts, requests):
            completions = self._generate_batch(
                [prompts[i] for i, _ in batch],
                [requests[i].max_new_tokens for i, _ in batch],
                [(requests[i].seed, sample) for i, sample in batch],
                sampling,
            )
            for (i, sample), completion in zip(batch, completions, strict=True):
                answers[i][sample] = completion
        return [answer * (sampling.num // num) for answer in answers]

    def _batches(
        self,
        rows: list[tuple[int, int]],
        prompts: list[list[int]],
        requests: Sequence[Request],
    ) -> list[list[tuple[int, int]]]:
        """Rows that are written together, or that follow each other in the same places."""
        if self.fused is None:
            starts = range(0, len(rows), self.batch_size)
            return [rows[start : start + self.batch_size] for start in starts]
        # Every place is as wide as the widest row, so the few wide ones have places of their own.
        wide: dict[int, list[tuple[int, int]]] = {}
        for row in rows:
            width = len(prompts[row[0]]) + requests[row[0]].max_new_tokens
            wide.setdefault((width // _PLACE).bit_length(), []).append(row)
        return list(wide.values())

    def mean_logp(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The mean log-probability of a text's tokens and of its end, in the order of the texts."""
        import torch

        if self.model.config.is_encoder_decoder:
            raise ConfigError(f"{self.name} is an encoder-decoder, which has no text of its own.")
        end = self._ends[0]
        rows = [[end, *encode_prompt(self.tokenizer, text, name=self.name), end] for text in texts]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        means = np.zeros(len(rows))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            width = len(rows[batch[0]])
            ids = torch.full((len(batch), width), end, device=self.model.device)
            mask = torch.zeros_like(ids)
            for i, row in enumerate(batch):
                ids[i, : len(rows[row])] = torch.tensor(rows[row])
                mask[i, : len(rows[row])] = 1
            with torch.inference_mode():
                logits = self.model(input_ids=ids, attention_mask=mask).logits
                # Position t predicts token t + 1.
                losses = torch.nn.functional.cross_entropy(
                    logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none"
                )
            counted = mask[:, 1:]
            means[batch] = (-(losses * counted).sum(1) / counted.sum(1)).cpu().numpy()
        return means

    def _encode(self, request: Request) -> list[int]:
        tokens = encode_prompt(self.tokenizer, request.prompt, name=self.name)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit and len(tokens) + request.max_new_tokens > limit:
            raise DataError(
                f"A prompt of {len(tokens)} tokens with {request.max_new_tokens} to come does not "
                f"fit into the {limit} tokens that {self.name} reads. Shorten the text."
            )
        return tokens

    def _generate_batch(
        self,
        prompts: list[list[int]],
        limits: list[int],
        seeds: list[tuple[int, int]],
        sampling: Sampling,
    ) -> list[Completion]:
        from tactful.rollouts.decoding import draw, write, write_refilled

        if sampling.temperature > 0:
            numbers = uniform_draws(seeds, max(limits)).to(self.model.device)

            def pick(logits: Tensor, rows: Sequence[int], step: Any) -> Tensor:
                return draw(
                    logits,
                    numbers[list(rows), step],
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                )
        else:

            def pick(logits: Tensor, rows: Sequence[int], step: Any) -> Tensor:
                return logits.argmax(dim=-1)

        if self.fused is None:
            written = write(self.model, prompts, limits, self._ends, pick)
        else:
            width = max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True))
            # Wide rows are few at a time: their places are what takes memory.
            rows = max(1, min(self.batch_size, _TOKENS // width))
            written = write_refilled(self.fused, prompts, limits, self._ends, pick, rows=rows)
        return [self._completion(tokens) for tokens in written]

    def _completion(self, tokens: list[int]) -> Completion:
        end = next((i for i, token in enumerate(tokens) if token in self._ends), None)
        text = self.tokenizer.decode(tokens[:end], skip_special_tokens=True)
        return Completion(text.strip(), finished=end is not None)


def encode_prompt(tokenizer: Any, prompt: Prompt, *, name: str = "this model") -> list[int]:
    """Turn a prompt into tokens; what a user wrote never becomes a control token.

    A plain string is text throughout. Messages go through the chat template, which is cut at
    their contents: only the template's own pieces may hold special tokens.
    """
    if isinstance(prompt, str):
        tokens: list[int] = tokenizer.encode(prompt, split_special_tokens=True)
        # A model cannot start from nothing.
        return tokens or [tokenizer.bos_token_id or tokenizer.eos_token_id]
    if not tokenizer.chat_template:
        raise ConfigError(_NO_TEMPLATE.format(name=name))
    tokens = []
    for piece, is_content in _template_pieces(tokenizer, prompt):
        tokens += tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=is_content)
    return tokens


def _template_pieces(tokenizer: Any, messages: list[Message]) -> list[tuple[str, bool]]:
    # Private-use characters: no template contains them, and contents are put in afterwards.
    marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
    marked = [
        {"role": message["role"], "content": mark}
        for message, mark in zip(messages, marks, strict=True)
    ]
    try:
        rest = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        # A template is a program, which may do anything that its sandbox does not forbid.
        raise ConfigError(
            f"the model's chat template cannot be used: {type(error).__name__}: {error}"
        ) from error
    pieces = []
    for message, mark in zip(messages, marks, strict=True):
        before, found, rest = rest.partition(mark)
        if not found:
            raise ConfigError(
                f"The chat template does not show the {message['role']} message where it stands; "
                "use another order of roles, or another model."
            )
        pieces += [(before, False), (message["content"], True)]
    return [*pieces, (rest, False)]


def uniform_draws(seeds: list[tuple[int, int]], length: int) -> Tensor:
    """For each seed and sample its own random numbers in [0, 1)."""
    import torch

    streams = [np.random.Generator(np.random.Philox([abs(seed), i])) for seed, i in seeds]
    return torch.from_numpy(np.stack([stream.random(length) for stream in streams]))


def tame(model: Any) -> None:
    """Make a freshly loaded model do what is asked, and nothing dear besides.

    Of its own generation settings only when it stops is kept: transformers fills what a request
    leaves open from them, and a repetition penalty, say, would bend what is sampled without anybody
    having asked.

    The states of the last positions are cut out of a prompt's. For such a piece, torch multiplies
    by a frozen output layer in as many copies of it as there are rows: gigabytes, and most of the
    time that a batch took.
    """
    model.get_output_embeddings().register_forward_pre_hook(
        lambda layer, given: (given[0].contiguous(), *given[1:])
    )
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # untyped upstream
        eos_token_id=own.eos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
    )


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    ends = list(ends) if isinstance(ends, list) else [ends]
    known = [end for end in (tokenizer.eos_token_id, *ends) if end is not None]
    if not known:
        raise ConfigError("The model has no end-of-text token, so it would never stop.")
    return list(dict.fromkeys(known))


def _torch_dtype(dtype: DType, device: str) -> dtype:
    import torch

    if dtype == "auto":
        dtype = "bfloat16" if native_bfloat16(device) else "float32"
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / ADAPTER_FILE).is_file():
        raise ConfigError(
            f"{adapter} holds no {ADAPTER_FILE}, so it is not an adapter we can load."
        )
    with sound(adapter, "adapter of this base"):
        # In the base's own precision: in float32, every layer would turn its input over and back.
        return PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
