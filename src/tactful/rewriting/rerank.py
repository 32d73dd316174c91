"""Pure ordering of candidates that passed every gate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tactful.records import Response


def rank(
    responses: Sequence[Response],
    *,
    meaning: float = 1.0,
    fluency: float = 1.0,
    consensus: float = 0.0,
    flow: float = 0.0,
) -> list[Response]:
    """Best first, by decency (1 - toxicity) x similarity ** meaning x fluency ** fluency x
    consensus ** consensus x flow ** flow.

    A score that was not measured does not count. A tie goes to the candidate proposed first.
    Equal texts count once.
    """
    unique: dict[str, Response] = {}
    for response in responses:
        unique.setdefault(response.rewrite, response)
    weights = {"similarity": meaning, "fluency": fluency, "consensus": consensus, "flow": flow}
    return sorted(unique.values(), key=lambda response: -merit(response.scores, weights))


def merit(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """How good a candidate is, on one scale; in logs, where exponents are weights."""
    total = math.log(max(1.0 - scores["toxicity"], _LEAST))
    for name, weight in weights.items():
        if name in scores:
            total += weight * math.log(max(scores[name], _LEAST))
    return total


_LEAST = 1e-9  # the log of zero would drown every other score
