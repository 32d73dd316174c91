"""Scorers answer the other questions about a rewrite: same point? good English?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Scorer(Protocol):
    """A follower: scores in [0, 1], higher is better, one for each (source, rewrite)."""

    @property
    def name(self) -> str: ...

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]: ...
