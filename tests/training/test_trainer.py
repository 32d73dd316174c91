"""The trainer on a tiny model: what a step does, and that nothing depends on how it is packed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tactful.errors import DataError
from tactful.training.game import Game, Gate, Play
from tactful.training.logprobs import LogProbs
from tactful.training.pairs import Judged
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer, _graded
from tactful.training.units import (
    Objective,
    Tokens,
    Unit,
    losses,
    pack,
    read_units,
    rewards,
    write_units,
)
from tests.tiny import tiny_causal_lm

DEMONSTRATIONS = [
    {"prompt": "you idiot", "completion": "you are wrong"},
    {"prompt": "what a stupid plan it is", "completion": "what a bad plan it is"},
    {"prompt": "damn", "completion": "oh"},
    {"prompt": "shut up and let her finish", "completion": "please let her finish"},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal_lm(tmp_path_factory.mktemp("base"))


def policy(base: Path, adapter: Path | None = None) -> Policy:
    return Policy.load(base, adapter=adapter, lora=LoraSettings(rank=4, alpha=8))


def likes_vowels(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    """A follower with a simple taste: the share of vowels."""
    return np.array([sum(c in "aeiou" for c in r) / max(1, len(r)) for r in rewrites])


def surprisal(model: Policy) -> float:
    with torch.no_grad():
        said = model(
            [model.encode_prompt(f"Toxic: {r['prompt']}\nPolite:\n") for r in DEMONSTRATIONS],
            [model.encode_completion(r["completion"]) for r in DEMONSTRATIONS],
        )
    return float(-said.mean.mean())


def train(
    model: Policy, out: Path, config: SROConfig, rows: Sequence[dict[str, str]], **more: object
) -> list[float]:
    trainer = SROTrainer(model, config, rows, out, **more)  # type: ignore[arg-type]
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


QUICK = SROConfig(steps=20, batch=4, learning_rate=2e-2, log_every=1)


def test_it_learns_demonstrations(base: Path, tmp_path: Path) -> None:
    """Their surprisal falls, the reference does not move, and the adapter comes back from disk."""
    model = policy(base)
    before = surprisal(model)
    with model.as_reference():
        bare = surprisal(model)
    assert bare == pytest.approx(before, abs=1e-5)
    train(model, tmp_path, QUICK, DEMONSTRATIONS)
    assert surprisal(model) < before - 0.5
    with model.as_reference():
        assert surprisal(model) == pytest.approx(before, abs=1e-5)
    model.save(tmp_path / "adapter")
    again = policy(base, tmp_path / "adapter")
    # Saved in bfloat16.
    assert surprisal(again) == pytest.approx(surprisal(model), abs=0.02)
    with again.as_reference():
        assert surprisal(again) == pytest.approx(surprisal(model), abs=0.02)


def test_the_token_budget_changes_no_result(base: Path, tmp_path: Path) -> None:
    """All rows in one micro-batch, or each by itself: the same losses."""
    config = QUICK.model_copy(update={"steps": 4})
    small = config.model_copy(update={"token_budget": 64})
    one = train(policy(base), tmp_path / "a", config, DEMONSTRATIONS)
    many = train(policy(base), tmp_path / "b", small, DEMONSTRATIONS)
    # The bfloat16 of some processors rounds differently in other shapes.
    assert one == pytest.approx(many, abs=0.02)


def test_a_game_makes_what_the_follower_likes_likelier(base: Path, tmp_path: Path) -> None:
    """The share of vowels in what the policy writes rises, and the log tells about the game."""
    model = Policy.load(base, lora=LoraSettings(rank=16, alpha=32))
    # A random model does not know how to end, and what does not end passes nothing.
    train(model, tmp_path / "warm", QUICK.model_copy(update={"steps": 150}), DEMONSTRATIONS)
    model.eval()
    play = Play(samples=8, temperature=0.5)
    game = Game(model.backend(), [Gate("vowels", likes_vowels, 0.3)], play, seed=1)
    rows = [{"text": f"you idiot number {i}"} for i in range(8)]
    sources = [row["text"] for row in rows]
    before = game.play(sources, 99).metrics()["value"]
    config = SROConfig(
        steps=40,
        batch=8,
        learning_rate=3e-3,
        log_every=1,
        objective=Objective(anchor=0.5, push_down=0.1),
    )
    trainer = SROTrainer(model, config, rows, tmp_path, game=game)  # type: ignore[arg-type]
    trainer.train()
    model.eval()
    assert game.play(sources, 99).metrics()["value"] > before + 0.2
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    for name in ("passed/all", "passed/vowels", "value", "copies", "unfinished", "distinct"):
        assert 0 <= entry[f"play/{name}"] <= 1
    assert entry["rewards/margins"] == pytest.approx(
        entry["rewards/chosen"] - entry["rewards/rejected"], abs=1e-6
    )
    assert 0 <= entry["rewards/accuracies"] <= 1


def test_a_game_is_the_same_for_the_same_seed(base: Path, tmp_path: Path) -> None:
    def run(folder: str, seed: int) -> list[float]:
        model = policy(base)
        game = Game(model.backend(), [Gate("vowels", likes_vowels, 0.2)], seed=seed)
        rows = [{"text": f"you are an idiot number {i}"} for i in range(4)]
        return train(
            model,
            tmp_path / folder,
            SROConfig(steps=3, batch=4, log_every=1, learning_rate=1e-2),
            rows,
            game=game,
        )

    assert run("a", 0) == run("b", 0) != run("c", 1)


def test_it_resumes_where_it_was(base: Path, tmp_path: Path) -> None:
    """Six steps at once, or three, a checkpoint and three more: the same losses at the end."""
    config = QUICK.model_copy(update={"steps": 6, "save_every": 3})
    whole = train(policy(base), tmp_path / "whole", config, DEMONSTRATIONS)
    resumed = SROTrainer(policy(base), config, DEMONSTRATIONS, tmp_path / "again")  # type: ignore[arg-type]
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    rest = [e["loss"] for e in resumed.state.log_history if "loss" in e]
    assert rest[-3:] == pytest.approx(whole[-3:], abs=0.02)


def test_earlier_units_are_replayed_and_survive_a_stop(base: Path, tmp_path: Path) -> None:
    """As many old ones as new ones; a run that goes on replays what the whole run would have."""

    def run(folder: str, start: str | None = None) -> list[float]:
        model = policy(base)
        game = Game(model.backend(), [Gate("vowels", likes_vowels, 0.2)], seed=3)
        rows = [{"text": f"you are an idiot number {i}"} for i in range(4)]
        config = SROConfig(
            steps=6, batch=2, log_every=1, learning_rate=1e-2, save_every=3, replay=1.0
        )
        trainer = SROTrainer(model, config, rows, tmp_path / folder, game=game)  # type: ignore[arg-type]
        trainer.train(resume_from_checkpoint=start)
        assert trainer._buffer
        return [e["loss"] for e in trainer.state.log_history if "loss" in e]

    whole = run("whole")
    again = run("again", str(tmp_path / "whole" / "checkpoint-3"))
    assert again[-3:] == pytest.approx(whole[-3:], abs=0.02)


def test_the_best_look_is_what_is_left(base: Path, tmp_path: Path) -> None:
    """Looks fall from the second on: the run ends two looks later, with the second's weights."""
    said = {2: 0.5, 4: 0.6, 6: 0.3, 8: 0.2, 10: 0.1}
    weights: dict[int, float] = {}

    def look(model: Policy, step: int) -> dict[str, float]:
        weights[step] = surprisal(model)
        return {"joint": said[step]}

    config = QUICK.model_copy(
        update={"steps": 20, "look_every": 2, "save_every": 2, "patience": 2, "best": True}
    )
    model = policy(base)
    SROTrainer(model, config, DEMONSTRATIONS, tmp_path, look=look).train()  # type: ignore[arg-type]
    assert sorted(weights) == [2, 4, 6, 8]
    assert surprisal(model) == pytest.approx(weights[4], abs=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"best": True}, "best needs look_every"),
        ({"best": True, "look_every": 2}, r"best needs save_every \(0\) to be look_every \(2\)"),
        # The looks between would be lost: what looked best there is on no disk.
        ({"best": True, "look_every": 2, "save_every": 4}, "best needs save_every"),
        ({"patience": 2}, "patience needs look_every"),
        ({"patience": 2, "look_every": 2}, "patience needs save_every.*looked best"),
        ({"look_first": True}, "look_first needs look_every"),
    ],
)
def test_settings_that_do_not_go_together_are_told(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SROConfig(**wrong)  # type: ignore[arg-type]


def test_whoever_looks_first_does_so_once(base: Path, tmp_path: Path) -> None:
    """Before the first step, and not again when the run goes on."""
    seen: list[int] = []

    def look(model: Policy, step: int) -> dict[str, float]:
        seen.append(step)
        return {"joint": 0.5}

    steps = {"steps": 4, "look_every": 2, "save_every": 2, "look_first": True}
    config = QUICK.model_copy(update=steps)
    trainer = SROTrainer(policy(base), config, DEMONSTRATIONS, tmp_path, look=look)  # type: ignore[arg-type]
    trainer.train()
    assert seen == [0, 2, 4]
    trainer = SROTrainer(policy(base), config, DEMONSTRATIONS, tmp_path, look=look)  # type: ignore[arg-type]
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert seen == [0, 2, 4, 4]


def test_patience_ends_with_the_best_weights_too(base: Path, tmp_path: Path) -> None:
    """Without `best` being asked for: the second look is best and the run does not tire of it."""
    weights: dict[int, float] = {}

    def look(model: Policy, step: int) -> dict[str, float]:
        weights[step] = surprisal(model)
        return {"joint": {2: 0.5, 4: 0.6, 6: 0.3}[step]}

    steps = {"steps": 6, "look_every": 2, "save_every": 2, "patience": 3}
    model = policy(base)
    SROTrainer(
        model,
        QUICK.model_copy(update=steps),
        DEMONSTRATIONS,
        tmp_path,
        look=look,  # type: ignore[arg-type]
    ).train()
    assert sorted(weights) == [2, 4, 6]
    assert surprisal(model) == pytest.approx(weights[4], abs=1e-3)


def test_a_look_is_logged_and_can_choose(base: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def look(model: Policy, step: int) -> dict[str, float]:
        seen.append(step)
        return {"joint": step / 10}

    config = QUICK.model_copy(update={"steps": 4, "look_every": 2})
    trainer = SROTrainer(policy(base), config, DEMONSTRATIONS, tmp_path, look=look)  # type: ignore[arg-type]
    trainer.train()
    assert seen == [2, 4]
    assert [e["eval_joint"] for e in trainer.state.log_history if "eval_joint" in e] == [0.2, 0.4]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the dataset is empty"),
        ([{"text": "you idiot"}], "no game to play it in"),
        ([{"completion": "a"}], "neither a text nor a prompt"),
        ([{"prompt": "a", "chosen": "b"}], "nothing rejected"),
    ],
)
def test_bad_rows_are_told_before_anything_runs(
    base: Path, tmp_path: Path, rows: list[dict[str, str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        SROTrainer(policy(base), QUICK, rows, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"), [(np.array([np.nan]), "nan for a rewrite"), (np.array([]), r"\(0,\)")]
)
def test_a_follower_that_answers_nonsense_is_told(
    base: Path, wrong: np.ndarray, message: str
) -> None:
    game = Game(policy(base).backend(), [Gate("odd", lambda s, r: wrong, 0.5)], Play(samples=1))
    with pytest.raises(DataError, match=f'"odd".*{message}|{message}'):
        game.play(["you idiot"])


# --- units ----------------------------------------------------------------------------------


def unit(
    length: int, kind: str = "demonstration", second: int | None = None, prompt: int = 1
) -> Unit:
    other = None if second is None else Tokens((prompt,), (3,) * (second - 1))
    return Unit(kind, Tokens((prompt,), (2,) * (length - 1)), other)  # type: ignore[arg-type]


def test_packing_keeps_all_units_whole_and_within_the_budget() -> None:
    """A row is a prompt with all that follows it; prompts of their own have rows of their own."""
    units = [
        unit(5, prompt=1),
        unit(30, prompt=2),
        unit(6, prompt=3),
        unit(4, "pair", 28, prompt=4),
        unit(200, prompt=5),
        unit(7, prompt=6),
    ]
    packed = pack(units, 70)
    assert sorted(id(u) for batch in packed for u in batch) == sorted(map(id, units))
    for batch in packed:
        widths = [1 + sum(len(row.completion) for row in u.rows) for u in batch]
        assert len(batch) == 1 or len(widths) * max(widths) <= 70
    assert packed[0] == [units[4]]


def test_units_of_one_prompt_share_a_row() -> None:
    """The better one stands in both pairs and is read once: 1 + 4 + 8 + 6 tokens, not 2 x 2 rows."""
    better, copy, worse = (Tokens((1,), (n,) * size) for n, size in ((2, 4), (3, 8), (4, 6)))
    units = [Unit("pair", better, copy), Unit("pair", better, worse), unit(19, prompt=9)]
    assert pack(units, 38) == [units]
    assert pack(units, 37) == [units[:2], units[2:]]


def test_costs_come_back_in_the_order_of_the_units() -> None:
    """By hand: -2 a token; ln 2 for a pair that is level; and a push-down where D = 0."""
    units = [unit(3, "pair", 3), unit(3), unit(3, "push_down")]
    per_token = torch.tensor([[-1.0, -1.0], [-1.0, -1.0], [-2.0, -2.0], [-3.0, -3.0]])
    said = LogProbs(per_token, torch.tensor([2, 2, 2, 2]))
    reference = said
    objective = Objective(anchor=0.5, push_down=2.0)
    costs = losses(units, said, reference, objective)
    ln2 = float(np.log(2))
    # The anchor adds half of the 1.0 nats a token of what is preferred.
    assert costs.tolist() == pytest.approx([ln2 + 0.5, 2.0, 2 * ln2])


def test_rewards_by_hand() -> None:
    """beta 0.5: the policy finds the first 2 nats likelier than the reference, the second 1 less."""
    units = [unit(3, "pair", 3), unit(3, "push_down"), unit(3)]
    per_token = torch.tensor([[-1.0, -1.0], [-2.0, -2.0], [-3.0, -3.0], [-1.0, -1.0]])
    said = LogProbs(per_token, torch.tensor([2, 2, 2, 2]))
    before = torch.tensor([[-4.0], [-3.0], [-6.5], [0.0]])
    reference = LogProbs(before, torch.tensor([2, 2, 2, 2]))
    assert rewards(units, said, reference, 0.5) == {
        "kl": [2.0, 0.5],
        "rewards/chosen": [1.0],
        "rewards/rejected": [-0.5],
        "rewards/margins": [1.5],
        "rewards/accuracies": [1.0],
        "logps/chosen": [-2.0],
        "logps/rejected": [-4.0],
    }


def test_graded_is_the_screeners_word_unless_another_refuses() -> None:
    """Not the value, in which taste and agreement are multiplied."""

    def judged(*failed: str) -> Judged:
        scores = {"style": 0.7, "taste": 0.2}
        return Judged("you idiot", "you", scores, failed, value=0.1)

    assert _graded(judged()) == _graded(judged("style")) == 0.7
    assert _graded(judged("style", "taste")) == 0.0


def test_units_come_back_from_disk(tmp_path: Path) -> None:
    units = [
        unit(3, "pair", 4),
        unit(2, "push_down"),
        Unit("response", Tokens((1,), (2,)), None, 0.25),
    ]
    write_units(units, tmp_path / "units.json")
    assert read_units(tmp_path / "units.json") == units


def test_settings_that_are_unknown_are_refused() -> None:
    with pytest.raises(ValueError, match="lerning_rate"):
        SROConfig(**json.loads('{"lerning_rate": 1}'))
