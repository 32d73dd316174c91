"""A small encoder that reads a text, or a source and its rewrite, and says yes or no.

MiniLM stays as it is; a low-rank adapter and one output are learned, so that a judge of three
readers is a few megabytes beside the encoder that everybody has. Weights are rounded to half
precision when learned, not when saved: what is calibrated is what is shipped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tactful.config import Config
from tactful.errors import CorruptFileError, DataError
from tactful.evaluation.base import FloatArray
from tactful.models import native_bfloat16, quiet_transformers, resolve
from tactful.screeners.normalise import normalise
from tactful.screeners.transformer import Progress, batches_of

Read = tuple[str, ...]
"""What is read at once: one text, or a source and its rewrite."""

_BATCH = 64
_HEAD = "head."


class ReaderConfig(Config):
    """How a reader is taught; defaults for MiniLM on a CPU."""

    base: str = "embedder"
    """What `tactful.models.resolve` understands."""
    rank: int = 16
    epochs: int = 2
    learning_rate: float = 1e-3
    warmup: float = 0.07
    """The share of steps in which the rate rises."""
    batch_size: int = 32
    max_tokens: int = 64
    """For each of the texts that are read together; what follows is not read."""
    seed: int = 0


_SPACE_BEFORE = re.compile(r"\s+(?=[.,;:!?)\]}%])|(?<=[(\[{])\s+")
_ENDING = re.compile(r"[\s.,;:!?…\"'“”‘’]+$")
_QUOTES = re.compile(r"\"|“|”|``|''")
# Glued to a word, an emoji would make one unknown token of both, and hide the word.
_SYMBOL = re.compile(r"([^\w\s.,;:!?'\"()\[\]{}/%$&*@#+=<>~^|\\-])")


def plain(text: str) -> str:
    """The words without what tells one corpus from another: case, tokenisation, final stops."""
    words = " ".join(_SYMBOL.sub(r" \1 ", _QUOTES.sub(" ", normalise(text))).split())
    return _ENDING.sub("", _SPACE_BEFORE.sub("", words)).strip()


class Reader:
    """Answers with log-odds; what has nothing to read is not its business."""

    def __init__(self, model: Any, head: Any, tokenizer: Any, config: ReaderConfig) -> None:
        self.model = model.eval()
        self.head = head.eval()
        self.tokenizer = tokenizer
        self.config = config

    @property
    def digest(self) -> str:
        """The first hex digits of the sha256 of what was learned."""
        found = hashlib.sha256()
        for name, tensor in sorted(self._learned().items()):
            found.update(name.encode() + tensor.numpy().tobytes())
        return found.hexdigest()[:8]

    def logits(self, rows: Sequence[Read]) -> FloatArray:
        """The log-odds of yes for each row, in order, whatever rows stand beside it."""
        encoded = self._encode(rows)
        answers = np.zeros(len(rows))
        order = sorted(range(len(rows)), key=lambda i: len(encoded[i][0]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            with torch.inference_mode():
                answers[batch] = self._forward([encoded[i] for i in batch]).cpu().numpy()
        return answers

    # --- learning ---------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        rows: Sequence[Read],
        targets: Sequence[float],
        *,
        weights: Sequence[float] | None = None,
        config: ReaderConfig | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Reader:
        """Teach a fresh reader that row i is to be answered yes with probability `targets[i]`."""
        if not rows or len(rows) != len(targets):
            raise DataError(
                f"a reader needs rows with as many targets: {len(rows)}, {len(targets)}"
            )
        reader = _fresh(cls, config or ReaderConfig())
        config = reader.config
        encoded = reader._encode(rows)
        wanted = torch.tensor(np.asarray(targets), dtype=torch.float32)
        matter = torch.ones(len(rows)) if weights is None else torch.tensor(list(weights)).float()
        learned = [p for p in reader.model.parameters() if p.requires_grad]
        learned += list(reader.head.parameters())
        optimiser = torch.optim.AdamW(learned, lr=config.learning_rate, weight_decay=0.01)
        lengths = [len(row[0]) for row in encoded]
        batches = [
            batch
            for epoch in range(config.epochs)
            for batch in batches_of(lengths, config.batch_size, config.seed, epoch)
        ]
        rise = max(1, int(config.warmup * len(batches)))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / rise, 1 - step / (len(batches) + 1))
        )
        reader.model.train()
        reader.head.train()
        device = reader.head.weight.device.type
        for done, batch in enumerate(batches, 1):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=native_bfloat16(device)):
                answers = reader._forward([encoded[i] for i in batch]).float()
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                answers, wanted[batch].to(answers.device), reduction="none"
            )
            loss = (losses * matter[batch].to(answers.device)).mean()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped upstream
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
            progress(done, len(batches))
        reader.model.eval()
        reader.head.eval()
        reader._set(reader._learned())
        return reader

    # --- keeping ----------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write what was learned, in half precision, as safetensors."""
        from safetensors.torch import save_file

        save_file(self._learned(), path)

    @classmethod
    def load(cls, path: Path, config: ReaderConfig) -> Reader:
        """Read what `save` wrote, onto the encoder that the config names."""
        from safetensors.torch import load_file

        reader = _fresh(cls, config)
        try:
            reader._set(load_file(path))
        except Exception as error:
            # safetensors and peft raise errors of their own for files that are not theirs.
            raise CorruptFileError(f"{path} does not hold a sound reader: {error}") from error
        return reader

    def _learned(self) -> dict[str, torch.Tensor]:
        from peft import get_peft_model_state_dict

        found = dict(get_peft_model_state_dict(self.model))
        found |= {_HEAD + name: tensor for name, tensor in self.head.state_dict().items()}
        return {name: t.detach().cpu().half().contiguous() for name, t in found.items()}

    def _set(self, learned: dict[str, torch.Tensor]) -> None:
        from peft import set_peft_model_state_dict

        if set(learned) != set(self._learned()):
            raise ValueError("its weights have other names than this reader's")
        full = {name: tensor.float() for name, tensor in learned.items()}
        self.head.load_state_dict(
            {n.removeprefix(_HEAD): t for n, t in full.items() if n.startswith(_HEAD)}
        )
        set_peft_model_state_dict(
            self.model, {n: t for n, t in full.items() if not n.startswith(_HEAD)}
        )

    # --- reading ----------------------------------------------------------------------------

    def _encode(self, rows: Sequence[Read]) -> list[tuple[list[int], list[int]]]:
        """Ids and kinds (0 the first text, 1 the second); a text says nothing special."""
        start, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        distinct = list(dict.fromkeys(text for row in rows for text in row))
        ids = (
            self.tokenizer(
                [plain(text) for text in distinct],
                add_special_tokens=False,
                truncation=True,
                max_length=self.config.max_tokens,
                split_special_tokens=True,
            )["input_ids"]
            if distinct
            else []
        )
        known = dict(zip(distinct, ids, strict=True))
        encoded = []
        for row in rows:
            tokens, kinds = [start], [0]
            for kind, text in enumerate(row):
                tokens += [*known[text], end]
                kinds += [kind] * (len(known[text]) + 1)
            encoded.append((tokens, kinds))
        return encoded

    def _forward(self, rows: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
        width = max(len(ids) for ids, _ in rows)
        tokens = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        kinds, mask = torch.zeros_like(tokens), torch.zeros_like(tokens)
        for i, (ids, kind) in enumerate(rows):
            tokens[i, : len(ids)] = torch.tensor(ids)
            kinds[i, : len(ids)] = torch.tensor(kind)
            mask[i, : len(ids)] = 1
        device = self.head.weight.device
        tokens, kinds, mask = tokens.to(device), kinds.to(device), mask.to(device)
        hidden = self.model(
            input_ids=tokens, attention_mask=mask, token_type_ids=kinds
        ).last_hidden_state
        share = mask.unsqueeze(-1)
        answers: torch.Tensor = self.head((hidden * share).sum(1) / share.sum(1))[:, 0]
        return answers


def _fresh(cls: type[Reader], config: ReaderConfig) -> Reader:
    """The encoder with an adapter that changes nothing yet and a new output, seeded."""
    from peft import get_peft_model
    from transformers import AutoModel, AutoTokenizer

    folder = resolve(config.base).folder
    torch.manual_seed(config.seed)
    safe = {"trust_remote_code": False, "local_files_only": True}
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        encoder: Any = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, add_pooling_layer=False, **safe
        )
        model = get_peft_model(encoder, _adapter(config))
    head = torch.nn.Linear(encoder.config.hidden_size, 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return cls(model.to(device), head.to(device), tokenizer, config)


def _adapter(config: ReaderConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        lora_dropout=0.05,
        target_modules=["query", "key", "value", "dense"],
    )
