"""Model surgery: the operation by hand, then on tiny models of both kinds, from recipe to rewrite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tactful import surgery
from tactful.errors import ConfigError, DataError
from tactful.prompts import few_shot
from tactful.rewriting.candidates import PromptedModel
from tactful.rollouts.local import LocalBackend
from tactful.surgery import (
    SurgeryRecipe,
    edit_rows,
    fit_probe,
    gates_of,
    hidden_states,
    operate,
    opposed_rows,
)
from tests.evaluation.fake_judge import RuleJudge
from tests.tiny import tiny_causal_lm, tiny_embedder, tiny_seq2seq


def test_the_operation_by_hand() -> None:
    """Against (1, 0) the cosines are -1, 0 and 0.7, -0.7: half of the rows are two, worst first.

    Each gets half of its own length along (1, 0): 2 / 2 = 1, and sqrt(2) / 2 = 0.7071.
    """
    gates = [torch.tensor([[-2.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]])]
    direction = torch.tensor([1.0, 0.0])
    rows = opposed_rows(gates, direction, 0.5)
    assert rows == [(0, 0), (1, 1)]
    edit_rows(gates, direction, rows, 0.5)
    assert gates[0].tolist() == [[-1.0, 0.0], [0.0, 3.0]]
    assert gates[1].tolist() == [[1.0, 1.0], [pytest.approx(-0.2929, abs=1e-4), -1.0]]
    assert opposed_rows(gates, direction, 1e-9) == [(0, 0)]


def test_the_probe_finds_what_differs() -> None:
    """Two clouds apart in the second of three places, whose units are a hundred times smaller."""
    random = np.random.default_rng(0)
    states = random.normal(size=(200, 3)) * [1.0, 0.01, 1.0]
    toxic = np.arange(200) < 100
    states[toxic, 1] += 0.05
    probe = fit_probe(states, toxic.tolist())
    assert probe.direction @ [0, 1, 0] > 0.99
    assert np.linalg.norm(probe.direction) == pytest.approx(1.0)
    assert np.mean(probe.toxic(states) == toxic) > 0.97


def test_states_do_not_depend_on_the_company(tmp_path: Path) -> None:
    """A text padded beside a longer one has the states it has alone; both kinds of model."""
    for make, name in ((tiny_causal_lm, "causal"), (tiny_seq2seq, "t5")):
        backend = LocalBackend.load(make(tmp_path / name), dtype="float32")
        texts = ["you idiot", "a much longer remark about the weather", "x"]
        together = hidden_states(backend, texts)
        assert together.shape == (3, 32)
        for text, row in zip(texts, together, strict=True):
            assert hidden_states(backend, [text])[0] == pytest.approx(row, abs=1e-5)


def test_gates_of_what_writes(tmp_path: Path) -> None:
    """Two layers of gates each; those of an encoder are none, and an embedder has none at all."""
    llama = LocalBackend.load(tiny_causal_lm(tmp_path / "llama"), dtype="float32")
    assert [tuple(gate.shape) for gate in gates_of(llama.model)] == [(64, 32)] * 2
    t5 = LocalBackend.load(tiny_seq2seq(tmp_path / "t5"), dtype="float32")
    gates = gates_of(t5.model)
    assert len(gates) == 2
    assert gates[0] is t5.model.decoder.block[0].layer[2].DenseReluDense.wi.weight
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(tiny_embedder(tmp_path / "bert"))
    with pytest.raises(ConfigError, match="BertModel has no MLP gates"):
        gates_of(bert)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SurgeryRecipe:
    """Two small piles and a tiny base; the judge likes what is long."""
    monkeypatch.setattr(surgery, "load_judge", lambda name: RuleJudge())
    data = tmp_path / "data"
    data.mkdir()
    for name, words in (("toxic", "you stupid idiot number"), ("neutral", "a good day number")):
        rows = [{"text": f"{words} {i}", "fold": i % 2 * 9} for i in range(12)]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SurgeryRecipe.model_validate(
        {
            "data": {
                "dir": str(data),
                "toxic": [{"file": "toxic.jsonl", "toxic": True}],
                "neutral": [{"file": "neutral.jsonl", "toxic": False}],
                "folds": [0],
                "dev_folds": [9],
            },
            "base": str(tiny_causal_lm(tmp_path / "base")),
            "share": 0.25,
            "strengths": [0.5, 2.0],
            "look": {"rows": 2},
        }
    )


def test_from_recipe_to_an_edited_model(recipe: SurgeryRecipe, tmp_path: Path) -> None:
    """Exactly the chosen rows differ from the base, by the strength that is told; it can be asked."""
    # Prompts of examples are longer than a tiny model's window.
    config = Path(recipe.base) / "config.json"
    config.write_text(
        config.read_text().replace(
            '"max_position_embeddings": 512', '"max_position_embeddings": 4096'
        )
    )
    out = tmp_path / "edited"
    found = operate(recipe, out)
    about = json.loads((out / "surgery.json").read_text())
    assert [look["strength"] for look in about["looks"]] == [0.0, 0.5, 2.0]
    assert found["joint_unedited"] == about["looks"][0]["joint"]
    assert found["probe"] == 1.0
    assert found["rows"] == 32
    base = gates_of(AutoModelForCausalLM.from_pretrained(recipe.base))
    edited = gates_of(AutoModelForCausalLM.from_pretrained(out))
    moved = [
        (new - old).norm(dim=1) / old.norm(dim=1) for old, new in zip(base, edited, strict=True)
    ]
    told = torch.cat(moved)
    assert int((told > 0).sum()) == 32
    assert told[told > 0].tolist() == pytest.approx([found["strength"]] * 32, rel=1e-4)
    backend = LocalBackend.load(out)
    assert backend.name.startswith("edited@")
    assert len(PromptedModel(backend, prompt=few_shot).propose(["you idiot"])) == 1
    with pytest.raises(DataError, match="holds a model already"):
        operate(recipe, out)


def test_piles_without_texts_are_told(recipe: SurgeryRecipe, tmp_path: Path) -> None:
    """Before any model is loaded."""
    empty = recipe.model_copy(update={"data": recipe.data.model_copy(update={"folds": (5,)})})
    with pytest.raises(DataError, match=r"no toxic or no neutral texts in folds \(5,\)"):
        operate(empty, tmp_path / "edited")
