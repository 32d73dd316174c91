"""Does the game gain anything over its warm start? Seeds side by side, and the paper's own form.

    python benchmarks/game.py --data CORPUS --warm runs/warm -o docs/results/game.json

Every run starts from the same warm start, plays by recipes/sro.yaml (or sro-paper.yaml), and is
asked for greedy rewrites of the same texts of fold 9, which the dev judge scores. The differences
are paired by sentence, averaged over seeds; intervals are by bootstrap over sentences. Runs are
kept in --runs and go on where they were.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tactful.config import load_recipe
from tactful.corpora.piles import read_piles
from tactful.evaluation.base import Scores
from tactful.evaluation.judges import load_judge
from tactful.evaluation.metrics import paired_bootstrap
from tactful.models import ADAPTER_FILE, file_sha256
from tactful.pipeline import TrainRecipe, answer, texts_of, train
from tactful.run_folder import METRICS
from tactful.training.policy import Policy

PARTS = ("joint", "style", "meaning", "fluency")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--warm", type=Path, required=True, help="the folder of a warm start's run")
    parser.add_argument("--runs", type=Path, default=Path("runs/game"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=["sro", "sro-paper"])
    parser.add_argument("--set", nargs="*", default=[], help="overrides for every recipe")
    parser.add_argument("--rows", type=int, default=448)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    console = Console()
    adapter = given.warm / "adapter"
    judge = load_judge("dev")
    texts: list[str] = []
    scores: dict[str, list[Scores]] = {}
    seconds: dict[str, list[float]] = {}
    curves: dict[str, list[list[dict[str, float]]]] = {}
    for name in given.recipes:
        for seed in given.seeds:
            overrides = [
                f"data.dir={given.data}",
                f"warm_start={adapter}",
                f"train.seed={seed}",
                *given.set,
            ]
            recipe = load_recipe(Path(f"recipes/{name}.yaml"), TrainRecipe, overrides)
            out = given.runs / f"{name}-{seed}"
            started = time.perf_counter()
            train(recipe, out, say=console.print)
            seconds.setdefault(name, []).append(time.perf_counter() - started)
            curves.setdefault(name, []).append(_curve(out))
            examples = read_piles(given.data, recipe.data.toxic)
            data = recipe.data
            texts = texts_of(examples, data, data.dev_folds, data.dev_sources)[: given.rows]
            if "warm" not in scores:
                scores["warm"] = [judge.score(texts, answer(Policy.load(adapter=adapter), texts))]
            rewrites = answer(Policy.load(adapter=out / "adapter"), texts)
            scores.setdefault(name, []).append(judge.score(texts, rewrites))
            console.print(f"{name} seed {seed}: J {scores[name][-1].joint.mean():.3f}")
    found = {
        "judge": judge.name,
        "warm_start": file_sha256(adapter / ADAPTER_FILE)[:12],
        "rows": len(texts),
        "seeds": given.seeds,
        "overrides": given.set,
        "systems": {
            name: {
                **{part: float(_mean(those, part).mean()) for part in PARTS},
                "by_seed": [float(s.joint.mean()) for s in those],
                "minutes": [round(s / 60, 1) for s in seconds.get(name, [])],
                "against_warm": {
                    part: asdict(paired_bootstrap(_mean(those, part), _mean(scores["warm"], part)))
                    for part in PARTS
                },
            }
            for name, those in scores.items()
        },
        "curves": curves,
    }
    _print(found)
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _curve(run: Path) -> list[dict[str, float]]:
    """What the looks of a run said, by step."""
    lines = [json.loads(line) for line in (run / METRICS).read_text("utf-8").splitlines()]
    return [
        {"step": line["step"]} | {part: round(line[f"eval_{part}"], 4) for part in PARTS}
        for line in lines
        if "eval_joint" in line
    ]


def _mean(runs: list[Scores], part: str) -> NDArray[np.float64]:
    """By sentence, over the seeds."""
    values = np.stack([getattr(scores, part) for scores in runs])
    return np.asarray(values.mean(axis=0), dtype=np.float64)


def _print(found: dict[str, object]) -> None:
    table = Table("system", *PARTS, "J - warm start [95 %]")
    systems: dict[str, dict[str, object]] = found["systems"]  # type: ignore[assignment]
    for name, row in systems.items():
        gain = row["against_warm"]["joint"]  # type: ignore[index]
        interval = f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        table.add_row(name, *(f"{row[part]:.3f}" for part in PARTS), interval)
    Console().print(table)


if __name__ == "__main__":
    main()
