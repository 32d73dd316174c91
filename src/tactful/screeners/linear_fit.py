"""How the linear screener learns: its own sum, emphasis included, by gradient descent.

The score of a sentence is linear in the weights but for the emphasis on the strongest word. That
has to be in the loss: fitted without it, the weights do not know that one word will be heard
louder, and harmless sentences around an ugly word ("the idiot box") are acted on.

Targets are probabilities. With labels they are 0 and 1; with a teacher they are what a slower,
better screener thinks of the sentence, which also says *how* toxic it is (Hinton et al. 2015).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tactful.screeners.base import FloatArray
from tactful.screeners.linear import LinearConfig, Weights, letter_groups, words
from tactful.segment import split

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# What a sentence says after so many words is not learned from; it is still screened.
_WORDS = 64
_BATCH = 1536
# A small corpus has few batches in an epoch, and gradient descent needs steps.
_LEAST_STEPS = 400
_RATE = 0.02


def learn(
    texts: Sequence[str], targets: FloatArray, counts: FloatArray, config: LinearConfig
) -> Weights:
    """Weights for texts with target probabilities; `counts` say how much each text matters.

    A toxic text of several sentences is represented by the one that the round before found worst:
    the first round has only short ones (multiple-instance learning).
    """
    pieces: list[list[str]] = []
    owners: list[int] = []
    for number, text in enumerate(texts):
        for piece in split(text):
            if found := words(piece):
                pieces.append(found)
                owners.append(number)
    owner: NDArray[np.int_] = np.array(owners)
    lengths = np.bincount(owner, minlength=len(texts))[owner]
    toxic = targets[owner] >= 0.5
    features = _Features(pieces, config)
    chosen = np.flatnonzero(~toxic | (lengths <= config.first_round_sentences))
    # Where every text is one sentence, the second round would repeat the first.
    for _ in range(config.rounds if lengths.max(initial=1) > 1 else 1):
        model = _descend(features, chosen, targets[owner], counts[owner], config)
        chosen = np.flatnonzero(~toxic | _worst_sentences(model.scores(), owner))
    return model.weights(config)


def _worst_sentences(scores: FloatArray, owner: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Marks, for each owner, the one sentence that scores highest."""
    order = np.lexsort((scores, owner))
    last = np.append(owner[order][1:] != owner[order][:-1], True)
    worst = np.zeros(len(owner), dtype=bool)
    worst[order[last]] = True
    return worst


def _descend(
    features: _Features,
    rows: NDArray[np.int_],
    targets: FloatArray,
    counts: FloatArray,
    config: LinearConfig,
) -> _Model:
    """Adam on cross-entropy with a penalty on the squared weights, the rate falling to zero."""
    model = _Model(features, config)
    wanted = torch.tensor(targets, dtype=torch.float32)
    # Only the balance between texts matters; the penalty should not feel their scale.
    matter = torch.tensor(counts / counts[rows].mean(), dtype=torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE, betas=(0.9, 0.99))
    per_epoch = math.ceil(len(rows) / _BATCH)
    steps = max(config.epochs * per_epoch, _LEAST_STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / (steps + 1))
    shuffle = np.random.default_rng(config.seed)
    order: list[int] = []
    for _ in range(steps):
        if not order:
            order = shuffle.permutation(rows).tolist()
        batch, order = torch.tensor(order[:_BATCH]), order[_BATCH:]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            model(batch), wanted[batch], reduction="none"
        )
        loss = (losses * matter[batch]).mean() + config.penalty * model.size()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped upstream
        optimiser.step()
        schedule.step()
    return model


class _Model(torch.nn.Module):
    """The screener's sum over a table of sentences, as something that can be differentiated."""

    def __init__(self, features: _Features, config: LinearConfig) -> None:
        super().__init__()
        self.features = features
        self.parts = torch.nn.Parameter(torch.zeros(features.of_word.shape[1]))
        # The last pair is "no pair": it stays 0.
        self.pairs = torch.nn.Parameter(torch.zeros(len(features.pairs) + 1))
        self.bias = torch.nn.Parameter(torch.tensor(-2.0))
        self.emphasis = torch.nn.Parameter(torch.tensor(config.emphasis))
        self.strength = config.pair_strength

    def forward(self, rows: Tensor) -> Tensor:
        speaks: Tensor = _Product.apply(self.parts, self.features.of_word)  # type: ignore[no-untyped-call]  # untyped upstream
        table = self.features
        word = speaks[table.word_ids[rows]] * table.counted[rows]
        ids = table.pair_ids[rows]
        pair = self.pairs[ids] * (ids < len(table.pairs)) * self.strength
        # Each word with the whole of its pairs, as in LinearScreener._contributions.
        context = (word + pair) * table.counted[rows]
        after = torch.nn.functional.pad(pair[:, :-1], (1, 0)) * table.counted[rows]
        strongest = (context + after).amax(dim=1).clamp(min=0.0)
        return self.bias + word.sum(1) + pair.sum(1) + self.emphasis * strongest

    def size(self) -> Tensor:
        """The sum of all squared weights."""
        return self.parts.square().sum() + self.pairs.square().sum()

    def scores(self) -> FloatArray:
        """The score of every sentence of the table."""
        with torch.inference_mode():
            found: FloatArray = self(torch.arange(len(self.features.word_ids))).double().numpy()
        return found

    def weights(self, config: LinearConfig) -> Weights:
        """The weights as tables to look up, the faint ones left out."""
        table = self.features
        parts = self.parts.detach().double().numpy()
        pairs = self.pairs.detach().double().numpy() * self.strength
        whole = table.of_word @ parts
        grams = parts[len(table.words) :]
        return Weights(
            bias=float(self.bias.detach()),
            emphasis=max(0.0, float(self.emphasis.detach())),
            words=_rounded({w: whole[table.types[w]] for w in table.words}, 0.0)
            | dict.fromkeys(config.silent, 0.0),
            pairs=_rounded({p: pairs[i] for p, i in table.pairs.items()}, config.smallest_weight),
            grams=_rounded({g: grams[i] for g, i in table.grams.items()}, config.smallest_weight),
        )


class _Product(torch.autograd.Function):
    """A sparse matrix of scipy's by a vector; torch's own sparse tensors are in beta."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, matrix: csr_matrix) -> Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ vector.numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.matrix.T @ gradients[0].numpy()), None


class _Features:
    """The sentences of a corpus as tables of numbers: words, what these are made of, pairs."""

    def __init__(self, pieces: list[list[str]], config: LinearConfig) -> None:
        from scipy.sparse import hstack

        silent = frozenset(config.silent)
        spoken = [
            dict.fromkeys(f"{a} {b}" for a, b in pairwise(p) if not {a, b} & silent) for p in pieces
        ]
        frequency = Counter(word for piece in pieces for word in dict.fromkeys(piece))
        self.types = _numbered(frequency)
        self.words = _numbered(
            w for w, n in frequency.items() if n >= config.word_count and w not in silent
        )
        groups = {
            word: [] if word in silent else letter_groups(word, config.gram_lengths)
            for word in self.types
        }
        gram_frequency: Counter[str] = Counter()
        for word, grams in groups.items():
            for gram in grams:
                gram_frequency[gram] += frequency[word]
        self.grams = _numbered(g for g, n in gram_frequency.items() if n >= config.gram_count)
        pair_frequency = Counter(pair for piece in spoken for pair in piece)
        self.pairs = _numbered(p for p, n in pair_frequency.items() if n >= config.pair_count)
        # Words are few and sentences many: what a word is made of is worked out once a word.
        self.of_word: csr_matrix = hstack(
            [
                _incidence(([w] for w in self.types), self.words),
                _incidence(groups.values(), self.grams, config.gram_strength),
            ]
        ).tocsr()
        width = min(_WORDS, max(map(len, pieces)))
        self.word_ids = torch.zeros(len(pieces), width, dtype=torch.long)
        self.counted = torch.zeros(len(pieces), width)
        self.pair_ids = torch.full((len(pieces), width), len(self.pairs))
        for row, piece in enumerate(pieces):
            self._fill(row, piece[:width])

    def _fill(self, row: int, piece: list[str]) -> None:
        """A word or pair counts where it stands first, however often it is said."""
        ids = [self.types[word] for word in piece]
        self.word_ids[row, : len(ids)] = torch.tensor(ids)
        first = dict(reversed([(word, place) for place, word in enumerate(piece)]))
        self.counted[row, list(first.values())] = 1.0
        pairs = [f"{a} {b}" for a, b in pairwise(piece)]
        for pair, place in dict(reversed([(pair, i) for i, pair in enumerate(pairs)])).items():
            self.pair_ids[row, place] = self.pairs.get(pair, len(self.pairs))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def _incidence(
    rows: Iterable[Iterable[str]], columns: dict[str, int], strength: float | None = None
) -> csr_matrix:
    """A row for each list of names; with `strength`, scaled by strength / sqrt(names)."""
    from scipy.sparse import csr_matrix

    indices: list[int] = []
    pointers = [0]
    values: list[float] = []
    for row in rows:
        names = list(row)
        value = 1.0 if strength is None else strength / math.sqrt(max(1, len(names)))
        found = [columns[name] for name in names if name in columns]
        indices += found
        values += [value] * len(found)
        pointers.append(len(indices))
    shape = (len(pointers) - 1, len(columns))
    return csr_matrix(
        (np.array(values, dtype=np.float32), np.array(indices, dtype=np.int64), pointers),
        shape=shape,
    )


def _rounded(table: dict[str, float], smallest: float) -> dict[str, float]:
    """The table in the precision of the file, so that saving changes no score."""
    return {k: float(np.float32(v)) for k, v in table.items() if abs(v) >= smallest}
