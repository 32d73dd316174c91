"""Models and adapters in the forms that other engines read, made once and kept in the cache.

What is in the cache is named after what it was made from, so nothing there is ever out of date. It
is built beside its place, under a lock, and renamed into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from tactful.errors import ConfigError, CorruptFileError, MissingExtraError, TactfulError
from tactful.models import ADAPTER_FILE, ModelFiles, file_sha256, home, quiet_transformers

Precision = Literal["as it is", "q8_0", "f16"]
"""Of a GGUF file: the base's own with the adapter beside it, or both in one of so many bits."""

_SETTINGS = "adapter_config.json"
# Goes up when what is written changes, so that what an older version wrote is not taken.
_VERSION = 1

Weights = Mapping[str, NDArray[np.float32]]


# --- GGUF ----------------------------------------------------------------------------------------


def permute_rows(weights: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a query or key projection in llama.cpp's order.

    Rotary embeddings turn pairs of rows. transformers pairs a head's first half with its second,
    llama.cpp pairs neighbours: 0 1 2 3 becomes 0 2 1 3.
    """
    half = weights.shape[0] // heads // 2
    split = weights.reshape(heads, 2, half, *weights.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(weights.shape)


def gguf_tensors(weights: Weights, config: Any) -> dict[str, NDArray[np.float32]]:
    """An adapter's tensors under llama.cpp's names and in its order.

    Only B is permuted: its rows are the projection's outputs, those of A are the rank's.
    """
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    made = {}
    for name, values in weights.items():
        layer, side = split_name(name)
        known = names.get_name(layer)
        if known is None or side not in ("A", "B"):
            raise ConfigError(f"llama.cpp has no place for {name}; export the model as merged")
        turned = heads.get(layer.rpartition(".")[2]) if side == "B" else None
        made[f"{known}.weight.lora_{side.lower()}"] = (
            permute_rows(values, turned) if turned else values
        )
    return made


def split_name(name: str) -> tuple[str, str]:
    """`base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`: the layer, and A."""
    layer, _, rest = name.removeprefix("base_model.model.").partition(".lora_")
    return layer, rest.removesuffix(".weight")


def require_gguf(adapter: Path, base: ModelFiles) -> None:
    """What llama.cpp's adapters can hold, told before any work."""
    settings = json.loads((adapter / _SETTINGS).read_text(encoding="utf-8"))
    special = [
        name
        for name in ("use_dora", "use_rslora", "lora_bias", "alpha_pattern", "modules_to_save")
        if settings.get(name)
    ]
    if settings.get("bias", "none") != "none":
        special.append("bias")
    if special:
        raise ConfigError(
            f"a GGUF adapter holds plain LoRA only, {adapter} has {', '.join(special)}; "
            "export the model as merged"
        )
    kind = json.loads((base.folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "llama":
        raise ConfigError(
            f"{base.name} is a {kind} model; GGUF adapters are written for llama only"
        )
    if base.gguf is None:
        raise ConfigError(
            f"{base.folder} holds no GGUF file of the base. Convert it with llama.cpp's "
            "convert_hf_to_gguf.py and put the file there, or export the model as merged."
        )


def write_gguf_adapter(adapter: Path, base: ModelFiles, out: Path) -> None:
    """A LoRA adapter as a GGUF file for llama.cpp."""
    import gguf

    tensors, alpha, _ = _lora(adapter, base)
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    _write(writer)


def write_gguf_merged(files: ModelFiles, adapter: Path | None, kind: str, out: Path) -> None:
    """The base's GGUF file with other bits a weight, and the adapter added into them."""
    import gguf

    assert files.gguf is not None, "checked by who asks"
    tensors, alpha, rank = _lora(adapter, files) if adapter else ({}, 0.0, 1)
    try:
        reader = gguf.GGUFReader(files.gguf)
    except Exception as error:
        # Of a file that is cut off, it reads wherever that leads.
        raise CorruptFileError(
            f"{files.gguf} is no whole GGUF file: {error}. `tactful doctor` looks at the files."
        ) from error
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in _SAID_ANEW:
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if (down := tensors.get(f"{tensor.name}.lora_a")) is not None:
            values += alpha / rank * (tensors[f"{tensor.name}.lora_b"] @ down)
        if values.ndim == 1:
            # Norms are few and matter much: they stay as they are.
            writer.add_tensor(tensor.name, values)
            continue
        stored = gguf.GGMLQuantizationType[kind.upper()]
        if kind == "q8_0" and values.shape[-1] % 32:
            stored = gguf.GGMLQuantizationType.F16
        packed = gguf.quants.quantize(values, stored)
        writer.add_tensor(tensor.name, packed, raw_dtype=stored)
    _write(writer)


_SAID_ANEW = ("general.architecture", "general.file_type", "general.quantization_version")


def _lora(adapter: Path, base: ModelFiles) -> tuple[dict[str, NDArray[np.float32]], float, int]:
    from safetensors.torch import load_file
    from transformers import AutoConfig

    require_gguf(adapter, base)
    settings = json.loads((adapter / _SETTINGS).read_text(encoding="utf-8"))
    config = AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
    plain = {k: v.float().numpy() for k, v in load_file(adapter / ADAPTER_FILE).items()}
    return gguf_tensors(plain, config), float(settings["lora_alpha"]), int(settings["r"])


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- CTranslate2 ---------------------------------------------------------------------------------


def write_ct2(model: Any, tokenizer: Any, folder: Path, quantization: str | None = None) -> None:
    """A model of transformers for CTranslate2, with its tokenizer, into a folder that is there."""
    # Beside what is written, where room for weights of that size is needed anyway.
    with tempfile.TemporaryDirectory(prefix="merged-", dir=folder) as work:
        merged, converted = Path(work) / "merged", Path(work) / "converted"
        try:
            with quiet_transformers():
                model.save_pretrained(merged)
                tokenizer.save_pretrained(merged)
                ct2_converter(merged).convert(str(converted), quantization=quantization)
        except ValueError as error:
            raise ConfigError(f"CTranslate2 cannot convert this model: {error}") from error
        for path in converted.iterdir():
            path.rename(folder / path.name)
    tokenizer.save_pretrained(folder)


def ct2_converter(merged: Path) -> Any:
    """CTranslate2's own, told what transformers 5 tells otherwise."""
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError as error:
        raise MissingExtraError("CTranslate2", "ct2") from error

    class Converter(TransformersConverter):  # type: ignore[misc]  # untyped upstream
        def load_model(self, *args: Any, **kwargs: Any) -> Any:
            """Tell it where T5 1.1 differs from T5.

            It scales outputs where `tie_word_embeddings` says that they are tied; transformers
            says so of both since version 5, and keeps apart elsewhere which of them scales.
            """
            model = super().load_model(*args, **kwargs)
            scales = getattr(model.config, "scale_decoder_outputs", None)
            if scales is not None:
                model.config.tie_word_embeddings = scales
            return model

    return Converter(str(merged))


# --- the cache -----------------------------------------------------------------------------------


def gguf_adapter(adapter: Path, base: ModelFiles) -> Path:
    """The adapter as a GGUF file in the cache, written if it is not there."""

    def build(folder: Path) -> None:
        write_gguf_adapter(adapter, base, folder / "adapter.gguf")

    return _cached("gguf-adapter", base, adapter, build) / "adapter.gguf"


def gguf_merged(base: ModelFiles, adapter: Path | None, kind: str) -> Path:
    """Base and adapter as one GGUF file in the cache, written if it is not there."""

    def build(folder: Path) -> None:
        write_gguf_merged(base, adapter, kind, folder / f"{kind}.gguf")

    assert base.gguf is not None, "checked by who asks"
    # The name of a local folder is made from its safetensors; this is made from the other file.
    made_from = file_sha256(base.gguf)
    return _cached(f"gguf-{kind}", base, adapter, build, made_from) / f"{kind}.gguf"


def ct2_folder(base: ModelFiles, adapter: Path | None, kind: str) -> Path:
    """Base and adapter for CTranslate2 in the cache, converted if they are not there."""
    from tactful.rollouts.local import LocalBackend

    def build(folder: Path) -> None:
        backend = LocalBackend.load(base.folder, dtype="float32", adapter=adapter, device="cpu")
        model = backend.model
        if adapter is not None:
            model = model.merge_and_unload(safe_merge=True)
        write_ct2(model, backend.tokenizer, folder, None if kind == "float32" else kind)

    return _cached(f"ct2-{kind}", base, adapter, build)


def _cached(
    what: str,
    base: ModelFiles,
    adapter: Path | None,
    build: Callable[[Path], None],
    made_from: str = "",
) -> Path:
    told = hashlib.sha256(f"{_VERSION} {base.name}{made_from}".encode())
    for name in (ADAPTER_FILE, _SETTINGS) if adapter else ():
        assert adapter is not None
        if not (adapter / name).is_file():
            raise ConfigError(f"{adapter} holds no {name}, so it is not an adapter we can load.")
        told.update(file_sha256(adapter / name).encode())
    place = home() / "engines" / f"{what}-{told.hexdigest()[:16]}"
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / f".{place.name}.lock"):
            if place.is_dir():
                return place  # made by another process meanwhile
            part = place.with_name(f".{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # left by one that was stopped
            part.mkdir()
            build(part)
            os.replace(part, place)
    except OSError as error:
        raise TactfulError(
            f"{place} could not be written: {error}. Make room or give write access there, or set "
            "TACTFUL_HOME to another folder."
        ) from error
    return place
