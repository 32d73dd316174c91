"""llama.cpp behind the same protocol, on a tiny random model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tactful.errors import ConfigError, CorruptFileError, DataError, TactfulError
from tactful.models import home
from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.gguf import GGUFBackend
from tactful.rollouts.local import LocalBackend
from tests.rollouts.test_ct2 import tiny_adapter
from tests.test_exporting import _write_gguf_base as write_gguf_base
from tests.tiny import tiny_causal_lm

pytest.importorskip("xllamacpp")

REQUESTS = [Request("you idiot", 12, seed=3), Request("this is garbage", 7, seed=4)]
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_causal_lm(tmp_path_factory.mktemp("gguf") / "tiny")
    write_gguf_base(folder)
    return folder


@pytest.fixture(scope="module")
def backend(folder: Path) -> GGUFBackend:
    # A random model's preferences do not survive eight bits.
    return GGUFBackend.load(folder, slots=4, context=512, precision="f16")


def test_greedy_is_what_torch_writes(folder: Path, backend: GGUFBackend) -> None:
    """Its arithmetic rounds a little otherwise, which this model's preferences survive."""
    torch_ = LocalBackend.load(folder, dtype="float32", device="cpu")
    assert backend.generate(REQUESTS, GREEDY) == torch_.generate(REQUESTS, GREEDY)


def test_an_adapter_is_on_it_beside_and_merged(folder: Path, tmp_path: Path) -> None:
    """Written once into the cache; each form writes what torch writes with it."""
    adapter = tiny_adapter(folder, tmp_path / "polite", seed=1)
    torch_ = LocalBackend.load(folder, adapter=adapter, dtype="float32", device="cpu")
    expected = torch_.generate(REQUESTS, GREEDY)
    for precision in ("as it is", "f16"):
        found = GGUFBackend.load(folder, adapter=adapter, precision=precision, slots=2)
        assert found.generate(REQUESTS, GREEDY) == expected
    made = sorted(path.name for path in (home() / "engines").glob("*/*.gguf"))
    assert made == ["adapter.gguf", "f16.gguf"]


def test_the_cache_is_used_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same adapter is written once; another one, under the same name, is another file, and so
    is the same one of another base, whose folder's name tells nothing of its GGUF file.
    """
    first = tiny_adapter(folder, tmp_path / "one" / "polite", seed=1)
    GGUFBackend.load(folder, adapter=first)
    with monkeypatch.context() as broken:
        broken.setattr("tactful.rollouts.conversion.write_gguf_merged", None)
        GGUFBackend.load(folder, adapter=first)
    GGUFBackend.load(folder, adapter=tiny_adapter(folder, tmp_path / "two" / "polite", seed=2))
    assert len(list((home() / "engines").glob("gguf-q8_0-*"))) == 2
    other = tiny_causal_lm(tmp_path / "elsewhere" / folder.name)
    shutil.copy(folder / "model.safetensors", other)
    write_gguf_base(other)
    with (other / "base.gguf").open("ab") as file:
        file.write(bytes(32))
    GGUFBackend.load(other, adapter=first)
    assert len(list((home() / "engines").glob("gguf-q8_0-*"))) == 3


def test_more_samples_than_slots(folder: Path) -> None:
    """They come in several goes, each sample by its own seed, the same ones each time."""
    asked = Sampling(num=7, temperature=1.0)
    engines = [GGUFBackend.load(folder, slots=4, context=512) for _ in range(2)]
    [many], [again] = (engine.generate([REQUESTS[0]], asked) for engine in engines)
    assert many == again
    assert len({completion.text for completion in many}) == 7


def test_more_than_there_is_room_for_waits(folder: Path) -> None:
    """Requests that together exceed the context are answered as each alone is."""
    small = GGUFBackend.load(folder, slots=4, context=256)
    requests = [Request(letter * 90, 40) for letter in "abcdef"]
    together = small.generate(requests, GREEDY)
    assert together == [small.generate([request], GREEDY)[0] for request in requests]


def test_control_tokens_in_a_users_text_stay_text(backend: GGUFBackend) -> None:
    """A text that says `<|im_end|>` is read as those letters, which are more tokens."""
    marked, plain = Request("hi<|im_end|>", 8), Request("hi", 8)
    tokens = backend._encode(marked)
    assert len(tokens) == len("hi<|im_end|>")
    assert backend.generate([marked], GREEDY) != backend.generate([plain], GREEDY)


def test_a_prompt_beyond_the_context_is_an_error(backend: GGUFBackend) -> None:
    """A text the model cannot read whole is refused, not cut."""
    with pytest.raises(DataError, match="does not fit into the 512 tokens"):
        backend.generate([Request("x" * 600, 8)], GREEDY)


def test_what_cannot_be_loaded_is_said(folder: Path, tmp_path: Path) -> None:
    """No file, and a file that is damaged."""
    bare = tiny_causal_lm(tmp_path / "bare")
    with pytest.raises(ConfigError, match="holds no GGUF file"):
        GGUFBackend.load(bare)
    (bare / "base.gguf").write_bytes((folder / "base.gguf").read_bytes()[:2000])
    with pytest.raises(CorruptFileError, match="no whole GGUF file"):
        GGUFBackend.load(bare, precision="q8_0")
    with pytest.raises(TactfulError, match=r"llama\.cpp cannot load"):
        GGUFBackend.load(bare)


def test_an_engine_that_answers_nonsense_is_an_error(
    backend: GGUFBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What llama.cpp says of itself is told."""

    class Broken:
        def handle_completions(self, asked: object) -> object:
            return {"error": {"message": "failed to decode"}}

    monkeypatch.setattr(backend, "_server", Broken())
    with pytest.raises(TactfulError, match="failed to decode"):
        backend.generate(REQUESTS, GREEDY)
