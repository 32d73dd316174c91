"""From judged rewrites to what a policy is trained on: pairs, and rewrites to push down.

The rejected side of a pair may be a copy of the source. It is the bare text, as the policy itself
would have to write it: with a prompt's prefix in it, the policy would learn not to say the prefix.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tactful.errors import ConfigError
from tactful.records import Response

# Values this close to each other differ by rounding.
_EQUAL = 1e-9

NonePassed = Literal["worst", "all", "none", "rank"]
"""What becomes of the responses to a source of which none passed."""

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
    """Prefer `chosen` to `rejected` as the answer to `source`; `weight` is how much that counts."""

    source: str
    chosen: str
    rejected: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PushDown:
    """Make `rewrite` less likely as the answer to `source`; nothing better is known."""

    source: str
    rewrite: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A rewrite by itself and what it is worth; what that means is the objective's business."""

    source: str
    rewrite: str
    score: float


@dataclass(frozen=True, slots=True)
class Pairing:
    """What came of a batch of responses.

    `reasons` counts, over different rewrites, how often each gate failed.
    """

    pairs: tuple[Pair, ...]
    push_downs: tuple[PushDown, ...]
    reasons: Counter[str]
    scored: tuple[Scored, ...] = ()


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
    push_down: NonePassed = "worst",
    against_copy: bool = True,
) -> Pairing:
    """The responses to one source play against each other.

    The best that passed is preferred to a copy of the source, and to the worst other one: a failed
    one before one that passed, as pushing down a good rewrite costs more. One that passed must be
    lower in value by at least `margin`; that one failed is difference enough. Where none passed,
    the worst or all are pushed down, or none; with `rank` the best that is no copy is preferred to
    the worst, where it is better by `margin`: it fails, but less, and early nothing else is to be had.

    Without `against_copy` only what was sampled plays, copies among it. A policy that no longer
    copies has nothing to learn from being led away from its source, except to leave its meaning.

    A source gives at most two pairs, however many responses it has, so that easy sources do not
    drown the others.
    """
    if not margin > 0:
        raise ConfigError(f"margin = {margin:g} must be above 0: equals are not to be told apart.")
    pairs: list[Pair] = []
    push_downs: list[PushDown] = []
    reasons = Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        *others, best = group
        if not best.passed:
            if push_down == "rank":
                pairs += _least_bad(group, margin)
            elif push_down != "none":
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


def _least_bad(group: Sequence[Judged], margin: float) -> Iterable[Pair]:
    """Of a group in which none passed, at most one pair; a copy is never what is preferred."""
    worst, best = group[0], next((r for r in reversed(group) if COPY not in r.failed), group[0])
    if best.value - worst.value >= margin:
        yield _pair(best, worst.rewrite)


def ranked_pairs(responses: Iterable[Judged], *, margin: float = 0.1) -> Pairing:
    """One pair a source: its best over its worst, whether or not they passed.

    What passed stands above what failed; where both did the same, they differ in value by at least
    `margin`, else the source gives nothing.
    """
    if not margin > 0:
        raise ConfigError(f"margin = {margin:g} must be above 0: equals are not to be told apart.")
    pairs, reasons = [], Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        worst, best = group[0], group[-1]
        if best.passed != worst.passed or best.value - worst.value >= margin:
            pairs.append(_pair(best, worst.rewrite))
    return Pairing(tuple(pairs), (), reasons)


def gap_pairs(
    responses: Iterable[Judged], *, least: float = 0.8, tau: float = 1.0, most: int = 8
) -> Pairing:
    """All pairs of a source that are far enough apart, as in RS-DPO (2402.10038).

    The gap of two values is sigmoid((better - worse) / tau); those of at least `least` are kept,
    the `most` widest of a source.
    """
    pairs, reasons = [], Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        ranked = sorted(group, key=lambda r: (r.value, r.rewrite))
        apart = [
            (better.value - worse.value, better, worse)
            for i, worse in enumerate(ranked)
            for better in ranked[i + 1 :]
            if 1 / (1 + math.exp((worse.value - better.value) / tau)) >= least
        ]
        apart.sort(key=lambda found: -found[0])
        pairs += [_pair(better, worse.rewrite) for _, better, worse in apart[:most]]
    return Pairing(tuple(pairs), (), reasons)


def tone_pairs(
    demonstrations: Mapping[str, str],
    fresh: Sequence[tuple[str, str]],
    older: Sequence[tuple[str, str]],
    *,
    shares: tuple[float, float, float] = (0.7, 0.2, 0.1),
) -> Pairing:
    """A house's own rewrites over what is written now and was written before (DITTO, 2406.00888).

    `fresh` and `older` are sources with rewrites of the policy and of an earlier one. Each fresh
    rewrite loses to its source's demonstration; demonstrations over older ones and fresh ones over
    older ones are added until they stand to those as `shares` says. Nothing is judged.
    """
    pairs: list[Pair] = []
    for source, shown in demonstrations.items():
        now, before = (
            list(dict.fromkeys(" ".join(text.split()) for s, text in written if s == source))
            for written in (fresh, older)
        )
        beaten = [Pair(source, shown, text) for text in now if text != _plain(shown)]
        replayed = [Pair(source, shown, text) for text in before if text != _plain(shown)]
        better = [Pair(source, new, old) for new in now for old in before if new != old]
        pairs += beaten
        for found, share in zip((replayed, better), shares[1:], strict=True):
            pairs += found[: round(len(beaten) * share / shares[0])]
    return Pairing(tuple(pairs), (), Counter())


def clear_cut(pairs: Sequence[Pair], cosine: Sequence[float], share: float) -> tuple[Pair, ...]:
    """The `share` of the pairs whose two sides are least alike, in their order (REAL, 2409.17169).

    Where two rewrites nearly agree, a follower's preference is mostly noise.
    """
    count = math.ceil(share * len(pairs))
    kept = sorted(range(len(pairs)), key=lambda i: (cosine[i], i))[:count]
    return tuple(pairs[i] for i in sorted(kept))


def confident(pairs: Sequence[Pair], responses: Iterable[Judged]) -> tuple[Pair, ...]:
    """The pairs with weights as far apart as the values of their sides, and 1 on average.

    A follower that errs at random errs as often about clear cases, but a wrong verdict on one of
    two rewrites of like value then costs little. A copy that nobody wrote was never judged: it
    weighs as much as the others do on average. Where no side is better, all stay as they are.
    """
    value = {(_plain(r.source), _plain(r.rewrite)): r.value for r in responses}
    found: list[float | None] = []
    for pair in pairs:
        better, worse = (
            value.get((_plain(pair.source), _plain(text))) for text in (pair.chosen, pair.rejected)
        )
        known = better is not None and worse is not None
        found.append(max(0.0, better - worse) if known else None)  # type: ignore[operator]  # `known`
    gaps = [gap for gap in found if gap is not None]
    mean = sum(gaps) / len(gaps) if gaps else 0.0
    if mean <= _EQUAL:
        return tuple(pairs)
    return tuple(
        replace(pair, weight=1.0 if gap is None else gap / mean)
        for pair, gap in zip(pairs, found, strict=True)
    )


def labelled(responses: Iterable[Judged]) -> Pairing:
    """Each rewrite with 1 where it passed, else 0."""
    scored, reasons = [], Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        scored += [_scored(r, float(r.passed)) for r in group]
    return Pairing((), (), reasons, tuple(scored))


def best_of(responses: Iterable[Judged]) -> Pairing:
    """The best of each source that passed, to be imitated; nothing where none did."""
    scored, reasons = [], Counter[str]()
    for group in _groups(responses):
        reasons.update(_failures(group))
        if group[-1].passed:
            scored.append(_scored(group[-1], 1.0))
    return Pairing((), (), reasons, tuple(scored))


def advantages(responses: Iterable[Judged]) -> Pairing:
    """Each sample with how far its value is above its source's mean, in standard deviations (GRPO).

    Equal samples count as often as they were drawn. A source whose samples are worth the same says
    nothing and gives nothing.
    """
    by_source: dict[str, list[Judged]] = {}
    for response in responses:
        by_source.setdefault(_plain(response.source), []).append(_checked(response))
    scored, reasons = [], Counter[str]()
    for group in by_source.values():
        reasons.update(_failures(_unique(sorted(group, key=_rank))))
        values = [r.value for r in group]
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        if spread > _EQUAL:
            scored += [_scored(r, (r.value - mean) / spread) for r in group]
    return Pairing((), (), reasons, tuple(scored))


def _groups(responses: Iterable[Judged]) -> list[list[Judged]]:
    """Different rewrites of each source, worst first; sources in the order they came."""
    by_source: dict[str, list[Judged]] = {}
    for response in responses:
        by_source.setdefault(_plain(response.source), []).append(_checked(response))
    return [_unique(sorted(group, key=_rank)) for group in by_source.values()]


def _checked(response: Judged) -> Judged:
    if not is_copy(response) or COPY in response.failed:
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


def _scored(response: Judged, score: float) -> Scored:
    return Scored(response.source, response.rewrite.strip(), score)


def _push_down(response: Judged) -> PushDown:
    return PushDown(response.source, response.rewrite.strip())


def is_copy(response: Response) -> bool:
    """Whether nothing was rewritten."""
    return _plain(response.rewrite) == _plain(response.source)


def _plain(text: str) -> str:
    return " ".join(text.split())
