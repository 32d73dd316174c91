"""What writes: torch, llama.cpp, CTranslate2 or a server, by name, or the fastest here.

`auto` measures once what is installed, on our own sentences, and keeps the answer in the cache for
this processor, these versions and this model. It asks for one text at a time or for many, as its
caller will: the two are seldom won by the same engine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock
from pydantic import ValidationError

from tactful.config import Config
from tactful.corpora.piles import own_corpus
from tactful.errors import ConfigError, TactfulError
from tactful.models import ADAPTER_FILE, ModelFiles, file_sha256, home, resolve
from tactful.prompts import trained
from tactful.rollouts.base import Backend, Request, Sampling

EngineName = Literal["auto", "torch", "gguf", "ct2", "openai"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
Purpose = Literal["alone", "batch"]
"""One text at a time, as fast as can be; or many, as many as can be."""

PACKAGES = {"torch": "torch", "gguf": "xllamacpp", "ct2": "ctranslate2"}
_CHOSEN = "chosen.json"
_ALONE, _BATCH, _NEW_TOKENS = 3, 12, 32


class Choice(Config):
    """What was measured, and which engine won; seconds for a text."""

    engine: str
    purpose: Purpose
    model: str
    machine: str
    seconds: dict[str, float]
    failed: dict[str, str]

    def render(self) -> str:
        """As one line."""
        told = [f"{name} {1e3 * seconds:.0f} ms" for name, seconds in self.seconds.items()]
        told += [f"{name} failed" for name in self.failed]
        return f"{self.engine} for {self.purpose} ({', '.join(told)} a text; {self.model})"


def load_engine(
    name: str = "auto",
    model: str | Path = "base",
    *,
    adapter: Path | None = None,
    purpose: Purpose = "batch",
    url: str | None = None,
    served: str = "rewriter",
    key_variable: str = "OPENAI_API_KEY",
) -> Backend:
    """An engine, ready to write; nothing is downloaded.

    Args:
        name: `torch`, `gguf` (llama.cpp), `ct2` (CTranslate2), `openai` (a server), or `auto`.
        model: What `tactful.models.resolve` understands.
        adapter: A folder with a LoRA adapter. A server has its own.
        purpose: What `auto` measures.
        url: The server's address, as `http://localhost:8000/v1`; else `OPENAI_BASE_URL`.
        served: What the server calls the model.
        key_variable: The environment variable that holds the server's key.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    if name == "openai":
        return _server(model, url, served, key_variable)
    if name == "auto":
        return _fastest(resolve(model), model, adapter, purpose)
    return _LOADERS[name](model, adapter)


def _torch(model: str | Path, adapter: Path | None) -> Backend:
    from tactful.rollouts.local import LocalBackend

    return LocalBackend.load(model, adapter=adapter, fuse=True, batch_size=64)


def _gguf(model: str | Path, adapter: Path | None) -> Backend:
    from tactful.rollouts.gguf import GGUFBackend

    return GGUFBackend.load(model, adapter=adapter)


def _ct2(model: str | Path, adapter: Path | None) -> Backend:
    from tactful.rollouts.ct2 import CT2Backend

    return CT2Backend.load(model, adapter=adapter)


_LOADERS: dict[str, Callable[[str | Path, Path | None], Backend]] = {
    "torch": _torch,
    "gguf": _gguf,
    "ct2": _ct2,
}


def _server(model: str | Path, url: str | None, served: str, key_variable: str) -> Backend:
    from tactful.rollouts.openai import OpenAIBackend

    url = url or os.environ.get("OPENAI_BASE_URL")
    if not url:
        raise ConfigError(
            "the engine openai needs the server's address: set OPENAI_BASE_URL, "
            "for example to http://localhost:8000/v1"
        )
    from transformers import AutoTokenizer

    # With the tokenizer here, what looks like a control token in a text is sent as what it is.
    tokenizer = AutoTokenizer.from_pretrained(
        resolve(model).folder, local_files_only=True, trust_remote_code=False
    )
    return OpenAIBackend(url, served, key_variable=key_variable, tokenizer=tokenizer)


# --- the fastest here ----------------------------------------------------------------------------


def _fastest(
    files: ModelFiles, model: str | Path, adapter: Path | None, purpose: Purpose
) -> Backend:
    able = _able(files)
    key = _key(files, adapter, purpose, able)
    # Processes that start together measure once, or in a near tie each could have its own engine.
    with _one_at_a_time():
        known = _read().get(key)
        if known is None or known.engine not in able:
            return _measured(files, model, adapter, purpose, able, key)
    return _LOADERS[known.engine](model, adapter)


def _measured(
    files: ModelFiles,
    model: str | Path,
    adapter: Path | None,
    purpose: Purpose,
    able: Sequence[str],
    key: str,
) -> Backend:
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    best: Backend | None = None
    for name in able:
        try:
            backend = _LOADERS[name](model, adapter)
            taken = measure(backend, purpose)
        except TactfulError as error:
            failed[name] = str(error)
            continue
        if not seconds or taken < min(seconds.values()):
            best = backend
        seconds[name] = taken
    if best is None:
        raise TactfulError(f"no engine could be used: {failed}")
    choice = Choice(
        engine=min(seconds, key=lambda name: seconds[name]),
        purpose=purpose,
        model=files.name,
        machine=_machine(),
        seconds=seconds,
        failed=failed,
    )
    _keep(key, choice)
    return best


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    lock = home() / "engines" / "lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held: AbstractContextManager[Any] = FileLock(lock).acquire()
    except OSError:
        # Where nothing can be written nothing is kept, either.
        held = contextlib.nullcontext()
    with held:
        yield


def measure(backend: Backend, purpose: Purpose) -> float:
    """Seconds a text takes it, alone (the median of some) or as one of many."""
    requests = [
        Request(trained(example.text), _NEW_TOKENS) for example in own_corpus() if example.toxic
    ]
    as_rewriting = Sampling(num=8, temperature=0.8, top_p=0.95)

    def seconds(asked: Sequence[Request]) -> float:
        started = time.perf_counter()
        backend.generate(asked, as_rewriting)
        return time.perf_counter() - started

    seconds(requests[-1:])  # the first one is slower than all that follow
    if purpose == "alone":
        return statistics.median(seconds([request]) for request in requests[:_ALONE])
    return seconds(requests[:_BATCH]) / _BATCH


def choices() -> list[Choice]:
    """What `auto` chose on this machine so far, with what is installed or was."""
    return list(_read().values())


def _able(files: ModelFiles) -> list[str]:
    """Engines that are installed and can read this model."""
    return [
        name
        for name, package in PACKAGES.items()
        if find_spec(package) is not None and (name != "gguf" or files.gguf is not None)
    ]


# Goes up when an engine is made otherwise than before, so that all are measured again.
_HOW = 2


def _key(files: ModelFiles, adapter: Path | None, purpose: Purpose, able: Sequence[str]) -> str:
    """Everything that a measurement depends on."""
    beside = file_sha256(adapter / ADAPTER_FILE) if adapter else ""
    versions = [f"{name} {installed(name)}" for name in able]
    told = json.dumps([_HOW, _machine(), versions, files.name, beside, purpose])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def installed(engine: str) -> str:
    """The version of an engine's package, or an empty string."""
    try:
        return version(PACKAGES[engine])
    except PackageNotFoundError:
        return ""


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    # Not this process's threads: more workers have fewer, and a run must not change its engine for it.
    return f"{cpu}, {os.cpu_count()} cores"


def _read() -> dict[str, Choice]:
    path = home() / "engines" / _CHOSEN
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {key: Choice.model_validate(told) for key, told in found.items()}
    except (OSError, ValueError, AttributeError, ValidationError):
        # Measured again is soon; what cannot be read is worth no error.
        return {}


def _keep(key: str, choice: Choice) -> None:
    path = home() / "engines" / _CHOSEN
    kept = {k: c.model_dump() for k, c in {**_read(), key: choice}.items()}
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError:
        # A cache that cannot be written costs time the next time, and no more.
        part.unlink(missing_ok=True)
