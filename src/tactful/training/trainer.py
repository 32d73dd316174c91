"""One trainer for everything: the game, given pairs, and demonstrations.

transformers' Trainer keeps what it does well (data order, optimiser, schedule, checkpoints,
several processes, logging). A step here is: sources in, units out of the game or the dataset,
micro-batches of alike length through policy and reference, one update.
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
import transformers
from accelerate.utils import gather_object
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from tactful.config import Config
from tactful.errors import ConfigError, CorruptFileError, DataError, TactfulError
from tactful.prompts import trained
from tactful.records import Prompt
from tactful.training import objectives
from tactful.training.adaptive import AdaptiveScreener
from tactful.training.alarms import Alarm, Alarms, Foreign, Written, alarms_of
from tactful.training.checkpoints import latest, seal
from tactful.training.game import STYLE, Game, Round
from tactful.training.logprobs import LogProbs
from tactful.training.noise import inside
from tactful.training.pairs import Judged, clear_cut, is_copy
from tactful.training.policy import REFERENCE_FILE, Policy
from tactful.training.units import (
    Kind,
    Objective,
    Tokens,
    Unit,
    losses,
    pack,
    read_units,
    rewards,
    sides,
    strangers,
    tokens_in,
    write_units,
)

_BUFFER = "buffer-{rank}.json"
_SPENT = "spent.json"
_STATE = "trainer_state.json"
_ADAPTIVE = "adaptive-{number}-{rank}.json"

# What the losses that take no pairs take, and what becomes of what is no pair.
_PAIRINGS = {"kto": ("labels",), "grpo": ("advantages",)}
_SCORED: dict[str, Kind] = {"labels": "label", "advantages": "sample", "best": "demonstration"}

Embed = Callable[[Sequence[str]], NDArray[np.floating[Any]]]
"""Vectors of length 1, one for each text."""
Look = Callable[[Policy, int], Mapping[str, float]]
"""Judges the policy after so many steps; what it returns is logged as `eval_...`."""


class SROConfig(Config):
    """What a run decides; everything else is transformers' default."""

    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    steps: Annotated[int | None, Field(ge=1)] = None
    """How many updates; without it `epochs` decides."""
    tokens: Annotated[int | None, Field(ge=1)] = None
    """Ends the run once so many tokens were written or read for an update, if `steps` or `epochs`
    have not ended it; the rate then falls with what is spent. Unlike steps it costs methods alike."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    batch: Annotated[int, Field(ge=1)] = 16
    """Sources, or given rows, in one update on each process."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The share of steps in which the rate rises; it then falls to 0 in a line."""
    renew: Annotated[int, Field(ge=0)] = 0
    """Steps after which the policy becomes its own reference; 0 keeps the warm start. Needs one."""
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
        if self.replay and self.objective.loss == "grpo":
            raise ValueError(
                "replay: samples of GRPO are learned from once; what came of them is old"
            )
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


@dataclass(slots=True)
class Spent:
    """What a run has used up so far, in all processes: tokens, and seconds of a processor for its
    steps and for its looks."""

    generated: int = 0
    trained: int = 0
    seconds: float = 0.0
    looking: float = 0.0

    @property
    def tokens(self) -> int:
        """Written, and read for an update."""
        return self.generated + self.trained


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
        embed: Embed | None = None,
        callbacks: list[transformers.TrainerCallback] | None = None,
        quiet: bool = True,
    ) -> None:
        _check_rows(train_dataset, playing=game is not None)
        # The bare one: looking for it inside of what Trainer wraps around it takes milliseconds.
        self._policy = policy
        self.settings = config
        self.game = game
        self.prompt = prompt
        self.embed = embed
        self.look = look
        self.alarmed = alarmed
        self.foreign = foreign
        self._seen: list[Round] = []
        self._noted: dict[str, list[float]] = {}
        self._buffer: list[Unit] = []
        self.spent = Spent()
        self._fresh = Spent()
        _check_goes_with(config, policy, game, embed)
        gates = game.gates if game is not None else []
        followers = [follower for gate in gates for follower in inside(gate.follower)]
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
            self.spent = spent_by(folder)
            if self.settings.renew and (folder / REFERENCE_FILE).exists():
                self._policy.load_reference(folder)
            if self.settings.replay:
                self._buffer = read_units(folder / _BUFFER.format(rank=rank))
            for number, follower in enumerate(self._adaptive):
                follower.load(folder / _ADAPTIVE.format(number=number, rank=rank))
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        except pickle.UnpicklingError as error:
            if not resume_from_checkpoint:
                raise
            # Only tensors and plain numbers are read of a checkpoint; torch refuses all else.
            raise CorruptFileError(
                f"{resume_from_checkpoint} holds what no checkpoint of ours does, and is not read. "
                "Begin anew, or from an older one."
            ) from error

    # --- a step -----------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Units of these rows, their losses, and the gradients; the mean loss a row comes back."""
        began = time.process_time()
        self._adapt()
        self._renew()
        model.eval()
        # All that needs no gradient is done with whole weights: where these are spread over the
        # processes, none could sample or ask the reference alone.
        with self._policy.whole():
            units, beside = self._related(self._units(inputs))
            batches = pack(units, self.settings.token_budget)
            references = [self._reference(batch) for batch in batches]
            baseline = self._baseline(units)
        model.train()
        self._fresh.trained += tokens_in(units)
        total = torch.tensor(beside / len(inputs), device=self.args.device)
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
                    costs = self._costs(model, batches[number], references[number], baseline)
                    loss = costs.sum() / len(inputs)
                else:
                    # The other processes wait for this one, so there must be gradients.
                    nothing = self._tokens(*["."] * 2)
                    loss = 0.0 * model([nothing.prompt], [nothing.completion]).total.sum()
                self.accelerator.backward(loss)
            total += loss.detach()
        self._spend(time.process_time() - began)
        return total

    def _spend(self, seconds: float) -> None:
        """Add up what this step cost in all processes, and end the run when its tokens are used."""
        fresh = [float(self._fresh.generated), float(self._fresh.trained), seconds]
        if self.args.world_size > 1:
            cost = torch.tensor(fresh, dtype=torch.float64, device=self.args.device)
            fresh = self.accelerator.reduce(cost).tolist()
        self._fresh = Spent()
        self.spent.generated += int(fresh[0])
        self.spent.trained += int(fresh[1])
        self.spent.seconds += fresh[2]
        if self._used_up(self.spent):
            # A log, a look and a checkpoint, as at the last of a number of steps.
            control, settings = self.control, self.settings
            control.should_training_stop = control.should_log = True
            control.should_evaluate = self.look is not None and settings.look_every > 0
            control.should_save = settings.save_every > 0

    def _used_up(self, spent: Spent) -> bool:
        return self.settings.tokens is not None and spent.tokens >= self.settings.tokens

    def is_over(self, checkpoint: Path) -> bool:
        """Whether nothing is left to do after this checkpoint."""
        steps = self.args.max_steps
        if steps <= 0:
            steps = math.ceil(self.args.num_train_epochs * len(self.get_train_dataloader()))
        state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        return int(state["global_step"]) >= steps or self._used_up(spent_by(checkpoint))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The rate over steps, or over tokens where these end the run."""
        if self.settings.tokens is None:
            return super().create_scheduler(num_training_steps, optimizer)
        learner = optimizer or self.optimizer
        assert learner is not None
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            learner, lambda _: self._share_of_rate()
        )
        return self.lr_scheduler

    def _share_of_rate(self) -> float:
        assert self.settings.tokens is not None
        done, warmup = self.spent.tokens / self.settings.tokens, self.settings.warmup
        return done / warmup if done < warmup else max(0.0, (1 - done) / (1 - warmup))

    def _renew(self) -> None:
        """Let the policy be its own reference from now on, where that is wanted."""
        every, step = self.settings.renew, self.state.global_step
        if every and step and step % every == 0:
            self._policy.renew_reference()

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
                units.append(self._unit("demonstration", source, row["completion"]))
            elif "chosen" in row:
                units.append(self._unit("pair", source, row["chosen"], row["rejected"]))
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
        settings, step = self.game.settings, self.state.global_step
        older: list[Written] = []
        if settings.pairing == "tone":
            with self._policy.as_reference():
                older = self.game.write(sources, step, settings.older)
        if settings.player == "reference":
            # Asked again, it answers the same: nothing has changed since it was renewed.
            renew = self.settings.renew
            with self._policy.as_reference():
                played = self.game.play(sources, step // renew * renew if renew else 0)
        else:
            played = self.game.play(sources, step, older)
        self._seen.append(played)
        written = [one.text for one in (*played.written, *older)]
        self._fresh.generated += sum(len(self._policy.encode_completion(text)) for text in written)
        units = self._units_of(played)
        if self.settings.objective.optimism:
            units += self._optimism(played.written)
        return units

    def _units_of(self, played: Round) -> list[Unit]:
        assert self.game is not None
        settings, found = self.game.settings, played.pairing
        if settings.pairing == "responses":
            graded = self.settings.objective.loss == "graded"
            return [
                self._unit(
                    "response",
                    r.source,
                    r.rewrite,
                    r.source,
                    score=_graded(r) if graded else float(r.passed),
                )
                for r in played.responses
                # That a copy passes is an error; an anchor would take it for an answer.
                if not (r.passed and is_copy(r))
            ]
        pairs = found.pairs
        if settings.clear is not None:
            cosine = self._cosine([p.chosen for p in pairs], [p.rejected for p in pairs])
            pairs = clear_cut(pairs, cosine.diagonal().tolist(), settings.clear)
        kind = _SCORED.get(settings.pairing, "demonstration")
        return [
            *(self._unit("pair", p.source, p.chosen, p.rejected, score=p.weight) for p in pairs),
            *(self._unit("push_down", d.source, d.rewrite) for d in found.push_downs),
            *(self._unit(kind, one.source, one.rewrite, score=one.score) for one in found.scored),
        ]

    def _optimism(self, written: Sequence[Written]) -> list[Unit]:
        """The first that the reference wrote for each source, to become a little less likely."""
        objective = self.settings.objective
        first: dict[str, str] = {}
        for one in written:
            first.setdefault(one.source, one.text)
        return [
            self._unit("slope", source, text, score=objective.optimism * objective.beta)
            for source, text in first.items()
        ]

    def _unit(
        self, kind: Kind, source: Any, first: str, second: str | None = None, *, score: float = 1.0
    ) -> Unit:
        return Unit(
            kind,
            self._tokens(source, first),
            None if second is None else self._tokens(source, second),
            score,
            source if isinstance(source, str) else "",
        )

    def _tokens(self, source: Any, completion: str) -> Tokens:
        policy = self._policy
        prompt = self.prompt(source) if isinstance(source, str) else source
        return Tokens(
            tuple(policy.encode_prompt(prompt)), tuple(policy.encode_completion(completion))
        )

    # --- what is compared with what -----------------------------------------------------------

    def _related(self, units: list[Unit]) -> tuple[list[Unit], float]:
        """RPO compares all that won with all that lost: what that says of each of them alone.

        The loss is known from log-probabilities without gradients, and its slope for each text is
        what that text then costs; so nothing has to be in memory together. What the loss is more
        than these costs comes back beside them, for the log.
        """
        objective = self.settings.objective
        if objective.loss != "rpo":
            return units, 0.0
        found = sides([unit for unit in units if unit.kind in ("pair", "label")])
        others = [unit for unit in units if unit.kind not in ("pair", "label")]
        if not found.chosen or not found.rejected:
            return others, 0.0
        rows = [
            Unit("slope", row, text=text)
            for row, text in zip(
                found.chosen + found.rejected, found.for_chosen + found.for_rejected, strict=True
            )
        ]
        gained = self._gains(rows).requires_grad_()
        cosine = self._cosine(found.for_chosen, found.for_rejected)
        weights = objectives.rpo_weights(torch.from_numpy(cosine).to(gained), tau=objective.tau)
        with torch.enable_grad():
            chosen, rejected = gained[: len(found.chosen)], gained[len(found.chosen) :]
            loss = objectives.rpo(chosen, rejected, weights, beta=objective.beta).sum()
            (slopes,) = torch.autograd.grad(loss, gained)
        costs = float(slopes @ gained.detach())
        told = [replace(u, score=score) for u, score in zip(rows, slopes.tolist(), strict=True)]
        return others + told, float(loss.detach()) - costs

    def _baseline(self, units: Sequence[Unit]) -> float:
        """KTO's point of reference: what was gained on texts of other sources."""
        if self.settings.objective.loss != "kto":
            return 0.0
        apart = strangers([unit for unit in units if unit.kind == "label"])
        return float(self._gains(apart).mean()) if apart else 0.0

    def _gains(self, units: Sequence[Unit]) -> Tensor:
        """D of single texts, without gradients."""
        found: dict[int, Tensor] = {}
        with torch.no_grad():
            for batch in pack(units, self.settings.token_budget):
                now = self._policy(*_columns(batch)).total
                with self._policy.as_reference():
                    before = self._policy(*_columns(batch)).total
                found |= {id(u): gain for u, gain in zip(batch, now - before, strict=True)}
        return torch.stack([found[id(unit)] for unit in units])

    def _cosine(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float64]:
        assert self.embed is not None
        one, other = (self.embed(texts).astype(np.float64) for texts in (left, right))
        return np.asarray(one @ other.T)

    def _reference(self, units: Sequence[Unit]) -> LogProbs | None:
        """What the reference thinks of them, where anything is compared with it."""
        compares = any(unit.kind != "demonstration" for unit in units)
        if not compares or not self.settings.objective.needs_reference:
            return None
        with torch.no_grad(), self._policy.as_reference():
            found: LogProbs = self._policy(*_columns(units))
        return found

    def _costs(
        self, model: Any, units: Sequence[Unit], reference: LogProbs | None, baseline: float
    ) -> Tensor:
        said = model(*_columns(units))
        if reference is not None:
            for name, values in rewards(
                units, said, reference, self.settings.objective.beta
            ).items():
                self._noted.setdefault(name, []).extend(values)
        return losses(units, said, reference, self.settings.objective, baseline=baseline)

    # --- looking, logging, keeping ----------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Ask `look`, and tell the callbacks, as Trainer would after its own loop."""
        assert self.look is not None
        began = time.process_time()
        with self._policy.whole():
            found = dict(self.look(self._policy, self.state.global_step))
        self.spent.looking += time.process_time() - began
        metrics = {f"eval_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the rounds since the last log were like, and what was spent."""
        logs |= {"tokens/generated": self.spent.generated, "tokens/trained": self.spent.trained}
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
            if self.is_world_process_zero():
                (folder / _SPENT).write_text(json.dumps(asdict(self.spent)), encoding="utf-8")
                if self.settings.renew:
                    self._policy.save_reference(folder)
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


def spent_by(checkpoint: Path) -> Spent:
    """What a run had used up when it wrote a checkpoint; nothing where that was not counted yet."""
    path = checkpoint / _SPENT
    return Spent(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Spent()


def _check_goes_with(
    config: SROConfig, policy: Policy, game: Game | None, embed: Embed | None
) -> None:
    """Whatever a method needs is there before anything is spent."""
    play = game.settings if game is not None else None
    if config.renew and not policy.has_reference:
        raise ConfigError("renew needs a warm start: its copy is the reference that is renewed")
    if embed is None and (config.objective.loss == "rpo" or (play and play.clear is not None)):
        raise ConfigError("RPO and `play.clear` compare texts; give the trainer `embed`")
    if config.objective.loss in _PAIRINGS:
        wanted = _PAIRINGS[config.objective.loss]
        if play is None or play.pairing not in wanted:
            raise ConfigError(
                f"the loss {config.objective.loss} needs samples with play.pairing "
                f"{' or '.join(wanted)}"
            )
    elif play is not None and play.pairing == "labels" and config.objective.loss != "rpo":
        raise ConfigError("play.pairing labels needs the loss kto or rpo")
    elif play is not None and play.pairing == "advantages":
        raise ConfigError("play.pairing advantages needs the loss grpo")
    if config.objective.optimism and (play is None or play.player != "reference"):
        raise ConfigError("optimism is about what the reference writes: set play.player: reference")


def _graded(judged: Judged) -> float:
    """How far a rewrite passes: what the screener says, and nothing where another follower refuses.

    Not its value, which multiplies many scores below 1: the loss would take most for failures.
    """
    if set(judged.failed) <= {STYLE}:
        return judged.scores.get(STYLE, judged.value)
    return 0.0


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
