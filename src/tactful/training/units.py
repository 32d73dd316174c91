"""What a step trains on: units of one or two completions, what each costs, how they are packed.

A unit is what a loss needs together. Units are packed into micro-batches of alike length, so that
memory does not depend on how many sources a step has, and little is padded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from tactful.config import Config
from tactful.training import objectives
from tactful.training.logprobs import LogProbs

Loss = Literal["sro", "graded", "corrected", "dpo", "cdpo", "rdpo", "ipo", "simpo", "orpo"]


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
    pair           `first` is preferred to `second`
    push_down      `first` is to become less likely
    response       `first` is a rewrite, `second` a copy of its source, `score` the answer of the
                   follower: 0, 1 or, where it is graded, between
    """

    kind: Literal["demonstration", "pair", "push_down", "response"]
    first: Tokens
    second: Tokens | None = None
    score: float = 1.0

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
        )
        for one in json.loads(path.read_text("utf-8"))
    ]


def losses(
    units: Sequence[Unit], policy: LogProbs, reference: Tensor | None, objective: Objective
) -> Tensor:
    """What each unit costs.

    `policy` has the rows of all units in order; `reference` their totals under the reference.
    Demonstrations cost their mean surprisal a token.
    """
    places: list[tuple[int, int]] = []
    row = 0
    for unit in units:
        places.append((row, row + len(unit.rows) - 1))
        row += len(unit.rows)
    total, mean = policy.total, policy.mean
    ratio = total - reference if reference is not None else total
    costs = total.new_zeros(len(units))
    for kind in ("demonstration", "pair", "push_down", "response"):
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
            cost = cost + objective.anchor * objectives.nll(mean[first])
        else:
            cost = _response_loss(objective, ratio[first], ratio[second], score)
            cost = cost + objective.anchor * score * objectives.nll(mean[first])
        costs = costs.index_put((torch.tensor(chosen, device=total.device),), cost)
    return costs


def rewards(
    units: Sequence[Unit], policy: LogProbs, reference: Tensor, beta: float
) -> dict[str, list[float]]:
    """What TRL logs of preferences, by its names, for every unit that was compared.

    A reward is beta times how much likelier the policy finds a rewrite than the reference does;
    `kl` is that gain, without beta, of what the policy itself wrote.
    """
    gains = (policy.total.detach() - reference).tolist()
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
