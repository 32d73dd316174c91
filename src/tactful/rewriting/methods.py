"""Where candidates come from, by name: our rewriter, what needs no training, and baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from tactful.errors import ConfigError
from tactful.prompts import trained
from tactful.rewriting.baselines import ContrastivePrompt, MaskAndRefill
from tactful.rewriting.candidates import CandidateSource, Copy, Deletion, PromptedModel
from tactful.rewriting.idioms import Idioms, PastIdioms
from tactful.rewriting.refine import Refine, Value
from tactful.rewriting.replace import Replacement
from tactful.rewriting.words import Words
from tactful.rollouts.base import Backend, Sampling
from tactful.screeners.base import Screener

Method = Literal[
    "model",
    "replace",
    "best-of-n",
    "refine",
    "contrastive",
    "mask-and-refill",
    "prompt",
    "delete",
    "copy",
]
"""
model            known idioms and words, then the trained model, the table of replacements, deletion
replace          known idioms and words, then a search over the table of replacements, then deletion
best-of-n        the best of some answers of the bare model to a few-shot prompt
refine           the bare model told which words still insult, for some rounds
contrastive      one answer of the bare model to examples of what passed and what failed
mask-and-refill  the bare model's likeliest decent word for each that is flagged
prompt           one answer of the bare model to a few-shot prompt
delete           flagged words deleted
copy             the text as it is
"""
METHODS: tuple[Method, ...] = get_args(Method)

_GREEDY = Sampling(num=1, temperature=0.0)


def sources_of(
    method: Method,
    screener: Screener,
    value: Value,
    sampling: Sampling,
    load: Callable[[bool], Backend],
) -> list[CandidateSource]:
    """The sources of a method, in the order in which they are asked.

    Args:
        method: Which.
        screener: Points at words.
        value: How good a rewrite is, for methods that look for a good one.
        sampling: How methods that choose from several samples draw them.
        load: Loads what writes: with True our trained adapter beside the model, else the model bare.
    """
    match method:
        case "model":
            ours = PromptedModel(load(True), prompt=trained, sampling=sampling)
            table = Replacement(screener)
            words = Words(screener)
            return [
                Idioms(),
                words,
                PastIdioms(ours, table, words.plainly),
                table,
                Deletion(screener),
            ]
        case "replace":
            return [Idioms(), Words(screener), Replacement(screener), Deletion(screener)]
        case "best-of-n":
            return [PromptedModel(load(False), sampling=sampling)]
        case "refine":
            return [Refine(load(False), screener, value)]
        case "contrastive":
            return [ContrastivePrompt(load(False), sampling=_GREEDY)]
        case "mask-and-refill":
            return [MaskAndRefill(_likely(load(False)), screener)]
        case "prompt":
            return [PromptedModel(load(False), sampling=_GREEDY)]
        case "delete":
            return [Deletion(screener)]
        case "copy":
            return [Copy()]


def _likely(backend: Backend) -> Any:
    """A backend that also says how likely a text is; engines made for writing alone cannot."""
    if not hasattr(backend, "mean_logp"):
        raise ConfigError(
            f"mask-and-refill needs to know how likely texts are, which {backend.name} does not "
            "tell; leave --engine out, or give --engine torch"
        )
    return backend
