"""Two real processes against one with twice the batch: the same losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import tiny_causal_lm

SCRIPT = Path(__file__).with_name("one_of_several.py")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


def run(base: Path, out: Path, processes: int, mode: str) -> list[float]:
    out.mkdir()
    # accelerate starts several processes on CPUs as it does on GPUs, told that there are none.
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0"]
        launcher += ["--num_processes", str(processes), "--num_machines", "1"]
        launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    batch = str(4 // processes)
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(base), str(out), batch, mode],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses: list[float] = json.loads((out / "losses.json").read_text())
    return losses


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["learn", "play"])
def test_two_processes_are_one_with_twice_the_batch(base: Path, tmp_path: Path, mode: str) -> None:
    one = run(base, tmp_path / "one", 1, mode)
    two = run(base, tmp_path / "two", 2, mode)
    assert len(one) == 4
    assert len(set(one)) > 1
    assert two == pytest.approx(one, rel=1e-3)
