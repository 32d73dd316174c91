"""A run that a launcher starts in several processes; writes rank 0's losses as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

from tactful.training import policy as module
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer


def main(base: str, out: str, batch: int, mode: str) -> None:
    torch.set_num_threads(1)
    # In bfloat16 another shape rounds otherwise, and four steps on one sees it.
    module.native_bfloat16 = lambda device: False
    policy = Policy.load(base, lora=LoraSettings(rank=4, alpha=8))
    config = SROConfig(steps=4, batch=batch, learning_rate=1e-2, log_every=1, token_budget=256)
    game = None
    if mode == "learn":
        rows = [{"prompt": f"you idiot {i}", "completion": f"you {i * 7}"} for i in range(16)]
    else:
        rows = [{"text": f"you idiot {i}"} for i in range(16)]
        # Everything passes, or nothing does, by the source: processes differ in what they train on.
        gate = Gate("even", lambda s, r: np.array([float(int(x[-1]) % 2 == 0) for x in s]), 0.5)
        game = Game(policy.backend(), [gate], Play(samples=2, pairing="paper", longest=0.5))
        game.respond = _finished(game.respond)  # type: ignore[method-assign]
    trainer = SROTrainer(policy, config, rows, out, game=game)
    trainer.train()
    if int(os.environ.get("RANK", "0")) == 0:
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        Path(out, "losses.json").write_text(json.dumps(losses))


def _finished(respond):  # type: ignore[no-untyped-def]
    """A random model does not know how to end; here it need not."""
    from dataclasses import replace

    return lambda s, c: respond(s, [replace(one, finished=True) for one in c])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
