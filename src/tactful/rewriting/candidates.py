"""Where candidates come from: a prompted model, and the baselines behind the same protocol."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from tactful.prompts import few_shot
from tactful.records import Prompt
from tactful.rewriting.edits import Edit, apply_edits
from tactful.rewriting.lexicon import flagged_words
from tactful.rollouts.base import Backend, Request, Sampling
from tactful.screeners.base import Screener


class CandidateSource(Protocol):
    """Sources in, some rewrites of each out, in order; none at all is a fair answer."""

    @property
    def name(self) -> str: ...

    def propose(self, sources: Sequence[str]) -> list[list[str]]: ...


def written(source: CandidateSource) -> bool:
    """Whether its rewrites were written down by people, the best first."""
    return bool(getattr(source, "written", False))


def blunt(source: CandidateSource) -> bool:
    """Whether it works on flagged words without reading the sentence that they stand in."""
    return bool(getattr(source, "blunt", False))


class PromptedModel:
    """Samples rewrites from a backend, asked by a prompt."""

    def __init__(
        self,
        backend: Backend,
        *,
        prompt: Callable[[str], Prompt] = few_shot,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> None:
        self.backend = backend
        self.prompt = prompt
        self.sampling = sampling or Sampling(num=4, temperature=0.7, top_p=0.9)
        self.seed = seed
        self.name = f"{backend.name}+{getattr(prompt, '__name__', 'prompt')}"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        prompts = [self.prompt(source) for source in sources]
        return sampled(self.backend, prompts, sources, self.sampling, seed=self.seed)


def sampled(
    backend: Backend,
    prompts: Sequence[Prompt],
    sources: Sequence[str],
    sampling: Sampling,
    *,
    seed: int = 0,
) -> list[list[str]]:
    """Finished answers to a prompt about each source, in the source's outer habits."""
    requests = [
        Request(prompt, _token_budget(source), seed_of(source, seed))
        for prompt, source in zip(prompts, sources, strict=True)
    ]
    answers = backend.generate(requests, sampling)
    return [
        [_restyle(source, completion.text) for completion in answer if completion.finished]
        for source, answer in zip(sources, answers, strict=True)
    ]


class Copy:
    """Proposes the source itself: the baseline that changes nothing."""

    name = "copy"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [[source] for source in sources]


class Deletion:
    """Deletes the words that the screener points at, until it is content: a strong baseline."""

    blunt = True

    def __init__(self, screener: Screener) -> None:
        self.screener = screener
        self.name = "deletion"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [[strike(source, self.screener, replacement="")] for source in sources]


def strike(text: str, screener: Screener, *, replacement: str, rounds: int = 12) -> str:
    """Replace the words the screener points at, in order, until the text passes.

    May give up with a text that still fails: the caller must screen what comes back.
    """
    for _ in range(rounds):
        if screener.toxicity([text])[0] < screener.thresholds.passing:
            break
        # A mask must not be masked again, or nothing would ever end.
        found = [w for w in flagged_words(text, screener) if text[slice(*w)] not in replacement]
        if not found:
            break
        milder = [apply_edits(text, [Edit(start, end, replacement)]) for start, end in found]
        text = milder[int(np.argmin(screener.toxicity(milder)))]
    return text


def _token_budget(source: str) -> int:
    """Room for 1.2 times the source and a little more, at about three characters a token."""
    return int(1.2 * len(source) / 3) + 12


def seed_of(source: str, seed: int) -> int:
    """Seeded by the text itself, so that a text gets the same rewrite wherever it stands."""
    return zlib.crc32(source.encode("utf-8", "surrogatepass"), seed & 0xFFFFFFFF)


def _restyle(source: str, rewrite: str) -> str:
    """Give a rewrite the outer habits of its source: one line, quotes, casing, last stop."""
    text = " ".join(rewrite.split())
    for mark in ('"', "'"):
        if len(text) > 1 and text[0] == text[-1] == mark and source[:1] != mark:
            text = text[1:-1].strip()
    if source == source.lower():
        text = text.lower()
    if source and source[-1] not in ".!?" and text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    return text
