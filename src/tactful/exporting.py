"""A trained rewriter for other engines: merged weights, GGUF with a LoRA file, CTranslate2.

An export that is subtly wrong still writes fluent text, so none is called done because it loads.
Each is asked the same as torch with the adapter, from the files just written, and compared token
by token. It is built in `FOLDER.part`, which gets its name only when they agree.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from tactful.errors import ConfigError, DataError, MissingExtraError, TactfulError
from tactful.models import ADAPTER_FILE, ModelFiles, quiet_transformers, resolve, version_of
from tactful.parity import (
    Answer,
    CT2Engine,
    CT2TranslatorEngine,
    Engine,
    Format,
    LlamaCppEngine,
    Parity,
    Question,
    TorchEngine,
    compare,
    questions,
)
from tactful.rollouts.conversion import (
    require_gguf,
    split_name,
    write_ct2,
    write_gguf_adapter,
)
from tactful.rollouts.local import LocalBackend
from tactful.run_folder import ADAPTER

FORMATS: tuple[Format, ...] = get_args(Format)
Say = Callable[[str], None]

ADAPTER_GGUF = "adapter.gguf"
_SETTINGS = "adapter_config.json"
_MARKER = "NOT-FINISHED.txt"
_NEEDS: dict[Format, tuple[str, ...]] = {
    "merged": (),
    "gguf": ("gguf", "xllamacpp"),
    "ct2": ("ctranslate2",),
}


@dataclass(frozen=True, slots=True)
class Leader:
    """What is exported: base and adapter in torch, and where both came from."""

    backend: LocalBackend
    base: ModelFiles
    adapter: Path


def export(
    run: Path,
    format: str,
    out: Path,
    *,
    base: str | Path = "base",
    say: Say = lambda line: None,
) -> Parity:
    """Write an adapter for another engine into `out`, if that engine answers as torch does.

    Args:
        run: An adapter's folder, or a run's folder that holds `adapter`.
        format: `merged`, `gguf` or `ct2`.
        out: A folder that does not exist or is empty. On failure there is only `out` + `.part`.
        base: The model the adapter was trained on, as `tactful.models.resolve` understands it.
        say: Called with a line for every step.
    """
    chosen = _known(format)
    adapter = find_adapter(run)
    _require_room(out)
    for package in _NEEDS[chosen]:
        if find_spec(package) is None:
            raise MissingExtraError(f"tactful export --format {chosen}", chosen)
    files = resolve(base)
    require_fit(adapter, files)
    if chosen == "gguf":
        require_gguf(adapter, files)
    say("asking torch ...")
    backend = LocalBackend.load(files.folder, dtype="float32", adapter=adapter, device="cpu")
    leader = Leader(backend, files, adapter)
    asked = questions(backend.tokenizer)
    torch = TorchEngine(backend.model, backend.tokenizer)
    expected = [torch.answer(question) for question in asked]
    with backend.model.disable_adapter():
        bare = [torch.answer(question) for question in asked]
    say(f"writing {chosen} ...")
    try:
        part = _begin(out)
        _WRITERS[chosen](leader, part)
        for path in (*files.folder.glob("LICENSE*"), *files.folder.glob("NOTICE*")):
            shutil.copyfile(path, part / path.name)
    except OSError as error:
        raise TactfulError(f"{_part(out)} could not be written: {error}") from error
    say("asking the export ...")
    engine = _ENGINES[chosen](part)
    found = [engine.answer(question) for question in asked]
    reads = all(engine.reads(question) for question in asked)
    # An engine may hold its files open, and some systems then refuse to rename the folder.
    del engine
    bare_found = _ask_bare(part, asked) if chosen == "gguf" else None
    name = version_of(adapter)
    parity = compare(chosen, files.name, name, expected, bare, found, bare_found, same_tokens=reads)
    (part / "parity.json").write_text(parity.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if not parity.passed:
        raise TactfulError(
            f"The export is not what was trained, so {out} was not written; what there is lies in "
            f"{part}, for a look only.\n{parity.render()}"
        )
    _finish(part, out)
    return parity


def find_adapter(run: Path) -> Path:
    """The folder of the adapter itself."""
    for folder in (run, run / ADAPTER):
        if (folder / ADAPTER_FILE).is_file() and (folder / _SETTINGS).is_file():
            return folder
    raise DataError(
        f"{run} holds no adapter: neither {ADAPTER_FILE} with {_SETTINGS} nor a folder `adapter` "
        "with both. Give the folder that tactful warmup or tactful train wrote."
    )


def require_fit(adapter: Path, base: ModelFiles) -> None:
    """Compare the adapter's shapes with the base's layers; say what differs."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    settings = _settings(adapter)
    if settings.get("peft_type") != "LORA":
        raise ConfigError(f"{adapter} is a {settings.get('peft_type')} adapter; only LoRA is known")
    safe = {"trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(base.folder, local_files_only=True, **safe)
        # No memory is taken for weights of which only the shapes are asked.
        with torch.device("meta"), quiet_transformers():
            auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            layers = dict(auto.from_config(config, **safe).named_modules())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{base.name} is no language model we can export") from error
    wrong = []
    for name, shape in _shapes(adapter).items():
        layer, side = split_name(name)
        if side not in ("A", "B"):
            continue
        weight = getattr(layers.get(layer), "weight", None)
        if weight is None:
            wrong.append(f"the base has no layer {layer}")
            continue
        size = tuple(weight.shape)[:: -1 if settings.get("fan_in_fan_out") else 1]
        # A is (rank, in) and B is (out, rank), beside a weight of (out, in).
        given, has = (shape[1], size[1]) if side == "A" else (shape[0], size[0])
        if given != has:
            end = "in" if side == "A" else "out"
            wrong.append(f"{layer} has {has} {end} there, the adapter {given}")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ConfigError(
            f"{adapter} was made for another base than {base.name}: {wrong[0]}{more}. "
            "Say with --base which model it was trained on."
        )


# --- the folder ----------------------------------------------------------------------------------


def _known(format: str) -> Format:
    for known in FORMATS:
        if format == known:
            return known
    raise ConfigError(f"there is no format {format!r}; there are {', '.join(FORMATS)}")


def _part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _require_room(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} is there already and not an empty folder; give another --output")
    part = _part(out)
    if part.exists() and not (part / _MARKER).is_file():
        raise DataError(f"{part} is in the way: exports are built there. Move it or remove it")


def _begin(out: Path) -> Path:
    part = _part(out)
    if part.exists():
        shutil.rmtree(part)  # our own marker lies in it: an export that failed or was stopped
    part.mkdir(parents=True)
    (part / _MARKER).write_text(
        "This export was stopped or differs from the trained model. Do not use it.\n",
        encoding="utf-8",
    )
    return part


def _finish(part: Path, out: Path) -> None:
    if out.exists():
        out.rmdir()
    for path in part.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors are written for their owner alone; exports get shared
    part.rename(out)
    # Last, so that what is renamed still says what it is if this is where it stops.
    (out / _MARKER).unlink()


# --- torch ---------------------------------------------------------------------------------------


def merge(model: Any) -> Any:
    """The adapter added into the base's weights, in the float32 they were loaded in."""
    return model.merge_and_unload(safe_merge=True)


def _write_merged(leader: Leader, folder: Path) -> None:
    with quiet_transformers():
        merge(leader.backend.model).save_pretrained(folder)
        leader.backend.tokenizer.save_pretrained(folder)


def _merged_engine(folder: Path) -> Engine:
    backend = LocalBackend.load(folder, dtype="float32", device="cpu")
    return TorchEngine(backend.model, backend.tokenizer)


# --- CTranslate2 ---------------------------------------------------------------------------------


def _write_ct2(leader: Leader, folder: Path) -> None:
    write_ct2(merge(leader.backend.model), leader.backend.tokenizer, folder)


def _ct2_engine(folder: Path) -> Engine:
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Only what has a decoder of its own says how that starts.
    return (CT2TranslatorEngine if "decoder_start_token" in settings else CT2Engine)(folder)


# --- GGUF ----------------------------------------------------------------------------------------


def _write_gguf(leader: Leader, folder: Path) -> None:
    assert leader.base.gguf is not None, "checked by require_gguf"
    # The file as it is: merged and quantised to four bits again, the adapter might be rounded away.
    shutil.copyfile(leader.base.gguf, folder / leader.base.gguf.name)
    write_gguf_adapter(leader.adapter, leader.base, folder / ADAPTER_GGUF)


def _gguf_engine(folder: Path) -> Engine:
    return LlamaCppEngine(_base_of(folder), folder / ADAPTER_GGUF)


def _ask_bare(folder: Path, asked: Sequence[Question]) -> list[Answer]:
    """What the engine makes of the base alone."""
    engine = LlamaCppEngine(_base_of(folder), None)
    return [engine.answer(question) for question in asked]


def _base_of(folder: Path) -> Path:
    return next(path for path in sorted(folder.glob("*.gguf")) if path.name != ADAPTER_GGUF)


# --- the adapter's files -------------------------------------------------------------------------


def _settings(adapter: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((adapter / _SETTINGS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{adapter / _SETTINGS} is not readable JSON: {error}") from error
    return found


def _shapes(adapter: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(adapter / ADAPTER_FILE, "numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{adapter / ADAPTER_FILE} is not readable: {error}") from error


_WRITERS: dict[Format, Callable[[Leader, Path], None]] = {
    "merged": _write_merged,
    "gguf": _write_gguf,
    "ct2": _write_ct2,
}
_ENGINES: dict[Format, Callable[[Path], Engine]] = {
    "merged": _merged_engine,
    "gguf": _gguf_engine,
    "ct2": _ct2_engine,
}
