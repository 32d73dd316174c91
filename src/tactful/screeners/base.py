"""The follower's seam: anything that says how toxic a text is.

A screener answers with a probability in [0, 1], higher is worse. What a probability *means* for
the product is not the screener's business but its thresholds': a text is acted on at `act` or
above, a rewrite must stay below `passing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError
from tactful.records import Span

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a screener's probability becomes a verdict, and what the two numbers came from.

    `passing` is never above `act`: a rewrite that would itself be acted on is no rewrite.
    """

    act: float
    passing: float
    calibrated_on: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.passing <= self.act <= 1.0:
            raise ConfigError(
                f"thresholds must hold 0 <= passing <= act <= 1, got passing={self.passing}, "
                f"act={self.act}"
            )


@runtime_checkable
class Screener(Protocol):
    """What training and serving ask of a screener. One method decides, one explains.

    `toxicity` keeps order, answers an empty list with an empty array, and scores a text alike
    alone and in a batch. `explain` points at the characters of the *original* text that spoke
    for toxicity, empty where the screener cannot say.
    """

    @property
    def name(self) -> str: ...

    @property
    def thresholds(self) -> Thresholds: ...

    def toxicity(self, texts: Sequence[str]) -> FloatArray: ...

    def explain(self, text: str) -> list[Span]: ...
