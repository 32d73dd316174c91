"""What every judge answers. Evaluation sees texts alone, never the model that wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Three judgements of each rewrite, in [0, 1], higher is better, in the order asked.

    style    P(the rewrite is not toxic)
    meaning  it says what its source says, the insult aside
    fluency  it reads like a person wrote it
    """

    style: FloatArray
    meaning: FloatArray
    fluency: FloatArray

    @property
    def joint(self) -> FloatArray:
        """The product, sentence by sentence; its mean is J (not the product of the means)."""
        return self.style * self.meaning * self.fluency


class Judge(Protocol):
    """Scores rewrites of sources; never a model that trained, gated or served them.

    `signature` says in one line which models and versions judge: two J are comparable only under
    the same signature. `references` hold people's rewrites of each source, where there are some.
    An empty rewrite scores 0 in all three.
    """

    @property
    def name(self) -> str: ...

    @property
    def signature(self) -> str: ...

    @property
    def needs_references(self) -> bool: ...

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores: ...


@runtime_checkable
class ComparesMeaning(Protocol):
    """A judge that can also be asked about meaning alone, and so about any two texts."""

    def same_meaning(self, sources: Sequence[str], rewrites: Sequence[str]) -> FloatArray: ...
