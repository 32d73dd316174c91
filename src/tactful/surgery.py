"""Model surgery: a bare model made milder by an edit of its weights, without a gradient.

After "Model Surgery" (arXiv 2407.08770). A linear probe tells toxic from neutral texts by a model's
last hidden states; the direction it finds is added to those rows of the MLP gates that point most
against it. What these rows let through then answers toxic context more. The edited model is asked
like any other, by a prompt: it steers what is written and knows nothing of a source.

Otherwise than in the paper: the probe is logistic regression to the end, not some epochs of it; and
the edit is in units of each row's own length, so that a strength means the same in every model.
Strengths are tried on dev texts by the dev judge, and the best is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from tactful.config import Config, dump_recipe
from tactful.corpora.piles import read_piles
from tactful.errors import ConfigError, DataError
from tactful.evaluation.base import Judge
from tactful.evaluation.judges import load_judge
from tactful.models import quiet_transformers
from tactful.pipeline import Look, Piles, Say, texts_of
from tactful.prompts import few_shot
from tactful.rewriting.candidates import PromptedModel
from tactful.rollouts.base import Sampling
from tactful.rollouts.local import LocalBackend, encode_prompt
from tactful.run_folder import RECIPE

ABOUT = "surgery.json"
_GATES = ("gate_proj", "wi_0", "wi")
"""The MLP rows that decide what is let through: of Llamas and their like, of gated and plain T5."""
_BATCH = 16

Row = tuple[int, int]
"""A matrix and a row in it."""


class SurgeryRecipe(Config):
    """Everything that makes an edited model."""

    data: Piles
    base: str = "base"
    texts: Annotated[int, Field(ge=2)] = 1500
    """How many texts of each kind the probe learns from, at most."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.0465
    """Part of all rows that is edited; the paper's 16,384 of Llama 2's 352,256."""
    strengths: Annotated[tuple[float, ...], Field(min_length=1)] = (0.25, 0.5, 1.0)
    """Lengths of a row that are added to it; the best by the dev judge is kept."""
    look: Look = Look()
    seed: int = 0


# --- the operation --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """P(toxic) = sigmoid(direction . state * scale + intercept); `direction` has length 1."""

    direction: NDArray[np.float64]
    scale: float
    intercept: float

    def toxic(self, states: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which states it takes for toxic."""
        found: NDArray[np.bool_] = states @ self.direction * self.scale + self.intercept > 0
        return found


def fit_probe(states: NDArray[np.float64], toxic: Sequence[bool]) -> Probe:
    """Logistic regression on states in units of their spread, told in the states' own units."""
    from sklearn.linear_model import LogisticRegression

    spread = states.std(axis=0) + 1e-6
    centre = states.mean(axis=0)
    model = LogisticRegression(C=0.1, max_iter=1000)
    model.fit((states - centre) / spread, np.array(toxic))
    weights = model.coef_[0] / spread
    size = float(np.linalg.norm(weights))
    intercept = float(model.intercept_[0] - weights @ centre)
    return Probe(weights / size, size, intercept)


def opposed_rows(matrices: Sequence[Tensor], direction: Tensor, share: float) -> list[Row]:
    """The rows of all matrices that point most against a direction, the most opposed first."""
    cosines = torch.cat(
        [torch.nn.functional.cosine_similarity(m.float(), direction[None], dim=1) for m in matrices]
    )
    places = [(number, row) for number, m in enumerate(matrices) for row in range(len(m))]
    count = max(1, round(share * len(places)))
    order = torch.argsort(cosines, stable=True)[:count].tolist()
    return [places[i] for i in order]


def edit_rows(
    matrices: Sequence[Tensor], direction: Tensor, rows: Sequence[Row], strength: float
) -> None:
    """Add to each row `strength` times its own length in a direction of length 1, in place."""
    with torch.no_grad():
        for number, row in rows:
            old = matrices[number][row]
            matrices[number][row] = old + (strength * old.norm() * direction).to(old.dtype)


def gates_of(model: Any) -> list[Tensor]:
    """The gate matrices of a model's layers, in order; of an encoder-decoder those that write."""
    found = [
        module.weight
        for name, module in model.named_modules()
        if name.rsplit(".", 1)[-1] in _GATES and "encoder" not in name.split(".")
    ]
    if not found:
        raise ConfigError(
            f"{type(model).__name__} has no MLP gates that are known here ({', '.join(_GATES)}); "
            "give a Llama-like model or a T5 as base"
        )
    return found


def hidden_states(backend: LocalBackend, texts: Sequence[str]) -> NDArray[np.float64]:
    """The mean of each text's last hidden states, as the model reads it; (texts, size)."""
    model, tokenizer = backend.model, backend.tokenizer
    tokens = [encode_prompt(tokenizer, text, name=backend.name) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
    rows: list[NDArray[np.float64]] = [np.zeros(0)] * len(texts)
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        width = max(len(tokens[i]) for i in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long, device=model.device)
        mask = torch.zeros_like(ids)
        for place, i in enumerate(batch):
            ids[place, : len(tokens[i])] = torch.tensor(tokens[i])
            mask[place, : len(tokens[i])] = 1
        given = {"input_ids": ids, "attention_mask": mask}
        with torch.inference_mode():
            if model.config.is_encoder_decoder:
                # What the decoder would be in while it writes the text itself.
                given |= {"decoder_input_ids": ids, "decoder_attention_mask": mask}
                read = model(**given, output_hidden_states=True, use_cache=False)
                last = read.decoder_hidden_states[-1]
            else:
                last = model.base_model(**given, use_cache=False).last_hidden_state
        seen = mask[..., None]
        means = (last.float() * seen).sum(dim=1) / seen.sum(dim=1)
        for i, mean in zip(batch, means.double().cpu().numpy(), strict=True):
            rows[i] = mean
    return np.stack(rows)


# --- the command ----------------------------------------------------------------------------


def operate(
    recipe: SurgeryRecipe,
    out: Path,
    *,
    say: Say = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Probe, edit, look, keep the best; leaves a model folder that `--model` takes in `out`."""
    if (out / "config.json").exists():
        raise DataError(f"{out} holds a model already; give another folder with --output")
    judge = load_judge(recipe.look.judge)
    toxic, neutral = _taught(recipe, recipe.data.folds)
    held_toxic, held_neutral = _taught(recipe, recipe.data.dev_folds)
    looked_at = _looked_at(recipe)
    # Float32: what is added to a row would be rounded away in bfloat16.
    backend = LocalBackend.load(recipe.base, dtype="float32")
    gates = gates_of(backend.model)
    say(f"reading {len(toxic):,} toxic and as many neutral texts")
    probe = fit_probe(
        hidden_states(backend, [*toxic, *neutral]), [True] * len(toxic) + [False] * len(neutral)
    )
    told = probe.toxic(hidden_states(backend, [*held_toxic, *held_neutral]))
    right = np.concatenate([told[: len(held_toxic)], ~told[len(held_toxic) :]])
    direction = torch.tensor(probe.direction, dtype=torch.float32, device=backend.model.device)
    if direction.shape[0] != gates[0].shape[1]:
        raise ConfigError(f"the gates of {recipe.base} do not read the states that it writes from")
    rows = opposed_rows(gates, direction, recipe.share)
    say(
        f"the probe is right about {right.mean():.1%} of held-out texts; editing {len(rows):,} rows"
    )
    before = [gates[number][row].clone() for number, row in rows]
    looks = []
    strengths = (0.0, *recipe.strengths)
    for done, strength in enumerate(strengths):
        edit_rows(gates, direction, rows, strength)
        looks.append({"strength": strength, **_look(backend, looked_at, judge)})
        _restore(gates, rows, before)
        progress(done + 1, len(strengths))
    best = max(looks[1:], key=lambda look: look["joint"])
    edit_rows(gates, direction, rows, best["strength"])
    _save(backend, out)
    found = {
        "probe": float(right.mean()),
        "rows": len(rows),
        "strength": best["strength"],
        "joint": best["joint"],
        "joint_unedited": looks[0]["joint"],
    }
    about = {"base": backend.name, "judge": judge.signature, **found, "looks": looks}
    (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    dump_recipe(recipe, out / RECIPE)
    return found


def _taught(recipe: SurgeryRecipe, folds: Sequence[int]) -> tuple[list[str], list[str]]:
    """As many toxic as neutral texts of some folds, drawn at random."""
    rng = np.random.default_rng(recipe.seed)
    kinds = []
    for piles in (recipe.data.toxic, recipe.data.neutral):
        examples = read_piles(recipe.data.dir, piles)
        texts = texts_of(examples, recipe.data, folds)
        kinds.append([texts[i] for i in rng.permutation(len(texts))])
    count = min(recipe.texts, *(len(texts) for texts in kinds))
    if not count:
        raise DataError(f"no toxic or no neutral texts in folds {tuple(folds)}")
    toxic, neutral = (texts[:count] for texts in kinds)
    return toxic, neutral


def _looked_at(recipe: SurgeryRecipe) -> list[str]:
    data = recipe.data
    texts = texts_of(read_piles(data.dir, data.toxic), data, data.dev_folds, data.dev_sources)
    return texts[:: max(1, len(texts) // recipe.look.rows)][: recipe.look.rows]


def _look(backend: LocalBackend, sources: Sequence[str], judge: Judge) -> dict[str, float]:
    """What the prompted model's likeliest answers are worth."""
    model = PromptedModel(backend, prompt=few_shot, sampling=Sampling(num=1, temperature=0.0))
    rewrites = [found[0] if found else "" for found in model.propose(sources)]
    scores = judge.score(sources, rewrites)
    return {
        name: float(getattr(scores, name).mean())
        for name in ("style", "meaning", "fluency", "joint")
    }


def _restore(gates: Sequence[Tensor], rows: Sequence[Row], before: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for (number, row), old in zip(rows, before, strict=True):
            gates[number][row] = old


def _save(backend: LocalBackend, out: Path) -> None:
    """In float32, so that what was looked at is what is kept."""
    out.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        backend.model.save_pretrained(out)
        backend.tokenizer.save_pretrained(out)
