"""What a judge likes that people do not: its choices between rewrites, explained by manners.

Of two rewrites of one source the judge chooses one, and so did people. A logistic regression tells
how far a choice goes with being longer, politer, more hedged, closer to the source's words, or with
saying sorry (after "Dissecting human and LLM preferences", arXiv 2402.11296). Where the judge's
weight differs from people's, whoever trains on that judge learns manners instead of rewriting.

Left out, against the paper: its other two dozen properties, which a model has to annotate; and the
full posterior of its Bayesian regression, whose prior is kept and whose intervals here come from
drawing the sources anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tactful.errors import DataError
from tactful.evaluation.base import FloatArray, Judge
from tactful.evaluation.checks import words
from tactful.evaluation.judge_fit import Rated
from tactful.evaluation.metrics import CONFIDENCE, paired_bootstrap
from tactful.evaluation.report import write_whole

Feature = Callable[[str, str], float]
"""Source and rewrite in, how much of something the rewrite has out."""

_POLITE = re.compile(
    r"\b(?:please|pls|plz|thanks?|thank you|kindly|appreciate|respectfully|with (?:all )?due respect|"
    r"you(?:'re| are) welcome|(?:could|would) you|may i|sir|madam|ma'am)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|probably|possibly|apparently|somewhat|a (?:bit|little)|kind of|sort of|kinda|"
    r"sorta|i (?:think|guess|suppose)|in my opinion|imo|not sure|seem(?:s|ed)?|"
    r"might|could be|may be|rather|fairly|tends? to)\b",
    re.IGNORECASE,
)
_APOLOGY = re.compile(
    r"\b(?:sorry|apolog(?:y|ies|i[sz]e[ds]?|i[sz]ing)|regret(?:s|fully)?|pardon|forgive me|excuse me|"
    r"my bad)\b",
    re.IGNORECASE,
)


def length(source: str, rewrite: str) -> float:
    """Words of the rewrite per word of the source, as a logarithm: twice is as far as half."""
    return float(np.log(max(1, len(words(rewrite))) / max(1, len(words(source)))))


def politeness(source: str, rewrite: str) -> float:
    """Words of courtesy."""
    return float(len(_POLITE.findall(_straight(rewrite))))


def hedging(source: str, rewrite: str) -> float:
    """Words that take back a part of what is said."""
    return float(len(_HEDGE.findall(_straight(rewrite))))


def copied(source: str, rewrite: str) -> float:
    """Of the rewrite's words, the share that stands in the source; 0 for no words."""
    theirs, ours = words(rewrite), set(words(source))
    return sum(word in ours for word in theirs) / len(theirs) if theirs else 0.0


def apology(source: str, rewrite: str) -> float:
    """Words of apology."""
    return float(len(_APOLOGY.findall(_straight(rewrite))))


def _straight(text: str) -> str:
    return text.replace("’", "'")


FEATURES: Mapping[str, Feature] = {
    "length": length,
    "politeness": politeness,
    "hedging": hedging,
    "copied words": copied,
    "apology": apology,
}

MANNERS: Mapping[str, str] = {
    "politeness": "please, ",
    "hedging": "i think ",
    "apology": "i am sorry, but ",
    "all of them": "i am sorry, but i think, with all due respect, ",
}
"""What is put before a rewrite to see whether manners alone are rewarded."""

# Ratings are sixths and thirds in floating point: a difference below this is none.
_TIE = 1e-9
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Choices:
    """Pairs of rewrites of one source: how they differ, and by how much each is preferred.

    differences  (pairs, features), first rewrite minus second
    people       people's joint rating of the first minus that of the second
    judge        the judge's J of the first minus that of the second
    source       which source each pair is of
    """

    differences: FloatArray
    people: FloatArray
    judge: FloatArray
    source: NDArray[np.int64]


def choices(rated: Sequence[Rated], judge: Judge) -> Choices:
    """All pairs of different rewrites of a source, each judged once."""
    sources, rewrites = [r.source for r in rated], [r.rewrite for r in rated]
    joint = judge.score(sources, rewrites).joint
    found = np.array([[f(r.source, r.rewrite) for f in FEATURES.values()] for r in rated])
    human = np.array([r.style * r.meaning * r.fluency for r in rated])
    rows: dict[str, list[int]] = {}
    for row, source in enumerate(sources):
        rows.setdefault(source, []).append(row)
    pairs = np.array(
        [
            (a, b, number)
            for number, those in enumerate(rows.values())
            for a, b in combinations(those, 2)
            if rewrites[a] != rewrites[b]
        ]
    )
    if not len(pairs):
        raise DataError("no source has two different rated rewrites, so nobody chose")
    first, second, group = pairs.T
    return Choices(
        found[first] - found[second],
        human[first] - human[second],
        joint[first] - joint[second],
        group,
    )


def choice_weights(
    differences: FloatArray, first: NDArray[np.bool_], *, prior: float = 1.0
) -> FloatArray:
    """Weights w of P(first is chosen) = sigmoid(w . differences), the likeliest under N(0, prior^2).

    Without an intercept: which of two comes first says nothing. Found by Newton's method, which is
    safe here, as the prior makes the problem strictly convex.
    """
    target = first.astype(np.float64)
    weights = np.zeros(differences.shape[1])
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(differences @ weights, -500, 500)))
        gradient = differences.T @ (chance - target) + weights / prior**2
        spread = differences * (chance * (1 - chance))[:, None]
        step = np.linalg.solve(differences.T @ spread + np.eye(len(weights)) / prior**2, gradient)
        # A step too far is rare and only ever seen where chances are near 0 or 1.
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    return weights


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight per standard deviation of the feature's difference, with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bias:
    """What a feature is worth to people, to the judge, to the judge beyond people; and how common.

    `judge_given_people` is the judge's weight when people's own rating stands in the regression
    too: what is left is not explained by the feature's doing good. `differ` counts the pairs in
    which the two rewrites differ in it.
    """

    feature: str
    people: Weight
    judge: Weight
    difference: Weight
    judge_given_people: Weight
    differ: int


def judge_bias(
    rated: Sequence[Rated],
    judge: Judge,
    *,
    boot: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """The regression for people, for the judge, and for both together, as plain figures.

    `progress` counts how often the judge has read all rewrites, which is what takes time.
    """
    if boot < 1:
        raise DataError(f"intervals need at least 1 resample, got {boot}")
    readings = 1 + len(MANNERS)
    found = choices(rated, judge)
    progress(1, readings)
    scaled = _scaled(found.differences)
    ratings = _scaled(found.people[:, None])
    at_hand = _three(scaled, ratings, found)
    groups = [np.flatnonzero(found.source == s) for s in range(int(found.source.max()) + 1)]
    groups = [rows for rows in groups if len(rows)]
    random = np.random.default_rng(seed)
    drawn: list[FloatArray] = []
    for _ in range(boot):
        # Sources are drawn, not pairs: the three pairs of one source share their rewrites.
        rows = np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))])
        drawn.append(_three(scaled, ratings, found, rows))
    resampled = np.stack(drawn)
    biases = [
        Bias(
            name,
            _weight(at_hand[0, i], resampled[:, 0, i]),
            _weight(at_hand[1, i], resampled[:, 1, i]),
            _weight(at_hand[1, i] - at_hand[0, i], resampled[:, 1, i] - resampled[:, 0, i]),
            _weight(at_hand[2, i], resampled[:, 2, i]),
            int(np.count_nonzero(np.abs(found.differences[:, i]) > _TIE)),
        )
        for i, name in enumerate(FEATURES)
    ]
    both = (np.abs(found.people) > _TIE) & (np.abs(found.judge) > _TIE)
    return {
        "judge": judge.signature,
        "rewrites": len(rated),
        "sources": len(groups),
        "pairs": len(found.people),
        "people_tied": int(np.sum(np.abs(found.people) <= _TIE)),
        "judge_tied": int(np.sum(np.abs(found.judge) <= _TIE)),
        "same_choice": float(np.mean((found.people > 0)[both] == (found.judge > 0)[both])),
        "boot": boot,
        "seed": seed,
        "biases": [asdict(bias) for bias in biases],
        "manners": manners_rewarded(
            rated, judge, boot=boot, seed=seed, told=lambda done: progress(1 + done, readings)
        ),
    }


def manners_rewarded(
    rated: Sequence[Rated],
    judge: Judge,
    *,
    boot: int = 1000,
    seed: int = 0,
    told: Callable[[int], None] = lambda done: None,
) -> dict[str, dict[str, float]]:
    """How much J each of `MANNERS` adds to the rewrites that lack it; they rewrite nothing.

    What machines seldom write a regression on their rewrites cannot weigh, but it can be put there.
    """
    sources, rewrites = [r.source for r in rated], [r.rewrite for r in rated]
    before = judge.score(sources, rewrites).joint
    added = {}
    for name, prefix in MANNERS.items():
        feature = FEATURES.get(name, apology)
        lack = [i for i, text in enumerate(rewrites) if not feature(sources[i], text)]
        after = judge.score([sources[i] for i in lack], [prefix + rewrites[i] for i in lack]).joint
        added[name] = asdict(paired_bootstrap(after, before[lack], boot=boot, seed=seed))
        added[name]["rewrites"] = len(lack)
        told(len(added))
    return added


def _scaled(differences: FloatArray) -> FloatArray:
    """In units of the root mean square; the mean is not taken off, as the order means nothing."""
    size = np.sqrt(np.mean(differences**2, axis=0))
    scaled: FloatArray = differences / np.where(size > _TIE, size, 1.0)
    return scaled


def _three(
    scaled: FloatArray, ratings: FloatArray, found: Choices, rows: NDArray[np.int64] | None = None
) -> FloatArray:
    """The weights of people, of the judge, and of the judge given people; (3, features)."""
    rows = np.arange(len(scaled)) if rows is None else rows
    people = rows[np.abs(found.people[rows]) > _TIE]
    judge = rows[np.abs(found.judge[rows]) > _TIE]
    given = np.column_stack([scaled, ratings])
    return np.stack(
        [
            choice_weights(scaled[people], found.people[people] > 0),
            choice_weights(scaled[judge], found.judge[judge] > 0),
            choice_weights(given[judge], found.judge[judge] > 0)[:-1],
        ]
    )


def _weight(at_hand: float, drawn: FloatArray) -> Weight:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return Weight(float(at_hand), float(low), float(high))


def render_bias(found: Mapping[str, Any]) -> str:
    """The figures as a page of Markdown."""
    lines = [
        "# What our judge likes that people do not",
        "",
        f"`{found['judge']}`",
        "",
        f"{found['rewrites']:,} rewrites of {found['sources']:,} sources by three published systems, "
        f"rated by people; {found['pairs']:,} pairs of two rewrites of one source. People rate "
        f"{found['people_tied']:,} of the pairs alike, the judge {found['judge_tied']:,}; of the others "
        f"both choose the same in {100 * found['same_choice']:.0f} %.",
        "",
        "A weight is what one standard deviation more of a feature adds to the log-odds of being "
        f"chosen; in brackets its 95 % interval over {found['boot']:,} draws of sources. The last "
        "column knows people's rating of both rewrites: what it holds, the judge likes for itself. "
        "**Bold** is what differs from 0.",
        "",
        "| feature | differs in | people | judge | judge - people | judge, given people |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in found["biases"]:
        shown = [row[name] for name in ("people", "judge", "difference", "judge_given_people")]
        lines.append(
            f"| {row['feature']} | {row['differ']:,} | " + " | ".join(map(_shown, shown)) + " |"
        )
    lines += [
        "",
        "Manners put before rewrites that lack them, which makes nothing of them better:",
        "",
        "| put before | in front of | J gains |",
        "|---|--:|--:|",
    ]
    for name, row in found["manners"].items():
        put = f'"{MANNERS[name].strip()}"'
        lines.append(f"| {name}: {put} | {row['rewrites']:,} | {_shown(row, 3)} |")
    lines += [
        "",
        "The weights of the judge's meaning and fluency were set on these very ratings (and on much "
        "else), so that it agrees with people here is no proof. What the rewrites seldom do, such as "
        "to say sorry, is told apart badly: its interval is wide, and its weight is drawn towards 0.",
    ]
    return "\n".join(lines) + "\n"


def write_bias(found: Mapping[str, Any], folder: Path) -> None:
    """The figures and their page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "judge_bias.json", json.dumps(found, indent=1) + "\n")
    write_whole(folder / "judge_bias.md", render_bias(found))


def _shown(weight: Mapping[str, float], digits: int = 2) -> str:
    mean, low, high = (f"{weight[name]:+.{digits}f}" for name in ("mean", "low", "high"))
    text = f"{mean} [{low}, {high}]"
    apart = weight["low"] > 0 or weight["high"] < 0
    return f"**{text}**" if apart else text
