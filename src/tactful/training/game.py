"""The game: the leader writes, the followers answer, and the answers become what is trained on.

A source's samples are seeded by its text and the round, so that they depend neither on the batch
it stands in nor on the number of processes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tactful.config import Config
from tactful.errors import ConfigError, DataError, TactfulError
from tactful.prompts import trained
from tactful.records import Prompt
from tactful.rollouts.base import Backend, Completion, Request, Sampling
from tactful.scorers.consensus import consensus
from tactful.screeners.base import Screener
from tactful.training.alarms import Written
from tactful.training.pairs import (
    Judged,
    NonePassed,
    Pairing,
    advantages,
    best_of,
    confident,
    gap_pairs,
    group_pairs,
    labelled,
    paper_pairs,
    ranked_pairs,
    tone_pairs,
)

CONSENSUS = "consensus"
STYLE = "style"
"""The gate that asks the screener, wherever one plays."""

Pairings = Literal[
    "group", "paper", "responses", "ranked", "gap", "labels", "best", "advantages", "tone"
]

Follower = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]
"""Sources and rewrites in, a score in [0, 1] for each out, higher is better."""


@runtime_checkable
class PlaysRounds(Protocol):
    """A follower that wants to know when a round begins."""

    def begin(self, number: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """A follower and the score that it lets pass."""

    name: str
    follower: Follower
    threshold: float
    may_abstain: bool = False
    """Whether it may be silent about a rewrite (no number, an error, a wrong count), which is then
    left out; else that ends the run."""


def as_follower(screener: Screener) -> Follower:
    """A screener's answer as a follower's: it asks nothing of the source, and less is better."""
    return lambda sources, rewrites: 1 - screener.toxicity(rewrites)


class Play(Config):
    """How the leader explores and what the answers become."""

    samples: Annotated[int, Field(ge=1)] = 4
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    player: Literal["policy", "reference"] = "policy"
    """Who writes: the policy as it is now, or the reference, which gives the same as if everything
    had been written before the first step (or since `train.renew` last renewed it)."""
    pairing: Pairings = "group"
    """What is made of the samples. `group`: the best that passed against the worst. `paper`: each by
    itself. `responses`: each with its score, for the graded and the noise-corrected loss. `ranked`:
    the best against the worst, passed or not. `gap`: all pairs whose gap is wide. `labels`: each
    with its verdict, for KTO or RPO. `best`: the best that passed is imitated. `advantages`: each
    with its advantage, for GRPO. `tone`: against a house's own rewrites, unjudged."""
    gap: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    gap_scale: Annotated[float, Field(gt=0)] = 1.0
    """`gap` keeps pairs with sigmoid((better - worse) / gap_scale) of at least `gap`; values lie
    between 0 and 1, so a scale of 1 keeps none above 0.73."""
    most: Annotated[int, Field(ge=1)] = 8
    """Pairs of one source, for `gap`."""
    clear: Annotated[float | None, Field(gt=0, le=1)] = None
    """The share of pairs to keep: those whose two sides are least alike."""
    weighted: bool = False
    """Whether a pair counts the more, the further its sides are apart in value."""
    older: Annotated[int, Field(ge=0)] = 1
    """Samples of the reference, for `tone`: what was written before."""
    margin: Annotated[float, Field(gt=0)] = 0.1
    push_down: NonePassed = "worst"
    """What `group` does with a source where none passed: pushes the worst or all down, nothing, or
    prefers what fails least (`rank`)."""
    against_copy: bool = True
    """Whether the best of a group is also preferred to a copy of its source that nobody wrote."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}  # noqa: RUF012  # pydantic copies defaults
    """How much a follower counts in the value by which a group is ranked: its score to that power,
    1 where nothing is said. `consensus`, what the samples of a source agree on, counts 0."""
    longest: Annotated[float, Field(gt=0)] = 1.5
    """Room for so many times the source."""


@dataclass(slots=True)
class Round:
    """What one call of `play` brought."""

    responses: list[Judged]
    pairing: Pairing
    written: list[Written] = field(default_factory=list)
    gates: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Rates over all responses, for the log."""
        count = max(1, len(self.responses))
        rates = {
            f"passed/{name}": sum(name not in r.failed for r in self.responses) / count
            for name in self.gates
        }
        scores = {
            f"score/{name}": float(np.mean([r.scores[name] for r in self.responses] or [0.0]))
            for name in self.gates
        }
        texts = [r.rewrite for r in self.responses]
        return (
            rates
            | scores
            | {
                "passed/all": sum(r.passed for r in self.responses) / count,
                "value": float(np.mean([r.value for r in self.responses] or [0.0])),
                "copies": sum(_same(r.source, r.rewrite) for r in self.responses) / count,
                "empty": sum(not t.strip() for t in texts) / count,
                "unanswered": sum(not one.answered for one in self.written)
                / max(1, len(self.written)),
                "unfinished": sum(not one.finished for one in self.written) / count,
                "distinct": len(set(texts)) / count,
                "length_ratio": float(
                    np.mean([_ratio(r.source, r.rewrite) for r in self.responses] or [0.0])
                ),
            }
        )


class Game:
    """Sources in, a round out."""

    def __init__(
        self,
        backend: Backend,
        gates: Sequence[Gate],
        play: Play | None = None,
        *,
        prompt: Callable[[str], Prompt] = trained,
        seed: int = 0,
        demonstrations: Mapping[str, str] | None = None,
    ) -> None:
        """`demonstrations` are a house's own rewrites by their sources, for the pairing `tone`."""
        self.backend = backend
        self.gates = gates
        self.settings = play or Play()
        known = [*(gate.name for gate in gates), CONSENSUS]
        if unknown := [name for name in self.settings.weights if name not in known]:
            raise ConfigError(
                f"play.weights names {', '.join(unknown)}; there are {', '.join(known)}"
            )
        self.prompt = prompt
        self.seed = seed
        self.demonstrations = dict(demonstrations or {})

    def play(self, sources: Sequence[str], number: int = 0, older: Sequence[Written] = ()) -> Round:
        """One round; `number` gives the same sources other samples in another round.

        `older` is what was written for them before, where the pairing asks for it.
        """
        written = self.write(sources, number, self.settings.samples)
        for gate in self.gates:
            if isinstance(gate.follower, PlaysRounds):
                gate.follower.begin(number)
        answered = self.respond(
            [one.source for one in written], [Completion(one.text, one.finished) for one in written]
        )
        responses = [one for one in answered if one is not None]
        written = [
            replace(one, answered=found is not None)
            for one, found in zip(written, answered, strict=True)
        ]
        names = tuple(gate.name for gate in self.gates)
        pairing = self._pairing(responses, older)
        if self.settings.weighted:
            pairing = replace(pairing, pairs=confident(pairing.pairs, responses))
        return Round(responses, pairing, written, names)

    def write(self, sources: Sequence[str], number: int, samples: int) -> list[Written]:
        """What whoever plays now writes, source by source."""
        settings = self.settings
        answers = self.backend.generate(
            [
                Request(self.prompt(s), budget(s, settings.longest), seed_of(s, self.seed, number))
                for s in sources
            ],
            Sampling(samples, settings.temperature, settings.top_p),
        )
        return [
            Written(s, c.text, c.finished)
            for s, answer in zip(sources, answers, strict=True)
            for c in answer
        ]

    def respond(
        self, sources: Sequence[str], completions: Sequence[Completion]
    ) -> list[Judged | None]:
        """The followers' answers, None where one is silent. What was cut off by the length limit
        passes nothing.
        """
        rewrites = [" ".join(c.text.split()) for c in completions]
        scores = {gate.name: answers(gate, sources, rewrites) for gate in self.gates}
        weights = dict.fromkeys(scores, 1.0) | {CONSENSUS: 0.0} | self.settings.weights
        agreed = agreement(sources, rewrites) if weights[CONSENSUS] else np.ones(len(rewrites))
        responses: list[Judged | None] = []
        for i, (source, rewrite) in enumerate(zip(sources, rewrites, strict=True)):
            said = {name: float(values[i]) for name, values in scores.items()}
            if any(map(math.isnan, said.values())):
                responses.append(None)
                continue
            failed = [g.name for g in self.gates if said[g.name] < g.threshold]
            if not completions[i].finished:
                failed.append("unfinished")
            value = math.prod(score ** weights[name] for name, score in said.items())
            value *= float(agreed[i]) ** weights[CONSENSUS] * completions[i].finished
            responses.append(Judged(source, rewrite, said, tuple(failed), value=value))
        return responses

    def _pairing(self, responses: Sequence[Judged], older: Sequence[Written]) -> Pairing:
        settings = self.settings
        match settings.pairing:
            case "group":
                return group_pairs(
                    responses,
                    margin=settings.margin,
                    push_down=settings.push_down,
                    against_copy=settings.against_copy,
                )
            case "ranked":
                return ranked_pairs(responses, margin=settings.margin)
            case "gap":
                return gap_pairs(
                    responses, least=settings.gap, tau=settings.gap_scale, most=settings.most
                )
            case "labels":
                return labelled(responses)
            case "best":
                return best_of(responses)
            case "advantages":
                return advantages(responses)
            case "tone":
                asked = dict.fromkeys(r.source for r in responses)
                return tone_pairs(
                    {source: self.demonstrations[source] for source in asked},
                    [(r.source, r.rewrite) for r in responses],
                    [(one.source, one.text) for one in older],
                )
            case _:
                return paper_pairs(responses)


def agreement(sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
    """How far each rewrite agrees with all of its source's."""
    groups: dict[str, list[int]] = {}
    for i, source in enumerate(sources):
        groups.setdefault(source, []).append(i)
    found = np.zeros(len(rewrites))
    for rows in groups.values():
        found[rows] = consensus([rewrites[i] for i in rows])
    return found


def budget(source: str, longest: float) -> int:
    """Tokens for a rewrite, at about three characters a token."""
    return int(longest * len(source) / 3) + 8


def seed_of(source: str, seed: int, number: int) -> int:
    """A seed that is the text's own."""
    return zlib.crc32(f"{seed}/{number}/{source}".encode("utf-8", "surrogatepass"))


def answers(gate: Gate, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
    """A follower's scores; NaN for each rewrite that one who may abstain gave no sound score."""
    if not gate.may_abstain:
        return ask(gate, sources, rewrites)
    silent = np.full(len(rewrites), np.nan)
    try:
        scores = np.asarray(gate.follower(sources, rewrites), dtype=np.float64)
    except TactfulError:
        return silent
    if scores.shape != silent.shape:
        # Nobody knows which score belongs to which rewrite.
        return silent
    return np.where((scores >= 0) & (scores <= 1), scores, np.nan)


def ask(gate: Gate, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
    """A follower's scores, one for each rewrite and in [0, 1], or an error that says which is not."""
    scores = np.asarray(gate.follower(sources, rewrites), dtype=np.float64)
    if scores.shape != (len(rewrites),):
        raise DataError(
            f'the follower "{gate.name}" was asked about {len(rewrites)} rewrites and gave '
            f"{scores.shape} scores; it must give one for each"
        )
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise DataError(
            f'the follower "{gate.name}" gave {scores[wrong[0]]} for a rewrite; scores must lie '
            f"between 0 and 1 ({len(wrong)} of {len(scores)} do not)"
        )
    return scores


def _same(source: str, rewrite: str) -> bool:
    return source.split() == rewrite.split()


def _ratio(source: str, rewrite: str) -> float:
    return len(rewrite.split()) / max(1, len(source.split()))
