"""What a step trains on: units of one or two completions, what each costs, how they are packed.

A unit is what a loss needs together. Units are packed into micro-batches of alike length, so that
memory does not depend on how many sources a step has, and little is padded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from tactful.config import Config
from tactful.training import objectives
from tactful.training.logprobs import LogProbs

Loss = Literal[
    "sro",
    "graded",
    "corrected",
    "dpo",
    "cdpo",
    "rdpo",
    "ipo",
    "simpo",
    "orpo",
    "kto",
    "rpo",
    "grpo",
]
Kind = Literal["demonstration", "pair", "push_down", "response", "label", "sample", "slope"]


class Objective(Config):
    """Which loss, and its numbers; each loss reads those that its formula names."""

    loss: Loss = "sro"
    """What pairs cost. `sro` on a pair is DPO; it differs in what a failed rewrite costs."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    gamma: float = 1.0
    flip_rate: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    false_pass: Annotated[float, Field(ge=0, lt=1)] = 0.0
    false_fail: Annotated[float, Field(ge=0, lt=1)] = 0.0
    floor: float | None = 0.0
    anchor: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the likelihood, a token, of what is preferred: keeps it from falling too."""
    push_down: Annotated[float, Field(ge=0)] = 1.0
    """Weight of what is pushed down with nothing to put in its place."""
    desirable: Annotated[float, Field(ge=0)] = 1.0
    undesirable: Annotated[float, Field(ge=0)] = 1.0
    """What a rewrite that passed counts for KTO, and one that failed."""
    tau: Annotated[float, Field(gt=0)] = 0.5
    """How alike sources must be for RPO to compare their rewrites: less is stricter."""
    kl: Annotated[float, Field(ge=0)] = 0.04
    """What GRPO pays for leaving the reference, a token."""
    optimism: Annotated[float, Field(ge=0)] = 0.0
    """SELM (2405.19332): how much the reference's own answer is pushed down, so that others are
    tried; a thousandth is much."""

    @property
    def needs_reference(self) -> bool:
        return self.loss not in ("simpo", "orpo")


@dataclass(frozen=True, slots=True)
class Tokens:
    """A completion after its prompt."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class Unit:
    """One or two completions of a prompt, and how they stand to each other.

    demonstration  `first` is to become likelier
    pair           `first` is preferred to `second`, and that counts `score` times
    push_down      `first` is to become less likely
    response       `first` is a rewrite, `second` a copy of its source, `score` the answer of the
                   follower: 0, 1 or, where it is graded, between
    label          `first` passed if `score` is 1, else it failed
    sample         `first` was drawn from the policy, `score` is its advantage
    slope          D(`first`) costs `score` each: what is known to be its part in a loss

    `text` is the source, where it was one, for whoever compares sources.
    """

    kind: Kind
    first: Tokens
    second: Tokens | None = None
    score: float = 1.0
    text: str = ""

    @property
    def rows(self) -> list[Tokens]:
        """Its completions, the first one first."""
        return [self.first] if self.second is None else [self.first, self.second]


def pack(units: Sequence[Unit], budget: int) -> list[list[Unit]]:
    """Micro-batches of at most `budget` tokens, padding included; longest first.

    A batch that does not fit into memory then fails at once. Units of one prompt stay together,
    as they are read in one row; what is above the budget stands alone.
    """
    alike: dict[tuple[int, ...], list[Unit]] = {}
    for unit in units:
        alike.setdefault(unit.first.prompt, []).append(unit)

    def width(prompt: tuple[int, ...]) -> int:
        completions = {row.completion for unit in alike[prompt] for row in unit.rows}
        return len(prompt) + sum(map(len, completions))

    packed: list[list[Unit]] = []
    rows = widest = 0
    for prompt in sorted(alike, key=width, reverse=True):
        if not packed or (rows + 1) * widest > budget:
            packed.append([])
            rows, widest = 0, width(prompt)
        packed[-1] += alike[prompt]
        rows += 1
    return packed


def tokens_in(units: Sequence[Unit]) -> int:
    """Tokens that are read for them: a prompt once, and what is equal once."""
    alike: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for unit in units:
        for row in unit.rows:
            alike.setdefault(row.prompt, set()).add(row.completion)
    return sum(len(prompt) + sum(map(len, those)) for prompt, those in alike.items())


def strangers(units: Sequence[Unit]) -> list[Unit]:
    """Each source's prompt with what was written for the next one, in a circle.

    What a policy gained on such texts is what it gained in general: the point of reference of KTO.
    """
    first = {unit.first.prompt: unit.first for unit in reversed(units)}
    prompts = list(dict.fromkeys(unit.first.prompt for unit in units))
    if len(prompts) < 2:
        return []
    return [
        Unit("label", Tokens(prompt, first[other].completion))
        for prompt, other in zip(prompts, [*prompts[1:], prompts[0]], strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Sides:
    """The texts of many units that are to win and to lose, and of which sources they are."""

    chosen: list[Tokens]
    rejected: list[Tokens]
    for_chosen: list[str]
    for_rejected: list[str]


def sides(units: Sequence[Unit]) -> Sides:
    """Take pairs and labels apart: RPO compares across sources and needs no pair of one source."""
    found = Sides([], [], [], [])
    for unit in units:
        rows = list(zip(unit.rows, (unit.kind == "pair" or unit.score > 0.5, False), strict=False))
        for row, wins in rows:
            (found.chosen if wins else found.rejected).append(row)
            (found.for_chosen if wins else found.for_rejected).append(unit.text)
    return found


def write_units(units: Sequence[Unit], path: Path) -> None:
    """Keep units for a run that goes on."""
    path.write_text(json.dumps([asdict(unit) for unit in units]), encoding="utf-8")


def read_units(path: Path) -> list[Unit]:
    """Read what `write_units` kept."""

    def tokens(found: dict[str, list[int]]) -> Tokens:
        return Tokens(tuple(found["prompt"]), tuple(found["completion"]))

    return [
        Unit(
            one["kind"],
            tokens(one["first"]),
            tokens(one["second"]) if one["second"] else None,
            one["score"],
            one["text"],
        )
        for one in json.loads(path.read_text("utf-8"))
    ]


def losses(
    units: Sequence[Unit],
    policy: LogProbs,
    reference: LogProbs | None,
    objective: Objective,
    *,
    baseline: float = 0.0,
) -> Tensor:
    """What each unit costs.

    `policy` has the rows of all units in order, `reference` the same under the reference, and
    `baseline` is KTO's point of reference. Demonstrations cost their mean surprisal a token.
    """
    places: list[tuple[int, int]] = []
    row = 0
    for unit in units:
        places.append((row, row + len(unit.rows) - 1))
        row += len(unit.rows)
    total, mean = policy.total, policy.mean
    ratio = total - reference.total if reference is not None else total
    costs = total.new_zeros(len(units))
    for kind in get_args(Kind):
        chosen = [i for i, unit in enumerate(units) if unit.kind == kind]
        if not chosen:
            continue
        first = torch.tensor([places[i][0] for i in chosen], device=total.device)
        second = torch.tensor([places[i][1] for i in chosen], device=total.device)
        score = torch.tensor([units[i].score for i in chosen], device=total.device)
        if kind == "demonstration":
            cost = objectives.nll(mean[first])
        elif kind == "push_down":
            failed = torch.zeros_like(score, dtype=torch.bool)
            cost = objective.push_down * objectives.sro(
                ratio[first], ratio[first], failed, beta=objective.beta
            )
        elif kind == "pair":
            cost = _pair_loss(objective, ratio, mean, policy.tokens, first, second)
            cost = score * (cost + objective.anchor * objectives.nll(mean[first]))
        elif kind == "label":
            cost = objectives.kto(
                ratio[first],
                score > 0.5,
                baseline,
                beta=objective.beta,
                desirable_weight=objective.desirable,
                undesirable_weight=objective.undesirable,
            )
        elif kind == "sample":
            assert reference is not None
            cost = objectives.grpo(
                policy.per_token[first],
                reference.per_token[first],
                policy.tokens[first],
                score,
                kl=objective.kl,
            )
        elif kind == "slope":
            cost = score * ratio[first]
        else:
            cost = _response_loss(objective, ratio[first], ratio[second], score)
            cost = cost + objective.anchor * score * objectives.nll(mean[first])
        costs = costs.index_put((torch.tensor(chosen, device=total.device),), cost)
    return costs


def rewards(
    units: Sequence[Unit], policy: LogProbs, reference: LogProbs, beta: float
) -> dict[str, list[float]]:
    """What TRL logs of preferences, by its names, for every unit that was compared.

    A reward is beta times how much likelier the policy finds a rewrite than the reference does;
    `kl` is that gain, without beta, of what the policy itself wrote.
    """
    gains = (policy.total.detach() - reference.total).tolist()
    said = policy.total.detach().tolist()
    found: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for name, value in values.items():
            found.setdefault(name.replace("__", "/"), []).append(value)

    row = 0
    for unit in units:
        first = gains[row]
        if unit.kind != "demonstration":
            note(kl=first)
        if unit.kind == "pair":
            second = gains[row + 1]
            note(
                rewards__chosen=beta * first,
                rewards__rejected=beta * second,
                rewards__margins=beta * (first - second),
                rewards__accuracies=float(first > second),
                logps__chosen=said[row],
                logps__rejected=said[row + 1],
            )
        row += len(unit.rows)
    return found


def _pair_loss(
    objective: Objective,
    ratio: Tensor,
    mean: Tensor,
    tokens: Tensor,
    first: Tensor,
    second: Tensor,
) -> Tensor:
    better, worse, beta = ratio[first], ratio[second], objective.beta
    match objective.loss:
        case "rdpo":
            return objectives.rdpo(better, worse, beta=beta, flip_rate=objective.flip_rate)
        case "ipo":
            each = ratio / tokens
            return objectives.ipo(each[first], each[second], beta=beta)
        case "simpo":
            return objectives.simpo(mean[first], mean[second], beta=beta, gamma=objective.gamma)
        case "orpo":
            return objectives.orpo(mean[first], mean[second], beta=beta)
        case _:
            return objectives.cdpo(better, worse, beta=beta, smoothing=objective.smoothing)


def _response_loss(objective: Objective, rewrite: Tensor, copy: Tensor, score: Tensor) -> Tensor:
    beta = objective.beta
    if objective.loss == "graded":
        return objectives.graded_sro(rewrite, copy, score, beta=beta)
    passed = score > 0.5
    if objective.loss == "corrected":
        return objectives.corrected_sro(
            rewrite,
            copy,
            passed,
            false_pass=objective.false_pass,
            false_fail=objective.false_fail,
            beta=beta,
            floor=objective.floor,
        )
    return objectives.sro(rewrite, copy, passed, beta=beta, smoothing=objective.smoothing)
