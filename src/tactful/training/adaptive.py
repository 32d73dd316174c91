"""A screener that learns from what the leader got past it, while the game goes on.

A follower that never changes is an examination with known questions: whatever words it does not know
become the answer. So every some steps an auditor reads what the screener let pass. What the auditor
refuses becomes a toxic lesson, what it accepts a decent one, and a correction is fitted to them:

    log-odds'(sentence) = log-odds(sentence) + sum of w over its distinct words and word pairs

a logistic regression with the screener's own log-odds as offset and w drawn towards zero, so that
without lessons the screener is the one it was, bit for bit. Words that the screener is silent on by
decree get no weight here either. The screener's files and the judge are not touched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tactful.config import Config
from tactful.screeners.linear import LinearScreener, words
from tactful.segment import split
from tactful.training.game import Gate, answers

FloatArray = NDArray[np.float64]


class Adaptive(Config):
    """Who audits the screener, and how far it may be moved."""

    auditor: str
    """Who reads what passed: `taste`, the folder of another screener, `package.module:callable` or
    the address of a server, as for followers of one's own. Never the judge."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """The auditor's score from which it accepts; by default a half, or what a screener itself calls
    passing."""
    every: Annotated[int, Field(ge=1)] = 10
    """Steps between two fits."""
    penalty: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the squared correction: higher moves the screener less."""
    remembered: Annotated[int, Field(ge=2)] = 512
    """Lessons that are kept, half of them for each side; who has to go is drawn."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What passed the screener, and whether the auditor calls it toxic."""

    text: str
    toxic: bool


class AdaptiveScreener:
    """A linear screener as a follower, with what it learned since."""

    def __init__(
        self, screener: LinearScreener, passing: float, auditor: Gate, settings: Adaptive
    ) -> None:
        """`passing` is the score, 1 - toxicity, from which a rewrite gets past the screener."""
        self.screener = screener
        self.passing = passing
        self.auditor = auditor
        self.settings = settings
        self.weights: dict[str, float] = {}
        self.lessons: list[Lesson] = []
        self._seen: dict[tuple[str, str], None] = {}
        self._fits = 0

    # --- answering --------------------------------------------------------------------------

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> FloatArray:
        """1 - toxicity; what passes is remembered for the auditor."""
        scores = 1 - self.toxicity(rewrites)
        for source, rewrite, score in zip(sources, rewrites, scores, strict=True):
            if score >= self.passing:
                self._seen[source, rewrite] = None
        return scores

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities; a text's is its worst sentence's, as the screener's is."""
        if not self.weights:
            return self.screener.toxicity(texts)
        return _sigmoid(np.array([self._worst(text)[0] for text in texts], dtype=np.float64))

    def _worst(self, text: str) -> tuple[float, float, list[str]]:
        """The corrected log-odds of a text's worst sentence, the screener's own, and its features."""
        pieces = split(text)
        scale = self.screener.calibration
        worst: tuple[float, float, list[str]] = (-np.inf, -np.inf, [])
        for piece, score in zip(pieces, self.screener.scores(pieces).tolist(), strict=True):
            own = scale.slope * score + scale.intercept
            found = features(piece, self.screener.config.silent)
            corrected = own + sum(self.weights.get(name, 0.0) for name in found)
            if corrected > worst[0]:
                worst = (corrected, own, found)
        return worst

    # --- learning ---------------------------------------------------------------------------

    def audit(self) -> list[Lesson]:
        """Ask the auditor about what passed since it was last asked."""
        sources, rewrites = [s for s, _ in self._seen], [r for _, r in self._seen]
        self._seen.clear()
        if not rewrites:
            return []
        scores = answers(self.auditor, sources, rewrites).tolist()
        # What a silent auditor was not told about is no lesson.
        return [
            Lesson(rewrite, score < self.auditor.threshold)
            for rewrite, score in zip(rewrites, scores, strict=True)
            if not math.isnan(score)
        ]

    def learn(self, lessons: Sequence[Lesson]) -> dict[str, float]:
        """Take lessons in, fit anew, and tell how many there are and how far that moved it.

        Lessons may come in any order, so that it does not matter which process had them.
        """
        self._fits += 1
        fresh = sorted(set(lessons), key=lambda lesson: (lesson.text, lesson.toxic))
        # What an auditor says of a text now counts, not what it said before; refused once, refused.
        said = {lesson.text: lesson.toxic for lesson in [*self.lessons, *fresh]}
        random = np.random.default_rng([self.settings.seed, self._fits])
        room = self.settings.remembered // 2
        kept: list[Lesson] = []
        for side in (True, False):
            texts = [text for text, toxic in said.items() if toxic == side]
            chosen = np.sort(random.permutation(len(texts))[:room]).tolist()
            kept += [Lesson(texts[i], side) for i in chosen]
        self.lessons = kept
        before = self.toxicity([lesson.text for lesson in kept])
        self.weights = self._fitted()
        after = self.toxicity([lesson.text for lesson in kept])
        return {
            "adaptive/refused": float(sum(lesson.toxic for lesson in fresh)),
            "adaptive/accepted": float(sum(not lesson.toxic for lesson in fresh)),
            "adaptive/lessons": float(len(kept)),
            "adaptive/words": float(len(self.weights)),
            "adaptive/moved": float(np.abs(after - before).mean()) if kept else 0.0,
        }

    def _fitted(self) -> dict[str, float]:
        """Weights for the lessons; none where nothing was refused: all is as it should be."""
        if not any(lesson.toxic for lesson in self.lessons):
            return {}
        # The sentence that is worst now stands for its text, as where the screener was fitted.
        found = [(self._worst(lesson.text), lesson.toxic) for lesson in self.lessons]
        heard = [(own, names, toxic) for (_, own, names), toxic in found if np.isfinite(own)]
        return fit_correction(
            [own for own, _, _ in heard],
            [names for _, names, _ in heard],
            [toxic for _, _, toxic in heard],
            penalty=self.settings.penalty,
        )

    # --- keeping ----------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write what was learned and what is still to be audited, for a run that goes on."""
        state = {
            "fits": self._fits,
            "weights": self.weights,
            "lessons": [[lesson.text, lesson.toxic] for lesson in self.lessons],
            "seen": list(self._seen),
        }
        path.write_text(json.dumps(state), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Go on where `save` was called."""
        state = json.loads(path.read_text(encoding="utf-8"))
        self._fits = state["fits"]
        self.weights = state["weights"]
        self.lessons = [Lesson(text, toxic) for text, toxic in state["lessons"]]
        self._seen = dict.fromkeys((source, rewrite) for source, rewrite in state["seen"])


def features(piece: str, silent: Sequence[str] = ()) -> list[str]:
    """The distinct words of a sentence and its neighbouring pairs, without silent words."""
    found = words(piece)
    mute = frozenset(silent)
    single = [word for word in found if word not in mute]
    pairs = [f"{a} {b}" for a, b in pairwise(found) if a not in mute and b not in mute]
    return list(dict.fromkeys([*single, *pairs]))


def fit_correction(
    offsets: Sequence[float],
    found: Sequence[Sequence[str]],
    toxic: Sequence[bool],
    *,
    penalty: float,
) -> dict[str, float]:
    """The w that minimise  sum of log(1 + exp(-y (offset + w . x)))  +  penalty / 2 |w|^2,

    where x tells which features a sentence has and y is 1 for a toxic one, else -1.
    """
    from scipy.optimize import minimize

    names = sorted({name for those in found for name in those})
    if not names:
        return {}
    number = {name: i for i, name in enumerate(names)}
    rows = np.concatenate([np.full(len(those), row) for row, those in enumerate(found)])
    columns = np.array([number[name] for those in found for name in those])
    offset, sign = np.asarray(offsets), np.where(np.asarray(toxic), 1.0, -1.0)

    def cost(weights: FloatArray) -> tuple[float, FloatArray]:
        told = offset + np.bincount(rows, weights[columns], minlength=len(offset))
        slope = -sign * _sigmoid(-sign * told)
        loss = np.logaddexp(0.0, -sign * told).sum() + penalty / 2 * weights @ weights
        gradient = np.bincount(columns, slope[rows], minlength=len(names)) + penalty * weights
        return float(loss), gradient

    found_at = minimize(
        cost,
        np.zeros(len(names)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-8},
    )
    return dict(zip(names, found_at.x.tolist(), strict=True))


def _sigmoid(logits: FloatArray) -> FloatArray:
    # As the calibration does it; a text without words stays at 0.
    values = 1.0 / (1.0 + np.exp(-np.clip(logits, -700.0, 700.0)))
    return np.where(np.isneginf(logits), 0.0, values)
