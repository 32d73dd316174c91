"""Two real processes against one with twice the batch: the same losses, the same adapter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tactful.models import quiet_transformers
from tests.tiny import tiny_causal_lm

SCRIPT = Path(__file__).with_name("one_of_several.py")
CONFIGS = Path(__file__).parents[2] / "recipes" / "accelerate"
WRAPPED = {None: "Policy", "cpu-2": "DistributedDataParallel", "fsdp": "FSDPPolicy"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and beside it a warm start on it."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_causal_lm(folder / "base")
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(1)
        settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=0.05)
        model.save_pretrained(folder / "warm")
    return base


def run(base: Path, out: Path, config: str | None, mode: str) -> list[float]:
    """Its losses; by a shipped config of accelerate, whose processes share out the batch."""
    out.mkdir()
    launcher, batch = [sys.executable], 4
    if config is not None:
        launcher += ["-m", "accelerate.commands.launch"]
        launcher += ["--config_file", str(CONFIGS / f"{config}.yaml")]
        batch //= 2
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(base), str(out), str(batch), mode],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "wrapped").read_text() == WRAPPED[config]
    losses: list[float] = json.loads((out / "losses.json").read_text())
    return losses


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What one process leaves, which is made once for all that are held against it."""

    @cache
    def left(mode: str) -> Path:
        out = tmp_path_factory.mktemp("alone") / "one"
        losses = run(base, out, None, mode)
        assert len(losses) == 4
        assert len(set(losses)) > 1
        return out

    return left


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ("cpu-2", "learn"),
        pytest.param("cpu-2", "resume", marks=pytest.mark.slow),
        ("fsdp", "resume"),
    ],
)
def test_two_processes_are_one_with_twice_the_batch(
    base: Path, alone: Callable[[str], Path], tmp_path: Path, config: str, mode: str
) -> None:
    """Weights whole in each, or spread over both; stopped in between, and in the same place."""
    one, two = alone(mode), tmp_path / "two"
    assert run(base, two, config, mode) == pytest.approx(
        json.loads((one / "losses.json").read_text()), rel=1e-3
    )
    adapters = [load_file(out / "adapter" / "adapter_model.safetensors") for out in (one, two)]
    assert adapters[0].keys() == adapters[1].keys()
    for name, weights in adapters[0].items():
        assert torch.allclose(weights, adapters[1][name], atol=1e-3), name


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_shipped_configs(path: Path) -> None:
    """Every key is known to it, and it would start what the file's name says."""
    config = load_config_from_file(str(path))
    kinds = {"cpu-2": "MULTI_GPU", "fsdp": "FSDP", "deepspeed-zero2": "DEEPSPEED"}
    assert config.distributed_type.value == kinds[path.stem]
    assert config.num_processes == 2
    # What it does not know it would pass over without a word.
    options = vars(launch_command_parser().parse_args(["script.py"]))
    given = yaml.safe_load(path.read_text())
    for section in ("fsdp_config", "deepspeed_config"):
        assert set(given.get(section, {})) <= set(options)
