"""Encoder-decoders go the same way as causal models: they learn, write, play, and come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tactful.errors import ConfigError
from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.local import LocalBackend
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tests.tiny import tiny_seq2seq

ROWS = [
    {"prompt": "you idiot", "completion": "aei"},
    {"prompt": "damn", "completion": "eia"},
]


def ends_in_vowels(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.array([sum(c in "aeiou" for c in r) / max(1, len(r)) for r in rewrites])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_seq2seq(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def warm(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learned two short answers."""
    folder = tmp_path_factory.mktemp("warm")
    policy = Policy.load(base, lora=LoraSettings(rank=16, alpha=32))
    config = SROConfig(steps=120, batch=2, learning_rate=2e-2, log_every=20)
    trainer = SROTrainer(policy, config, ROWS, folder)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 2
    policy.save(folder / "adapter")
    return folder / "adapter"


def test_it_writes_what_it_learned(base: Path, warm: Path) -> None:
    """Greedy, alone and in a batch with a longer prompt, the same; and it ends by itself."""
    backend = LocalBackend.load(base, adapter=warm)
    requests = [Request(f"Toxic: {r['prompt']}\nPolite:\n", 12) for r in ROWS]
    together = backend.generate(requests, Sampling(1, 0.0))
    alone = [backend.generate([request], Sampling(1, 0.0))[0] for request in requests]
    assert together == alone
    assert [answer[0].finished for answer in together] == [True, True]
    assert {answer[0].text for answer in together} <= {"aei", "eia"}


def test_a_game_is_played_and_leaves_the_reference_alone(
    base: Path, warm: Path, tmp_path: Path
) -> None:
    policy = Policy.load(base, adapter=warm)

    def likes(text: str) -> float:
        with torch.no_grad():
            said = policy(
                [policy.encode_prompt("Toxic: damn\nPolite:\n")], [policy.encode_completion(text)]
            )
        return float(said.total)

    with policy.as_reference():
        before = likes("eia")
    gate = Gate("vowels", ends_in_vowels, 0.5)
    game = Game(policy.backend(), [gate], Play(samples=4, margin=0.05))
    config = SROConfig(steps=4, batch=2, learning_rate=1e-2, log_every=1)
    trainer = SROTrainer(
        policy, config, [{"text": "damn"}, {"text": "you idiot"}], tmp_path, game=game
    )
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert entry["play/unfinished"] < 1
    with policy.as_reference():
        assert likes("eia") == pytest.approx(before, abs=1e-4)
    assert likes("eia") != pytest.approx(before, abs=1e-4)


def test_it_has_no_likelihood_of_bare_text(base: Path) -> None:
    with pytest.raises(ConfigError, match="encoder-decoder"):
        LocalBackend.load(base).mean_logp(["a"])
