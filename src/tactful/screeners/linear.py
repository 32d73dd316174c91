"""The default screener: a linear model over words, word pairs and letter groups.

    score(sentence) = bias + sum of f(word) + sum of g(word pair)
    f(word) = word weight + strength / sqrt(n) * sum over its n letter groups of their weight

over the distinct normalised words and neighbouring pairs of the sentence; then the strongest word
counts somewhat more, since one clear insult is worse than many doubtful words of the same sum.
Nothing is divided by the length of the text, so every part can be looked up, cached and shown: an explanation is the sum
itself, not an approximation of it. The weights are a logistic regression over the mere presence of
words, groups and pairs; no inverse document frequencies, which would only rescale the penalty.

A text scores what its worst sentence scores, in training too, where a toxic comment is represented
by the sentence that the round before found worst (multiple-instance learning). One insult in a
long comment is therefore neither diluted when judged nor blurred when learned.

`silent` words (identities, topics, the jargon of one source) carry no weight, whatever the corpus
says about the company they keep. The price: an identity used *as* an insult goes unseen.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tactful.config import Config
from tactful.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    ModelsMissingError,
    NotFittedError,
)
from tactful.records import Span
from tactful.screeners.base import FloatArray, Thresholds
from tactful.screeners.normalise import normalise, normalise_with_offsets
from tactful.segment import sentences

if TYPE_CHECKING:
    from typing import Self

    from scipy.sparse import csr_matrix

WEIGHTS_FILE = "weights.npz"
SETTINGS_FILE = "screener.json"
_FORMAT = 1
# Words met that are not in the vocabulary; emptied when full, so a stream of junk costs no memory.
_MAX_REMEMBERED = 50_000
# A megabyte without a space is no word; its beginning decides.
_MAX_WORD = 40

# Addresses and mentions are matched first, outside the group, and so never become words. A star
# is part of a masked word ("f*ck", "f***").
_WORD = re.compile(
    r"(?:https?://|www\.)\S+|@\w+"
    r"|([^\W_]+(?:\*+[^\W_]+)+|[^\W\d_]{1,2}\*{2,}|[^\W_]+|\*{4,})"
)
_DOUBLED = re.compile(r"([a-z])\1")


class LinearConfig(Config):
    """What shapes the model; everything the data do not decide."""

    regularisation: float = 1.0
    """C of the logistic regression: lower is simpler."""
    word_count: int = 3
    """Rarer words are known by their letters only."""
    pair_count: int = 4
    pair_strength: float = 0.7
    gram_count: int = 8
    gram_lengths: tuple[int, int] = (2, 5)
    gram_strength: float = 1.0
    rounds: int = 2
    """How often toxic texts choose their worst sentence anew; the first round has short texts."""
    first_round_sentences: int = 3
    emphasis: float = 0.4
    """How much extra the strongest word of a sentence counts, when it speaks for toxicity."""
    smallest_weight: float = 0.01
    """Pairs and letter groups that speak more softly are not kept."""
    silent: tuple[str, ...] = ()
    """Words that never speak for or against."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = sigmoid(slope * score + intercept)."""

    slope: float = 1.0
    intercept: float = 0.0

    def probability(self, scores: FloatArray) -> FloatArray:
        """Probabilities of scores; -inf, a text without words, becomes 0."""
        logits = np.clip(self.slope * scores + self.intercept, -700.0, 700.0)
        return np.where(np.isneginf(scores), 0.0, 1.0 / (1.0 + np.exp(-logits)))

    def score(self, probability: float) -> float:
        """The score at which a probability is reached."""
        if probability <= 0.0 or probability >= 1.0:
            return -math.inf if probability <= 0.0 else math.inf
        return (math.log(probability / (1.0 - probability)) - self.intercept) / self.slope


@dataclass(frozen=True, slots=True)
class _Weights:
    """What was learned. `words` are whole f(word); `grams` serve only words not among them."""

    bias: float
    words: dict[str, float]
    pairs: dict[str, float]
    grams: dict[str, float]

    def sha256(self) -> str:
        digest = hashlib.sha256(np.float64(self.bias).tobytes())
        for name, array in self.arrays().items():
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The tables as plain arrays; names are bytes of UTF-8, one a line."""
        out: dict[str, NDArray[Any]] = {}
        for name in ("words", "pairs", "grams"):
            table: dict[str, float] = getattr(self, name)
            out[f"{name}_names"] = np.frombuffer("\n".join(table).encode(), dtype=np.uint8)
            out[f"{name}_weights"] = np.array(list(table.values()), dtype=np.float32)
        return out


class LinearScreener:
    """Says in microseconds how toxic a text is, and which of its words said so."""

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        calibration: Calibration | None = None,
        config: LinearConfig | None = None,
    ) -> None:
        self.thresholds = thresholds or Thresholds(0.5, 0.5, "nothing: the default")
        self.calibration = calibration or Calibration()
        self.config = config or LinearConfig()
        self._silent = frozenset(self.config.silent)
        self._weights: _Weights | None = None
        self._sha256 = ""
        self._remembered: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Which weights these are, in eight digits."""
        self._fitted()
        return f"linear@{self._sha256[:8]}"

    # --- asking -----------------------------------------------------------------------------

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """Calibrated probabilities; 0 for a text without a single word."""
        return self.calibration.probability(self.scores(texts))

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Raw log-odds of each text's worst sentence; -inf without any word."""
        self._fitted()
        return np.array([self._score(text) for text in texts], dtype=np.float64)

    def explain(self, text: str) -> list[Span]:
        """The words that have to go before the text passes, strongest first.

        Empty for a text below `passing`. A weight is the word's part of the sentence's score, once
        the words before it are gone.
        """
        limit = self.calibration.score(self.thresholds.passing)
        spans: list[Span] = []
        for start, end in sentences(text):
            spans += self._explain(text[start:end], start, limit)
        return sorted(spans, key=lambda span: -span.weight)

    def _score(self, text: str) -> float:
        return max((self._score_piece(text[a:b]) for a, b in sentences(text)), default=-math.inf)

    def _score_piece(self, piece: str) -> float:
        found = words(piece)
        if not found:
            return -math.inf
        return self._fitted().bias + sum(self._contributions(found).values())

    def _meet(self, word: str) -> float:
        """f of a word outside the vocabulary, remembered."""
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        weight = self._remembered[word] = self._unknown(word)
        return weight

    def _unknown(self, word: str) -> float:
        if word in self._silent:
            return 0.0
        weights = self._fitted()
        for spelling in _undoubled(word[:_MAX_WORD]):
            if spelling in weights.words:
                return weights.words[spelling]
        grams = letter_groups(word, self.config.gram_lengths)
        weight = sum(weights.grams.get(gram, 0.0) for gram in grams)
        return self.config.gram_strength * weight / math.sqrt(len(grams))

    def _explain(self, piece: str, start: int, limit: float) -> list[Span]:
        normalised = normalise_with_offsets(piece)
        found = [match for match in _WORD.finditer(normalised.text) if _is_word(match[1])]
        rest = [match[1] for match in found]
        spans: list[Span] = []
        while rest:
            speaks = self._contributions(rest)
            loudest = max(speaks, key=speaks.__getitem__)
            if self._fitted().bias + sum(speaks.values()) < limit or speaks[loudest] <= 0.0:
                break
            rest = [word for word in rest if word != loudest]
            for match in found:
                if match[1] == loudest:
                    first, last = normalised.original(*match.span(1))
                    spans.append(Span(start + first, start + last, speaks[loudest]))
        return spans

    def _contributions(self, found: Sequence[str]) -> dict[str, float]:
        """What each distinct word adds to the score of a sentence made of these words.

        A pair belongs by halves to both its words. Which word is strongest is asked of a word with
        the whole of its pairs, so that "box" can quieten "idiot" before it is emphasised.
        """
        weights = self._fitted()
        known, remembered, pairs = weights.words, self._remembered, weights.pairs
        speaks: dict[str, float] = {}
        for word in found:
            if word not in speaks:
                weight = known.get(word)
                if weight is None:
                    weight = remembered.get(word)
                speaks[word] = self._meet(word) if weight is None else weight
        in_context = speaks.copy()
        for pair in dict.fromkeys(pairwise(found)):
            weight = pairs.get(" ".join(pair))
            if weight is not None:
                for word in pair:
                    speaks[word] += weight / 2
                    in_context[word] += weight
        strongest = max(in_context, key=in_context.__getitem__)
        speaks[strongest] += self.config.emphasis * max(0.0, in_context[strongest])
        return speaks

    def _use(self, weights: _Weights) -> None:
        self._weights = weights
        self._sha256 = weights.sha256()
        self._remembered = {}

    def _fitted(self) -> _Weights:
        if self._weights is None:
            raise NotFittedError(
                "LinearScreener has learned nothing yet. Call fit(texts, toxic_labels), or "
                "LinearScreener.load(folder)."
            )
        return self._weights

    # --- learning ---------------------------------------------------------------------------

    def fit(
        self,
        texts: Sequence[str],
        toxic_labels: Sequence[bool],
        weights: Sequence[float] | None = None,
    ) -> Self:
        """Learn from labelled texts; `weights` say how much each text counts."""
        toxic = np.asarray(toxic_labels, dtype=bool)
        counts = np.ones(len(texts)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not len(texts) == len(toxic) == len(counts):
            raise DataError(
                f"fit needs as many labels and weights as texts, got {len(texts)} texts, "
                f"{len(toxic)} labels and {len(counts)} weights"
            )
        if toxic.all() or not toxic.any():
            raise DataError(
                f"fit needs toxic and neutral texts, got {toxic.sum()} toxic of {len(texts)}"
            )
        self._use(_learn(texts, toxic, counts, self.config))
        return self

    def calibrate(self, texts: Sequence[str], labels: Sequence[bool]) -> Self:
        """Fit the scale from scores to probabilities on texts that `fit` has not seen."""
        from sklearn.linear_model import LogisticRegression

        scores = self.scores(texts)
        heard = np.isfinite(scores)
        model = LogisticRegression(C=1e6).fit(scores[heard, None], np.asarray(labels)[heard])
        slope = float(model.coef_[0, 0])
        if slope <= 0.0:
            raise DataError("calibration failed: toxic texts do not score above neutral ones")
        self.calibration = Calibration(slope, float(model.intercept_[0]))
        return self

    # --- keeping ----------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the weights and everything else about the screener into a folder."""
        weights = self._fitted()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / WEIGHTS_FILE, allow_pickle=False, **weights.arrays())
        settings = {
            "format": _FORMAT,
            "sha256": self._sha256,
            "bias": weights.bias,
            "thresholds": asdict(self.thresholds),
            "calibration": asdict(self.calibration),
            "config": self.config.model_dump(mode="json"),
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Self:
        """Read a saved screener; without a folder, the one that ships with the package."""
        place: Traversable
        place = Path(folder) if folder else resources.files("tactful") / "assets" / "screener"
        settings_file, weights_file = place / SETTINGS_FILE, place / WEIGHTS_FILE
        for file in (settings_file, weights_file):
            if not file.is_file():
                raise ModelsMissingError(
                    f"no screener here: {file} does not exist. Make one with `tactful screener fit`."
                )
        try:
            settings = json.loads(settings_file.read_text(encoding="utf-8"))
            if settings["format"] != _FORMAT:
                raise ValueError(f"format {settings['format']!r}, expected {_FORMAT}")
            screener = cls(
                Thresholds(**settings["thresholds"]),
                Calibration(**settings["calibration"]),
                LinearConfig.model_validate(settings["config"]),
            )
            _check_numbers(settings)
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise CorruptFileError(
                f"{settings_file} is not a screener's settings: {error}"
            ) from error
        try:
            weights = _read_weights(weights_file, float(settings["bias"]))
        except (
            ValueError,
            KeyError,
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise CorruptFileError(f"{weights_file} is damaged: {error}") from error
        screener._use(weights)
        if screener._sha256 != settings["sha256"]:
            raise CorruptFileError(
                f"{weights_file} does not hold the weights that {settings_file} was written for"
            )
        return screener


# --- words ----------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """The normalised words of a text in order, without numbers, addresses and mentions."""
    return [word for word in _WORD.findall(normalise(text)) if _is_word(word)]


def letter_groups(word: str, lengths: tuple[int, int]) -> list[str]:
    """The distinct letter groups of a word, its boundaries marked: "<so", "so>" of "so"."""
    marked = f"<{word[:_MAX_WORD]}>"
    shortest, longest = lengths
    return list(
        dict.fromkeys(
            marked[i : i + n]
            for n in range(shortest, longest + 1)
            for i in range(len(marked) - n + 1)
        )
    )


def _is_word(found: str | None) -> bool:
    return bool(found) and not found.isdigit()  # type: ignore[union-attr]  # bool() rules out None


def _undoubled(word: str) -> Iterable[str]:
    """The word with one doubled letter made single: "stuupid" may be "stupid"."""
    return (word[: match.start()] + word[match.start() + 1 :] for match in _DOUBLED.finditer(word))


# --- fitting --------------------------------------------------------------------------------


def _learn(
    texts: Sequence[str], toxic: NDArray[np.bool_], counts: FloatArray, config: LinearConfig
) -> _Weights:
    pieces: list[list[str]] = []
    owners: list[int] = []
    for number, text in enumerate(texts):
        for start, end in sentences(text):
            if found := words(text[start:end]):
                pieces.append(found)
                owners.append(number)
    owner: NDArray[np.int_] = np.array(owners)
    sentence_count = np.bincount(owner, minlength=len(texts))
    features = _Features(pieces, config)
    chosen = np.flatnonzero(~toxic[owner] | (sentence_count[owner] <= config.first_round_sentences))
    for _ in range(config.rounds):
        bias, coefficients = features.regress(
            chosen, toxic[owner[chosen]], counts[owner[chosen]], config.regularisation
        )
        worst = _worst_sentences(features.matrix @ coefficients, owner)
        chosen = np.flatnonzero(~toxic[owner] | worst)
    return features.weights(bias, coefficients, config)


def _worst_sentences(scores: FloatArray, owner: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Marks, for each owner, the one sentence that scores highest."""
    order = np.lexsort((scores, owner))
    last = np.append(owner[order][1:] != owner[order][:-1], True)
    worst = np.zeros(len(owner), dtype=bool)
    worst[order[last]] = True
    return worst


class _Features:
    """The sentences of a corpus as a sparse matrix: words, letter groups, pairs."""

    def __init__(self, pieces: list[list[str]], config: LinearConfig) -> None:
        from scipy.sparse import hstack

        silent = frozenset(config.silent)
        distinct = [dict.fromkeys(w for w in piece if w not in silent) for piece in pieces]
        frequency = Counter(word for piece in distinct for word in piece)
        self.types = {word: i for i, word in enumerate(frequency)}
        self.words = _numbered(w for w, n in frequency.items() if n >= config.word_count)
        groups = {word: letter_groups(word, config.gram_lengths) for word in self.types}
        gram_frequency: Counter[str] = Counter()
        for word, grams in groups.items():
            for gram in grams:
                gram_frequency[gram] += frequency[word]
        self.grams = _numbered(g for g, n in gram_frequency.items() if n >= config.gram_count)
        spoken = [
            dict.fromkeys(f"{a} {b}" for a, b in pairwise(p) if not {a, b} & silent) for p in pieces
        ]
        pair_frequency = Counter(pair for piece in spoken for pair in piece)
        self.pairs = _numbered(p for p, n in pair_frequency.items() if n >= config.pair_count)
        # Words are few and sentences many: what a word is made of is worked out once a word.
        of_word = hstack(
            [
                _incidence(([w] for w in self.types), self.words),
                _incidence(groups.values(), self.grams, config.gram_strength),
            ]
        )
        self.of_word = of_word.tocsr()
        self.pair_strength = config.pair_strength
        self.matrix: csr_matrix = hstack(
            [
                _incidence(distinct, self.types) @ self.of_word,
                _incidence(spoken, self.pairs) * config.pair_strength,
            ]
        ).tocsr()

    def regress(
        self, rows: NDArray[np.int_], toxic: NDArray[np.bool_], counts: FloatArray, c: float
    ) -> tuple[float, FloatArray]:
        """Bias and coefficients of a logistic regression on some of the sentences."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=c, max_iter=500, tol=1e-4)
        model.fit(self.matrix[rows], toxic, sample_weight=counts)
        return float(model.intercept_[0]), model.coef_.ravel().astype(np.float64)

    def weights(self, bias: float, coefficients: FloatArray, config: LinearConfig) -> _Weights:
        """The coefficients as tables to look up, the faint ones left out."""
        per_word, per_pair = np.split(coefficients, [self.of_word.shape[1]])
        per_gram = per_word[len(self.words) :]
        whole = self.of_word @ per_word
        known = {word: whole[self.types[word]] for word in self.words}
        return _Weights(
            bias=bias,
            words=_rounded(known, 0.0) | dict.fromkeys(config.silent, 0.0),
            pairs=_rounded(
                {p: per_pair[i] * self.pair_strength for p, i in self.pairs.items()},
                config.smallest_weight,
            ),
            grams=_rounded({g: per_gram[i] for g, i in self.grams.items()}, config.smallest_weight),
        )


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
        value = 1.0 if strength is None else strength / math.sqrt(len(names))
        found = [columns[name] for name in names if name in columns]
        indices += found
        values += [value] * len(found)
        pointers.append(len(indices))
    shape = (len(pointers) - 1, len(columns))
    return csr_matrix((np.array(values), np.array(indices, dtype=np.int64), pointers), shape=shape)


def _rounded(table: dict[str, float], smallest: float) -> dict[str, float]:
    """The table in the precision of the file, so that saving changes no score."""
    return {k: float(np.float32(v)) for k, v in table.items() if abs(v) >= smallest}


# --- reading --------------------------------------------------------------------------------


def _check_numbers(settings: dict[str, Any]) -> None:
    calibration = settings["calibration"]
    numbers = (settings["bias"], calibration["slope"], calibration["intercept"])
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        raise ValueError("bias and calibration must be finite numbers")
    if calibration["slope"] <= 0:
        raise ValueError(
            f"the slope of the calibration must be positive, got {calibration['slope']}"
        )


def _read_weights(file: Traversable, bias: float) -> _Weights:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        tables = {name: _read_table(arrays, name) for name in ("words", "pairs", "grams")}
    return _Weights(bias, **tables)


def _read_table(arrays: Any, name: str) -> dict[str, float]:
    values, letters = arrays[f"{name}_weights"], arrays[f"{name}_names"]
    if values.ndim != 1 or letters.dtype != np.uint8 or not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite numbers with names")
    joined = letters.tobytes().decode()
    names = joined.split("\n") if joined else []
    if len(names) != len(values):
        raise ValueError(f"{len(names)} {name} but {len(values)} weights")
    return dict(zip(names, values.tolist(), strict=True))
