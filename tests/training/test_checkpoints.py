"""What is torn, changed or unsealed is never resumed from; killed runs end as unbroken ones do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tactful.errors import DataError
from tactful.training.checkpoints import SEAL, is_whole, latest, seal, to_resume
from tests.tiny import tiny_causal_lm


def checkpoint(out: Path, step: int) -> Path:
    folder = out / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(b"weights" * step)
    (folder / "inner" / "state").write_bytes(b"state")
    seal(folder)
    return folder


def test_a_sealed_checkpoint_is_whole(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 1)
    assert is_whole(folder)
    assert set(json.loads((folder / SEAL).read_text())) == {"weights", "inner/state"}


@pytest.mark.parametrize("name", ["weights", "inner/state", SEAL])
@pytest.mark.parametrize("how", ["gone", "cut", "changed", "empty"])
def test_no_tear_goes_unnoticed(tmp_path: Path, name: str, how: str) -> None:
    """The newest checkpoint is damaged in one place; the one before is taken."""
    before, newest = checkpoint(tmp_path, 5), checkpoint(tmp_path, 10)
    path = newest / name
    content = path.read_bytes()
    match how:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(content[:-1])
        case "changed":
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        case _:
            path.write_bytes(b"")
    assert not is_whole(newest)
    assert latest(tmp_path) == before


def test_the_newest_is_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-notes").mkdir()
    assert latest(tmp_path) == tmp_path / "checkpoint-100"
    assert latest(tmp_path / "nowhere") is None


def test_what_is_asked_for_is_resumed_from(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 3)
    assert to_resume(tmp_path, "auto") == folder
    assert to_resume(tmp_path, "never") is None
    assert to_resume(tmp_path, str(folder)) == folder
    (folder / "weights").unlink()
    with pytest.raises(DataError, match="no whole checkpoint"):
        to_resume(tmp_path, str(folder))


# --- real runs in processes of their own ----------------------------------------------------

RUN = """
import sys, json, time
from pathlib import Path
import numpy as np
from transformers import TrainerCallback
from tactful.training.checkpoints import latest
from tactful.training.game import Game, Gate, Play
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer, StopOnSignal

base, out, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

class Slowly(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        time.sleep(pause)
        with (out / "steps").open("a") as file:
            file.write(f"{state.global_step}\\n")

def vowels(sources, rewrites):
    return np.array([sum(c in "aeiou" for c in r) / max(1, len(r)) for r in rewrites])

policy = Policy.load(base, lora=LoraSettings(rank=2, alpha=4))
game = Game(policy.backend(), [Gate("vowels", vowels, 0.01)], Play(samples=2))
rows = [{"text": f"you idiot number {i}"} for i in range(10)]
config = SROConfig(steps=12, batch=2, learning_rate=1e-2, save_every=2, log_every=1)
trainer = SROTrainer(policy, config, rows, out, game=game, callbacks=[Slowly()])
found = latest(out)
stop = StopOnSignal()
trainer.add_callback(stop)
with stop:
    trainer.train(resume_from_checkpoint=str(found) if found else None)
if stop.signal:
    sys.exit(130)
policy.save(out / "adapter", half=False)
losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
(out / "losses.json").write_text(json.dumps(losses))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


def start(base: Path, out: Path, pause: float = 0.0) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(base), str(out), str(pause)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def wait_for_step(out: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = out / "steps"
        if path.exists() and str(step) in path.read_text().split():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} never came")


@pytest.fixture(scope="module")
def unbroken(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert start(base, out).wait(100) == 0
    return out


def weights(out: Path) -> bytes:
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("kill_at", [pytest.param(3, marks=pytest.mark.slow), 7])
def test_a_killed_run_ends_as_an_unbroken_one(
    base: Path, unbroken: Path, tmp_path: Path, kill_at: int
) -> None:
    """R1: SIGKILL, once before and once after the end of an epoch; same losses, same bytes."""
    out = tmp_path / "run"
    process = start(base, out, pause=0.15)
    wait_for_step(out, kill_at)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert latest(out) is not None
    assert start(base, out).wait(100) == 0
    assert weights(out) == weights(unbroken)
    assert (out / "losses.json").read_text() == (unbroken / "losses.json").read_text()


def test_a_signal_leaves_a_checkpoint_of_the_step_it_came_in(
    base: Path, unbroken: Path, tmp_path: Path
) -> None:
    """R4: SIGTERM; the run ends by itself, soon, and goes on without having lost a step."""
    out = tmp_path / "run"
    process = start(base, out, pause=0.15)
    wait_for_step(out, 5)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert process.wait(30) == 130
    assert time.monotonic() - started < 10
    done = int((out / "steps").read_text().split()[-1])
    assert latest(out) == out / f"checkpoint-{done}"
    assert start(base, out).wait(100) == 0
    assert weights(out) == weights(unbroken)
