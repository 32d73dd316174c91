"""A screener that reads: a small pretrained encoder with one output, fine-tuned on labelled text.

It sees insults without an ugly word and harmless sentences with one, and takes milliseconds a
text where the linear screener takes microseconds. It can screen, follow in training, or teach the
linear one.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tactful.config import Config
from tactful.errors import ConfigError, CorruptFileError, DataError, ModelsMissingError
from tactful.models import load_whole, native_bfloat16, quiet_transformers, resolve, sound
from tactful.records import Span
from tactful.screeners.base import FloatArray, Thresholds
from tactful.screeners.calibration import Calibration, fit_calibration
from tactful.screeners.normalise import normalise
from tactful.segment import split

SETTINGS_FILE = "screener.json"
WEIGHTS_FILE = "model.safetensors"

_WORD = re.compile(r"[^\s.,!?;:\"“”()]+")
_BATCH = 128
# A change of log-odds below this is noise of the arithmetic.
_NOTICEABLE = 0.1
# Batches are drawn from stretches of so many, sorted by length: little padding, much shuffle.
_STRETCH = 50

Progress = Callable[[int, int], None]
"""Takes steps done and steps in all."""


class TransformerConfig(Config):
    """How an encoder is fine-tuned; defaults for MiniLM on a CPU."""

    base: str = "embedder"
    """Where to start: what `tactful.models.resolve` understands."""
    epochs: int = 2
    learning_rate: float = 1e-4
    warmup: float = 0.07
    """The share of steps in which the rate rises."""
    batch_size: int = 32
    max_tokens: int = 48
    """What a sentence says after so many tokens is not read."""
    seed: int = 0


class TransformerScreener:
    """Says how toxic a text is by reading its sentences; a text scores its worst one."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        thresholds: Thresholds | None = None,
        calibration: Calibration | None = None,
        config: TransformerConfig | None = None,
        label: int = 0,
    ) -> None:
        """`label` is the output that is toxic, where the model has several."""
        self.model = model.eval()
        self.label = label
        self.tokenizer = tokenizer
        self.name = name
        self.thresholds = thresholds or Thresholds(0.5, 0.5, "nothing: the default")
        self.calibration = calibration or Calibration()
        self.config = config or TransformerConfig()

    # --- asking -----------------------------------------------------------------------------

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities; 0 for a text without a single letter or digit."""
        return self.calibration.probability(self.scores(texts))

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Raw log-odds of each text's worst sentence; -inf where there is nothing to read."""
        pieces: list[str] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            for piece in split(text):
                if any(char.isalnum() for char in piece):
                    pieces.append(piece)
                    owners.append(number)
        scores = np.full(len(texts), -np.inf)
        np.maximum.at(scores, np.array(owners, dtype=int), self._read(pieces))
        return scores

    def explain(self, text: str) -> list[Span]:
        """The words without which the text would score lower, strongest first.

        Each word is left out in turn: exact for one word, blind to two that only insult together.
        Empty for a text below `passing`.
        """
        if self.toxicity([text])[0] < self.thresholds.passing:
            return []
        spans = [(m.start(), m.end()) for m in _WORD.finditer(text)]
        whole, *without = self.scores([text, *(text[:a] + text[b:] for a, b in spans)]).tolist()
        found = [
            Span(start, end, whole - score)
            for (start, end), score in zip(spans, without, strict=True)
            if whole - score > _NOTICEABLE
        ]
        return sorted(found, key=lambda span: -span.weight)

    def _read(self, pieces: Sequence[str]) -> FloatArray:
        encoded = self._encode(pieces)
        # Alike lengths share a batch, so little is padded.
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        scores = np.zeros(len(encoded))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            # In full precision: in bfloat16 a score would depend on the texts beside it.
            with torch.inference_mode():
                logits = self._logits([encoded[i] for i in batch])
            scores[batch] = logits.cpu().numpy()
        return scores

    def _encode(self, pieces: Sequence[str]) -> list[list[int]]:
        if not pieces:
            return []
        texts = [normalise(piece) for piece in pieces]
        encoded: list[list[int]] = self.tokenizer(
            texts, truncation=True, max_length=self.config.max_tokens, split_special_tokens=True
        )["input_ids"]
        return encoded

    def _logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        device = self.model.device
        logits: torch.Tensor = self.model(
            input_ids=ids.to(device), attention_mask=mask.to(device)
        ).logits
        own = logits[:, self.label]
        if not self._exclusive:
            return own
        # Log-odds of one label against all others together.
        others = [i for i in range(logits.shape[1]) if i != self.label]
        return own - logits[:, others].logsumexp(dim=1)

    @property
    def _exclusive(self) -> bool:
        """Whether one of its labels is true, and only one: not where it has one, or says otherwise."""
        config = self.model.config
        many: bool = config.num_labels > 1
        return many and config.problem_type != "multi_label_classification"

    # --- learning ---------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        targets: Sequence[bool] | Sequence[float],
        weights: Sequence[float] | None = None,
        *,
        config: TransformerConfig | None = None,
        progress: Progress = lambda done, total: None,
    ) -> TransformerScreener:
        """Fine-tune an encoder on sentences with labels, or with probabilities.

        Texts are cut at `max_tokens`, not split: give sentences, or the sentence that matters.
        """
        config = config or TransformerConfig()
        counts = np.ones(len(texts)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not len(texts) == len(targets) == len(counts) or not len(texts):
            raise DataError(
                f"fit needs texts with as many labels and weights, got {len(texts)} texts, "
                f"{len(targets)} labels and {len(counts)} weights"
            )
        screener = _fresh(cls, config)
        wanted = torch.tensor(np.asarray(targets, dtype=np.float64), dtype=torch.float32)
        matter = torch.tensor(counts, dtype=torch.float32)
        encoded = screener._encode(texts)
        lengths = [len(row) for row in encoded]
        steps = config.epochs * len(batches_of(lengths, config.batch_size, config.seed, 0))
        model = screener.model.train()
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=0.01
        )
        rise = max(1, int(config.warmup * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / rise, 1 - step / (steps + 1))
        )
        done = 0
        for epoch in range(config.epochs):
            for batch in batches_of(lengths, config.batch_size, config.seed, epoch):
                with _autocast(model.device):
                    logits = screener._logits([encoded[i] for i in batch])
                losses = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits.float(), wanted[batch].to(logits.device), reduction="none"
                )
                loss = (losses * matter[batch].to(logits.device)).mean()
                loss.backward()  # type: ignore[no-untyped-call]  # untyped upstream
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
                done += 1
                progress(done, steps)
        return cls(model, screener.tokenizer, f"transformer@{_hash(model)[:8]}", config=config)

    def calibrate(self, texts: Sequence[str], labels: Sequence[bool]) -> TransformerScreener:
        """Fit the scale from scores to probabilities on texts that `fit` has not seen."""
        self.calibration = fit_calibration(self.scores(texts), labels)
        return self

    # --- keeping ----------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the model (safetensors), its tokenizer and the settings into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        settings = {
            "sha256": _hash(self.model),
            "thresholds": asdict(self.thresholds),
            "calibration": asdict(self.calibration),
            "config": self.config.model_dump(mode="json"),
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> TransformerScreener:
        """Read a saved screener; weights that are not those it was saved with are refused."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = Path(folder)
        for name in (SETTINGS_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise ModelsMissingError(f"no screener here: {folder / name} does not exist")
        try:
            settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            with quiet_transformers():
                model = AutoModelForSequenceClassification.from_pretrained(
                    folder, use_safetensors=True, local_files_only=True
                )
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            digest = _hash(model)
            if digest != settings["sha256"]:
                raise ValueError("the weights are not those it was saved with")
            return cls(
                model,
                tokenizer,
                f"transformer@{digest[:8]}",
                Thresholds(**settings["thresholds"]),
                Calibration(**settings["calibration"]),
                TransformerConfig.model_validate(settings["config"]),
            )
        except Exception as error:
            # Half a dozen libraries read these files, each with its own exceptions.
            raise CorruptFileError(f"{folder} does not hold a sound screener: {error}") from error

    @classmethod
    def adopt(
        cls, folder: str | Path, thresholds: Thresholds, label: str | None = None
    ) -> TransformerScreener:
        """Somebody else's sequence classifier: a folder with config, tokenizer and safetensors.

        Several labels that can all be true (Detoxify's) must be marked in config.json by
        `"problem_type": "multi_label_classification"`. Its probabilities are taken as they come.
        No code of the folder is run and no pickle is read.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = Path(folder)
        if not (folder / WEIGHTS_FILE).is_file():
            raise ModelsMissingError(
                f"no classifier here: {folder / WEIGHTS_FILE} does not exist. Weights in a pickle "
                "(pytorch_model.bin, .ckpt) are not read; see docs/how-to/choose-a-screener.md"
            )
        with sound(folder, "classifier"):
            model = load_whole(AutoModelForSequenceClassification, folder)
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        names = {str(name).lower(): int(i) for i, name in model.config.id2label.items()}
        if label is None and len(names) > 1:
            raise ConfigError(f"{folder} has several labels; name one of {', '.join(names)}")
        if label is not None and label.lower() not in names:
            raise ConfigError(f"{folder} has no label {label!r}; it has {', '.join(names)}")
        return cls(
            model,
            tokenizer,
            f"classifier@{_hash(model)[:8]}",
            thresholds,
            config=TransformerConfig(max_tokens=min(256, model.config.max_position_embeddings - 2)),
            label=names[label.lower()] if label is not None else 0,
        )


def _fresh(cls: type[TransformerScreener], config: TransformerConfig) -> TransformerScreener:
    """The pretrained encoder with a new output, seeded."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = resolve(config.base).folder
    torch.manual_seed(config.seed)
    with quiet_transformers():
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, use_safetensors=True, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return cls(model.to(device), tokenizer, "transformer@unfitted", config=config)


def batches_of(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffled batches of texts of alike length; the same for the same seed and epoch."""
    shuffle = random.Random(seed * 1000 + epoch)
    order = list(range(len(lengths)))
    shuffle.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), size * _STRETCH):
        stretch = sorted(order[start : start + size * _STRETCH], key=lambda i: lengths[i])
        cut = [stretch[i : i + size] for i in range(0, len(stretch), size)]
        shuffle.shuffle(cut)
        batches += cut
    return batches


def _autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the processor computes in it natively: about three times as fast."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=native_bfloat16(device.type))


def _hash(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
