"""R8: each way of gaming the followers rings its own alarm, and a healthy policy rings none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tactful.errors import ConfigError
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.training.alarms import Alarm, Alarms, Written, alarms_of
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tests.tiny import tiny_causal_lm

SOURCES = [
    f"the {thing} you made, you are an idiot and it is stupid"
    for thing in "lamp book car hat cake chair tree song".split()
]
HEALTHY = [s.replace("an idiot", "wrong").replace("stupid", "bad") for s in SOURCES]

GAMES: dict[str, Callable[[str], str]] = {
    "empty": lambda s: "...",
    "copies": lambda s: f" {s.upper()} ",
    "deletion": lambda s: s.replace("an idiot ", ""),
    "repetition": lambda s: s + " very very very very",
    "stock_phrase": lambda s: "let us all be nice about the " + s.split()[1],
    "language": lambda s: "это плохая идея",
}


def names(alarms: list[Alarm]) -> list[str]:
    return [alarm.name for alarm in alarms]


def test_a_healthy_policy_rings_nothing() -> None:
    written = [Written(s, t) for s, t in zip(SOURCES, HEALTHY, strict=True)]
    assert alarms_of(written, Alarms()) == []
    assert alarms_of([], Alarms()) == []


@pytest.mark.parametrize("name", GAMES)
def test_each_game_rings_its_alarm(name: str) -> None:
    written = [Written(s, GAMES[name](s)) for s in SOURCES]
    found = alarms_of(written, Alarms())
    assert names(found) == [name]
    assert str(found[0]).startswith(f"{name}: 100% of the rewrites")


def test_truncation_is_an_answer_that_did_not_end() -> None:
    written = [
        Written(s, t, finished=i > 0) for i, (s, t) in enumerate(zip(SOURCES, HEALTHY, strict=True))
    ]
    (alarm,) = alarms_of(written, Alarms())
    assert (alarm.name, alarm.rate) == ("truncation", 1 / 8)


def test_another_language_in_the_same_letters_needs_to_be_told() -> None:
    written = [Written(s, "das ist keine gute idee") for s in SOURCES]
    assert "language" not in names(alarms_of(written, Alarms()))
    told = alarms_of(written, Alarms(), foreign=lambda text: "keine" in text)
    assert "language" in names(told)


def test_a_limit_is_where_it_was_set() -> None:
    """One copy of eight is 12.5 %."""
    written = [Written(s, t) for s, t in zip(SOURCES, [SOURCES[0], *HEALTHY[1:]], strict=True)]
    assert names(alarms_of(written, Alarms(copies=0.125))) == ["copies"]
    assert alarms_of(written, Alarms(copies=0.13)) == []


class Scripted:
    """A backend that plays one game, whatever the policy has learned."""

    name = "scripted@test"

    def __init__(self, game: Callable[[str], str]) -> None:
        self.game = game

    def generate(self, requests: list[Request], sampling: Sampling) -> list[list[Completion]]:
        sources = [str(r.prompt).split(": ", 1)[1].rsplit("\nPolite", 1)[0] for r in requests]
        return [[Completion(self.game(s))] * sampling.num for s in sources]


@pytest.mark.parametrize("name", GAMES)
def test_training_rings_and_stops(name: str, tmp_path: Path) -> None:
    """A run whose policy games is ended at the first log, with a checkpoint and a reason."""
    policy = Policy.load(tiny_causal_lm(tmp_path / "base"), lora=LoraSettings(rank=2))
    game = Game(
        Scripted(GAMES[name]),
        [Gate("any", lambda s, r: np.ones(len(r)), 0.5)],
        Play(samples=2),
    )
    heard: list[Alarm] = []
    config = SROConfig(steps=6, batch=4, log_every=2, alarms=Alarms(then="stop"))
    rows = [{"text": source} for source in SOURCES]
    trainer = SROTrainer(policy, config, rows, tmp_path / "run", game=game, alarmed=heard.append)
    trainer.train()
    assert names(heard) == [name]
    assert trainer.state.global_step == 2
    assert (tmp_path / "run" / "checkpoint-2").is_dir()


def test_unknown_alarms_are_refused() -> None:
    with pytest.raises((ValueError, ConfigError), match="copying"):
        Alarms.model_validate({"copying": 0.5})
