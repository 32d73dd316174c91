"""What each of the trainer's ways to save is worth: one is switched off, the others stay.

They are switched off from outside, by patching, so the trainer carries no flags for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.training_contestants import Ours, Setup, bare
from torch import Tensor

from tactful.branches import Branches, read_branches
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.training.game import Play
from tactful.training.policy import Policy
from tactful.training.units import Unit

Switch = Callable[[Policy, Setup], contextlib.AbstractContextManager[None]]

# Half of the samples pass and half fail, so that every source has a pair of each kind.
PLAY = Play(samples=4)


class Replay:
    """Answers that are ready: then a step is all training, and the same for every lever."""

    name = "replay"

    def __init__(self, decent: Sequence[str], toxic: Sequence[str]) -> None:
        self.pools = (decent, toxic)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Decent and toxic texts in turn, chosen by the seed."""

        def text(number: int, i: int) -> str:
            pool = self.pools[i % 2]
            return pool[(number + i) % len(pool)]

        return [[Completion(text(r.seed, i)) for i in range(sampling.num)] for r in requests]


@contextlib.contextmanager
def as_it_is(policy: Policy, setup: Setup) -> Iterator[None]:
    """Everything on."""
    yield


@contextlib.contextmanager
def all_logits(policy: Policy, setup: Setup) -> Iterator[None]:
    """The output layer runs at every position, at once, and its logits are kept."""
    head = policy.model.get_output_embeddings()

    def read(*args: Any) -> Branches:
        found = read_branches(*args)
        return Branches(head(found.hidden), found.places)

    def pick(_head: Any, logits: Tensor, targets: Tensor, _chunk: int) -> Tensor:
        return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")

    with (
        patch("tactful.training.logprobs.read_branches", read),
        patch("tactful.training.logprobs._token_logp", pick),
    ):
        yield


@contextlib.contextmanager
def separate_rows(policy: Policy, setup: Setup) -> Iterator[None]:
    """Every completion in a row of its own, its prompt read again."""
    with patch("tactful.branches.can_branch", return_value=False):
        yield


@contextlib.contextmanager
def second_model(policy: Policy, setup: Setup) -> Iterator[None]:
    """The reference is another model in memory instead of a switch of adapters."""
    other, own = bare(setup, policy.model.dtype), policy.model

    @contextlib.contextmanager
    def reference() -> Iterator[None]:
        policy.model = other
        try:
            yield
        finally:
            policy.model = own

    with patch.object(policy, "as_reference", reference):
        yield


@contextlib.contextmanager
def random_order(policy: Policy, setup: Setup) -> Iterator[None]:
    """Micro-batches under the same budget, in the order the sources came, which is random."""
    with patch("tactful.training.trainer.pack", _as_they_come):
        yield


@contextlib.contextmanager
def float32(policy: Policy, setup: Setup) -> Iterator[None]:
    """Weights and arithmetic in float32."""
    kind = policy.model.dtype
    learned = [(p, p.data) for p in policy.parameters() if p.requires_grad]
    policy.model.float()
    try:
        with patch("tactful.training.policy.native_bfloat16", return_value=False):
            yield
    finally:
        kept = [p.data for p, _ in learned]
        policy.model.to(kind)
        for (parameter, _), data in zip(learned, kept, strict=True):
            parameter.data = data


LEVERS: dict[str, Switch] = {
    "as it is": as_it_is,
    "logits everywhere, kept": all_logits,
    "a row for each completion": separate_rows,
    "reference: a second model": second_model,
    "random order, no buckets": random_order,
    "float32": float32,
}


def trainee(setup: Setup, decent: Sequence[str], toxic: Sequence[str]) -> Ours:
    """Our trainer with answers that are ready."""
    return Ours(setup, PLAY, backend=Replay(decent, toxic))


def _as_they_come(units: Sequence[Unit], budget: int) -> list[list[Unit]]:
    alike: dict[tuple[int, ...], list[Unit]] = {}
    for unit in units:
        alike.setdefault(unit.first.prompt, []).append(unit)
    packed: list[list[Unit]] = []
    rows = widest = 0
    for prompt, those in alike.items():
        completions = {row.completion for unit in those for row in unit.rows}
        width = len(prompt) + sum(map(len, completions))
        widest = max(widest, width)
        if not packed or (rows + 1) * widest > budget:
            packed.append([])
            rows, widest = 0, width
        packed[-1] += those
        rows += 1
    return packed
