"""The leader as it is trained: one model, and the reference it is measured against.

With LoRA (the default) both are adapters on one frozen base: `policy` learns, `reference` is the
warm start it began from, and without a warm start the reference is the bare base. So there is one
model in memory, and switching adapters gives the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from tactful.config import Config
from tactful.errors import ConfigError
from tactful.models import (
    ADAPTER_FILE,
    language_model,
    native_bfloat16,
    quiet_transformers,
    ready_to_learn,
    resolve,
    sound,
    version_of,
)
from tactful.rollouts.local import LocalBackend, encode_prompt, tame
from tactful.training.logprobs import LogProbs, causal_logprobs, completion_ids, seq2seq_logprobs

REFERENCE_FILE = "reference.safetensors"
_POLICY, _REFERENCE = "policy", "reference"
_LINEARS = "all-linear"


class LoraSettings(Config):
    """The adapter that learns; r = 16 on all linear layers of the embedded base is 9.8 MB."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


class Policy(torch.nn.Module):
    """A model that learns, its reference and its tokenizer.

    Calling it gives log-probabilities of completions, so that whatever wraps a module for
    several processes wraps exactly what is trained.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, *, has_reference: bool) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.has_reference = has_reference
        self.config = model.config
        # The layers that FSDP cuts a model at.
        self._no_split_modules = getattr(model, "_no_split_modules", None)
        self._score = seq2seq_logprobs if model.config.is_encoder_decoder else causal_logprobs

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "base",
        *,
        adapter: Path | None = None,
        lora: LoraSettings | None = None,
        seed: int = 0,
        device: str | None = None,
    ) -> Policy:
        """Load a base model with the adapter that learns, and its reference.

        Args:
            name_or_path: What `tactful.models.resolve` understands.
            adapter: A warm start. The policy begins as a copy of it and is measured against it.
            lora: The adapter's size where it starts from nothing.
            seed: Of what is drawn for a fresh adapter.
            device: A GPU if there is one, else the CPU.
        """
        from peft import LoraConfig, PeftModel, get_peft_model

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        files = resolve(name_or_path)
        half = native_bfloat16(device)
        torch.manual_seed(seed)
        base, tokenizer = language_model(files, torch.bfloat16 if half else torch.float32)
        tame(base)
        ready_to_learn(base, device)
        name = files.name
        if adapter is None:
            chosen = lora or LoraSettings()
            settings = LoraConfig(
                r=chosen.rank,
                lora_alpha=chosen.alpha,
                lora_dropout=chosen.dropout,
                target_modules=_LINEARS,
                task_type="SEQ_2_SEQ_LM" if base.config.is_encoder_decoder else "CAUSAL_LM",
            )
            with quiet_transformers():
                model: Any = get_peft_model(base, settings, adapter_name=_POLICY)
        else:
            _require_adapter(adapter)
            name += f"+{version_of(adapter)}"
            with sound(adapter, "adapter of this base"):
                model = PeftModel.from_pretrained(
                    base, str(adapter), adapter_name=_POLICY, is_trainable=True
                )
                model.load_adapter(str(adapter), adapter_name=_REFERENCE, is_trainable=False)
                model.set_adapter(_POLICY)
        # What learns stays in full precision: a step is often below what bfloat16 can show.
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return cls(model.to(device), tokenizer, name, has_reference=adapter is not None)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = self.model.device
        return found

    def forward(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> LogProbs:
        """Log-probabilities of completions after their prompts."""
        with self.arithmetic():
            return self._score(self.model, prompts, completions)

    def arithmetic(self) -> torch.autocast:
        """bfloat16 where the processor computes in it natively."""
        kind = self.device.type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=native_bfloat16(kind))

    @contextlib.contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within this, the model is its own reference."""
        if not self.has_reference:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(_REFERENCE)
        try:
            yield
        finally:
            self.model.set_adapter(_POLICY)

    def renew_reference(self) -> None:
        """Measure against the policy as it is now, from here on."""
        from peft import set_peft_model_state_dict

        self._require_reference()
        now = {name: tensor.detach().clone() for name, tensor in self._adapter(_POLICY).items()}
        set_peft_model_state_dict(self.model, now, adapter_name=_REFERENCE)

    def load_reference(self, folder: Path) -> None:
        """Measure against what `save_reference` wrote."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        self._require_reference()
        kept = load_file(folder / REFERENCE_FILE)
        set_peft_model_state_dict(self.model, kept, adapter_name=_REFERENCE)

    def save_reference(self, folder: Path) -> None:
        """Keep a reference that is no longer the warm start, for a run that goes on."""
        from safetensors.torch import save_file

        weights = {n: t.detach().cpu().contiguous() for n, t in self._adapter(_REFERENCE).items()}
        save_file(weights, folder / REFERENCE_FILE, metadata={"format": "pt"})

    def _require_reference(self) -> None:
        if not self.has_reference:
            raise ConfigError(
                "A reference that is renewed needs an adapter of its own; give a warm start."
            )
        if isinstance(self, FSDPModule):
            raise ConfigError("A reference cannot be renewed under FSDP; train with DDP.")

    def encode_prompt(self, prompt: Any) -> list[int]:
        """The ids of a prompt, plain or chat, as rollouts encode it too."""
        return encode_prompt(self.tokenizer, prompt, name=self.name)

    def encode_completion(self, text: str) -> list[int]:
        """The ids of a text and its end."""
        return completion_ids(self.tokenizer, text)

    def backend(self, *, batch_size: int = 32) -> LocalBackend:
        """Rollouts with the very weights that are being trained."""
        return LocalBackend(self.model, self.tokenizer, self.name, batch_size=batch_size)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Within this, all weights are here, though they may be spread over processes.

        Then anything may be asked of the model, as often in one process as it likes. All processes
        enter it together. Without FSDP (of torch's second kind, which trains in place) nothing has to
        be done.
        """
        if not isinstance(self, FSDPModule):
            yield
            return
        self.set_reshard_after_forward(False)
        # A pass fetches what it needs, which is everything, and now leaves it here.
        with torch.no_grad():
            self([[0]], [[0]])
        try:
            yield
        finally:
            self.set_reshard_after_forward(True)
            # The outermost one is needed again where the backward pass begins.
            self.set_reshard_after_forward(False, recurse=False)
            for module in self.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()

    def load_weights(self, folder: Path) -> None:
        """Go on with the adapter that `save` wrote, in place."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        _require_adapter(folder)
        learned = load_file(folder / ADAPTER_FILE)
        if not isinstance(self, FSDPModule):
            set_peft_model_state_dict(self.model, learned, adapter_name=_POLICY)
            return
        with torch.no_grad():
            for name, part in self._learned().items():
                full = learned[name].to(part.device, part.dtype)
                part.copy_(distribute_tensor(full, part.device_mesh, part.placements))

    def save(self, folder: Path, *, half: bool = True, write: bool = True) -> None:
        """Write the adapter as any LoRA adapter is written, in bfloat16 unless told.

        Of several processes all call this, as each may have a part, and one of them writes.
        """
        from safetensors.torch import save_file

        kind = torch.bfloat16 if half else torch.float32
        weights = {
            name: _full(tensor).detach().cpu().to(kind).contiguous()
            for name, tensor in self._learned().items()
        }
        if not write:
            return
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, folder / ADAPTER_FILE, metadata={"format": "pt"})
        settings = self.model.peft_config[_POLICY]
        # A path of this machine is nobody else's business.
        settings.base_model_name_or_path = self.name.partition("@")[0]
        settings.save_pretrained(str(folder))

    def _learned(self) -> dict[str, Any]:
        return self._adapter(_POLICY)

    def _adapter(self, name: str) -> dict[str, Any]:
        from peft import get_peft_model_state_dict

        found: dict[str, Any] = get_peft_model_state_dict(
            self.model, adapter_name=name, save_embedding_layers=False
        )
        return found


def _full(tensor: Any) -> Any:
    """A tensor with all its parts, of which each process may have one."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _require_adapter(folder: Path) -> None:
    if not (folder / ADAPTER_FILE).is_file():
        raise ConfigError(f"{folder} holds no {ADAPTER_FILE}, so it is no warm start.")
