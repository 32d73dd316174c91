"""The ceiling that pairs buy: the embedded base, fine-tuned on people's own rewrites.

    python benchmarks/supervised.py --data CORPUS --out runs/supervised

Pairs of folds 0-4 of paradetox_train.jsonl, LoRA, likelihood alone: the trainer and the prompt of
every other model here, so that only the pairs differ. For comparison; never shipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from transformers import TrainerCallback

from tactful.training.policy import Policy
from tactful.training.trainer import SROConfig, SROTrainer

FOLDS = range(5)
CONFIG = SROConfig(epochs=1, batch=32, learning_rate=5e-4, log_every=20, seed=1)


class _Lines(TrainerCallback):
    """One line a log: this takes half an hour."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def on_log(self, args, state, control, logs=None, **more) -> None:  # type: ignore[no-untyped-def]
        if logs and "loss" in logs:
            minutes = (time.monotonic() - self.start) / 60
            _say(
                f"step {state.global_step} of {state.max_steps}, loss {logs['loss']:.3f}, "
                f"{minutes:.1f} min"
            )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the corpus")
    parser.add_argument("--out", type=Path, required=True, help="where the adapter goes")
    parser.add_argument("--limit", type=int, help="only so many pairs, to try it out")
    arguments = parser.parse_args()
    with (arguments.data / "paradetox_train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pairs = [
        {"prompt": row["toxic"], "completion": reference}
        for row in rows
        if row["fold"] in FOLDS
        for reference in row["references"]
    ][: arguments.limit]
    _say(f"{len(pairs):,} pairs")
    policy = Policy.load("base", seed=CONFIG.seed)
    SROTrainer(policy, CONFIG, pairs, arguments.out / "run", callbacks=[_Lines()]).train()
    policy.save(arguments.out)
    _say(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
