"""Our losses against TRL's, on random cases that both are given.

TRL is no dependency: what it says is kept in trl_losses.json, recorded with TRL 1.16 by
`python -m tests.training.test_trl`. Where it is installed, the record is checked too.
"""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tactful.training import objectives

RECORD = Path(__file__).with_name("trl_losses.json")
BETAS = (0.05, 0.5)
ROWS, LONGEST = 8, 9


def case(seed: int) -> dict[str, Tensor]:
    """Log-probabilities a token of chosen and rejected texts, by policy and reference, and labels."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, LONGEST + 1, (2 * ROWS,), generator=random)
    real = torch.arange(LONGEST) < lengths[:, None]
    logp, ref_logp, other, ref_other = (
        torch.where(real, -3 * torch.rand(2 * ROWS, LONGEST, generator=random), 0.0)
        for _ in range(4)
    )
    labels = torch.rand(2 * ROWS, generator=random) < 0.5
    return {
        "real": real,
        "tokens": lengths,
        "logp": logp,
        "ref_logp": ref_logp,
        "other": other,
        "ref_other": ref_other,
        "labels": labels,
    }


def ours(seed: int, beta: float) -> dict[str, float]:
    """Means over the rows, as TRL gives them."""
    given = case(seed)
    gain = (given["logp"] - given["ref_logp"]).sum(1)
    mean = given["logp"].sum(1) / given["tokens"]
    (chosen, rejected), (liked, disliked) = gain.chunk(2), mean.chunk(2)
    each = (gain / given["tokens"]).chunk(2)
    baseline = (given["other"] - given["ref_other"]).sum(1).mean()
    losses = {
        "dpo": objectives.dpo(chosen, rejected, beta=beta),
        "cdpo": objectives.cdpo(chosen, rejected, beta=beta, smoothing=0.1),
        "rdpo": objectives.rdpo(chosen, rejected, beta=beta, flip_rate=0.1),
        "ipo": objectives.ipo(*each, beta=beta),
        "simpo": objectives.simpo(liked, disliked, beta=beta, gamma=0.3),
        "orpo": objectives.orpo(liked, disliked, beta=beta) - objectives.nll(liked),
        "kto": objectives.kto(
            gain,
            given["labels"],
            baseline,
            beta=beta,
            desirable_weight=1.2,
            undesirable_weight=0.7,
        ),
    }
    return {name: float(loss.mean()) for name, loss in losses.items()}


def theirs(seed: int, beta: float) -> dict[str, float]:
    """What TRL's own code makes of the same, on a trainer that has no more than it asks for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import DPOTrainer, KTOTrainer
        from trl.experimental.cpo import CPOTrainer
        from trl.experimental.orpo import ORPOTrainer
    given = case(seed)
    # A prompt of one token before each completion.
    mask = torch.cat([torch.zeros(2 * ROWS, 1), given["real"]], dim=1).long()
    out = SimpleNamespace(
        log_probs=given["logp"],
        entropy=torch.zeros(2 * ROWS, LONGEST),
        mean_logits=torch.zeros(2 * ROWS, LONGEST),
        is_top1=torch.zeros(2 * ROWS, LONGEST, dtype=torch.bool),
    )

    def model(**asked: Any) -> Any:
        return out

    gain = (given["logp"] - given["ref_logp"]).sum(1)
    refs = given["ref_logp"].sum(1)

    def stub(**more: Any) -> Any:
        return SimpleNamespace(
            accelerator=SimpleNamespace(
                device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x
            ),
            model=SimpleNamespace(training=True),
            beta=beta,
            aux_loss_enabled=False,
            precompute_ref_logps=True,
            _metrics={"train": defaultdict(list)},
            _total_train_tokens=0,
            _tp_size=1,
            **more,
        )

    def paired(kind: str) -> float:
        trainer = stub(
            loss_types=[kind],
            loss_weights=[1.0],
            label_smoothing=0.1,
            ld_alpha=None,
            f_divergence_type="reverse_kl",
            use_weighting=False,
        )
        inputs = {
            "input_ids": torch.zeros(2 * ROWS, LONGEST + 1, dtype=torch.long),
            "attention_mask": mask,
            # The end of a text counts for the length; the prompt does not.
            "completion_mask": mask,
            "ref_chosen_logps": refs[:ROWS],
            "ref_rejected_logps": refs[ROWS:],
        }
        return float(DPOTrainer._compute_loss(trainer, model, inputs, False))

    def cpo(kind: str, smoothing: float, rows: Tensor) -> float:
        trainer = stub(alpha=0.0, loss_type=kind, label_smoothing=smoothing, simpo_gamma=0.3)
        losses, _, _ = CPOTrainer.cpo_loss(trainer, *rows.chunk(2))
        return float(losses.mean())

    mean = given["logp"].sum(1) / given["tokens"]
    odds = ORPOTrainer.odds_ratio_loss(stub(), *mean.chunk(2))[0]
    knows = stub(
        loss_type="kto",
        calculate_KL=True,
        desirable_weight=1.2,
        undesirable_weight=0.7,
        _compute_kl_logps=lambda model, batch: given["other"].sum(1),
    )
    single = {
        "input_ids": torch.zeros(2 * ROWS, LONGEST + 1, dtype=torch.long),
        "attention_mask": mask,
        "completion_mask": mask,
        "label": given["labels"],
        "ref_logps": refs,
        "ref_KL_logps": given["ref_other"].sum(1),
    }
    return {
        "dpo": paired("sigmoid"),
        "cdpo": cpo("sigmoid", 0.1, gain),
        "rdpo": paired("robust"),
        "ipo": paired("ipo"),
        "simpo": cpo("simpo", 0.0, mean),
        # TRL adds it to the likelihood with the other sign.
        "orpo": -float(odds.mean()),
        "kto": float(KTOTrainer._compute_loss(knows, model, single, False)),
    }


CASES = [(seed, beta) for seed in range(5) for beta in BETAS]


@pytest.mark.parametrize(("seed", "beta"), CASES)
def test_losses_agree_with_trl(seed: int, beta: float) -> None:
    """To 1e-5, on ten random batches."""
    recorded = json.loads(RECORD.read_text("utf-8"))[f"{seed}/{beta}"]
    assert ours(seed, beta) == pytest.approx(recorded, abs=1e-5)


def test_the_record_is_what_trl_says() -> None:
    """Asked again where it is installed; another version may have changed its mind."""
    pytest.importorskip("trl", exc_type=ImportError)
    recorded = json.loads(RECORD.read_text("utf-8"))
    assert set(recorded) == {f"{seed}/{beta}" for seed, beta in CASES}
    seed, beta = CASES[3]
    assert theirs(seed, beta) == pytest.approx(recorded[f"{seed}/{beta}"], abs=1e-5)


if __name__ == "__main__":
    found = {f"{seed}/{beta}": theirs(seed, beta) for seed, beta in CASES}
    RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
