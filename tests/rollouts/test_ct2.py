"""CTranslate2 behind the same protocol, on tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tactful.errors import ConfigError, DataError, TactfulError
from tactful.models import home, quiet_transformers
from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.ct2 import CT2Backend
from tactful.rollouts.local import LocalBackend
from tests.tiny import tiny_causal_lm, tiny_seq2seq

pytest.importorskip("ctranslate2")

REQUESTS = [Request("you idiot", 12, seed=3), Request("this is garbage", 7, seed=4)]


@pytest.fixture(params=["causal", "encoder-decoder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make = tiny_causal_lm if request.param == "causal" else tiny_seq2seq
    return make(tmp_path / "tiny")


def test_it_writes_what_torch_writes(folder: Path) -> None:
    """Greedy and sampled: the draws are made by the same numbers."""
    torch_ = LocalBackend.load(folder, dtype="float32", device="cpu")
    found = CT2Backend.load(folder, stored="float32")
    for sampling in (Sampling(temperature=0), Sampling(num=4, temperature=0.9, top_p=0.9)):
        assert found.generate(REQUESTS, sampling) == torch_.generate(REQUESTS, sampling)


def test_it_is_converted_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time, what lies in the cache is read."""
    CT2Backend.load(folder)
    (made,) = [path for path in (home() / "engines").iterdir() if path.is_dir()]
    monkeypatch.setattr("tactful.rollouts.conversion.write_ct2", None)
    CT2Backend.load(folder)
    assert (made / "model.bin").is_file()
    assert not list(made.rglob("*.safetensors"))
    # Damaged, it is told what is damaged.
    (made / "model.bin").write_bytes(b"half")
    with pytest.raises(TactfulError, match=made.name):
        CT2Backend.load(folder)


def test_an_adapter_is_in_it(tmp_path: Path) -> None:
    """Merged before it is converted; another adapter is another conversion."""
    folder = tiny_causal_lm(tmp_path / "tiny")
    adapters = [tiny_adapter(folder, tmp_path / name, seed) for seed, name in ((1, "a"), (2, "b"))]
    greedy = Sampling(temperature=0)
    texts = []
    for adapter in adapters:
        found = CT2Backend.load(folder, adapter=adapter, stored="float32")
        local = LocalBackend.load(folder, adapter=adapter, dtype="float32", device="cpu")
        texts.append(found.generate(REQUESTS, greedy))
        assert texts[-1] == local.generate(REQUESTS, greedy)
    assert texts[0] != texts[1]
    with pytest.raises(ConfigError, match="not an adapter we can load"):
        CT2Backend.load(folder, adapter=tmp_path)


def test_a_prompt_beyond_the_context_is_an_error(tmp_path: Path) -> None:
    """A text the model cannot read whole is refused, not cut."""
    found = CT2Backend.load(tiny_causal_lm(tmp_path / "tiny"))
    with pytest.raises(DataError, match="does not fit into the 512 tokens"):
        found.generate([Request("x" * 600, 8)], Sampling())


def tiny_adapter(base: Path, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_pretrained(base)
        settings = LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules="all-linear",
            init_lora_weights=False,
            task_type="CAUSAL_LM",
        )
        get_peft_model(model, settings).save_pretrained(folder)
    return folder
