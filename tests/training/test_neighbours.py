"""What the neighbours of SRO need of a step: labels, samples, slopes, rounds, and a budget."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tactful.errors import ConfigError
from tactful.training.game import Game, Gate, Play
from tactful.training.logprobs import LogProbs
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer, spent_by
from tactful.training.units import (
    Objective,
    Tokens,
    Unit,
    losses,
    sides,
    strangers,
    tokens_in,
)
from tests.tiny import tiny_causal_lm

ROWS = [
    {"text": "you idiot", "chosen": "you are wrong", "rejected": "you idiot"},
    {"text": "what a stupid plan", "chosen": "what a bad plan", "rejected": "stupid plan"},
    {"text": "damn", "chosen": "oh", "rejected": "damn it all"},
    {"text": "shut up", "chosen": "please wait", "rejected": "shut it"},
]


def embed(texts: list[str]) -> np.ndarray:
    """The shares of five letters, as vectors of length 1."""
    counts = np.array([[1.0 + text.count(letter) for letter in "aeiou"] for text in texts])
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def spread(sources: list[str], rewrites: list[str]) -> np.ndarray:
    """A follower that tells every text from every other: anything between 0 and 1."""
    return np.array([sum(map(ord, text)) % 97 / 96 for text in rewrites])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def warm(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter to start from; it has learned nothing, but it is there."""
    folder = tmp_path_factory.mktemp("warm")
    Policy.load(base, lora=LoraSettings(rank=4, alpha=8)).save(folder, half=False)
    return folder


def trainer(
    base: Path, warm: Path | None, out: Path, config: SROConfig, play: Play | None = None
) -> SROTrainer:
    policy = Policy.load(base, adapter=warm)
    if play is None:
        return SROTrainer(policy, config, ROWS, out, embed=embed)  # type: ignore[arg-type]
    game = Game(policy.backend(), [Gate("spread", spread, 0.0)], play)
    rows = [{"text": row["text"]} for row in ROWS]
    return SROTrainer(policy, config, rows, out, game=game, embed=embed)  # type: ignore[arg-type]


def logged(run: SROTrainer, name: str = "loss") -> list[float]:
    return [entry[name] for entry in run.state.log_history if name in entry]


QUICK = SROConfig(steps=4, batch=4, learning_rate=1e-2, log_every=1, warmup=0.0)


def with_loss(loss: str, **more: Any) -> SROConfig:
    return QUICK.model_copy(update={"objective": Objective(loss=loss, anchor=0.0), **more})  # type: ignore[arg-type]


# --- units ----------------------------------------------------------------------------------


def row(prompt: int, *completion: int) -> Tokens:
    return Tokens((prompt, 0), completion)


def test_tokens_that_are_read() -> None:
    """Two prompts of 2, and three different completions of 1, 2 and 3; the equal one is read once."""
    units = [
        Unit("pair", row(1, 5), row(1, 6, 6)),
        Unit("label", row(1, 5)),
        Unit("demonstration", row(2, 7, 7, 7)),
    ]
    assert tokens_in(units) == 2 + 2 + 1 + 2 + 3


def test_strangers_stand_in_a_circle() -> None:
    """Each prompt with what came first of the next one; one prompt alone knows no stranger."""
    units = [Unit("label", row(1, 5)), Unit("label", row(1, 6)), Unit("label", row(2, 7))]
    assert [unit.first for unit in strangers(units)] == [row(1, 7), row(2, 5)]
    assert strangers(units[:2]) == []


def test_sides_of_pairs_and_labels() -> None:
    units = [
        Unit("pair", row(1, 5), row(1, 6), text="a"),
        Unit("label", row(2, 7), None, 0.0, "b"),
        Unit("label", row(3, 8), None, 1.0, "c"),
    ]
    found = sides(units)
    assert found.chosen == [row(1, 5), row(3, 8)]
    assert found.rejected == [row(1, 6), row(2, 7)]
    assert (found.for_chosen, found.for_rejected) == (["a", "c"], ["a", "b"])


def test_costs_of_the_neighbours_by_hand() -> None:
    """D is 2 for all three. KTO with z0 = 2 costs 1.5 (1 - sigmoid(0)) = .75; GRPO's divergence for
    d = -1 a token is e^-1 = .367879; a slope of -.25 costs -.5."""
    units = [
        Unit("label", row(1, 5, 5)),
        Unit("sample", row(1, 6, 6), None, 3.0),
        Unit("slope", row(1, 7, 7), None, -0.25),
    ]
    tokens = torch.tensor([2, 2, 2])
    said = LogProbs(torch.full((3, 2), -1.0), tokens)
    reference = LogProbs(torch.full((3, 2), -2.0), tokens)
    objective = Objective(loss="kto", desirable=1.5, kl=0.5)
    costs = losses(units, said, reference, objective, baseline=2.0)
    assert costs.tolist() == pytest.approx([0.75, -3.0 + 0.5 * 0.367879, -0.5])


# --- steps ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "pairing"),
    [("rpo", "labels"), ("rpo", "ranked"), ("kto", "labels"), ("grpo", "advantages")],
)
def test_packing_changes_nothing(
    base: Path, warm: Path, tmp_path: Path, loss: str, pairing: str
) -> None:
    """What compares texts of a whole step does so whatever fits into memory."""

    def run(name: str, budget: int) -> list[float]:
        config = with_loss(loss, token_budget=budget, steps=2)
        play = Play(samples=3, player="reference", pairing=pairing)  # type: ignore[arg-type]
        made = trainer(base, warm, tmp_path / name, config, play)
        # A random model never ends, and what does not end is worth nothing.
        made.game.write = ended(made.game)  # type: ignore[method-assign,union-attr]
        # Some pass and some do not, or labels would have nothing to compare.
        made.game.gates = [Gate("spread", spread, 0.5)]  # type: ignore[union-attr]
        made.train()
        # Both steps had something to learn from, or there would be nothing to pack.
        assert min(logged(made, "grad_norm")) > 0
        return logged(made)

    one = run("a", 4096)
    assert one == pytest.approx(run("b", 64), abs=0.02)
    assert all(map(math.isfinite, one))


def ended(game: Any) -> Any:
    """What it writes as if every text had ended by itself."""
    write = game.write
    return lambda *given: [replace(one, finished=True) for one in write(*given)]


def test_rpo_is_what_its_formula_says(base: Path, warm: Path, tmp_path: Path) -> None:
    """Worked out with everything in memory at once: the same loss, and the same gradients."""
    made = trainer(base, warm, tmp_path, with_loss("rpo", token_budget=64))
    policy = made._policy
    # Away from the reference, where not everything is ln 2.
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    made.create_optimizer_and_scheduler(4)
    loss = made.training_step(made.model, ROWS)
    got = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()

    def gains(side: str) -> torch.Tensor:
        rows = [made._unit("label", r["text"], r[side]).first for r in ROWS]
        columns = [r.prompt for r in rows], [r.completion for r in rows]
        with torch.no_grad(), policy.as_reference():
            before = policy(*columns).total
        return policy(*columns).total - before

    chosen, rejected = gains("chosen"), gains("rejected")
    vectors = torch.from_numpy(embed([r["text"] for r in ROWS])).float()
    weights = torch.softmax(vectors @ vectors.T / 0.5, dim=1)
    margins = chosen[:, None] - rejected[None, :]
    wanted = -torch.nn.functional.logsigmoid(0.1 * weights * margins).mean(dim=1).sum() / len(ROWS)
    wanted.backward()
    assert float(loss) == pytest.approx(float(wanted.detach()), abs=0.01)
    assert got
    for name, parameter in policy.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(got[name], parameter.grad, atol=0.02, rtol=0.05)


def test_the_reference_writes_the_same_again(base: Path, warm: Path, tmp_path: Path) -> None:
    """However far the policy has gone, pairs are those of the warm start."""
    seen: list[list[str]] = []
    for steps in (1, 3):
        config = with_loss("dpo", steps=steps, learning_rate=0.05)
        play = Play(samples=2, player="reference", pairing="ranked")
        made = trainer(base, warm, tmp_path / str(steps), config, play)
        made.train()
        made._policy.eval()
        made._play([row["text"] for row in ROWS])
        seen.append([one.text for one in made._seen[-1].written])
    assert seen[0] == seen[1]
    spent = logged(made, "tokens/generated")
    assert 0 < spent[0] < spent[1] < spent[2]


def test_a_reference_is_renewed_and_survives_a_stop(base: Path, warm: Path, tmp_path: Path) -> None:
    """After two steps the policy is its own reference; a run that goes on knows which one."""
    config = QUICK.model_copy(update={"renew": 2, "save_every": 3, "steps": 4})
    whole = trainer(base, warm, tmp_path / "whole", config)
    whole.train()
    gained = logged(whole, "kl")
    assert gained[0] == pytest.approx(0.0, abs=1e-5)
    assert gained[1] != pytest.approx(0.0, abs=1e-3)
    # Where it has just been renewed, policy and reference agree.
    assert gained[2] == pytest.approx(0.0, abs=0.02)
    again = trainer(base, warm, tmp_path / "again", config)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert logged(again)[-1] == pytest.approx(logged(whole)[-1], abs=0.02)
    assert logged(again, "kl")[-1] == pytest.approx(gained[-1], abs=0.05)


def test_optimism_pushes_the_reference_down(base: Path, warm: Path, tmp_path: Path) -> None:
    """A slope of optimism times beta for the first that was written for each source."""
    config = with_loss("dpo")
    objective = config.objective.model_copy(update={"optimism": 0.5, "beta": 0.2})
    config = config.model_copy(update={"objective": objective})
    play = Play(samples=2, player="reference", pairing="ranked")
    made = trainer(base, warm, tmp_path, config, play)
    units = made._play([row["text"] for row in ROWS])
    slopes = [unit for unit in units if unit.kind == "slope"]
    assert [unit.score for unit in slopes] == [0.1] * len(ROWS)
    assert [unit.text for unit in slopes] == [row["text"] for row in ROWS]
    written = made._seen[-1].written
    assert slopes[1].first == made._tokens(ROWS[1]["text"], written[2].text)


def test_older_samples_play_against_a_house_tone(base: Path, warm: Path, tmp_path: Path) -> None:
    """Demonstrations stand above what the policy writes and what the reference does."""
    play = Play(samples=3, pairing="tone", older=2)
    made = trainer(base, warm, tmp_path, with_loss("dpo"), play)
    assert made.game is not None
    made.game.demonstrations = {row["text"]: row["chosen"] for row in ROWS}
    units = made._play(["you idiot", "damn"])
    shown = made._tokens("you idiot", "you are wrong")
    ours = [unit for unit in units if unit.text == "you idiot"]
    assert [unit.first for unit in ours[:4]] == [shown] * 4
    assert {unit.kind for unit in units} == {"pair"}
    # Three fresh ones, one older one, and the demonstration is in none of them.
    assert len(ours) == 4
    assert all(unit.second != shown for unit in ours)
    assert made._fresh.generated > 0


# --- the budget -----------------------------------------------------------------------------


def test_a_budget_ends_a_run_and_its_rate(base: Path, warm: Path, tmp_path: Path) -> None:
    """Three steps of the same rows read as many tokens each: two and a half of them are enough."""
    first = trainer(base, warm, tmp_path / "first", QUICK.model_copy(update={"steps": 1}))
    first.train()
    each = first.spent.trained
    assert first.spent.generated == 0
    assert each == tokens_in(first._units(ROWS))
    config = QUICK.model_copy(
        update={"steps": 50, "tokens": int(2.5 * each), "save_every": 1, "warmup": 0.0}
    )
    made = trainer(base, warm, tmp_path / "run", config)
    made.train()
    assert (made.state.global_step, made.spent.tokens) == (3, 3 * each)
    # Falls in a line with what is spent: all of it, then .6 and .2 of it.
    assert logged(made, "learning_rate") == pytest.approx([1e-2, 6e-3, 2e-3], rel=0.02)
    assert logged(made, "tokens/trained")[:3] == [each, 2 * each, 3 * each]
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert not made.is_over(checkpoint)
    assert made.is_over(tmp_path / "run" / "checkpoint-3")
    # A run that goes on has spent what it had spent, and ends where it would have.
    again = trainer(base, warm, tmp_path / "again", config)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert (again.state.global_step, again.spent.tokens) == (3, 3 * each)
    assert logged(again) == pytest.approx(logged(made), abs=1e-3)
    assert spent_by(checkpoint).trained == 2 * each
    assert 0 < spent_by(checkpoint).seconds < made.spent.seconds


def test_a_checkpoint_of_before_tokens_were_counted(tmp_path: Path) -> None:
    assert spent_by(tmp_path).tokens == 0


# --- what does not go together --------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "play", "told"),
    [
        (with_loss("kto"), None, "the loss kto needs samples with play.pairing labels"),
        (with_loss("grpo"), Play(pairing="labels"), "needs samples with play.pairing advantages"),
        (with_loss("dpo"), Play(pairing="labels"), "labels needs the loss kto or rpo"),
        (with_loss("dpo"), Play(pairing="advantages"), "advantages needs the loss grpo"),
        (
            QUICK.model_copy(update={"objective": Objective(optimism=0.1)}),
            Play(),
            "set play.player: reference",
        ),
    ],
)
def test_methods_that_make_no_sense_are_told(
    base: Path, warm: Path, tmp_path: Path, config: SROConfig, play: Play | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        trainer(base, warm, tmp_path, config, play)


def test_what_a_method_needs_is_told(base: Path, warm: Path, tmp_path: Path) -> None:
    """A warm start to renew, vectors to compare; GRPO learns from a sample once."""
    config = QUICK.model_copy(update={"renew": 2})
    with pytest.raises(ConfigError, match="renew needs a warm start"):
        trainer(base, None, tmp_path, config)
    with pytest.raises(ConfigError, match="give the trainer `embed`"):
        SROTrainer(Policy.load(base, adapter=warm), with_loss("rpo"), ROWS, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="samples of GRPO are learned from once"):
        SROConfig(replay=1.0, objective=Objective(loss="grpo"))
