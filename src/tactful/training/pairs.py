"""From judged rewrites to what a policy is trained on: pairs, and rewrites to push down.

The rejected side of a pair may be a copy of the source. It is the bare text, as the policy itself
would have to write it: with a prompt's prefix in it, the policy would learn not to say the prefix.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tactful.errors import ConfigError
from tactful.records import Response

COPY = "copy"
"""The gate that a rewrite fails which is its source again, whatever the followers say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Response):
    """A response with the `value` it is ranked by, higher is better.

    `logp` is its log-probability under the policy that wrote it, where that was kept.
    """

    value: float
    logp: float | None = None

    def __post_init__(self) -> None:
        if math.isnan(self.value):
            raise ValueError("The value of a response is not a number, so it cannot be ranked.")


@dataclass(frozen=True, slots=True)
class Pair:
    """Prefer `chosen` to `rejected` as the answer to `source`."""

    source: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class PushDown:
    """Make `rewrite` less likely as the answer to `source`; nothing better is known."""

    source: str
    rewrite: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """What came of a batch of responses.

    `reasons` counts, over different rewrites, how often each gate failed.
    """

    pairs: tuple[Pair, ...]
    push_downs: tuple[PushDown, ...]
    reasons: Counter[str]


def paper_pairs(responses: Iterable[Judged]) -> Pairing:
    """Each response by itself, as in the paper: passed, preferred to a copy of its source; failed,
    pushed down.
    """
    pairs, push_downs, reasons = [], [], Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        for response in group:
            if response.passed:
                pairs.append(_against_copy(response))
            else:
                push_downs.append(_push_down(response))
    return Pairing(tuple(pairs), tuple(push_downs), reasons)


def group_pairs(
    responses: Iterable[Judged],
    *,
    margin: float = 0.1,
    push_down: Literal["worst", "all"] = "worst",
    against_copy: bool = True,
) -> Pairing:
    """The responses to one source play against each other.

    The best that passed is preferred to a copy of the source, and to the worst other one: a failed
    one before one that passed, as pushing down a good rewrite costs more. One that passed must be
    lower in value by at least `margin`; that one failed is difference enough. Where none passed,
    the worst or all are pushed down.

    Without `against_copy` only what was sampled plays, copies among it. A policy that no longer
    copies has nothing to learn from being led away from its source, except to leave its meaning.

    A source gives at most two pairs, however many responses it has, so that easy sources do not
    drown the others.
    """
    if not margin > 0:
        raise ConfigError(f"margin = {margin:g} must be above 0: equals are not to be told apart.")
    pairs, push_downs, reasons = [], [], Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        *others, best = group
        if not best.passed:
            push_downs += [_push_down(r) for r in (group if push_down == "all" else group[:1])]
            continue
        if against_copy:
            pairs.append(_against_copy(best))
        # A copy is the other pair's rejected side already.
        worse = [
            r
            for r in others
            if not (against_copy and COPY in r.failed)
            and (not r.passed or r.value <= best.value - margin)
        ]
        if worse:
            pairs.append(_pair(best, worse[0].rewrite))
    return Pairing(tuple(pairs), tuple(push_downs), reasons)


def _groups(responses: Iterable[Judged]) -> list[list[Judged]]:
    """Different rewrites of each source, worst first; sources in the order they came."""
    by_source: dict[str, list[Judged]] = {}
    for response in responses:
        by_source.setdefault(_plain(response.source), []).append(_checked(response))
    return [_unique(sorted(group, key=_rank)) for group in by_source.values()]


def _checked(response: Judged) -> Judged:
    is_copy = _plain(response.rewrite) == _plain(response.source)
    if not is_copy or COPY in response.failed:
        return response
    return replace(response, failed=(*response.failed, COPY))


def _rank(response: Judged) -> tuple[object, ...]:
    # Texts settle ties, so that nothing hangs on the order in which samples came back.
    verdict, texts = (response.passed, response.value), (response.rewrite, response.source)
    return (*verdict, *texts, response.failed)


def _unique(ranked: Sequence[Judged]) -> list[Judged]:
    """One of each text. Where judges disagree about the same words, the worse verdict holds."""
    kept: dict[str, Judged] = {}
    for response in ranked:
        kept.setdefault(_plain(response.rewrite), response)
    return list(kept.values())


def _failures(group: Sequence[Judged]) -> Iterable[str]:
    return (gate for response in group for gate in response.failed)


def _against_copy(response: Judged) -> Pair:
    return _pair(response, response.source)


def _pair(best: Judged, rejected: str) -> Pair:
    return Pair(best.source, chosen=best.rewrite.strip(), rejected=rejected.strip())


def _push_down(response: Judged) -> PushDown:
    return PushDown(response.source, response.rewrite.strip())


def _plain(text: str) -> str:
    return " ".join(text.split())
