"""Stand-ins that answer by a rule one can read, so that tests say what they test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tactful.records import Span
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.screeners.base import Thresholds


class KeywordScreener:
    """As toxic as the worst listed word it contains; any other text scores 0."""

    def __init__(
        self, words: Mapping[str, float], *, act: float = 0.5, passing: float = 0.5
    ) -> None:
        self.words = dict(words)
        self.name = "keyword@test"
        self.thresholds = Thresholds(act=act, passing=passing, calibrated_on="by hand")

    def toxicity(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array(
            [max((s for w, s in self.words.items() if w in t.lower()), default=0.0) for t in texts],
            dtype=np.float64,
        )

    def explain(self, text: str) -> list[Span]:
        lower = text.lower()
        return [
            Span(lower.index(word), lower.index(word) + len(word), score)
            for word, score in sorted(self.words.items(), key=lambda item: -item[1])
            if word in lower
        ]


class WordOverlap:
    """Similarity as the share of the source's words that the rewrite keeps."""

    name = "overlap@test"

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        return np.array(
            [_overlap(s, r) for s, r in zip(sources, rewrites, strict=True)], dtype=np.float64
        )


def _overlap(source: str, rewrite: str) -> float:
    words = set(source.lower().split())
    return len(words & set(rewrite.lower().split())) / len(words) if words else 0.0


class CannedBackend:
    """Answers with the texts listed for the first key found in the prompt, repeated to `num`."""

    name = "canned@test"

    def __init__(self, answers: Mapping[str, Sequence[str]], default: str = "") -> None:
        self.answers = {key: list(texts) for key, texts in answers.items()}
        self.default = default
        self.requests: list[Request] = []

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        self.requests.extend(requests)
        return [self._answer(request, sampling.num) for request in requests]

    def _answer(self, request: Request, num: int) -> list[Completion]:
        prompt = request.prompt if isinstance(request.prompt, str) else str(request.prompt)
        texts = next((t for key, t in self.answers.items() if key in prompt), [self.default])
        chosen = [texts[i % len(texts)] for i in range(num)]
        # A crude token is a word; enough to show that the limit is honoured.
        limit = request.max_new_tokens
        return [
            Completion(" ".join(t.split()[:limit]), finished=len(t.split()) <= limit)
            for t in chosen
        ]
