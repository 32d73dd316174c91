"""How long one sentence takes by itself: twelve words, toxic, the rewriter as it ships.

python benchmarks/latency.py --data CORPUS [-o docs/results/latency.json]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from tactful.corpora.piles import Pile, read_piles
from tactful.rewriting.rewriter import Rewriter

WORDS, FOLD = 12, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    pile = Pile(file="toxic.jsonl", toxic=True)
    found = [
        row.text
        for row in read_piles(given.data, [pile])
        if row.fold == FOLD and row.source == "paradetox" and len(row.text.split()) == WORDS
    ]
    rewriter = Rewriter.load()
    rewriter.rewrite("you are an idiot", force=True)
    seconds = []
    for text in found[: given.texts]:
        began = time.perf_counter()
        rewriter.rewrite(text, force=True)
        seconds.append(time.perf_counter() - began)
    told = {
        "rewriter": rewriter.name,
        "texts": len(seconds),
        "threads": torch.get_num_threads(),
        "p50_s": float(np.median(seconds)),
        "p90_s": float(np.quantile(seconds, 0.9)),
    }
    Console().print(told)
    if given.output:
        given.output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
