"""What an export must be before it is called one, on a tiny base with a random adapter.

The engines are the real ones where their extras are installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from tactful import exporting
from tactful.cli import main
from tactful.errors import ConfigError, DataError, MissingExtraError, TactfulError
from tactful.exporting import export
from tactful.models import quiet_transformers
from tactful.parity import Parity
from tactful.rollouts import conversion
from tactful.rollouts.conversion import gguf_tensors, permute_rows
from tests.tiny import SPECIAL, tiny_causal_lm, tiny_seq2seq, tiny_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, with an adapter that changes every layer."""
    folder = tmp_path_factory.mktemp("run")
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(1)
        model: Any = AutoModelForCausalLM.from_pretrained(base)
        settings = LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules="all-linear",
            init_lora_weights=False,
            task_type="CAUSAL_LM",
        )
        get_peft_model(model, settings).save_pretrained(folder / "adapter")
    return folder


@pytest.fixture(scope="module")
def gguf_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same base with its GGUF file beside it, as a fetched one has it."""
    pytest.importorskip("gguf")
    folder = tiny_causal_lm(tmp_path_factory.mktemp("gguf") / "tiny")
    _write_gguf_base(folder)
    return folder


def test_a_merged_export_is_a_model_that_answers_as_base_and_adapter(
    base: Path, run: Path, tmp_path: Path
) -> None:
    """It loads without peft, and the report says how near it is."""
    out = tmp_path / "out"
    parity = export(run, "merged", out, base=base)
    assert parity.passed
    assert parity.prompts == 12
    assert parity.max_difference < 1e-3
    assert parity.adapter_effect > 0.1
    assert parity.base_difference is None
    assert Parity.model_validate_json((out / "parity.json").read_text()) == parity
    model: Any = AutoModelForCausalLM.from_pretrained(out)
    assert {name for name, _ in model.named_parameters() if "lora" in name} == set()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert not list(out.glob("NOT*"))


def test_a_merge_that_lost_the_adapter_is_not_called_done(
    base: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no folder of that name, only one that says it is not finished; the next may do."""
    out = tmp_path / "out"
    with monkeypatch.context() as broken:
        broken.setattr(exporting, "merge", lambda model: model.unload())
        with pytest.raises(TactfulError, match=r"max difference .*\n.*\n") as failed:
            export(run, "merged", out, base=base)
    assert "nearer to the adapted model" in str(failed.value)
    assert not out.exists()
    part = tmp_path / "out.part"
    assert (part / "NOT-FINISHED.txt").is_file()
    assert json.loads((part / "parity.json").read_text())["passed"] is False
    export(run, "merged", out, base=base)
    assert not part.exists()


def test_an_export_that_was_stopped_keeps_its_marker(
    base: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops it: the finished name does not appear."""

    def stop(model: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "merge", stop)
    with pytest.raises(KeyboardInterrupt):
        export(run, "merged", tmp_path / "out", base=base)
    assert (tmp_path / "out.part" / "NOT-FINISHED.txt").is_file()
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_said_in_words(base: Path, run: Path, tmp_path: Path) -> None:
    """Before anything is loaded or written."""
    with pytest.raises(DataError, match="holds no adapter"):
        export(tmp_path, "merged", tmp_path / "out", base=base)
    with pytest.raises(ConfigError, match="no format 'onnx'; there are merged, gguf, ct2"):
        export(run, "onnx", tmp_path / "out", base=base)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(DataError, match="not an empty folder"):
        export(run, "merged", tmp_path / "full", base=base)
    (tmp_path / "full").rename(tmp_path / "other.part")
    with pytest.raises(DataError, match="in the way"):
        export(run, "merged", tmp_path / "other", base=base)
    assert (tmp_path / "other.part" / "mine.txt").is_file()


def test_an_adapter_of_another_base_is_refused_by_its_shapes(
    base: Path, run: Path, tmp_path: Path
) -> None:
    """The message names a layer, both sizes and the option to change."""
    other = tmp_path / "wider"
    config = AutoModelForCausalLM.from_pretrained(base).config
    config.intermediate_size = 80
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(ConfigError, match=r"mlp\.down_proj has 80 in there, the adapter 64 .*more"):
        export(run, "merged", tmp_path / "out", base=other)
    config.intermediate_size, config.num_hidden_layers = 64, 1
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(ConfigError, match=r"no layer model\.layers\.1.*--base"):
        export(run, "merged", tmp_path / "out", base=other)


@pytest.mark.parametrize("format", ["gguf", "ct2"])
def test_a_missing_extra_is_named(
    format: str, base: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line that installs it."""
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf'pip install "tactful\[{format}\]"'):
        export(run, format, tmp_path / "out", base=base)


def test_a_gguf_export_needs_the_bases_file_and_plain_lora(
    base: Path, run: Path, tmp_path: Path
) -> None:
    """What llama.cpp's adapters cannot hold would be left out without a word."""
    pytest.importorskip("xllamacpp")
    with pytest.raises(ConfigError, match="no GGUF file"):
        export(run, "gguf", tmp_path / "out", base=base)
    adapter = tmp_path / "special"
    adapter.mkdir()
    for path in (run / "adapter").iterdir():
        (adapter / path.name).write_bytes(path.read_bytes())
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings |= {"use_rslora": True, "bias": "all"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="use_rslora, bias"):
        export(adapter, "gguf", tmp_path / "out", base=base)


def test_rows_of_queries_and_keys_are_permuted_within_their_head() -> None:
    """A head's first half is paired with its second: 0 with 2, 1 with 3."""
    rows = np.arange(8, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    assert permute_rows(rows, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert permute_rows(rows, heads=1)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert permute_rows(rows, heads=1).shape == (8, 3)


def test_gguf_tensors_have_llama_cpps_names_and_only_b_of_q_and_k_is_permuted() -> None:
    """Queries by their own heads (two), keys by theirs (one); V and every A stay."""
    pytest.importorskip("gguf")
    config = SimpleNamespace(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    rows = np.arange(8, dtype=np.float32)[:, None]
    prefix = "base_model.model.model.layers.1."
    given = {
        f"{prefix}{layer}.lora_{side}.weight": rows
        for layer in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj")
        for side in "AB"
    }
    made = {name: values[:, 0].tolist() for name, values in gguf_tensors(given, config).items()}
    plain = [0, 1, 2, 3, 4, 5, 6, 7]
    assert made == {
        "blk.1.attn_q.weight.lora_a": plain,
        "blk.1.attn_q.weight.lora_b": [0, 2, 1, 3, 4, 6, 5, 7],
        "blk.1.attn_k.weight.lora_a": plain,
        "blk.1.attn_k.weight.lora_b": [0, 4, 1, 5, 2, 6, 3, 7],
        "blk.1.attn_v.weight.lora_a": plain,
        "blk.1.attn_v.weight.lora_b": plain,
        "blk.1.ffn_down.weight.lora_a": plain,
        "blk.1.ffn_down.weight.lora_b": plain,
    }
    with pytest.raises(ConfigError, match="no place for"):
        gguf_tensors({f"{prefix}self_attn.gate.lora_A.weight": rows}, config)


def test_llama_cpp_answers_as_torch_does(gguf_base: Path, run: Path, tmp_path: Path) -> None:
    """The base's file comes along as it is, and the adapter says what it is."""
    pytest.importorskip("xllamacpp")
    import gguf

    parity = export(run, "gguf", tmp_path / "out", base=gguf_base)
    assert parity.same_tokens
    assert parity.adapter_effect > 1
    assert parity.max_difference < 0.1
    assert (tmp_path / "out" / "base.gguf").read_bytes() == (gguf_base / "base.gguf").read_bytes()
    fields = gguf.GGUFReader(tmp_path / "out" / "adapter.gguf").fields
    assert fields["general.type"].contents() == "adapter"
    assert fields["general.architecture"].contents() == "llama"
    assert fields["adapter.type"].contents() == "lora"
    assert fields["adapter.lora.alpha"].contents() == 8.0


def test_an_adapter_that_was_not_permuted_fails_in_llama_cpp(
    gguf_base: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine itself minds, not only our own idea of its order."""
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr(conversion, "permute_rows", lambda weights, heads: weights)
    with pytest.raises(TactfulError, match="differs by more than its engine's rounding"):
        export(run, "gguf", tmp_path / "out", base=gguf_base)
    assert not (tmp_path / "out").exists()


def test_ctranslate2_answers_as_torch_does(base: Path, run: Path, tmp_path: Path) -> None:
    """The merged model that was converted does not stay."""
    pytest.importorskip("ctranslate2")
    parity = export(run, "ct2", tmp_path / "out", base=base)
    assert parity.max_difference < 1e-3
    assert (tmp_path / "out" / "model.bin").is_file()
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_the_command_prints_the_report(
    base: Path,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """As JSON on stdout, progress elsewhere."""
    where = ["--base", str(base), "-o", str(tmp_path / "out"), "--json"]
    monkeypatch.setattr(sys, "argv", ["tactful", "export", str(run), "--format", "merged", *where])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert not exit_.value.code
    assert json.loads(capsysbinary.readouterr().out)["passed"] is True


def _write_gguf_base(folder: Path) -> None:
    """The tiny model as llama.cpp's own converter would write it, with permuted Q and K."""
    import gguf

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(folder / "base.gguf", "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tiny_tokenizer().get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    kinds = [
        gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL
        for token, _ in vocabulary
    ]
    writer.add_token_types(kinds)
    writer.add_token_merges(["~ ~"])  # at least one is needed; none of our sentences has it
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        layer = name.removesuffix(".weight")
        values = tensor.numpy()
        if count := heads.get(layer.rpartition(".")[2]):
            values = values[_neighbours(len(values), count)]
        writer.add_tensor(f"{names.get_name(layer)}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _neighbours(rows: int, heads: int) -> list[int]:
    """For each row of llama.cpp's, which of ours it is, written out another way than the code's."""
    size = rows // heads
    return [
        head * size + half * size // 2 + i
        for head in range(heads)
        for i in range(size // 2)
        for half in (0, 1)
    ]


# --- encoder-decoders -----------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["t5-1.1", "t5"])
def t5(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both kinds of T5: the first, of 2019, scales what comes out, 1.1 does not."""
    folder = tiny_seq2seq(tmp_path_factory.mktemp("t5") / "tiny")
    settings = json.loads((folder / "config.json").read_text())
    settings["scale_decoder_outputs"] = request.param
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def t5_run(t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5-run")
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(1)
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(t5)
        settings = LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules="all-linear",
            init_lora_weights=False,
            task_type="SEQ_2_SEQ_LM",
        )
        get_peft_model(model, settings).save_pretrained(folder / "adapter")
    return folder


def test_a_merged_encoder_decoder_answers_as_base_and_adapter(
    t5: Path, t5_run: Path, tmp_path: Path
) -> None:
    parity = export(t5_run, "merged", tmp_path / "out", base=t5)
    assert parity.passed
    assert parity.max_difference < 1e-3
    assert parity.adapter_effect > 0.1
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    assert {name for name, _ in model.named_parameters() if "lora" in name} == set()


def test_ctranslate2_answers_as_an_encoder_decoder_does(
    t5: Path, t5_run: Path, tmp_path: Path
) -> None:
    """Log-probabilities of given tokens, and step by step what it would write itself."""
    pytest.importorskip("ctranslate2")
    parity = export(t5_run, "ct2", tmp_path / "out", base=t5)
    assert parity.max_difference < 1e-3
    assert parity.same_greedy == 1.0
    assert parity.adapter_effect > 0.1
    assert (tmp_path / "out" / "model.bin").is_file()


def test_a_converter_that_scales_what_is_not_to_be_scaled_fails(
    t5: Path, t5_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CTranslate2's own takes both kinds of T5 for one: right for the first, refused for 1.1."""
    pytest.importorskip("ctranslate2")
    from ctranslate2.converters import TransformersConverter

    scaled = json.loads((t5 / "config.json").read_text())["scale_decoder_outputs"]
    monkeypatch.setattr(
        conversion, "ct2_converter", lambda folder: TransformersConverter(str(folder))
    )
    if scaled:
        assert export(t5_run, "ct2", tmp_path / "out", base=t5).passed
        return
    with pytest.raises(TactfulError, match="the largest difference is above its limit"):
        export(t5_run, "ct2", tmp_path / "out", base=t5)
    assert not (tmp_path / "out").exists()


def test_what_an_encoder_decoder_cannot_be_is_said(t5: Path, t5_run: Path, tmp_path: Path) -> None:
    """No GGUF, and no adapter of a causal model."""
    pytest.importorskip("xllamacpp")
    with pytest.raises(ConfigError, match="is a t5 model; GGUF adapters are written for llama"):
        export(t5_run, "gguf", tmp_path / "out", base=t5)


def test_an_adapter_of_a_causal_base_does_not_fit(t5: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no layer model\.layers\.0.*--base"):
        export(run, "merged", tmp_path / "out", base=t5)
