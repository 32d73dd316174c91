"""Does the game gain anything over its warm start? Seeds side by side, and the paper's own form.

    python benchmarks/game.py --data CORPUS --warm runs/warm -o docs/results/game.json

Every run starts from the same warm start, plays by recipes/sro.yaml (or sro-paper.yaml), and is
asked for greedy rewrites of the same texts of fold 9, which the dev judge scores. The differences
are paired by sentence, averaged over seeds; intervals are by bootstrap over sentences. Runs are
kept in --runs and go on where they were. `tactful compare` sets more methods side by side, at one
budget of tokens; here each recipe is as long as it says.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tactful.config import load_recipe
from tactful.contest import (
    PARTS,
    WARM,
    Entrant,
    Outcome,
    by_sentence,
    compete,
    dev_texts,
    find_adapter,
    gains,
)
from tactful.pipeline import TrainRecipe


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--warm", type=Path, required=True, help="the folder of a warm start's run")
    parser.add_argument("--runs", type=Path, default=Path("runs/game"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=["sro", "sro-paper"])
    parser.add_argument("--set", nargs="*", default=[], help="overrides for every recipe")
    parser.add_argument("--rows", type=int, default=448)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    adapter = find_adapter(given.warm)
    common = [f"data.dir={given.data}", f"warm_start={adapter}", *given.set]
    entrants: list[Entrant] = []
    texts: list[str] = []
    for name in given.recipes:
        for seed in given.seeds:
            overrides = [*common, f"train.seed={seed}"]
            recipe = load_recipe(Path(f"recipes/{name}.yaml"), TrainRecipe, overrides)
            if not entrants:
                texts = dev_texts(recipe, given.rows)
                entrants.append(Entrant(WARM, 0, adapter, recipe.base, None))
            entrants.append(Entrant(name, seed, adapter, recipe.base, recipe))
    outcomes = compete(entrants, texts, given.runs, jobs=given.jobs, say=Console().print)
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.name, []).append(outcome)
    found: dict[str, object] = {
        "judge": outcomes[0].judge,
        "warm_start": outcomes[0].warm,
        "rows": len(texts),
        "seeds": given.seeds,
        "overrides": given.set,
        "systems": {
            name: {
                **{part: float(by_sentence(those, part).mean()) for part in PARTS},
                "by_seed": [float(one.values["joint"].mean()) for one in those],
                "minutes": [round(one.seconds / 60, 1) for one in those],
                "against_warm": {p: asdict(d) for p, d in gains(those, outcomes[0]).items()},
            }
            for name, those in by_name.items()
        },
        "curves": {name: [one.curve for one in those] for name, those in by_name.items()},
    }
    _print(found)
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


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
