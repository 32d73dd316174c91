"""The contestants of the training benchmark do the same work, and its levers change no result."""

from __future__ import annotations

import pytest
import torch
from benchmarks import training_levers as levers
from benchmarks import training_speed as speed
from benchmarks.training_contestants import (
    PaperLoop,
    PlainDPO,
    Setup,
    ours_as_paper,
    ours_in_groups,
)

SOURCES = ["you idiot", "what a stupid plan it is, you fool", "shut up and let her finish"]
DECENT = ["have a nice day", "the plan is bad", "please let her finish"]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    # Not at the top: a process that measures memory imports as little as it can.
    from tests.tiny import tiny_causal_lm

    return Setup(str(tiny_causal_lm(tmp_path_factory.mktemp("base"))), new_tokens=4)


def learned(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters() if p.requires_grad])


def test_everybody_learns_from_every_source(setup: Setup) -> None:
    """Sources are counted, texts are written, weights move; the reference stays where it is."""
    loops = [PaperLoop(setup, as_released=True), PaperLoop(setup, as_released=False)]
    everybody = [
        *loops,
        PlainDPO(setup, lora=False, half=True),
        ours_as_paper(setup),
        ours_in_groups(setup, 2),
    ]
    for one in everybody:
        before = learned(one.policy)
        assert one.turn(SOURCES) > 0
        assert one.work.sources == 3
        assert len(one.work.texts) in (3, 6)
        assert not torch.equal(learned(one.policy), before)
    untouched = PaperLoop(setup, as_released=True).reference.state_dict()
    for name, weight in loops[0].reference.state_dict().items():
        assert torch.equal(weight, untouched[name])


def test_the_loops_score_as_we_do(setup: Setup) -> None:
    """Rows with all their logits give the log-probabilities that our policy gives."""
    loop, ours = PlainDPO(setup, lora=False, half=False), ours_in_groups(setup, 1).policy
    prompts = loop.prompts(SOURCES)
    completions = [ours.encode_completion(text) for text in DECENT]
    with torch.no_grad():
        said = loop.logp(loop.policy, prompts, completions)
        expected = ours(prompts, completions).total
    torch.testing.assert_close(said, expected, rtol=0.02, atol=0.2)  # ours may be in bfloat16


def gradient(setup: Setup, switch: levers.Switch) -> torch.Tensor:
    """What one step with a lever in this position would update by."""
    one = levers.trainee(setup, DECENT, SOURCES)
    one.config = one.config.model_copy(update={"max_grad_norm": 1e9})
    kind, found = one.policy.model.dtype, []

    def look(*_: object, **__: object) -> None:
        parameters = [p for p in one.policy.parameters() if p.requires_grad]
        found.append(torch.cat([p.grad.float().flatten() for p in parameters]))

    with pytest.MonkeyPatch.context() as patch, switch(one.policy, setup):
        patch.setattr(torch.optim.AdamW, "step", look)
        one.turn(SOURCES)
    assert one.policy.model.dtype == kind
    (only,) = found
    return only


@pytest.fixture(scope="module")
def plain(setup: Setup) -> torch.Tensor:
    return gradient(setup, levers.as_it_is)


@pytest.mark.parametrize("name", [name for name in levers.LEVERS if name != "as it is"])
def test_a_lever_changes_no_result(setup: Setup, plain: torch.Tensor, name: str) -> None:
    """With a way to save switched off, the same gradients come out, up to rounding."""
    switched = gradient(setup, levers.LEVERS[name])
    assert torch.nn.functional.cosine_similarity(plain, switched, dim=0) > 0.99
    assert float(switched.norm() / plain.norm()) == pytest.approx(1, abs=0.05)


def test_sources_never_run_out() -> None:
    """2,000 are asked for, the corpus has fewer: all differ."""
    assert len(set(speed.sources(2_000))) == 2_000


def test_goals_by_hand() -> None:
    """Ratios are taken within a turn: 6/1, 5/2, 12/2 have the median 6, not 6/2 = 3."""
    found = {
        "speed": {
            speed.PAPER: {"turns": [6.0, 5.0, 12.0]},
            speed.LOOP: {"turns": [1.0, 2.0, 2.0]},
        },
        "memory": {speed.GROUP: {"peak_mib": 70.0}, speed.FULL: {"peak_mib": 100.0}},
        "growth": {
            "seconds_per_source_by_samples": {1: 1.0, 8: 4.0},
            "seconds_per_source_by_sources": {128: 0.5, 512: 0.6},
        },
    }
    faster, smaller, samples, sources = speed.goals(found)
    assert (faster.value, faster.met) == (6.0, True)
    assert (smaller.value, smaller.met) == (0.7, False)
    assert (samples.value, samples.met) == (4.0, True)
    assert (sources.value, sources.met) == (1.2, False)
