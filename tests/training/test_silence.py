"""A follower behind a network that lies, hangs and dies neither stops nor poisons a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tactful.screeners.base import Thresholds
from tactful.screeners.remote import Breaker, RemoteScreener
from tactful.training.alarms import Alarm
from tactful.training.game import Game, Gate, Play, as_follower
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tests.scorers.test_http import Server, server
from tests.tiny import tiny_causal_lm

__all__ = ["server"]
STEPS, SOURCES, SAMPLES = 12, 4, 3


def play(server: Server, base: Path, out: Path, breaker: Breaker) -> tuple[SROTrainer, list[Alarm]]:
    """A short run whose only follower lives behind the server."""
    screener = RemoteScreener(
        server.url, Thresholds(0.6, 0.5), timeout=0.5, retries=0, batch=100, breaker=breaker
    )
    rang: list[Alarm] = []
    model = Policy.load(base, lora=LoraSettings(rank=2, alpha=4))
    gate = Gate("style", as_follower(screener), 0.5, may_abstain=True)
    game = Game(model.backend(), [gate], Play(samples=SAMPLES, pairing="responses", longest=0.5))
    rows = [{"text": f"you idiot number {i}"} for i in range(SOURCES)]
    config = SROConfig(steps=STEPS, batch=SOURCES, learning_rate=1e-2, log_every=1)
    trainer = SROTrainer(model, config, rows, out, game=game, alarmed=rang.append)
    trainer.train()
    return trainer, rang


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


@pytest.fixture
def faults() -> Iterator[Any]:
    """Every fault once: a refusal, a hang-up, no JSON, a wrong count, what is no number, too much."""
    return iter(
        [
            (500, b"busy"),
            (0, b""),
            (200, b"<html>"),
            (200, {"toxicity": [0.1]}),
            (200, {"toxicity": [float("nan")] * SOURCES * SAMPLES}),
            (200, {"toxicity": [7.0] * SOURCES * SAMPLES}),
        ]
    )


def test_faults_are_skipped_and_counted(
    server: Server, base: Path, tmp_path: Path, faults: Iterator[Any]
) -> None:
    """Every second question meets one: half of all rewrites are left out, no weight is spoilt, and
    the run ends where it should, changed by what was answered.
    """
    number = itertools.count()

    def reply(asked: dict[str, Any]) -> tuple[int, Any]:
        if next(number) % 2:
            return next(faults)
        return 200, {"toxicity": [len(text) % 10 / 10 for text in asked["texts"]]}

    server.reply = reply
    trainer, rang = play(server, base, tmp_path, Breaker(failures=99))
    assert trainer.state.global_step == STEPS
    logged = [line for line in trainer.state.log_history if "play/unanswered" in line]
    assert [line["play/unanswered"] for line in logged] == [0.0, 1.0] * (STEPS // 2)
    assert len(server.asked) == STEPS
    assert all(np.isfinite(line["loss"]) for line in logged)
    before = Policy.load(base, lora=LoraSettings(rank=2, alpha=4)).parameters()
    pairs = list(zip(trainer.model.parameters(), before, strict=True))
    assert all(torch.isfinite(new).all() for new, _ in pairs)
    assert any(not torch.equal(new, old) for new, old in pairs)
    assert {alarm.name for alarm in rang} >= {"unanswered"}


def test_a_dead_follower_costs_no_time_and_changes_nothing(
    server: Server, base: Path, tmp_path: Path
) -> None:
    """It dies before the first step: asked until the breaker opens, then no more; nothing is learned
    from silence, and the alarm says why.
    """
    server.reply = lambda asked: (0, b"")
    trainer, rang = play(server, base, tmp_path, Breaker(failures=3, rest=600))
    assert trainer.state.global_step == STEPS
    assert len(server.asked) == 3
    fresh = Policy.load(base, lora=LoraSettings(rank=2, alpha=4))
    for (name, new), (_, old) in zip(
        trainer.model.named_parameters(), fresh.named_parameters(), strict=True
    ):
        assert torch.equal(new, old), name
    assert any("server running" in str(alarm) for alarm in rang)
