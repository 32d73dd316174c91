"""How long our judge takes over 1,000 rewrites, and whether memory grows with the rows.

    python benchmarks/judge_speed.py --out docs/results/judge_speed.json

Own sentences, made to differ, so that nothing is judged once for two rows. Batches are also
compared: the same rows one by one and together must score the same to 1e-5.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from tactful.corpora.piles import own_corpus
from tactful.evaluation.base import Scores
from tactful.evaluation.evaluate import evaluate
from tactful.evaluation.judges import OwnJudge, load_judge

ROWS = (1_000, 4_000)
SINGLE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", default="dev")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    arguments = parser.parse_args()
    judge = load_judge(arguments.judge)
    found: dict[str, object] = {"judge": judge.signature}
    for count in ROWS:
        seconds, memory = judged(judge, count)
        found[f"seconds_{count}"] = seconds
        found[f"peak_mib_{count}"] = memory
    found["seconds_per_1000"] = found["seconds_1000"]
    found["growth_mib_per_1000_rows"] = (
        found["peak_mib_4000"] - found["peak_mib_1000"]  # type: ignore[operator]
    ) / 3
    found["largest_difference_alone_or_together"] = difference(judge)
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


def rows(count: int) -> tuple[list[str], list[str]]:
    """Sources and rewrites, no two alike."""
    texts = [example.text for example in own_corpus()]
    sources = [f"{texts[i % len(texts)]} number {i}" for i in range(count)]
    rewrites = [f"{texts[(i + 1) % len(texts)]} number {i}" for i in range(count)]
    return sources, rewrites


def judged(judge: OwnJudge, count: int) -> tuple[float, float]:
    """Seconds through the whole stack (judge, checks, intervals), and the peak so far in MiB."""
    sources, rewrites = rows(count)
    started = time.perf_counter()
    evaluate({"ours": rewrites}, sources, judge)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - started, peak


def difference(judge: OwnJudge) -> float:
    """The largest change in any score of a row that is judged alone instead of among others."""
    sources, rewrites = rows(SINGLE)
    together = judge.score(sources, rewrites)
    alone = [judge.score([s], [r]) for s, r in zip(sources, rewrites, strict=True)]

    def table(scores: Scores) -> np.ndarray:
        return np.stack([scores.style, scores.meaning, scores.fluency])

    return float(np.abs(table(together) - np.concatenate([table(a) for a in alone], 1)).max())


if __name__ == "__main__":
    main()
