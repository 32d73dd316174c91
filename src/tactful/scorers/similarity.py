"""Does the rewrite still say the same? Cosine of sentence embeddings by all-MiniLM-L6-v2."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tactful.models import quiet_transformers, resolve

_MAX_TOKENS = 256  # what the embedder was made for; longer texts are cut


class MiniLMSimilarity:
    """Cosine of two sentence embeddings, in [0, 1]; what points away from each other scores 0.

    Embeddings of the last `cache_size` sources are kept, as a source is asked about once for
    each of its candidates.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        *,
        batch_size: int = 32,
        cache_size: int = 1024,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.batch_size = batch_size
        self.cache_size = cache_size
        self._cache: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | Path | None = None, *, device: str | None = None) -> MiniLMSimilarity:
        """Load the embedded embedder, or another one from what `tactful.models.resolve` knows.

        `device` is a GPU if there is one, else the CPU, unless told.
        """
        import torch
        from transformers import AutoModel, AutoTokenizer

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        files = resolve("embedder" if path is None else path)
        safe = {"trust_remote_code": False, "local_files_only": True}
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(files.folder, **safe)
            model: Any = AutoModel.from_pretrained(
                files.folder, dtype=torch.float32, use_safetensors=True, **safe
            )
        return cls(model.to(device), tokenizer, files.name)

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        """One score for each (source, rewrite), in order; an empty text is similar to nothing."""
        if len(sources) != len(rewrites):
            raise ValueError(f"{len(sources)} sources but {len(rewrites)} rewrites.")
        left, right = self._embed_sources(sources), self.embed(rewrites)
        cosine: NDArray[np.float64] = (left.astype(np.float64) * right.astype(np.float64)).sum(
            axis=1
        )
        return cosine.clip(0.0, 1.0)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of length 1, shape (len(texts), dimension); a blank text gets zeros."""
        vectors = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        filled = [i for i, text in enumerate(texts) if text.strip()]
        tokens = self._tokens([texts[i] for i in filled])
        # Alike lengths share a batch, so that little is padded.
        order = sorted(range(len(filled)), key=lambda k: len(tokens[k]))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            vectors[[filled[k] for k in batch]] = self._embed_batch([tokens[k] for k in batch])
        return vectors

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        # Users' text is data: "[SEP]" in it must not act as a separator.
        encoded = self.tokenizer(
            texts, truncation=True, max_length=_MAX_TOKENS, split_special_tokens=True
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _embed_batch(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        import torch

        padded = self.tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        padded = padded.to(self.model.device)
        with torch.inference_mode():
            hidden = self.model(**padded).last_hidden_state
        mask = padded["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return unit

    def _embed_sources(self, sources: Sequence[str]) -> NDArray[np.float32]:
        with self._lock:
            new = [s for s in dict.fromkeys(sources) if s not in self._cache]
            self._cache.update(zip(new, self.embed(new), strict=True))
            vectors = [self._cache[source] for source in sources]
            while len(self._cache) > self.cache_size:
                del self._cache[next(iter(self._cache))]  # the oldest
        return np.stack(vectors) if vectors else self.embed([])
