"""From a recipe and a corpus to the kinds of toxicity that are offered, with what they are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import Field

from tactful.config import Config, dump_recipe
from tactful.corpora.piles import Pile, read_piles
from tactful.errors import ConfigError, DataError
from tactful.recipe import Corpus
from tactful.screeners import metrics
from tactful.screeners.base import FloatArray
from tactful.screeners.kinds import Kinds, KindsConfig
from tactful.screeners.linear import LinearScreener

_RESAMPLES = 1_000
# What an insult of one person does to what is said of a group beside it; the last word is of none.
_BESIDE_AN_INSULT = (
    "my {} neighbour told that idiot to read the rules",
    "some fool parked in front of the {} bakery",
    "the {} teacher said only a moron would skip the test",
    "you idiot , the {} team won the match",
)
_NO_GROUP = "local"
_HARMLESS = ("neutral", "positive", "counter_speech", "negated", "quotation")


class Offer(Config):
    """What a kind must reach on the dev folds, at the low end of its intervals, to be offered."""

    auroc: Annotated[float, Field(ge=0, le=1)] = 0.75
    gain: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of average precision over the base rate: 0 is guessing, 1 is knowing."""


class KindsRecipe(Config):
    """Everything that makes the kinds of toxicity."""

    data: Corpus
    """Toxic texts alone, with columns that say of which kinds they are."""
    kinds: dict[str, dict[str, list[Any]]]
    """For each kind, which values of which columns mean it."""
    harmless: Pile | None = None
    """Texts of no kind, to see what is said of them."""
    harmless_texts: Annotated[int, Field(ge=1)] = 1_000
    """So many of them, from the first on."""
    train_folds: tuple[int, ...]
    dev_folds: tuple[int, ...]
    offer: Offer = Offer()
    model: KindsConfig = KindsConfig()


Labelled = tuple[list[str], dict[str, list[bool]]]
"""Texts, and for each kind whether they are of it."""


def fit_kinds(recipe: KindsRecipe, out: Path) -> dict[str, Any]:
    """Fit, calibrate and measure kinds; write those worth offering, with recipe and card.

    P(toxic) is that of the screener that ships.
    """
    if set(recipe.train_folds) & set(recipe.dev_folds):
        raise ConfigError("train_folds and dev_folds must have no fold in common")
    train, dev = read_kinds(recipe, recipe.train_folds), read_kinds(recipe, recipe.dev_folds)
    if not train[0] or not dev[0]:
        raise DataError(f"no rows in folds {recipe.train_folds} or no rows in {recipe.dev_folds}")
    fitted = Kinds.fit(*train, recipe.model)
    measured = measure_kinds(fitted, LinearScreener.load(), dev, recipe)
    kinds = fitted.calibrated(*dev).only(
        [row["kind"] for row in measured["kinds"] if row["offered"]]
    )
    measured = {"model": kinds.name, "train_texts": len(train[0]), **measured}
    # The folder of one machine is nobody else's business.
    shown = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"dir": Path("CORPUS")})}
    )
    kinds.save(out)
    dump_recipe(shown, out / "recipe.yaml")
    (out / "metrics.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(render_kinds_card(measured), encoding="utf-8")
    return measured


def read_kinds(recipe: KindsRecipe, folds: Sequence[int]) -> Labelled:
    """The texts of some folds and of which kinds they are."""
    texts: list[str] = []
    labels: dict[str, list[bool]] = {}
    for kind, values in recipe.kinds.items():
        piles = [pile.model_copy(update={"toxic": values}) for pile in recipe.data.piles]
        rows = [e for e in read_piles(recipe.data.dir, piles) if e.fold in folds]
        texts = [e.text for e in rows]
        labels[kind] = [e.toxic for e in rows]
    return texts, labels


# --- measuring ------------------------------------------------------------------------------


def measure_kinds(
    kinds: Kinds, screener: LinearScreener, dev: Labelled, recipe: KindsRecipe
) -> dict[str, Any]:
    """What kinds are worth on toxic texts that they have not seen, and what they say of others.

    Every figure is of scores whose calibration has not seen the text: the texts are dealt to two
    halves, and each half is scored with the calibration of the other.
    """
    texts, labels = dev
    known, served = _by_halves(kinds, screener, texts, labels)
    whole = kinds.calibrated(texts, labels)
    harmless = _harmless(recipe)
    said = whole.probabilities(harmless, screener)
    rows = []
    for kind in kinds.names:
        row = _worth(labels[kind], known[kind], served[kind], recipe.offer)
        if harmless:
            row["harmless_mean"] = float(said[kind].mean())
            row["harmless_at_half"] = metrics.flagged(said[kind], 0.5)
        rows.append({"kind": kind, **row})
    return {
        "screener": screener.name,
        "dev_texts": len(texts),
        "harmless_texts": len(harmless),
        "offer": recipe.offer.model_dump(),
        "kinds": rows,
        "groups": _of_groups(whole, screener),
    }


def _by_halves(
    kinds: Kinds,
    screener: LinearScreener,
    texts: Sequence[str],
    labels: Mapping[str, Sequence[bool]],
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """P(kind | toxic) and P(kind) of every text, by kind, calibrated on the other half."""
    known = {kind: np.empty(len(texts)) for kind in kinds.names}
    served = {kind: np.empty(len(texts)) for kind in kinds.names}
    for half in (0, 1):
        other = {kind: marked[1 - half :: 2] for kind, marked in labels.items()}
        calibrated = kinds.calibrated(texts[1 - half :: 2], other)
        given = calibrated.given_toxic(texts[half::2])
        product = calibrated.probabilities(texts[half::2], screener)
        for column, kind in enumerate(kinds.names):
            known[kind][half::2] = given[:, column]
            served[kind][half::2] = product[kind]
    return known, served


def _worth(
    labels: Sequence[bool], known: FloatArray, served: FloatArray, offer: Offer
) -> dict[str, Any]:
    marked = np.asarray(labels)
    auroc, precision = metrics.auroc(marked, served), metrics.average_precision(marked, served)
    aurocs, gains = [], []
    random = np.random.default_rng(0)
    for _ in range(_RESAMPLES):
        drawn = random.integers(len(marked), size=len(marked))
        if marked[drawn].all() or not marked[drawn].any():
            continue
        aurocs.append(metrics.auroc(marked[drawn], served[drawn]))
        gains.append(_gain(marked[drawn], served[drawn]))
    interval = [float(q) for q in np.quantile(aurocs, [0.025, 0.975])]
    gain_interval = [float(q) for q in np.quantile(gains, [0.025, 0.975])]
    return {
        "texts": int(marked.sum()),
        "base_rate": float(marked.mean()),
        "auroc": auroc,
        "auroc_interval": interval,
        "average_precision": precision,
        "gain": _gain(marked, served),
        "gain_interval": gain_interval,
        "ece_given_toxic": metrics.expected_calibration_error(marked, known),
        "ece": metrics.expected_calibration_error(marked, served),
        "mean": float(served.mean()),
        "offered": interval[0] >= offer.auroc and gain_interval[0] >= offer.gain,
    }


def _gain(labels: FloatArray | Any, scores: FloatArray) -> float:
    """How much of the way from guessing to knowing the average precision goes."""
    base = float(np.mean(labels))
    return (metrics.average_precision(labels, scores) - base) / (1 - base)


def _harmless(recipe: KindsRecipe) -> list[str]:
    if recipe.harmless is None:
        return []
    rows = read_piles(recipe.data.dir, [recipe.harmless])
    return [e.text for e in rows if e.fold in recipe.dev_folds][: recipe.harmless_texts]


def _of_groups(kinds: Kinds, screener: LinearScreener) -> dict[str, dict[str, float]]:
    """What each kind says on average of our own sentences in which a group is named.

    `harmless` are those of the follower's suite in which nobody is insulted, and `hostile` those
    in which somebody is; `beside` has an insult of somebody else, and `without` the same sentences
    with a word that is no group's.
    """
    file = resources.files("tactful") / "assets" / "follower_suite.yaml"
    suite = yaml.safe_load(file.read_text(encoding="utf-8"))
    groups = list(suite["groups"].values())
    harmless = [frame for of in _HARMLESS for frame in suite[f"{of}_frames"]]
    asked = {
        "harmless": [frame.format(group) for frame in harmless for group in groups],
        "hostile": [frame.format(group) for frame in suite["hostile_frames"] for group in groups],
        "beside": [frame.format(group) for frame in _BESIDE_AN_INSULT for group in groups],
        "without": [frame.format(_NO_GROUP) for frame in _BESIDE_AN_INSULT],
    }
    said = {name: kinds.probabilities(texts, screener) for name, texts in asked.items()}
    return {
        kind: {name: float(scores[kind].mean()) for name, scores in said.items()}
        | {"harmless_highest": float(said["harmless"][kind].max())}
        for kind in kinds.names
    }


# --- telling --------------------------------------------------------------------------------


def render_kinds_report(measured: Mapping[str, Any]) -> str:
    """The metrics as a page of Markdown."""
    offer = measured["offer"]
    lines = [
        "# Kinds of toxicity, measured",
        "",
        f"`{measured['model']}` with `{measured['screener']}`. What is answered for a kind is",
        "P(toxic) × P(kind | toxic) of the worst sentence: the first factor is the screener's, the second",
        "was learned from Wikipedia comments that are all toxic "
        f"({measured['train_texts']:,} of them), since no others",
        "bear such labels. So the first table is *within* toxic comments: not whether a comment is toxic, but",
        "how. What was tried, and why the bar is where it is, says",
        "[decision 0021](../decisions/0021-kinds.md).",
        "",
        f"## On {measured['dev_texts']:,} toxic comments not learned from",
        "",
        "Each half was scored with the calibration of the other; the screener's own scale was fitted on the",
        "whole, and what is offered is decided here. Intervals: 95 %, of "
        f"{_RESAMPLES:,} resamples. Gain: how much",
        "of the way from guessing (the base rate) to knowing (1) the average precision goes. Offered is what",
        f"has an AUROC of {offer['auroc']} and a gain of {offer['gain']} at the low end of its intervals.",
        "",
        "| kind | texts | base rate | AUROC | average precision | gain | offered |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {_spoken(row)} | {row['texts']} | {row['base_rate']:.3f} "
        f"| {row['auroc']:.3f} ({_interval(row['auroc_interval'])}) "
        f"| {row['average_precision']:.3f} | {row['gain']:.2f} ({_interval(row['gain_interval'], 2)}) "
        f"| {'yes' if row['offered'] else 'no'} |"
        for row in measured["kinds"]
    ]
    lines += [
        "",
        "## What a score means",
        "",
        "ECE (15 bins) of P(kind | toxic) says how far that factor is from the share of toxic comments that",
        "are of the kind. The product is lower, as the screener is not sure of every toxic comment: among",
        "comments all known to be toxic it understates (mean score against base rate).",
        f"Harmless: {measured['harmless_texts']:,} neutral texts of the dev folds, their mean score, and how",
        "many reach 0.5.",
        "",
        "| kind | ECE of P(kind given toxic) | ECE of the product | mean score | base rate | harmless: mean | harmless at 0.5 |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {_spoken(row)} | {row['ece_given_toxic']:.3f} | {row['ece']:.3f} | {row['mean']:.3f} "
        f"| {row['base_rate']:.3f} | {_or_dash(row, 'harmless_mean', '.4f')} "
        f"| {_or_dash(row, 'harmless_at_half', '.1%')} |"
        for row in measured["kinds"]
    ]
    lines += [
        "",
        "## Where a group is named",
        "",
        "Mean scores of sentences of our own with words for 25 groups: harmless ones, with the highest of",
        "them; insults aimed at somebody by group (mild words); an insult of *somebody else* in the same",
        "sentence; and the same sentences with a word that is no group's.",
        "",
        "| kind | harmless | highest | hostile | beside an insult | without a group |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {kind.replace('_', ' ')} | {said['harmless']:.3f} | {said['harmless_highest']:.3f} "
        f"| {said['hostile']:.3f} | {said['beside']:.3f} | {said['without']:.3f} |"
        for kind, said in measured["groups"].items()
    ]
    return "\n".join([*lines, ""])


def render_kinds_card(measured: Mapping[str, Any]) -> str:
    """What the weights are, what they were made from, and where they fail."""
    rows = "\n".join(
        f"| {_spoken(row)} | {row['base_rate']:.3f} | {row['auroc']:.3f} "
        f"| {row['average_precision']:.3f} | {row['ece_given_toxic']:.3f} "
        f"| {_or_dash(row, 'harmless_mean', '.4f')} | {'yes' if row['offered'] else 'no'} |"
        for row in measured["kinds"]
    )
    attack = measured["groups"].get("identity_attack")
    beside = (
        "- A word for a group in the same sentence as an insult of somebody else raises the identity\n"
        f"  attack: {attack['beside']:.2f} on average, {attack['without']:.2f} without the word.\n"
        if attack
        else ""
    )
    return f"""# Model card: kinds of toxicity

`{measured["model"]}`: P(kind | toxic), a logistic regression for each kind over normalised words, word
pairs and letter groups. English only. What is answered is its product with P(toxic) of the screener
(`{measured["screener"]}` in the figures), sentence by sentence; the worst one counts.
Made by tactful {metadata.version("tactful")} with `tactful screener kinds recipes/kinds.yaml`; the resolved recipe is in
`recipe.yaml`, all figures in `metrics.json`, a page of them in `docs/results/kinds.md`.

## Data

{measured["train_texts"]:,} toxic Jigsaw comments of the training folds (Wikipedia talk pages, text CC BY-SA,
annotations CC0), the only texts at hand that say how they are toxic. None of them is clean.
The weights hold words, pairs of neighbouring words and letter groups that stand in several comments,
slurs among them; no sentence.

## Figures on {measured["dev_texts"]:,} toxic comments of the dev folds

| kind | base rate | AUROC | average precision | ECE of P(kind given toxic) | mean on harmless texts | kept here |
|---|--:|--:|--:|--:|--:|---|
{rows}

A kind that is not kept was not told apart well enough, and is not answered.

## Known failures

- What the screener does not see is of no kind either: contempt without an ugly word. Threats are
  found by violent words; veiled ones ("watch your back") mostly are not.
- Insults without a swear word reach about a half in profanity: annotators often marked both.
- One place and time: Wikipedia's talk pages. What these annotators called an insult, tweets may not.
{beside}- Disguised spellings that only the screener reads (`f00l`) count as toxic of no particular kind.
- There is no threshold: a probability ranks; where to act is the user's to choose on texts of their own.
"""


def _spoken(row: Mapping[str, Any]) -> str:
    return str(row["kind"]).replace("_", " ")


def _interval(ends: Sequence[float], digits: int = 3) -> str:
    return "–".join(f"{end:.{digits}f}" for end in ends)


def _or_dash(row: Mapping[str, Any], key: str, form: str) -> str:
    return format(row[key], form) if key in row else "–"
