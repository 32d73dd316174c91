"""Does it read as a person's rewrite of this source? Learned without any pair.

A language model's likelihood is not fluency: it finds "the next president will be" complete. So a
small adapter on the base model is taught to tell a sentence that a person wrote, whose source was
made from it by putting insults in, from what machines make of that same source: holes, words that
do not fit, opposites, the rewriter's own samples. It reads the source too, as a rewrite of slang
may be slang, and what was left out can only be missed by who knows what was there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from tactful.branches import Branches, read_branches
from tactful.config import Config
from tactful.errors import CorruptFileError, DataError, TactfulError
from tactful.models import (
    file_sha256,
    native_bfloat16,
    quiet_transformers,
    ready_to_learn,
    resolve,
    shipped,
)
from tactful.prompts import trained

_WEIGHTS, _SETTINGS = "taste.safetensors", "taste.json"
_HEAD = "head."
Progress = Callable[[int, int], None]


class TasteConfig(Config):
    """How it is taught; defaults for a 135M model on a CPU."""

    base: str = "base"
    """What `tactful.models.resolve` understands."""
    rank: Annotated[int, Field(ge=1)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    epochs: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)] = 16
    """Sources, each with its good and its bad rewrites, in one update."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    tokens: Annotated[int, Field(ge=64)] = 2048
    """In one pass: bounds memory, changes no result."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """A source with rewrites that a person could have written, and with what none would."""

    source: str
    good: tuple[str, ...]
    bad: tuple[str, ...]


class Taste:
    """A follower: the probability that a rewrite reads as a person's."""

    def __init__(self, model: Any, head: Any, tokenizer: Any, config: TasteConfig) -> None:
        self.model = model.eval()
        self.head = head.eval()
        self.tokenizer = tokenizer
        self.config = config
        self.name = "taste"
        self._lock = threading.Lock()

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        """One score for each (source, rewrite), in order; nothing written is nobody's taste."""
        together: dict[str, dict[str, float]] = {}
        for source, rewrite in zip(sources, rewrites, strict=True):
            if rewrite.strip():
                together.setdefault(source, {})[rewrite] = 0.0
        groups = [(source, tuple(those)) for source, those in together.items()]
        with self._lock, torch.inference_mode():
            for batch in _packed(self._encode(groups), self.config.tokens):
                answers = iter(torch.sigmoid(self._logits([g for _, g in batch])).tolist())
                for number, _ in batch:
                    source, those = groups[number]
                    together[source] |= {rewrite: next(answers) for rewrite in those}
        return np.array(
            [together.get(s, {}).get(r, 0.0) for s, r in zip(sources, rewrites, strict=True)]
        )

    # --- learning ---------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        lessons: Sequence[Lesson],
        config: TasteConfig | None = None,
        *,
        start: Path | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Taste:
        """Teach a fresh one; `start` is a LoRA adapter of the same base and rank to begin from."""
        if not lessons:
            raise DataError("taste has to be taught; there are no lessons")
        taste = _fresh(cls, config or TasteConfig(), start)
        config = taste.config
        groups = taste._encode([(lesson.source, lesson.good + lesson.bad) for lesson in lessons])
        learned = [p for p in taste.model.parameters() if p.requires_grad]
        learned += list(taste.head.parameters())
        optimiser = torch.optim.AdamW(learned, lr=config.learning_rate, weight_decay=0.01)
        rng = np.random.default_rng(config.seed)
        steps = [
            order[at : at + config.batch]
            for order in (rng.permutation(len(lessons)).tolist() for _ in range(config.epochs))
            for at in range(0, len(order), config.batch)
        ]
        rise = max(1, int(config.warmup * len(steps)))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / rise, 1 - step / (len(steps) + 1))
        )
        taste.model.train()
        for done, step in enumerate(steps, 1):
            for batch in _packed([groups[i] for i in step], config.tokens):
                chosen = [lessons[step[number]] for number, _ in batch]
                loss = _loss(taste._logits([g for _, g in batch]), chosen) / len(step)
                loss.backward()  # type: ignore[no-untyped-call]  # untyped upstream
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
            progress(done, len(steps))
        taste.model.eval()
        taste._set(taste._learned())
        return taste

    # --- keeping ----------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write what was learned, in bfloat16, and how."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._learned(), folder / _WEIGHTS)
        settings = json.dumps(self.config.model_dump(mode="json"), indent=1)
        (folder / _SETTINGS).write_text(settings + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | None = None) -> Taste:
        """Read what `save` wrote, onto the base that it names; by default the one shipped."""
        from safetensors.torch import load_file

        folder = folder or shipped("taste")
        try:
            settings = json.loads((folder / _SETTINGS).read_text("utf-8"))
            taste = _fresh(cls, TasteConfig(**settings), None)
            taste._set(load_file(folder / _WEIGHTS))
        except TactfulError:
            raise
        except Exception as error:
            # safetensors and peft raise errors of their own for files that are not theirs.
            raise CorruptFileError(f"{folder} does not hold a sound taste: {error}") from error
        taste.name = f"{folder.name}@{file_sha256(folder / _WEIGHTS)[:8]}"
        return taste

    def _learned(self) -> dict[str, Tensor]:
        from peft import get_peft_model_state_dict

        found = dict(get_peft_model_state_dict(self.model, save_embedding_layers=False))
        found |= {_HEAD + name: tensor for name, tensor in self.head.state_dict().items()}
        return {n: t.detach().cpu().to(torch.bfloat16).contiguous() for n, t in found.items()}

    def _set(self, learned: dict[str, Tensor]) -> None:
        from peft import set_peft_model_state_dict

        if set(learned) != set(self._learned()):
            raise ValueError("its weights have other names than this base's")
        full = {name: tensor.float() for name, tensor in learned.items()}
        heads = {n.removeprefix(_HEAD): t for n, t in full.items() if n.startswith(_HEAD)}
        self.head.load_state_dict(heads)
        rest = {n: t for n, t in full.items() if not n.startswith(_HEAD)}
        set_peft_model_state_dict(self.model, rest)

    # --- the language model that it stands on ---------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """The tokens of a line, with what ends one."""
        return [*self._ids(text), self.tokenizer.eos_token_id]

    def log_likelihood(
        self, lines: Sequence[Sequence[Sequence[int]]], places: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[list[float]]]:
        """How likely the base finds tokens of lines: for each line of each group, those at `places`."""
        start = [self.tokenizer.eos_token_id]
        groups: list[_Group] = [(start, [list(line) for line in group]) for group in lines]
        found: list[list[list[float]]] = [[] for _ in groups]
        with self._lock, torch.inference_mode(), self.model.disable_adapter():
            for batch in _packed(groups, self.config.tokens):
                answers = self._likely([(group, places[number]) for number, group in batch])
                for (number, _), answer in zip(batch, answers, strict=True):
                    found[number] = answer
        return found

    def _likely(
        self, asked: Sequence[tuple[_Group, Sequence[Sequence[int]]]]
    ) -> list[list[list[float]]]:
        """The answers of one pass; only what is asked for becomes logits."""
        read = self._read([group for group, _ in asked])
        rows, columns, wanted = [], [], []
        for ((_, those), places), begins in zip(asked, read.places, strict=True):
            for line, at, (row, begin) in zip(those, places, begins, strict=True):
                for place in at:
                    rows.append(row)
                    # The first token of a line follows the start, which is one token.
                    columns.append(begin + place - 1 if place else 0)
                    wanted.append(line[place])
        if not wanted:
            return [[[] for _ in places] for _, places in asked]
        output = self.model.get_base_model().get_output_embeddings()
        logits = output(read.hidden[rows, columns].to(output.weight.dtype)).float()
        chosen = logits.log_softmax(dim=-1)[torch.arange(len(wanted)), torch.tensor(wanted)]
        answers = iter(chosen.tolist())
        return [[[next(answers) for _ in at] for at in places] for _, places in asked]

    # --- reading ----------------------------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        # What a user wrote never becomes a control token.
        found: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return found

    def _encode(self, groups: Sequence[tuple[str, Sequence[str]]]) -> list[_Group]:
        return [
            (self._ids(trained(source)), [self.encode(rewrite) for rewrite in rewrites])
            for source, rewrites in groups
        ]

    def _read(self, groups: Sequence[_Group]) -> Branches:
        kind = self.head.weight.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=native_bfloat16(kind)):
            return read_branches(
                self.model.get_base_model().get_decoder(), groups, self.head.weight.device
            )

    def _logits(self, groups: Sequence[_Group]) -> Tensor:
        """One for each rewrite, group by group."""
        found = self._read(groups)
        ends = [
            (row, begin + len(rewrite) - 1)
            for (_, rewrites), places in zip(groups, found.places, strict=True)
            for rewrite, (row, begin) in zip(rewrites, places, strict=True)
        ]
        rows, columns = torch.tensor(ends, device=found.hidden.device).unbind(dim=1)
        answers: Tensor = self.head(found.hidden[rows, columns].float())[:, 0]
        return answers


_Group = tuple[list[int], list[list[int]]]


def _loss(logits: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """Cross-entropy, the good of a lesson weighing as much as the bad; summed over lessons."""
    wanted, weights = [], []
    for lesson in lessons:
        for those, want in ((lesson.good, 1.0), (lesson.bad, 0.0)):
            wanted += [want] * len(those)
            weights += [0.5 / max(1, len(those))] * len(those)
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits,
        torch.tensor(wanted, device=logits.device),
        torch.tensor(weights, device=logits.device),
        reduction="sum",
    )


def _packed(groups: Sequence[_Group], budget: int) -> list[list[tuple[int, _Group]]]:
    """Passes of at most `budget` tokens, of alike length; each group with its number."""
    widths = [len(prompt) + sum(map(len, those)) for prompt, those in groups]
    packed: list[list[tuple[int, _Group]]] = []
    for number in sorted(range(len(groups)), key=lambda i: -widths[i]):
        if not packed or (len(packed[-1]) + 1) * widths[packed[-1][0][0]] > budget:
            packed.append([])
        packed[-1].append((number, groups[number]))
    return packed


def _fresh(cls: type[Taste], config: TasteConfig, start: Path | None) -> Taste:
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = resolve(config.base).folder
    safe = {"trust_remote_code": False, "local_files_only": True}
    torch.manual_seed(config.seed)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        base: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if native_bfloat16(device) else torch.float32,
            use_safetensors=True,
            **safe,
        )
        adapter = LoraConfig(
            r=config.rank,
            lora_alpha=2 * config.rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(ready_to_learn(base, device), adapter)
        if start is not None:
            set_peft_model_state_dict(model, load_file(start / "adapter_model.safetensors"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    head = torch.nn.Linear(base.config.hidden_size, 1)
    return cls(model.to(device), head.to(device), tokenizer, config)
