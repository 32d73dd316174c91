"""Engines by name, and the one that was the fastest here."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tactful import engines
from tactful.engines import choices, load_engine
from tactful.errors import ConfigError, TactfulError
from tactful.models import home
from tactful.rollouts.base import Backend, Completion, Request, Sampling
from tactful.rollouts.openai import OpenAIBackend
from tests.tiny import tiny_causal_lm


class Slow:
    """Takes its time, for a text or for a call."""

    def __init__(self, name: str, text: float, call: float) -> None:
        self.name, self.text, self.call = name, text, call

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        time.sleep(self.call + self.text * len(requests))
        return [[Completion("a")] for _ in requests]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tiny_causal_lm(tmp_path / "tiny")
    (folder / "base.gguf").touch()
    return folder


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three engines: one quick to begin, one quick in the long run, one that is broken."""
    asked: list[str] = []

    def loader(name: str, text: float, call: float):
        def load(model: str | Path, adapter: Path | None) -> Backend:
            asked.append(name)
            if text < 0:
                raise TactfulError("the file is damaged")
            return Slow(name, text, call)

        return load

    monkeypatch.setattr(engines, "PACKAGES", dict.fromkeys(("torch", "gguf", "ct2"), "json"))
    made = {
        "torch": loader("torch", 0.0, 0.03),
        "gguf": loader("gguf", 0.004, 0.0),
        "ct2": loader("ct2", -1, 0),
    }
    monkeypatch.setattr(engines, "_LOADERS", made)
    return asked


def test_auto_takes_what_is_fastest_for_the_purpose(folder: Path, loaded: list[str]) -> None:
    """One begins at once, the other carries more; what fails is told and passed over."""
    assert load_engine("auto", folder, purpose="alone").name == "gguf"
    assert load_engine("auto", folder, purpose="batch").name == "torch"
    assert [choice.engine for choice in choices()] == ["gguf", "torch"]
    assert choices()[0].failed == {"ct2": "the file is damaged"}
    assert "gguf for alone (torch 3" in choices()[0].render()


def test_auto_measures_once(
    folder: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same again is loaded at once; another processor or model is measured anew."""
    load_engine("auto", folder, purpose="alone")
    loaded.clear()
    assert load_engine("auto", folder, purpose="alone").name == "gguf"
    assert loaded == ["gguf"]
    loaded.clear()
    load_engine("auto", tiny_causal_lm(tmp_path / "other", seed=1), purpose="alone")
    assert loaded == ["torch", "ct2"], "without a GGUF file there is nothing for llama.cpp"
    loaded.clear()
    monkeypatch.setattr(engines, "_machine", lambda: "another")
    load_engine("auto", folder, purpose="alone")
    assert sorted(loaded) == ["ct2", "gguf", "torch"]


def test_a_cache_that_cannot_be_read_is_made_again(folder: Path, loaded: list[str]) -> None:
    """Whatever lies there."""
    path = home() / "engines" / "chosen.json"
    for junk in ("{", "[1]", json.dumps({"key": {"engine": 3}})):
        path.parent.mkdir(exist_ok=True)
        path.write_text(junk, encoding="utf-8")
        assert load_engine("auto", folder, purpose="alone").name == "gguf"
        assert [choice.engine for choice in choices()] == ["gguf"]


def test_when_none_works_all_faults_are_told(
    folder: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to fall back to."""
    monkeypatch.setattr(engines, "PACKAGES", {"ct2": "json"})
    with pytest.raises(TactfulError, match="the file is damaged"):
        load_engine("auto", folder)


def test_engines_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch writes; what is no engine is refused, and a server needs an address."""
    found = load_engine("torch", folder)
    [[answer]] = found.generate([Request("you idiot", 3)], Sampling(temperature=0))
    assert answer.text
    with pytest.raises(ConfigError, match="no engine 'vllm'; there are auto, torch"):
        load_engine("vllm", folder)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="set OPENAI_BASE_URL"):
        load_engine("openai", folder)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1/")
    server = load_engine("openai", folder, served="polite")
    assert isinstance(server, OpenAIBackend)
    assert (server.url, server.name) == ("http://localhost:8000/v1", "polite@localhost:8000")


def test_the_measurement_is_short_and_for_the_purpose() -> None:
    """Alone it is a call's time, in a batch a text's share of it."""
    backend = Slow("slow", 0.0, 0.02)
    assert engines.measure(backend, "alone") == pytest.approx(0.02, abs=0.02)
    assert engines.measure(backend, "batch") < 0.01
