"""One trainer for everything: the game, given pairs, and demonstrations.

transformers' Trainer keeps what it does well (data order, optimiser, schedule, checkpoints,
several processes, logging). A step here is: sources in, units out of the game or the dataset,
micro-batches of alike length through policy and reference, one update.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
import transformers
from accelerate.utils import gather_object
from pydantic import Field, model_validator
from torch import Tensor

from tactful.config import Config
from tactful.errors import ConfigError, DataError, TactfulError
from tactful.prompts import trained
from tactful.records import Prompt
from tactful.training.adaptive import AdaptiveScreener
from tactful.training.alarms import Alarm, Alarms, Foreign, alarms_of
from tactful.training.checkpoints import latest, seal
from tactful.training.game import Game, Round
from tactful.training.policy import Policy
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

_BUFFER = "buffer-{rank}.json"
_ADAPTIVE = "adaptive-{number}-{rank}.json"

Look = Callable[[Policy, int], Mapping[str, float]]
"""Judges the policy after so many steps; what it returns is logged as `eval_...`."""


class SROConfig(Config):
    """What a run decides; everything else is transformers' default."""

    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    steps: Annotated[int | None, Field(ge=1)] = None
    """How many updates; without it `epochs` decides."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    batch: Annotated[int, Field(ge=1)] = 16
    """Sources, or given rows, in one update on each process."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The share of steps in which the rate rises; it then falls to 0 in a line."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    token_budget: Annotated[int, Field(ge=64)] = 1536
    """Tokens in one micro-batch: bounds memory, changes no result."""
    objective: Objective = Objective()
    alarms: Alarms = Alarms()
    replay: Annotated[float, Field(ge=0)] = 0.0
    """Units of earlier steps that are trained on again, for each new one: an update is about as
    dear as the samples it needs, so they may serve more than once."""
    remembered: Annotated[int, Field(ge=1)] = 512
    """How many units of earlier steps are kept for that."""
    look_every: Annotated[int, Field(ge=0)] = 0
    look_first: bool = False
    """Look before the first step too: what came before stands beside what came of it."""
    patience: Annotated[int | None, Field(ge=1)] = None
    """Looks without a better `joint` after which the run ends. Such a run ends with the weights
    that looked best, whether or not it came to that, so all that `best` needs is needed here too."""
    best: bool = False
    """End with the weights that looked best, instead of the last. Needs `save_every` to be
    `look_every`, as only what was kept can be gone back to."""
    save_every: Annotated[int, Field(ge=0)] = 0
    log_every: Annotated[int, Field(ge=1)] = 10
    keep: Annotated[int, Field(ge=2)] = 2
    """How many checkpoints stay on disk; one of two may be half written when a run is killed."""
    report_to: tuple[str, ...] = ()
    """Where transformers also sends the log: tensorboard, trackio, wandb and so on."""
    seed: int = 0

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        for name in ("look_first", "patience", "best"):
            if getattr(self, name) and not self.look_every:
                raise ValueError(f"{name} needs look_every: without looks nothing is known")
        for name in ("patience", "best"):
            if getattr(self, name) and self.save_every != self.look_every:
                raise ValueError(
                    f"{name} needs save_every ({self.save_every}) to be look_every "
                    f"({self.look_every}): the run ends with the weights that looked best, and "
                    "only what was kept can be gone back to"
                )
        return self


class SROTrainer(transformers.Trainer):
    """Trains a policy on sources it plays for, or on rows with given answers.

    Rows have a `text` (or `prompt`) alone, to be played; with a `completion`, to be learned; or
    with `chosen` and `rejected`, to be preferred.
    """

    def __init__(
        self,
        policy: Policy,
        config: SROConfig,
        train_dataset: Sequence[Mapping[str, Any]],
        output_dir: str | Path,
        *,
        game: Game | None = None,
        look: Look | None = None,
        alarmed: Callable[[Alarm], None] = lambda alarm: None,
        foreign: Foreign | None = None,
        prompt: Callable[[str], Prompt] = trained,
        callbacks: list[transformers.TrainerCallback] | None = None,
        quiet: bool = True,
    ) -> None:
        _check_rows(train_dataset, playing=game is not None)
        # The bare one: looking for it inside of what Trainer wraps around it takes milliseconds.
        self._policy = policy
        self.settings = config
        self.game = game
        self.prompt = prompt
        self.look = look
        self.alarmed = alarmed
        self.foreign = foreign
        self._seen: list[Round] = []
        self._noted: dict[str, list[float]] = {}
        self._buffer: list[Unit] = []
        followers = [gate.follower for gate in game.gates] if game is not None else []
        self._adaptive = [f for f in followers if isinstance(f, AdaptiveScreener)]
        super().__init__(
            model=policy,
            args=_arguments(config, Path(output_dir), look is not None, quiet),
            train_dataset=train_dataset,
            # `look` brings its own texts; Trainer only wants to see that there are some.
            eval_dataset=[] if look is not None else None,
            data_collator=_as_they_are,
            callbacks=callbacks,
        )
        self._require_whole_weights()
        # Whoever wants lines reads the log history; nothing is printed behind a caller's back.
        self.remove_callback(transformers.PrinterCallback)
        if config.patience is not None and look is not None:
            self.add_callback(transformers.EarlyStoppingCallback(config.patience))

    def _require_whole_weights(self) -> None:
        """Sampling needs a whole model; say where it could not be had, instead of hanging."""
        state = self.accelerator.state
        if self.is_fsdp_enabled and state.fsdp_plugin.fsdp_version != 2:
            raise ConfigError("FSDP's first kind cannot be trained with; set fsdp_version: 2")
        if self.is_deepspeed_enabled and state.deepspeed_plugin.zero_stage == 3:
            raise ConfigError("ZeRO stage 3 cannot be trained with; use stage 2, or FSDP")

    def train(
        self,
        resume_from_checkpoint: Any = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train; a run that goes on has looked first already, and has what it remembered."""
        looks = self.look is not None and self.settings.look_first
        self.args.eval_on_start = looks and not resume_from_checkpoint
        if resume_from_checkpoint:
            folder, rank = Path(resume_from_checkpoint), self.args.process_index
            if self.settings.replay:
                self._buffer = read_units(folder / _BUFFER.format(rank=rank))
            for number, follower in enumerate(self._adaptive):
                follower.load(folder / _ADAPTIVE.format(number=number, rank=rank))
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    # --- a step -----------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Units of these rows, their losses, and the gradients; the mean loss a row comes back."""
        self._adapt()
        model.eval()
        # All that needs no gradient is done with whole weights: where these are spread over the
        # processes, none could sample or ask the reference alone.
        with self._policy.whole():
            units = self._units(inputs)
            batches = pack(units, self.settings.token_budget)
            references = [self._reference(batch) for batch in batches]
        model.train()
        total = torch.zeros((), device=self.args.device)
        passes = self._passes(len(batches))
        for number in range(passes):
            # With several processes, gradients are exchanged once a step.
            last = number == passes - 1
            waiting = contextlib.nullcontext() if last else self.accelerator.no_sync(model)
            if self.is_deepspeed_enabled:
                # Its engine would take a step after every pass.
                self.accelerator.gradient_state._set_sync_gradients(last)
            with waiting:
                if number < len(batches):
                    costs = self._costs(model, batches[number], references[number])
                    loss = costs.sum() / len(inputs)
                else:
                    # The other processes wait for this one, so there must be gradients.
                    nothing = self._tokens(*["."] * 2)
                    loss = 0.0 * model([nothing.prompt], [nothing.completion]).total.sum()
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _adapt(self) -> None:
        """Let followers that learn do so, in all processes from what got past them in any."""
        step = self.state.global_step
        for follower in self._adaptive:
            if step and step % follower.settings.every == 0:
                lessons = gather_object(follower.audit())
                for name, value in follower.learn(lessons).items():
                    self._noted.setdefault(name, []).append(value)

    def _passes(self, batches: int) -> int:
        """How many a step has: at least one, and as many in each process where each needs all."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            mine = torch.tensor([batches], device=self.args.device)
            batches = int(self.accelerator.gather(mine).max())
        return max(1, batches)

    def _units(self, rows: Sequence[Mapping[str, Any]]) -> list[Unit]:
        units: list[Unit] = []
        to_play: list[Any] = []
        for row in rows:
            source: Any = row.get("text") or row.get("prompt")
            if "completion" in row:
                units.append(Unit("demonstration", self._tokens(source, row["completion"])))
            elif "chosen" in row:
                chosen, rejected = row["chosen"], row["rejected"]
                units.append(
                    Unit("pair", self._tokens(source, chosen), self._tokens(source, rejected))
                )
            else:
                to_play.append(source)
        return units + (self._again(self._play(to_play)) if to_play else [])

    def _again(self, units: list[Unit]) -> list[Unit]:
        """These, and some of earlier steps."""
        wanted = int(self.settings.replay * len(units))
        random = np.random.default_rng([self.settings.seed, self.state.global_step])
        old = random.permutation(len(self._buffer))[:wanted].tolist()
        again = [self._buffer[i] for i in old]
        if self.settings.replay:
            self._buffer = [*self._buffer, *units][-self.settings.remembered :]
        return units + again

    def _play(self, sources: Sequence[str]) -> list[Unit]:
        assert self.game is not None
        played = self.game.play(sources, self.state.global_step)
        self._seen.append(played)
        if self.game.settings.pairing == "responses":
            return [
                Unit(
                    "response",
                    self._tokens(r.source, r.rewrite),
                    self._tokens(r.source, r.source),
                    r.value if self.settings.objective.loss == "graded" else float(r.passed),
                )
                for r in played.responses
            ]
        pairs = [
            Unit("pair", self._tokens(p.source, p.chosen), self._tokens(p.source, p.rejected))
            for p in played.pairing.pairs
        ]
        return pairs + [
            Unit("push_down", self._tokens(d.source, d.rewrite)) for d in played.pairing.push_downs
        ]

    def _tokens(self, source: Any, completion: str) -> Tokens:
        policy = self._policy
        prompt = self.prompt(source) if isinstance(source, str) else source
        return Tokens(
            tuple(policy.encode_prompt(prompt)), tuple(policy.encode_completion(completion))
        )

    def _reference(self, units: Sequence[Unit]) -> Tensor | None:
        """What the reference thinks of them, where anything is compared with it."""
        compares = any(unit.kind != "demonstration" for unit in units)
        if not compares or not self.settings.objective.needs_reference:
            return None
        with torch.no_grad(), self._policy.as_reference():
            total: Tensor = self._policy(*_columns(units)).total
        return total

    def _costs(self, model: Any, units: Sequence[Unit], reference: Tensor | None) -> Tensor:
        said = model(*_columns(units))
        if reference is not None:
            for name, values in rewards(
                units, said, reference, self.settings.objective.beta
            ).items():
                self._noted.setdefault(name, []).extend(values)
        return losses(units, said, reference, self.settings.objective)

    # --- looking, logging, keeping ----------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Ask `look`, and tell the callbacks, as Trainer would after its own loop."""
        assert self.look is not None
        with self._policy.whole():
            found = dict(self.look(self._policy, self.state.global_step))
        metrics = {f"eval_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the rounds since the last log were like."""
        if self._seen and "loss" in logs:
            self._listen()
            seen = [played.metrics() for played in self._seen]
            self._seen.clear()
            names = sorted({name for metrics in seen for name in metrics})
            for name in names:
                values = [metrics[name] for metrics in seen if name in metrics]
                logs[f"play/{name}"] = sum(values) / len(values)
        if "loss" in logs:
            logs |= {name: sum(values) / len(values) for name, values in self._noted.items()}
            self._noted.clear()
        super().log(logs, *args, **kwargs)

    def _listen(self) -> None:
        """Ring what the rounds since the last log call for; stop where the settings say so."""
        written = [one for played in self._seen for one in played.written]
        for alarm in alarms_of(written, self.settings.alarms, self.foreign):
            self.alarmed(alarm)
            if self.settings.alarms.then == "stop":
                self.control.should_save = self.control.should_training_stop = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The adapter in full precision: a run that goes on must not notice that it was away."""
        folder = Path(output_dir or self.args.output_dir or ".")
        self._policy.save(folder, half=False, write=self.args.should_save)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint and seal it; where that fails, the ones before are still there."""
        folder = Path(self.args.output_dir or ".") / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(*args, **kwargs)
            rank = self.args.process_index
            if self.settings.replay:
                write_units(self._buffer, folder / _BUFFER.format(rank=rank))
            for number, follower in enumerate(self._adaptive):
                follower.save(folder / _ADAPTIVE.format(number=number, rank=rank))
            # A seal tells of every file, and each process writes some.
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                seal(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            good = latest(folder.parent)
            raise TactfulError(
                f"checkpoint {self.state.global_step} could not be written: {error}. "
                + (f"The last good one is {good}." if good else "There is no earlier one.")
            ) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._policy.load_weights(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if best is not None:
            self._policy.load_weights(Path(best))


class StopOnSignal(transformers.TrainerCallback):
    """SIGTERM and Ctrl-C end a run after the step they fall into, with a checkpoint.

    A second signal is not caught: whoever asks twice means now.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        # Only the main thread may ask; elsewhere the run is stopped by whoever started it.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _asked(self, number: int, frame: Any) -> None:
        self.signal = number
        self.__exit__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Ask Trainer to save and to stop."""
        if self.signal is not None:
            control.should_save = control.should_training_stop = True
        return control


def _arguments(
    config: SROConfig, folder: Path, looks: bool, quiet: bool
) -> transformers.TrainingArguments:
    looks = looks and config.look_every > 0
    saves = config.save_every > 0
    return transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch,
        learning_rate=config.learning_rate,
        max_steps=config.steps or -1,
        num_train_epochs=config.epochs,
        warmup_steps=config.warmup,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch",
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=config.log_every,
        eval_strategy="steps" if looks else "no",
        eval_steps=config.look_every if looks else None,
        save_strategy="steps" if saves else "no",
        save_steps=config.save_every or 500,
        save_total_limit=config.keep,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=quiet,
        report_to=list(config.report_to) or "none",
        load_best_model_at_end=looks and (config.best or config.patience is not None),
        metric_for_best_model="eval_joint" if looks else None,
        greater_is_better=True if looks else None,
        use_cpu=not torch.cuda.is_available(),
    )


def _columns(units: Sequence[Unit]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Prompts and completions of their rows, as a policy takes them."""
    rows = [row for unit in units for row in unit.rows]
    return [row.prompt for row in rows], [row.completion for row in rows]


def _as_they_are(rows: list[Any]) -> Any:
    """Rows stay rows: they are not tensors before the game has been played."""
    return rows


def _check_rows(rows: Sequence[Mapping[str, Any]], *, playing: bool) -> None:
    """All faults at once, before anything is loaded or spent."""
    if not len(rows):
        raise DataError("the dataset is empty, so there is nothing to train on")
    faults = []
    for number in range(len(rows)):
        row = rows[number]
        if not (row.get("text") or row.get("prompt")):
            faults.append(f"row {number}: neither a text nor a prompt")
        elif "chosen" in row and "rejected" not in row:
            faults.append(f"row {number}: chosen, but nothing rejected")
        elif not playing and "completion" not in row and "chosen" not in row:
            faults.append(f"row {number}: only a source, and there is no game to play it in")
    if faults:
        more = [] if len(faults) <= 5 else ["..."]
        raise DataError("\n  ".join([f"bad rows: {len(faults)}", *faults[:5], *more]))
