"""Fluency by a language model: is the rewrite at least as likely English as its source was?

Likelihood is not fluency: it cannot tell a complete sentence from one that lost its point. It does
tell which of several replacements fits a gap, and that is all it is used for here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LanguageModel(Protocol):
    """Anything that knows how likely texts are."""

    @property
    def name(self) -> str: ...

    def mean_logp(self, texts: Sequence[str]) -> NDArray[np.float64]: ...


class LikelihoodFluency:
    """exp(mean log-probability a token of the rewrite - that of its source), at most 1."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.name = f"likelihood({model.name})"

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        # Many rewrites share a source, and sources repeat from call to call.
        texts = list(dict.fromkeys([*sources, *rewrites]))
        logp = dict(zip(texts, self.model.mean_logp(texts).tolist(), strict=True))
        gain = [
            logp[rewrite] - logp[source] for source, rewrite in zip(sources, rewrites, strict=True)
        ]
        return np.exp(np.minimum(0.0, np.array(gain, dtype=np.float64)))
