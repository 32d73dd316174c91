"""Whether another engine answers as torch does: the same questions, token by token.

What is compared are log-probabilities of given tokens. Written answers would hide most of what is
wrong, since a small fault seldom changes which token is likeliest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tactful.config import Config
from tactful.corpora.piles import own_corpus
from tactful.errors import TactfulError
from tactful.prompts import trained
from tactful.rollouts.local import encode_prompt
from tactful.training.logprobs import completion_ids, decoder_start

Format = Literal["merged", "gguf", "ct2"]

_PROMPTS = 12
# Most tokens asked for are among so many likely ones; the others cost an answer of megabytes.
_LIKELY = 512


class Limits(Config):
    """How far an engine may be from torch: differences of log-probabilities, in nats a token."""

    max_difference: float
    mean_difference: float
    same_greedy: float


# Measured with an adapter on the embedded base (max, mean, same greedy): merged 0.00002, 0.000004,
# all; ct2 0.00004, 0.00001, all. So both have room for other processors and deeper models, and
# weights rounded to half precision, at 0.007 and 0.001, are told from float32.
# gguf 0.34, 0.07, 98 %: llama.cpp rounds what it multiplies with four-bit weights, as much without
# an adapter. That it is not more with one, `_ROUNDING`, is what finds faults; the limits are twice
# what was measured, for bases that are quantised otherwise.
LIMITS: dict[Format, Limits] = {
    "merged": Limits(max_difference=0.001, mean_difference=0.0001, same_greedy=0.99),
    "gguf": Limits(max_difference=0.75, mean_difference=0.15, same_greedy=0.9),
    "ct2": Limits(max_difference=0.001, mean_difference=0.0001, same_greedy=0.99),
}
# By how much the mean difference may exceed that of the base alone. A right adapter was at 0.94,
# K not permuted at 1.6, a layer left out at 2.0, alpha a tenth too small at 1.9, Q and K not
# permuted at 3.2. Smaller faults (alpha 3 % too small, one layer's Q left out) are not seen.
_ROUNDING = 1.25
_ENOUGH = 0.001  # where an engine does not round, there is nothing to measure against


class Parity(Config):
    """What an export answered, against torch with base and adapter in float32."""

    format: Format
    base: str
    adapter: str
    passed: bool
    prompts: int
    tokens: int
    max_difference: float
    mean_difference: float
    same_greedy: float
    """The share of places at which both find the same token likeliest."""
    adapter_effect: float
    """How much the adapter changes the base, measured as `mean_difference` is."""
    base_difference: float | None
    """`mean_difference` of the engine's own base without the adapter, where it has one."""
    same_tokens: bool
    """Whether the export cuts the prompts into the same tokens."""
    limits: Limits
    faults: tuple[str, ...]

    def render(self) -> str:
        """The report as a person reads it."""
        limits = self.limits
        lines = [
            f"parity with torch, {self.tokens} tokens after {self.prompts} prompts ({self.format})",
            f"max difference   {self.max_difference:.2g} nats (limit {limits.max_difference:g})",
            f"mean difference  {self.mean_difference:.2g} nats (limit {limits.mean_difference:g})",
            *(
                [f"base alone       {self.base_difference:.2g} nats"]
                if self.base_difference is not None
                else []
            ),
            f"adapter's effect {self.adapter_effect:.2g} nats",
            f"same greedy      {self.same_greedy:.1%} (at least {limits.same_greedy:.0%})",
            f"same tokens      {'yes' if self.same_tokens else 'no'}",
        ]
        return "\n".join([*lines, *(f"FAILED: {fault}" for fault in self.faults)])


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and a completion that every engine is asked about, as tokens."""

    text: str
    prompt: list[int]
    completion: list[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """The log-probability of each token of a completion, and which token was likeliest there."""

    logp: NDArray[np.float64]
    greedy: NDArray[np.int64]


class Engine(Protocol):
    """Anything that can be asked what it thinks of given tokens."""

    def reads(self, question: Question) -> bool:
        """Whether it cuts the prompt's text into the question's tokens."""
        ...

    def answer(self, question: Question) -> Answer:
        """What it thinks of the completion."""
        ...


def questions(tokenizer: Any) -> list[Question]:
    """Our own sentences as prompts; decent ones that are no answer to them as completions.

    The completions need not fit. Likely tokens alone would hide what is wrong.
    """
    corpus = own_corpus()
    toxic = [example.text for example in corpus if example.toxic][:_PROMPTS]
    decent = [example.text for example in corpus if not example.toxic][:_PROMPTS]
    return [
        Question(
            text=trained(source),
            prompt=encode_prompt(tokenizer, trained(source)),
            completion=completion_ids(tokenizer, rewrite),
        )
        for source, rewrite in zip(toxic, decent, strict=True)
    ]


def compare(
    format: Format,
    base: str,
    adapter: str,
    expected: Sequence[Answer],
    bare: Sequence[Answer],
    found: Sequence[Answer],
    bare_found: Sequence[Answer] | None,
    *,
    same_tokens: bool,
) -> Parity:
    """Hold an export's answers against torch's, with and, as `bare`, without the adapter."""
    limits = LIMITS[format]
    differences = _differences(expected, found)
    effect = float(_differences(expected, bare).mean())
    alone = None if bare_found is None else float(_differences(bare, bare_found).mean())
    same = np.concatenate([a.greedy == b.greedy for a, b in zip(expected, found, strict=True)])
    largest, mean, greedy = float(differences.max()), float(differences.mean()), float(same.mean())
    # Written so that what is not a number is a fault.
    checks = {
        "the largest difference is above its limit": largest <= limits.max_difference,
        "the mean difference is above its limit": mean <= limits.mean_difference,
        "too few greedy tokens are the same": greedy >= limits.same_greedy,
        # Where an adapter is gentle and an engine rounds, the base alone would be within limits.
        "it is not clearly nearer to the adapted model than to the base": mean <= effect / 2,
        "it differs by more than its engine's rounding": alone is None
        or mean <= max(_ROUNDING * alone, _ENOUGH),
        "it cuts texts into other tokens": same_tokens,
    }
    faults = tuple(fault for fault, fine in checks.items() if not fine)
    return Parity(
        format=format,
        base=base,
        adapter=adapter,
        passed=not faults,
        prompts=len(expected),
        tokens=len(differences),
        max_difference=largest,
        mean_difference=mean,
        same_greedy=greedy,
        adapter_effect=effect,
        base_difference=alone,
        same_tokens=same_tokens,
        limits=limits,
        faults=faults,
    )


def _differences(some: Sequence[Answer], others: Sequence[Answer]) -> NDArray[np.float64]:
    """Of each token's log-probability; the sign tells nothing."""
    pairs = zip(some, others, strict=True)
    found: NDArray[np.float64] = np.concatenate([one.logp - other.logp for one, other in pairs])
    return np.abs(found)


class TorchEngine:
    """A model of transformers, causal or encoder-decoder."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def reads(self, question: Question) -> bool:
        """Whether the tokenizer makes the same tokens."""
        return encode_prompt(self.tokenizer, question.text) == question.prompt

    def answer(self, question: Question) -> Answer:
        """One pass over prompt and completion."""
        import torch

        prompt, completion = question.prompt, question.completion
        with torch.inference_mode():
            if self.model.config.is_encoder_decoder:
                ids = torch.tensor([[decoder_start(self.model), *completion[:-1]]])
                found = self.model(input_ids=torch.tensor([prompt]), decoder_input_ids=ids)
                told = found.logits[0]
            else:
                found = self.model(input_ids=torch.tensor([[*prompt, *completion]]))
                # Position t tells of token t + 1.
                told = found.logits[0, len(prompt) - 1 : -1]
        return _read(told.float().log_softmax(dim=-1).numpy(), completion)


def _read(logp: NDArray[np.float32], completion: Sequence[int]) -> Answer:
    """From (tokens of the completion, vocabulary)."""
    told = logp.astype(np.float64)
    return Answer(told[np.arange(len(completion)), completion], told.argmax(axis=-1))


class CT2Engine:
    """A CTranslate2 generator, computing in what it was stored in."""

    def __init__(self, folder: Path) -> None:
        import ctranslate2
        import torch

        threads = torch.get_num_threads()
        self.generator = ctranslate2.Generator(str(folder), intra_threads=threads)
        self.tokenizer = _tokenizer(folder)

    def reads(self, question: Question) -> bool:
        """Whether the tokenizer makes the same tokens."""
        return encode_prompt(self.tokenizer, question.text) == question.prompt

    def answer(self, question: Question) -> Answer:
        """One pass over prompt and completion, as words: its vocabulary is a file of its own."""
        words = self.tokenizer.convert_ids_to_tokens([*question.prompt, *question.completion])
        told = np.array(self.generator.forward_batch([words], return_log_probs=True))
        return _read(told[0, len(question.prompt) - 1 : -1], question.completion)


class CT2TranslatorEngine:
    """A CTranslate2 translator, as encoder-decoders are there called.

    It scores a given completion in one pass, but tells what it would have written only step by
    step, so it is asked once for each token.
    """

    def __init__(self, folder: Path) -> None:
        import ctranslate2
        import torch

        threads = torch.get_num_threads()
        self.translator = ctranslate2.Translator(str(folder), intra_threads=threads)
        self.tokenizer = _tokenizer(folder)

    def reads(self, question: Question) -> bool:
        """Whether the tokenizer makes the same tokens."""
        return encode_prompt(self.tokenizer, question.text) == question.prompt

    def answer(self, question: Question) -> Answer:
        """The end of a completion is not given: a translator scores one behind what it is given."""
        source = self.tokenizer.convert_ids_to_tokens(question.prompt)
        words = self.tokenizer.convert_ids_to_tokens(question.completion)
        [scored] = self.translator.score_batch([source], [words[:-1]])
        if scored.tokens != words:
            raise TactfulError(f"CTranslate2 scored {scored.tokens} where {words} was asked about")
        greedy = []
        for step in range(len(words)):
            [written] = self.translator.translate_batch(
                [source],
                target_prefix=[words[:step]],
                beam_size=1,
                # The prefix counts; by default the first token may not be the end.
                max_decoding_length=step + 1,
                min_decoding_length=0,
                return_end_token=True,
            )
            greedy.append(self.tokenizer.convert_tokens_to_ids(written.hypotheses[0][step]))
        return Answer(np.array(scored.log_probs, dtype=np.float64), np.array(greedy))


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


class LlamaCppEngine:
    """llama.cpp with the base's GGUF file and our adapter on it.

    It gives log-probabilities of what may come next, not of given tokens, so it is asked once for
    each token. Its server opens a port of this machine alone for as long as that takes.
    """

    def __init__(self, base: Path, adapter: Path | None) -> None:
        import torch
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(base)
        if adapter is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 1024, 1, False, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        try:
            self.server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise TactfulError(f"llama.cpp cannot load {base} with {adapter}: {error}") from error

    def reads(self, question: Question) -> bool:
        """Whether its own tokenizer makes as many tokens; it does not tell which."""
        answer = self._complete(question.text, 1, question.completion[0])
        return int(answer["usage"]["prompt_tokens"]) == len(question.prompt)

    def answer(self, question: Question) -> Answer:
        """One question a token; what was read before stays in its cache."""
        logp, greedy = [], []
        for step, token in enumerate(question.completion):
            before = [*question.prompt, *question.completion[:step]]
            likely = self._likely(before, _LIKELY, question.completion[0])
            greedy.append(next(iter(likely)))
            if token not in likely:
                likely = self._likely(before, 1 << 20, question.completion[0])
            # A token that the file does not know is a fault, as what is not a number is.
            logp.append(likely.get(token, float("nan")))
        return Answer(np.array(logp), np.array(greedy))

    def _likely(self, tokens: list[int], num: int, plain: int) -> dict[int, float]:
        answer = self._complete(tokens, num, plain)
        told = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {entry["id"]: entry["logprob"] for entry in told}

    def _complete(self, prompt: str | list[int], num: int, plain: int) -> dict[str, Any]:
        asked: dict[str, Any] = {"prompt": prompt, "n_predict": 1, "n_probs": num}
        # It must write a token to tell what it thought, and keeps silent when that is half a
        # letter. So it is made to write a plain one; what it tells is from before that.
        asked |= {"logit_bias": [[plain, 1000.0]], "temperature": 0.0}
        found: dict[str, Any] = self.server.handle_completions(asked)
        if "choices" not in found:
            raise TactfulError(f"llama.cpp gave no answer: {json.dumps(found)[:500]}")
        return found
