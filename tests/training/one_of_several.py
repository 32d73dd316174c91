"""A run that a launcher starts in several processes; writes rank 0's losses as JSON, and the adapter.

`learn` shows demonstrations, `play` plays from a bare base, `resume` plays from a warm start, stops at
a checkpoint, and goes on from there with a policy loaded anew.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tactful.rollouts.base import Request, Sampling
from tactful.training import policy as module
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer


def main(base: str, out: str, batch: int, mode: str) -> None:
    torch.set_num_threads(1)
    # In bfloat16 another shape rounds otherwise, and four steps on one sees it.
    module.native_bfloat16 = lambda device: False
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _allow_fsdp()
    trainer = trained(base, Path(out), batch, mode)
    first = int(os.environ.get("RANK", "0")) == 0
    if mode == "resume":
        before = losses(trainer)
        trainer = trained(base, Path(out), batch, mode, resume=str(Path(out) / "checkpoint-2"))
        # What was logged before the checkpoint is told by the checkpoint.
        assert losses(trainer)[:2] == before[:2]
    # What is left is a plain adapter, however it was spread while it learned.
    trainer._policy.save(Path(out) / "adapter", half=False, write=first)
    if first:
        Path(out, "losses.json").write_text(json.dumps(losses(trainer)))
        kind = type(trainer.model_wrapped).__name__
        Path(out, "wrapped").write_text(kind)


def losses(trainer: SROTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def trained(
    base: str, out: Path, batch: int, mode: str, *, resume: str | None = None
) -> SROTrainer:
    warm = Path(base).parent / "warm" if mode == "resume" else None
    policy = Policy.load(base, adapter=warm, lora=LoraSettings(rank=4, alpha=8))
    more: dict[str, Any] = {"save_every": 2, "look_every": 2} if mode == "resume" else {}
    config = SROConfig(
        steps=4, batch=batch, learning_rate=1e-2, log_every=1, token_budget=256, **more
    )
    game = None
    if mode == "learn":
        rows = [{"prompt": f"you idiot {i}", "completion": f"you {i * 7}"} for i in range(16)]
    else:
        rows = [{"text": f"you idiot {i}"} for i in range(16)]
        # Everything passes, or nothing does, by the source: processes differ in what they train on.
        gate = Gate("even", lambda s, r: np.array([float(int(x[-1]) % 2 == 0) for x in s]), 0.5)
        game = Game(policy.backend(), [gate], Play(samples=2, pairing="paper", longest=0.5))
        game.write = _finished(game.write)  # type: ignore[method-assign]

    def look(policy: Policy, step: int) -> dict[str, float]:
        """Every process looks, each at its own time."""
        policy.eval()
        asked = [Request(f"you idiot {i}", 4 + i) for i in range(2)]
        policy.backend().generate(asked, Sampling(1, 0.0))
        policy.train()
        return {"joint": step / 10}

    trainer = SROTrainer(policy, config, rows, out, game=game, look=look)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def _allow_fsdp() -> None:
    """accelerate keeps FSDP for GPUs and passes over it without a word; torch does it on CPUs too."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    create = SROTrainer.create_accelerator_and_postprocess

    def told_of_gpus(self: SROTrainer) -> None:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        create(self)

    SROTrainer.create_accelerator_and_postprocess = told_of_gpus  # type: ignore[method-assign]


def _finished(write):  # type: ignore[no-untyped-def]
    """A random model does not know how to end; here it need not."""
    return lambda *given: [replace(one, finished=True) for one in write(*given)]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
