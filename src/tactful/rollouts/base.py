"""The leader's seam: anything that turns prompts into texts.

Training and serving ask the same thing of a model, so they ask it through the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tactful.records import Prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, how long its answer may get, and the seed of its own random numbers.

    The seed belongs to the request, not to the batch: what is sampled for a source does not
    depend on its neighbours or on the number of processes.
    """

    prompt: Prompt
    max_new_tokens: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw: `num` completions each, temperature 0 is greedy (then all are the same)."""

    num: int = 1
    temperature: float = 1.0
    top_p: float = 0.95


@dataclass(frozen=True, slots=True)
class Completion:
    """A generated text. `finished` is False when the length limit cut it off."""

    text: str
    finished: bool = True


class Backend(Protocol):
    """Requests in, `sampling.num` completions each out, in the order of the requests."""

    @property
    def name(self) -> str: ...

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[list[Completion]]: ...
