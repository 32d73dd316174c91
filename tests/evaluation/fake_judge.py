"""A judge that answers by a rule one can read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tactful.evaluation.base import Scores


class RuleJudge:
    """Style 0 with the word "fool" and 1 without; meaning is word overlap; fluency is given.

    `asked` collects what was shown, so that a test can see what was judged and what was not.
    """

    name = "rule"
    signature = "rule@test"

    def __init__(self, fluency: float = 1.0, *, needs_references: bool = False) -> None:
        self.fluency = fluency
        self.needs_references = needs_references
        self.asked: list[tuple[str, str, tuple[str, ...] | None]] = []

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        shown = [None] * len(sources) if references is None else [tuple(r) for r in references]
        self.asked += zip(sources, rewrites, shown, strict=True)
        pairs = list(zip(sources, rewrites, strict=True))
        return Scores(
            style=np.array([float("fool" not in rewrite.lower()) for _, rewrite in pairs]),
            meaning=np.array([_overlap(source, rewrite) for source, rewrite in pairs]),
            fluency=np.full(len(pairs), self.fluency),
        )


def _overlap(source: str, rewrite: str) -> float:
    words = set(source.lower().split())
    return len(words & set(rewrite.lower().split())) / len(words)
