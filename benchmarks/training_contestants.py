"""Who takes part in `training_speed.py`: our trainer, the authors' loop, plain DPO and TRL.

Everybody gets the same base, sources, cap on what is written, batch (where there is one) and
follower, and has a `turn` that trains on some sources and says how long its steps took. Where a rival could be written better or
worse, the better was taken: no progress bars, no logging, plain loops without a Trainer around
them, gradient checkpointing only where a row says so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from tactful.models import native_bfloat16, quiet_transformers, resolve
from tactful.prompts import trained
from tactful.rollouts.base import Backend, Completion, Request, Sampling
from tactful.rollouts.local import encode_prompt, tame
from tactful.screeners.linear import LinearScreener
from tactful.training import objectives
from tactful.training.alarms import Written
from tactful.training.game import Game, Gate, Play, Round
from tactful.training.logprobs import completion_ids
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tactful.training.units import Objective

PAPER_LENGTH = 128
"""Tokens of a source that the authors read."""


@dataclass(frozen=True)
class Setup:
    """What is the same for all."""

    base: str = "base"
    new_tokens: int = 20
    """The authors' number. What is cut off there counts as ended, for everybody."""
    batch: int = 16
    learning_rate: float = 2e-5


@dataclass
class Work:
    """What was done, so that nobody is faster for having done less."""

    sources: int = 0
    texts: list[str] = field(default_factory=list)
    rows: int = 0
    """Completions that were trained on."""


class Contestant(Protocol):
    work: Work

    def turn(self, sources: Sequence[str]) -> float: ...


class Clock(TrainerCallback):
    """Seconds in steps: a Trainer also collects garbage when it starts, which nobody waits for."""

    def __init__(self) -> None:
        self.seconds = self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.perf_counter() - self.began


@cache
def gate() -> Gate:
    """The only follower: cheap, so that training is what is compared."""
    screener = LinearScreener.load()
    return Gate(
        "style", lambda _, texts: 1 - screener.toxicity(texts), 1 - screener.thresholds.passing
    )


def good(texts: Sequence[str]) -> np.ndarray:
    """The follower's scores."""
    return gate().follower(texts, texts)


# --- ours -----------------------------------------------------------------------------------


class Capped:
    """Our rollouts, with the cap that holds for all."""

    def __init__(self, backend: Backend, setup: Setup) -> None:
        self.backend, self.setup, self.name = backend, setup, backend.name

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        capped = [replace(r, max_new_tokens=self.setup.new_tokens) for r in requests]
        answers = self.backend.generate(capped, sampling)
        return [[Completion(c.text) for c in answer] for answer in answers]


class Watched(Game):
    """The game, counting."""

    work: Work

    def play(self, sources: Sequence[str], number: int = 0, older: Sequence[Written] = ()) -> Round:
        played = super().play(sources, number, older)
        self.work.sources += len(sources)
        self.work.texts += [one.text for one in played.written]
        found = played.pairing
        pairs = 2 * len(found.pairs) + len(found.push_downs)
        self.work.rows += (
            2 * len(played.responses) if self.settings.pairing == "responses" else pairs
        )
        return played


class Ours:
    """SROTrainer on a Game; `backend` may stand in for the policy's own rollouts."""

    def __init__(
        self,
        setup: Setup,
        play: Play,
        objective: Objective | None = None,
        *,
        policy: Policy | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.policy = policy or Policy.load(setup.base)
        self.game = Watched(Capped(backend or self.policy.backend(), setup), [gate()], play)
        self.work = self.game.work = Work()
        self.config = SROConfig(
            batch=setup.batch,
            learning_rate=setup.learning_rate,
            warmup=0.0,  # a turn may be one step, and the rate of the first would be 0
            objective=objective or Objective(),
        )

    def turn(self, sources: Sequence[str]) -> float:
        rows, clock = [{"text": source} for source in sources], Clock()
        with tempfile.TemporaryDirectory() as out:
            SROTrainer(
                self.policy, self.config, rows, out, game=self.game, callbacks=[clock]
            ).train()
        return clock.seconds


def ours_as_paper(setup: Setup, policy: Policy | None = None) -> Ours:
    """What `recipes/sro-paper.yaml` does: k = 1, the screener's verdict, smoothed losses."""
    objective = Objective(loss="sro", beta=0.1, smoothing=0.1, anchor=0.0)
    play = Play(samples=1, temperature=1.0, top_p=1.0, pairing="responses")
    return Ours(setup, play, objective, policy=policy)


def ours_in_groups(setup: Setup, samples: int, policy: Policy | None = None) -> Ours:
    """The samples of a source against each other and against a copy, drawn as TRL draws."""
    return Ours(setup, Play(samples=samples, temperature=1.0, top_p=1.0), policy=policy)


# --- two models in a plain loop -------------------------------------------------------------


class TwoModels:
    """A policy and a second model as its reference, whole rows, all logits."""

    def __init__(self, setup: Setup, *, lora: bool, half: bool) -> None:
        self.setup, self.work = setup, Work()
        kind = torch.bfloat16 if half and native_bfloat16() else torch.float32
        self.kind = kind
        with quiet_transformers():
            folder = resolve(setup.base).folder
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # In full, weights that learn are kept in float32, as an update is often below what
        # bfloat16 can show; LoRA's are, too.
        self.policy = bare(setup, kind if lora else torch.float32)
        self.reference = bare(setup, kind)
        if lora:
            self.policy = with_lora(self.policy)
        learned = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, setup.learning_rate, weight_decay=0.01)
        self.learned = learned

    def arithmetic(self) -> Any:
        """bfloat16 where it was asked for."""
        half = self.kind is torch.bfloat16
        return torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext()

    def prompts(self, sources: Sequence[str]) -> list[list[int]]:
        return [encode_prompt(self.tokenizer, trained(source)) for source in sources]

    def write(self, prompts: list[list[int]], **how: Any) -> list[list[int]]:
        """Completions as `generate` gives them, their end included."""
        end = self.tokenizer.eos_token_id
        width = max(map(len, prompts))
        ids = torch.tensor([[end] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        with torch.no_grad():
            found = self.policy.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=self.setup.new_tokens,
                pad_token_id=end,
                **how,
            )[:, width:].tolist()
        return [f[: f.index(end) + 1] if end in f else f for f in found]

    def texts(self, completions: Sequence[list[int]]) -> list[str]:
        return list(self.tokenizer.batch_decode(completions, skip_special_tokens=True))

    def logp(self, model: Any, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """Sums over completions, by rows of prompt and completion and all their logits."""
        rows = [p + c for p, c in zip(prompts, completions, strict=True)]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with self.arithmetic():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        wanted = torch.zeros_like(mask, dtype=torch.bool)
        for i, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            wanted[i, len(prompt) : len(row)] = True
        predicts = wanted.roll(-1, dims=1)
        cost = torch.nn.functional.cross_entropy(
            logits[predicts].float(), ids[wanted], reduction="none"
        )
        number = wanted.nonzero()[:, 0]
        return torch.zeros(len(rows)).index_add(0, number, -cost)

    def update(self, loss: Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


class PaperLoop(TwoModels):
    """The loop of 2410.20298's notebook, its scoring put right: a source, an answer, an update.

    Greedy, one source at a time; the reference is another model. As released everything learns in
    float32, and the reference's graph is built before it is thrown away.
    """

    def __init__(self, setup: Setup, *, as_released: bool) -> None:
        super().__init__(setup, lora=not as_released, half=not as_released)
        self.as_released = as_released

    def turn(self, sources: Sequence[str]) -> float:
        began = time.perf_counter()
        for source in sources:
            self.step(source)
        self.work.sources += len(sources)
        return time.perf_counter() - began

    def step(self, source: str) -> None:
        self.policy.train()
        prompt = self.prompts([source])
        written = self.write(prompt, do_sample=False)
        text = self.texts(written)
        passed = bool(good(text)[0] >= gate().threshold)
        copied = completion_ids(self.tokenizer, source)[:PAPER_LENGTH]
        gain = self.gain(prompt, written)
        copy_gain = self.gain(prompt, [copied]) if passed else gain
        verdict = torch.tensor([passed])
        self.update(objectives.sro(gain, copy_gain, verdict, beta=0.1, smoothing=0.1).mean())
        self.work.texts += text
        self.work.rows += 1 + passed

    def gain(self, prompt: list[list[int]], completion: list[list[int]]) -> Tensor:
        said = self.logp(self.policy, prompt, completion)
        with nullcontext() if self.as_released else torch.no_grad():
            reference = self.logp(self.reference, prompt, completion).detach()
        return said - reference


class PlainDPO(TwoModels):
    """Online DPO with everything learning: two samples, the better one preferred, in batches."""

    def turn(self, sources: Sequence[str]) -> float:
        began = time.perf_counter()
        for start in range(0, len(sources), self.setup.batch):
            self.step(sources[start : start + self.setup.batch])
        self.work.sources += len(sources)
        return time.perf_counter() - began

    def step(self, sources: Sequence[str]) -> None:
        self.policy.train()
        prompts = [prompt for prompt in self.prompts(sources) for _ in range(2)]
        written = self.write(prompts, do_sample=True, temperature=1.0, top_p=1.0, top_k=0)
        texts = self.texts(written)
        scores = torch.from_numpy(good(texts)).view(-1, 2)
        with torch.no_grad():
            reference = self.logp(self.reference, prompts, written)
        gains = (self.logp(self.policy, prompts, written) - reference).view(-1, 2)
        better = scores.argmax(1, keepdim=True)
        chosen, rejected = gains.gather(1, better)[:, 0], gains.gather(1, 1 - better)[:, 0]
        self.update(objectives.dpo(chosen, rejected, beta=0.1).mean())
        self.work.texts += texts
        self.work.rows += len(written)


def bare(setup: Setup, kind: torch.dtype) -> Any:
    """The base as transformers loads it."""
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(
            resolve(setup.base).folder, dtype=kind, local_files_only=True
        )
    tame(model)
    return model


def lora_config() -> Any:
    """Our default adapter, for others."""
    from peft import LoraConfig

    ours = LoraSettings()
    return LoraConfig(
        r=ours.rank,
        lora_alpha=ours.alpha,
        lora_dropout=ours.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def with_lora(model: Any) -> Any:
    """The model with our default adapter, as peft puts it there."""
    from peft import get_peft_model

    with quiet_transformers():
        return get_peft_model(model, lora_config())


# --- TRL ------------------------------------------------------------------------------------


class Trl:
    """TRL's OnlineDPOTrainer; with `lora` its reference is the model without its adapter."""

    def __init__(self, setup: Setup, *, lora: bool = True, checkpointing: bool = False) -> None:
        self.setup, self.lora, self.checkpointing = setup, lora, checkpointing
        self.work, self.clock = Work(), Clock()
        self.half = native_bfloat16()
        with quiet_transformers():
            folder = resolve(setup.base).folder
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # As with the plain loops: what learns is kept in float32.
        self.model = bare(setup, torch.bfloat16 if lora and self.half else torch.float32)
        self.trainer: Any = None

    def turn(self, sources: Sequence[str]) -> float:
        from datasets import Dataset
        from trl.experimental.online_dpo import OnlineDPOTrainer

        dataset = Dataset.from_list([{"prompt": trained(source)} for source in sources])
        with tempfile.TemporaryDirectory() as out:
            if self.trainer is None:
                self.trainer = OnlineDPOTrainer(
                    model=self.model,
                    reward_funcs=self.reward,
                    args=self.arguments(out),
                    train_dataset=dataset,
                    processing_class=self.tokenizer,
                    peft_config=lora_config() if self.lora else None,
                )
                self.trainer.remove_callback(PrinterCallback)
                self.trainer.add_callback(self.clock)
            self.trainer.train_dataset = dataset
            self.trainer.args.output_dir = out
            self.clock.seconds = 0.0
            self.trainer.train()
        self.work.sources += len(sources)
        return self.clock.seconds

    def arguments(self, out: str) -> Any:
        from trl.experimental.online_dpo import OnlineDPOConfig

        return OnlineDPOConfig(
            output_dir=out,
            per_device_train_batch_size=self.setup.batch,
            num_train_epochs=1,
            learning_rate=self.setup.learning_rate,
            max_new_tokens=self.setup.new_tokens,
            temperature=1.0,
            top_p=1.0,
            beta=[0.1],
            bf16=self.half,
            # TRL's default, but then it also generates without a cache, and takes far longer.
            gradient_checkpointing=self.checkpointing,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )

    def reward(self, prompts: Any, completions: list[str], **_: Any) -> list[float]:
        self.work.texts += completions
        self.work.rows += len(completions)
        return list(map(float, good(completions)))


def has_trl() -> bool:
    """Whether TRL's online DPO can be imported."""
    try:
        from trl.experimental.online_dpo import OnlineDPOTrainer  # noqa: F401
    except ImportError:
        return False
    return True
