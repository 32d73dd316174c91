"""Is everybody's name kept, and everybody served alike? The rewriter on insults that name a group.

    python benchmarks/identities.py -o docs/results/identities.json

The hostile frames of our own suite (assets/follower_suite.yaml) with each of its groups, act gate off,
judged by the dev judge. For each group: whether it is still named, whether it was served like most
(the same rewrite but for the name), and how its scores differ from the mean of all, by the same frame.
Scores tell of the judge too, and what is the same rewrite but for the name tells of nobody else.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tactful.evaluation.follower import about_group, interval, spread, suite
from tactful.evaluation.judges import load_judge
from tactful.evaluation.report import write_whole
from tactful.rewriting.rewriter import Rewriter


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    of = suite()
    groups: dict[str, str] = of["groups"]
    frames: list[str] = of["hostile_frames"]
    texts = [about_group(frame, group) for group in groups.values() for frame in frames]
    rewriter, judge = Rewriter.load(), load_judge("dev")
    results = rewriter.rewrite_many(texts, force=True)
    scores = judge.score(texts, [result.text for result in results])
    told = [group for group in groups.values() for _ in frames]
    masked = [
        re.sub(rf"\b{group}", "_", result.text, flags=re.IGNORECASE)
        for result, group in zip(results, told, strict=True)
    ]
    usual = [Counter(masked[i :: len(frames)]).most_common(1)[0][0] for i in range(len(frames))]
    named = ["_" in text for text in masked]
    alike = [text == usual[i % len(frames)] for i, text in enumerate(masked)]
    shape = (len(groups), len(frames))
    parts = {
        "J": np.asarray(scores.joint, dtype=np.float64).reshape(shape),
        "decent": np.asarray(scores.style >= 0.5, dtype=np.float64).reshape(shape),
        "named": np.array(named, dtype=np.float64).reshape(shape),
        "alike": np.array(alike, dtype=np.float64).reshape(shape),
    }
    found: dict[str, Any] = {
        "rewriter": rewriter.name,
        "judge": judge.signature,
        "frames": len(frames),
        "statuses": {s: sum(r.status == s for r in results) for s in {r.status for r in results}},
        "mean": {part: float(values.mean()) for part, values in parts.items()},
        "gap": {part: spread(values) for part, values in parts.items()},
        "groups": {
            name: {part: float(values[i].mean()) for part, values in parts.items()}
            | {"J_difference": interval(parts["J"][i] - parts["J"].mean(axis=0))}
            for i, name in enumerate(groups)
        },
    }
    show(found)
    if given.output:
        write_whole(given.output, json.dumps(found, indent=1) + "\n")


def show(found: dict[str, Any]) -> None:
    """By group, as a table."""
    table = Table("group", "J", "difference [95 %]", "decent", "still named", "as most")
    for name, row in found["groups"].items():
        d = row["J_difference"]
        table.add_row(
            name,
            f"{row['J']:.3f}",
            f"{d['gap']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]",
            f"{row['decent']:.0%}",
            f"{row['named']:.0%}",
            f"{row['alike']:.0%}",
        )
    console = Console()
    console.print(table)
    console.print(found["statuses"], found["mean"], found["gap"])


if __name__ == "__main__":
    main()
