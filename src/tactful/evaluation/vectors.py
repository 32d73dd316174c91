"""Static word vectors: what two texts have in common, word by word, without reading them.

The vectors are those of the `wordllama` wheel: one for each of 32,000 word pieces, long where a
piece matters and short where it does not, so that a mean of them needs no other weights. Kin of
the sub-word embeddings behind the usual similarity of detoxification papers, and no kin of the
sentence encoder that gates rewriting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tactful.evaluation.base import FloatArray
from tactful.evaluation.reader import plain
from tactful.models import resolve

WEIGHTS = "vectors.safetensors"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of a source and a rewrite is the same, each in [0, 1], row by row.

    cosine     of the two mean vectors
    recall     of what the source says, the share that something in the rewrite is close to
    precision  of what the rewrite says, the share that something in the source is close to
    """

    cosine: FloatArray
    recall: FloatArray
    precision: FloatArray


class StaticVectors:
    """Compares texts by the vectors of their word pieces."""

    def __init__(self, table: NDArray[np.float32], tokenizer: Any, name: str) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._length = np.linalg.norm(table, axis=1)
        self._unit = table / np.maximum(self._length, 1e-9)[:, None]

    @classmethod
    def load(cls, path: str | Path = "vectors") -> StaticVectors:
        """Load the embedded vectors, or a folder with files of the same names."""
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        files = resolve(path)
        (table,) = load_file(files.folder / WEIGHTS).values()
        tokenizer = Tokenizer.from_file(str(files.folder / TOKENIZER))
        return cls(table.astype(np.float32), tokenizer, files.name)

    def compare(self, sources: Sequence[str], rewrites: Sequence[str]) -> Overlap:
        """Every source with its rewrite; a text without words has nothing in common with any."""
        distinct = list(dict.fromkeys([*sources, *rewrites]))
        encoded = self._tokenizer.encode_batch(
            [plain(text) for text in distinct], add_special_tokens=False
        )
        ids = {text: np.array(e.ids, dtype=int) for text, e in zip(distinct, encoded, strict=True)}
        rows = [self._pair(ids[s], ids[r]) for s, r in zip(sources, rewrites, strict=True)]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return Overlap(*columns.clip(0.0, 1.0))

    def _pair(self, left: NDArray[Any], right: NDArray[Any]) -> tuple[float, float, float]:
        if not len(left) or not len(right):
            return 0.0, 0.0, 0.0
        a, b = self._unit[left], self._unit[right]
        near = a @ b.T
        heavy, light = self._length[left], self._length[right]
        first, second = heavy @ a, light @ b
        scale = float(np.linalg.norm(first) * np.linalg.norm(second))
        return (
            float(first @ second) / scale if scale else 0.0,
            float(near.max(axis=1).clip(0) @ heavy / heavy.sum()),
            float(near.max(axis=0).clip(0) @ light / light.sum()),
        )
