"""A recorded run: thirty steps on a tiny model must cost what they cost when this was written.

Whoever changes a loss, a seed, the order of data or what is sampled sees it here. Recorded anew with
`python -m tests.training.test_golden`, which is to be done on purpose and said in the commit.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tactful.training import policy as policies
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tactful.training.units import Objective
from tests.tiny import tiny_causal_lm

RECORD = Path(__file__).with_name("golden.json")
SHOWN = [
    {"prompt": "you idiot", "completion": "ou"},
    {"prompt": "what a stupid plan", "completion": "a"},
    {"prompt": "damn", "completion": "oe"},
    {"prompt": "shut up", "completion": "ui"},
]


def vowels(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.array([sum(c in "aeiou" for c in r) / max(1, len(r)) for r in rewrites])


def losses(folder: Path) -> list[float]:
    """Twenty steps of demonstrations, then ten of the game."""
    base = tiny_causal_lm(folder / "base")
    policy = Policy.load(base, lora=LoraSettings(rank=8, alpha=16))
    config = SROConfig(steps=20, batch=4, learning_rate=2e-2, log_every=1)
    shown = SROTrainer(policy, config, SHOWN, folder / "warm")
    shown.train()
    policy.eval()
    play = Play(samples=4, temperature=0.7, push_down="worst")
    game = Game(policy.backend(), [Gate("vowels", vowels, 0.5)], play, seed=5)
    config = SROConfig(
        steps=10, batch=4, learning_rate=2e-3, log_every=1, objective=Objective(anchor=0.2)
    )
    rows = [{"text": row["prompt"]} for row in SHOWN]
    played = SROTrainer(policy, config, rows, folder / "game", game=game)
    played.train()
    logs = [*shown.state.log_history, *played.state.log_history]
    return [entry["loss"] for entry in logs if "loss" in entry]


def test_thirty_steps_cost_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In bfloat16 every kind of processor would have a record of its own.
    monkeypatch.setattr(policies, "native_bfloat16", lambda device: False)
    recorded = json.loads(RECORD.read_text("utf-8"))
    assert len(recorded) == 30
    assert losses(tmp_path) == pytest.approx(recorded, rel=1e-3, abs=1e-4)


if __name__ == "__main__":
    policies.native_bfloat16 = lambda device: False
    with tempfile.TemporaryDirectory() as folder:
        RECORD.write_text(json.dumps([round(x, 6) for x in losses(Path(folder))]) + "\n")
