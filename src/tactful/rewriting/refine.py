"""Refinement without training: the model is told which words still insult, and tries again.

After LLMRefine (arXiv 2311.09336): pinpoint feedback on a text, a revision by the model, and
simulated annealing on whether to go on from the revision. Their feedback model, which names spans
of errors, is here the screener, which says what it minds; their score is the rewriter's own value.

Left out: severities, all that the screener points at is told alike; and feedback on meaning and
fluency, which only the value knows about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tactful.prompts import EXAMPLES
from tactful.records import Message
from tactful.rewriting.candidates import sampled, seed_of
from tactful.rewriting.gates import text_gates
from tactful.rewriting.lexicon import flagged_words
from tactful.rewriting.rerank import merit
from tactful.rollouts.base import Backend, Sampling
from tactful.scorers.base import Scorer
from tactful.screeners.base import Screener

Value = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]
"""Sources and rewrites in, how good each is out, from 0 to 1."""

_MOST_WORDS = 4


class OwnValue:
    """What the rewriter's ranking thinks of a rewrite; 0 where a gate of form does not let it pass."""

    def __init__(
        self,
        screener: Screener,
        similarity: Scorer,
        fluency: Scorer | None,
        *,
        meaning: float,
        fluent: float,
        shortest: float,
        longest: float,
    ) -> None:
        """`meaning` and `fluent` are the ranking's weights, the last two the gates' bounds."""
        self.screener, self.similarity, self.fluency = screener, similarity, fluency
        self.weights = {"similarity": meaning, "fluency": fluent}
        self.shortest, self.longest = shortest, longest

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        scores = {
            "toxicity": self.screener.toxicity(rewrites),
            "similarity": self.similarity(sources, rewrites),
        }
        if self.fluency is not None:
            scores["fluency"] = self.fluency(sources, rewrites)
        values = np.zeros(len(rewrites))
        for row, (source, rewrite) in enumerate(zip(sources, rewrites, strict=True)):
            if not text_gates(source, rewrite, shortest=self.shortest, longest=self.longest):
                measured = {name: float(found[row]) for name, found in scores.items()}
                values[row] = np.exp(merit(measured, self.weights))
        return values


def refining(source: str, text: str, minded: Sequence[str]) -> list[Message]:
    """Asks for a better rewrite than `text`, which still has the words that are minded."""
    turns: list[Message] = [{"role": "system", "content": _INSTRUCTION}]
    for (shown, better), (so_far, words) in zip(EXAMPLES, _SO_FAR, strict=True):
        turns += [
            {"role": "user", "content": _question(shown, so_far, words)},
            {"role": "assistant", "content": better},
        ]
    return [*turns, {"role": "user", "content": _question(source, text, minded)}]


_INSTRUCTION = (
    "Rewrite the comment so that it is polite. Keep its meaning, names and numbers. You see the "
    "rewrite so far and which of its words still insult. Answer with the better rewrite only."
)
# What came before the answers of the few-shot examples, and what was minded about it.
_SO_FAR: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("you clearly have no clue, you fool", ("fool",)),
    ("what idiot parked the van on my lawn?", ("idiot",)),
    ("this update is garbage and it broke 3 of my apps", ("garbage",)),
    ("shut up and let her finish", ("shut up",)),
)


def _question(source: str, text: str, minded: Sequence[str]) -> str:
    return f"Comment: {source}\nSo far: {text}\nStill insulting: {', '.join(minded)}"


def accepts(new: float, old: float, temperature: float, draw: float) -> bool:
    """Whether annealing goes on from the new state: always when it is better, else by chance.

    P = min(1, exp((new - old) / temperature)); `draw` is uniform in [0, 1). The paper divides by n
    times the temperature; values are of one scale here, so n is part of the temperature.
    """
    if new >= old:
        return True
    return temperature > 0 and draw < float(np.exp((new - old) / temperature))


def cooled(temperature: float, number: int, rounds: int) -> float:
    """The temperature of a round, from 0 on: linear, and never quite 0."""
    return temperature * (1 - number / rounds)


@dataclass(slots=True)
class _Walk:
    """Where the annealing of one source stands, and the value of all that it has seen."""

    source: str
    text: str
    value: float
    seen: dict[str, float] = field(default_factory=dict)


class Refine:
    """Proposes what some rounds of feedback and revision have seen, the best first.

    A text in which the screener minds no word is not asked about again: there is no feedback.
    """

    def __init__(
        self,
        backend: Backend,
        screener: Screener,
        value: Value,
        *,
        rounds: int = 5,
        temperature: float = 0.2,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> None:
        self.backend = backend
        self.screener = screener
        self.value = value
        self.rounds = rounds
        self.temperature = temperature
        self.sampling = sampling or Sampling(num=1, temperature=0.7, top_p=0.9)
        self.seed = seed
        self.name = f"{backend.name}+refine"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        values = self.value(sources, sources).tolist()
        walks = [_Walk(s, s, value) for s, value in zip(sources, values, strict=True)]
        for number in range(self.rounds):
            asked = [(walk, minded) for walk in walks if (minded := self._minded(walk.text))]
            if not asked:
                break
            self._step(asked, number)
        return [sorted(walk.seen, key=lambda text: -walk.seen[text]) for walk in walks]

    def _minded(self, text: str) -> list[str]:
        """The words the screener points at, as they stand there; none where the text passes."""
        if self.screener.toxicity([text])[0] < self.screener.thresholds.passing:
            return []
        words = [text[start:end] for start, end in flagged_words(text, self.screener)]
        return list(dict.fromkeys(words))[:_MOST_WORDS]

    def _step(self, asked: Sequence[tuple[_Walk, list[str]]], number: int) -> None:
        """One revision for each, and whether to go on from it."""
        answers = sampled(
            self.backend,
            [refining(walk.source, walk.text, minded) for walk, minded in asked],
            [walk.source for walk, _ in asked],
            self.sampling,
            # A round of its own, or a text that was not left would be revised alike again.
            seed=self.seed + number,
        )
        moves = [
            (walk, text) for (walk, _), found in zip(asked, answers, strict=True) for text in found
        ]
        values = self.value([walk.source for walk, _ in moves], [text for _, text in moves])
        temperature = cooled(self.temperature, number, self.rounds)
        for (walk, text), value in zip(moves, values.tolist(), strict=True):
            walk.seen[text] = value
            draw = np.random.default_rng([seed_of(walk.source, self.seed), number]).random()
            if accepts(value, walk.value, temperature, float(draw)):
                walk.text, walk.value = text, value
