"""One table, one budget: methods side by side, from the same warm start, and by how much they differ.

Recipes are compared that differ in their method alone. Those that most people ask about run with
several seeds, and once again with a screener whose every tenth verdict is wrong; the others run once.
Every figure comes from a run whose folder is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from tactful import __version__
from tactful.compare_page import render_page
from tactful.config import load_recipe
from tactful.contest import (
    PARTS,
    WARM,
    Entrant,
    Outcome,
    Say,
    by_sentence,
    compete,
    dev_texts,
    find_adapter,
    gains,
    kept,
    lost,
    of_seeds,
    share,
    signed,
)
from tactful.errors import ConfigError
from tactful.evaluation.metrics import bootstrap_interval
from tactful.evaluation.report import write_whole
from tactful.pipeline import TrainRecipe, fingerprint
from tactful.rewriting.methods import METHODS, Method

LEADERS = ("sro", "sro-graded", "sro-paper", "dpo", "kto", "grpo")
"""Recipes, by name, that run with all seeds, and once again under FLIPS; the others run once."""
FLIPS = 0.1
"""The share of verdicts that is turned around when it is asked how much noise the leaders bear."""
_FLIPPED = "-flipped"
EDITED = "model-surgery"
"""The name of what `tactful surgery` left."""
TABLE, PAGE, FIGURES = "compare.json", "compare.md", "compare.html"


def compare(
    recipes: Sequence[Path],
    data: Path,
    warm: Path,
    out: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    rows: int = 240,
    full: bool = False,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    untrained: Sequence[str] = (),
    edited: Path | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Run what is missing, and write table, page and figures into `out`; gives the table.

    Args:
        recipes: Files that differ in their method alone.
        data: The folder of the corpus.
        warm: The adapter that all start from, or the folder of the run that left it.
        out: A folder, with one below it for each run.
        seeds: Of those in LEADERS; `full` gives all of them to all.
        rows: How many dev texts are judged; all with `full`.
        jobs: How many runs go on side by side, with a thread each.
        overrides: As of `--set`, for every recipe.
        untrained: Methods of the rewriter, which stand in a table of their own.
        edited: A model that `tactful surgery` left, asked by a prompt as the bare one is.
        say: Takes lines for a person.
    """
    if unknown := [method for method in untrained if method not in METHODS]:
        raise ConfigError(f"there is no method {unknown[0]!r}; there are {', '.join(METHODS)}")
    adapter = find_adapter(warm)
    loaded = {
        path.stem: load_recipe(
            path, TrainRecipe, [f"data.dir={data}", f"warm_start={adapter}", *overrides]
        )
        for path in recipes
    }
    if len(loaded) < len(recipes):
        raise ConfigError("two recipes have the same name; it is what stands in the table")
    if twice := sorted({m for m in untrained if untrained.count(m) > 1 or m in loaded}):
        raise ConfigError(f"{twice[0]} would stand in the table twice; name it once")
    for name, recipe in loaded.items():
        # Else it would be told when its turn comes, after hours.
        shown = recipe.demonstrations
        if shown is not None and not any((d / shown.file).is_file() for d in (data, Path())):
            raise ConfigError(
                f"{name} learns from {shown.file}, which is neither in {data} nor here; "
                "its recipe says how it is made"
            )
    _require_level(loaded)
    first = next(iter(loaded.values()))
    texts = dev_texts(first, None if full else rows)
    entrants = [Entrant(WARM, 0, adapter, first.base, None)]
    for name, recipe in loaded.items():
        for seed in seeds if full or name in LEADERS else seeds[:1]:
            entrants.append(Entrant(name, seed, adapter, first.base, _seeded(recipe, seed)))
    for name in LEADERS:
        for seed in (seeds if full else seeds[:1]) if name in loaded else ():
            noisy = _seeded(loaded[name], seed, flips=FLIPS)
            entrants.append(Entrant(name + _FLIPPED, seed, adapter, first.base, noisy))
    methods = [(method, method, first.base) for method in untrained]
    if edited is not None:
        methods.append((EDITED, "prompt", str(edited)))
    for name, method, base in methods:
        entrants.append(Entrant(name, 0, adapter, base, None, cast(Method, method)))
    outcomes = compete(entrants, texts, out, judge=first.look.judge, jobs=jobs, say=say)
    found = table(
        outcomes,
        texts=fingerprint([{"text": text} for text in texts]),
        recipes=loaded,
        untrained=[name for name, _, _ in methods],
    )
    write_whole(out / TABLE, json.dumps(found, indent=1) + "\n")
    write_whole(out / PAGE, render_markdown(found))
    write_whole(out / FIGURES, render_page(found))
    return found


def table(
    outcomes: Sequence[Outcome],
    *,
    texts: str,
    recipes: Mapping[str, TrainRecipe],
    untrained: Sequence[str] = (),
) -> dict[str, Any]:
    """What is known of each method, the best first, the warm start above all.

    A method's figures are means over its runs, which stand beside them.
    """
    warm, *others = outcomes
    by_name: dict[str, list[Outcome]] = {}
    for outcome in others:
        by_name.setdefault(outcome.name, []).append(outcome)
    methods = [_row(name, those, warm) for name, those in by_name.items() if name in recipes]
    methods.sort(key=lambda row: -row["joint"])
    without = [_row(name, by_name[name], warm) for name in untrained]
    without.sort(key=lambda row: -row["joint"])
    trained = [outcome for outcome in others if outcome.step]
    flipped = [
        _row(row["name"], noisy, warm)
        | {
            "lost": lost(noisy, clean),
            "kept": kept(noisy, clean, warm),
            "clean": float(by_sentence(clean, "joint").mean()),
        }
        for row in methods
        if (noisy := by_name.get(row["name"] + _FLIPPED))
        and (clean := of_seeds(by_name[row["name"]], noisy))
    ]
    budgets = {recipe.train.tokens for recipe in recipes.values()}
    return {
        "version": __version__,
        "warm": warm.warm,
        "judge": warm.judge,
        "texts": {"rows": len(warm.values["joint"]), "fingerprint": texts},
        "budget": budgets.pop(),
        "minutes": round(sum(outcome.seconds for outcome in trained) / 60, 1),
        "methods": [_row(WARM, [warm], warm), *methods],
        "flips": FLIPS,
        "flipped": flipped,
        "untrained": without,
    }


def _seeded(recipe: TrainRecipe, seed: int, *, flips: float = 0.0) -> TrainRecipe:
    noise = recipe.followers.noise.model_copy(
        update={"false_pass": flips, "false_fail": flips, "seed": seed} if flips else {}
    )
    return recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update={"seed": seed}),
            "followers": recipe.followers.model_copy(update={"noise": noise}),
        }
    )


def _row(name: str, outcomes: Sequence[Outcome], warm: Outcome) -> dict[str, Any]:
    joint = bootstrap_interval(by_sentence(outcomes, "joint"))
    return {
        "name": name,
        **{part: float(by_sentence(outcomes, part).mean()) for part in PARTS},
        "interval": [joint.low, joint.high],
        "against_warm": {part: asdict(d) for part, d in gains(outcomes, warm).items()},
        "runs": [
            {
                "seed": o.seed,
                "key": o.key,
                "adapter": o.adapter,
                "step": o.step,
                **{part: float(o.values[part].mean()) for part in PARTS},
                "copies": o.copies,
                "unresolved": o.unresolved,
                "generated": o.generated,
                "trained": o.trained,
                "minutes": round(o.seconds / 60, 2),
                "memory": o.memory,
                "curve": o.curve,
            }
            for o in outcomes
        ],
    }


def cells(row: Mapping[str, Any]) -> list[str]:
    """A method's line, as every form of the table shows it."""
    runs = row["runs"]
    mean = {
        name: float(np.mean([run[name] for run in runs]))
        for name in ("step", "generated", "trained", "minutes", "copies")
    }
    moved = "" if row["name"] == WARM else signed(row["against_warm"]["joint"])
    spread = [run["joint"] for run in runs]
    return [
        row["name"],
        f"{row['joint']:.3f}",
        moved,
        f"{row['style']:.3f}",
        f"{row['meaning']:.3f}",
        f"{row['fluency']:.3f}",
        f"{mean['copies']:.1%}",
        f"{min(spread):.3f}-{max(spread):.3f}" if len(runs) > 1 else "",
        f"{mean['step']:.0f}",
        f"{mean['generated'] / 1000:.1f}k + {mean['trained'] / 1000:.1f}k",
        f"{mean['minutes']:.1f}",
        f"{max(run['memory'] for run in runs):,.0f}",
    ]


COLUMNS = (
    "method",
    "J",
    "J - warm start [95 %]",
    "style",
    "meaning",
    "fluency",
    "copies",
    "J by seed",
    "steps",
    "tokens written + read",
    "CPU min",
    "MB",
)


def flipped_cells(row: Mapping[str, Any]) -> list[str]:
    """A leader's line under FLIPS."""
    return [
        row["name"],
        f"{row['clean']:.3f}",
        f"{row['joint']:.3f}",
        signed(row["lost"]),
        share(row["kept"]),
    ]


FLIPPED_COLUMNS = (
    "method",
    "J without flips",
    "J with",
    "lost [95 %]",
    "gain kept [95 %]",
)


def untrained_cells(row: Mapping[str, Any], rows: int) -> list[str]:
    """The line of a method that needs no training."""
    [run] = row["runs"]
    return [
        row["name"],
        f"{row['joint']:.3f}",
        signed(row["against_warm"]["joint"]),
        *(f"{row[part]:.3f}" for part in ("style", "meaning", "fluency")),
        f"{run['copies']:.1%}",
        f"{run['unresolved']:.1%}",
        f"{60 * run['minutes'] / rows:.2f}",
    ]


UNTRAINED_COLUMNS = (
    "method",
    "J",
    "J - warm start [95 %]",
    "style",
    "meaning",
    "fluency",
    "copies",
    "unresolved",
    "CPU s a text",
)


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(columns) + " |",
        "|---|" + "--:|" * (len(columns) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def render_markdown(found: Mapping[str, Any]) -> str:
    """The table as a page."""
    lines = [
        "# Methods side by side",
        "",
        f"Judge `{found['judge']}`, {found['texts']['rows']} texts of a fold that nobody learned from, greedy "
        f"rewrites; warm start `{found['warm']}`; a budget of {found['budget']:,} tokens a run, "
        "written and read for an update. Differences are paired by sentence, averaged over seeds; "
        "intervals by bootstrap over sentences, so they do not tell how seeds differ: that is beside "
        f"them. {found['minutes']:.0f} minutes of one core in all.",
        "",
        *_markdown_table(COLUMNS, [cells(row) for row in found["methods"]]),
        "",
    ]
    if found["flipped"]:
        lines += [
            f"## {found['flips']:.0%} of the screener's verdicts turned around",
            "",
            "The same recipes and seeds under a screener that errs at that rate, both ways. What is kept of "
            "a gain is told where the gain without flips is clearly above nothing.",
            "",
            *_markdown_table(FLIPPED_COLUMNS, [flipped_cells(row) for row in found["flipped"]]),
            "",
        ]
    if found["untrained"]:
        rows = found["texts"]["rows"]
        lines += [
            "## Whole rewriters",
            "",
            "The same texts through a whole rewriter, as `tactful rewrite --all --method` prints them: with its "
            "gates and its ranking, which the greedy rewrites above go without, and masked where nothing "
            "passes (unresolved). `model` is the rewriter that ships; the others need no training: they ask the bare "
            "base, or no model.",
            "",
            *_markdown_table(
                UNTRAINED_COLUMNS, [untrained_cells(row, rows) for row in found["untrained"]]
            ),
            "",
        ]
    return "\n".join(lines)


def _require_level(recipes: Mapping[str, TrainRecipe]) -> None:
    """Whoever has other data, another base or another budget is not to be compared."""
    (first, reference), *others = recipes.items()
    if reference.train.tokens is None:
        raise ConfigError(f"{first} has no train.tokens: methods are compared at the same budget")
    for name, recipe in others:
        shared = {
            "data": (reference.data, recipe.data),
            "base": (reference.base, recipe.base),
            "look": (reference.look, recipe.look),
            "train.tokens": (reference.train.tokens, recipe.train.tokens),
        }
        differ = [key for key, (one, other) in shared.items() if one != other]
        if differ:
            raise ConfigError(
                f"{first} and {name} differ in {', '.join(differ)}, so their difference would not "
                "be one of method; let both extend the same recipe"
            )
