"""How fast the screener is: one short text alone, many in a batch, in one thread.

    python benchmarks/screener_speed.py --out speed.json

The texts are drawn from a small vocabulary with a few unseen words, about fifteen words each, so
no corpus is needed. Words are met for the first time in the warm-up, as in a running service.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from pathlib import Path

from tactful.screeners.linear import LinearScreener

VOCABULARY = (
    "the a of and to in you are i is it that this was for on with as have not be they do n't what "
    "people time year way day man thing world life hand part place case week company system number "
    "idiot stupid nonsense great small large next early young important public good new first last"
).split()


def sample_texts(count: int, seed: int = 0) -> list[str]:
    """Short made-up texts; one word in twenty is new."""
    random_ = random.Random(seed)

    def word() -> str:
        if random_.random() < 0.05:
            return "".join(random_.choices("abcdefghijklmnoprstuvwy", k=7))
        return random_.choice(VOCABULARY)

    return [" ".join(word() for _ in range(random_.randint(7, 23))) + " ." for _ in range(count)]


def measure(texts: list[str], repeats: int) -> dict[str, float]:
    """Loading time, the median and 99th percentile of single texts, and the best batch rate."""
    began = time.perf_counter()
    screener = LinearScreener.load()
    load = time.perf_counter() - began
    began = time.perf_counter()
    screener.toxicity(texts)
    cold = time.perf_counter() - began
    single = []
    for text in texts:
        began = time.perf_counter()
        screener.toxicity([text])
        single.append(time.perf_counter() - began)
    batch = []
    for _ in range(repeats):
        began = time.perf_counter()
        screener.toxicity(texts)
        batch.append(time.perf_counter() - began)
    return {
        "load_ms": load * 1e3,
        "single_p50_ms": statistics.median(single) * 1e3,
        "single_p99_ms": statistics.quantiles(single, n=100)[98] * 1e3,
        "batch_cold_texts_per_s": len(texts) / cold,
        "batch_texts_per_s": len(texts) / min(batch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = measure(sample_texts(arguments.texts), arguments.repeats)
    for name, value in found.items():
        print(f"{name:24} {value:12,.3f}")  # noqa: T201  # the table is the result
    if arguments.out:
        record = {"texts": arguments.texts, "python": platform.python_version(), **found}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
