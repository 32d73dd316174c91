"""The default screener: a linear model over words, word pairs and letter groups.

    score(sentence) = bias + sum of f(word) + sum of g(word pair)
    f(word) = word weight + strength / sqrt(n) * sum over its n letter groups of their weight

over the distinct normalised words and neighbouring pairs of the sentence; then the strongest word
counts somewhat more, since one clear insult is worse than many doubtful words of the same sum.
Nothing is divided by the length of the text, so every part can be looked up, cached and shown: an explanation is the sum
itself, not an approximation of it. The weights are a logistic regression over the mere presence of
words, groups and pairs (`linear_fit.py`); no inverse document frequencies, which would only rescale
the penalty.

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
from tactful.screeners.calibration import Calibration, fit_calibration
from tactful.screeners.normalise import normalise, normalise_with_offsets
from tactful.screeners.readings import Readings
from tactful.segment import sentences, split

if TYPE_CHECKING:
    from typing import Self


WEIGHTS_FILE = "weights.npz"
SETTINGS_FILE = "screener.json"
_FORMAT = 1
# Words met that are not in the vocabulary; emptied when full, so a stream of junk costs no memory.
_MAX_REMEMBERED = 50_000
# A megabyte without a space is no word; its beginning decides.
_MAX_WORD = 40

# Addresses, mentions and what only a program says are matched first, outside the group, and so
# never become words. A star is part of a masked word ("f*ck", "f***").
_WORD = re.compile(
    r"(?:https?://|www\.)\S+|@\w+"
    # kill -9, a.method(x), field[0], "key": true
    r"|\bkill(?:all)? -\w+|\w+\.\w+\(\S*|\w+\[(?:\d+|[a-z])\]"
    r"|\"\w+\": ?(?=[\d\[{\"]|(?:true|false|null)\b)"
    r"|([^\W_]+(?:\*+[^\W_]+)+|[^\W\d_]{1,2}\*{2,}|[^\W_]+|\*{4,})"
)
_DOUBLED = re.compile(r"([a-z])\1")


class LinearConfig(Config):
    """What shapes the model; everything the data do not decide."""

    penalty: float = 1e-5
    """Weight of the squared weights in the loss: higher is simpler."""
    epochs: int = 12
    seed: int = 0
    word_count: int = 2
    """Rarer words are known by their letters only."""
    pair_count: int = 2
    pair_strength: float = 0.85
    gram_count: int = 4
    gram_lengths: tuple[int, int] = (2, 5)
    gram_strength: float = 2.0
    rounds: int = 2
    """How often toxic texts choose their worst sentence anew; the first round has short texts."""
    first_round_sentences: int = 3
    emphasis: float = 0.5
    """Where learning starts: how much extra the strongest word of a sentence counts."""
    smallest_weight: float = 0.01
    """Pairs and letter groups that speak more softly are not kept."""
    silent: tuple[str, ...] = ()
    """Words that never speak for or against."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned. `words` are whole f(word); `grams` serve only words not among them."""

    bias: float
    emphasis: float
    words: dict[str, float]
    pairs: dict[str, float]
    grams: dict[str, float]

    def sha256(self) -> str:
        digest = hashlib.sha256(np.array([self.bias, self.emphasis]).tobytes())
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
        self._weights: Weights | None = None
        self._sha256 = ""
        self._remembered: dict[str, float] = {}
        self._readings: Readings | None = None
        self._read: dict[str, str] = {}

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
        return max(map(self._score_piece, split(text)), default=-math.inf)

    def _score_piece(self, piece: str) -> float:
        found = self._meant(words(piece))
        if not found:
            return -math.inf
        return self._fitted().bias + sum(self._contributions(found).values())

    def _meant(self, found: Sequence[str]) -> list[str]:
        """Words as they are meant: one that is unknown may be a disguise of a known insult."""
        known = self._fitted().words
        return [word if word in known else self._reading(word) for word in found]

    def _reading(self, word: str) -> str:
        read = self._read.get(word)
        if read is None:
            if self._readings is None:
                self._readings = Readings(self._fitted().words, self._silent)
            if len(self._read) >= _MAX_REMEMBERED:
                self._read.clear()
            silent = word in self._silent
            read = self._read[word] = word if silent else (self._readings(word) or word)
        return read

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
        meant = self._meant([match[1] for match in found])
        rest = meant
        spans: list[Span] = []
        while rest:
            speaks = self._contributions(rest)
            loudest = max(speaks, key=speaks.__getitem__)
            if self._fitted().bias + sum(speaks.values()) < limit or speaks[loudest] <= 0.0:
                break
            rest = [word for word in rest if word != loudest]
            for match, word in zip(found, meant, strict=True):
                if word == loudest:
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
        speaks[strongest] += weights.emphasis * max(0.0, in_context[strongest])
        return speaks

    def _use(self, weights: Weights) -> None:
        self._weights = weights
        self._sha256 = weights.sha256()
        self._remembered = {}
        self._readings = None
        self._read = {}

    def _fitted(self) -> Weights:
        if self._weights is None:
            raise NotFittedError(
                "LinearScreener has learned nothing yet. Call fit(texts, targets), or "
                "LinearScreener.load(folder)."
            )
        return self._weights

    # --- learning ---------------------------------------------------------------------------

    def fit(
        self,
        texts: Sequence[str],
        targets: Sequence[bool] | Sequence[float],
        weights: Sequence[float] | None = None,
    ) -> Self:
        """Learn from texts with labels, or with the probabilities a better screener gave them.

        `weights` say how much each text counts.
        """
        wanted = np.asarray(targets, dtype=np.float64)
        counts = np.ones(len(texts)) if weights is None else np.asarray(weights, dtype=np.float64)
        if not len(texts) == len(wanted) == len(counts):
            raise DataError(
                f"fit needs as many labels and weights as texts, got {len(texts)} texts, "
                f"{len(wanted)} labels and {len(counts)} weights"
            )
        if not (((wanted >= 0) & (wanted <= 1)).all() and (counts >= 0).all()):
            raise DataError("fit needs labels from 0 to 1 and weights of 0 or more")
        toxic = int((wanted >= 0.5).sum())
        if toxic in (0, len(texts)):
            raise DataError(f"fit needs toxic and neutral texts, got {toxic} toxic of {len(texts)}")
        # Imported here: learning needs torch, which scoring must not wait for.
        from tactful.screeners.linear_fit import learn

        self._use(learn(texts, wanted, counts, self.config))
        return self

    def calibrate(self, texts: Sequence[str], labels: Sequence[bool]) -> Self:
        """Fit the scale from scores to probabilities on texts that `fit` has not seen."""
        self.calibration = fit_calibration(self.scores(texts), labels)
        return self

    def silence(self, names: Iterable[str]) -> Self:
        """Take their say from words, whatever was learned of them: for groups that are held
        against people, found after the fit. Thresholds and scale stay as they are.
        """
        silent = frozenset(names)
        if odd := sorted(name for name in silent if words(name) != [name]):
            raise ConfigError(
                f"{odd[0]!r} is no single word as a screener reads it; it reads {words(odd[0])}"
            )
        weights = self._fitted()
        self.config = self.config.model_copy(
            update={"silent": tuple(dict.fromkeys([*self.config.silent, *sorted(silent)]))}
        )
        self._silent = frozenset(self.config.silent)
        self._use(
            Weights(
                bias=weights.bias,
                emphasis=weights.emphasis,
                words=weights.words | dict.fromkeys(sorted(silent), 0.0),
                pairs={p: w for p, w in weights.pairs.items() if not silent & set(p.split())},
                grams=weights.grams,
            )
        )
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
            "emphasis": weights.emphasis,
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
            weights = _read_weights(
                weights_file, float(settings["bias"]), float(settings["emphasis"])
            )
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


# --- reading --------------------------------------------------------------------------------


def _check_numbers(settings: dict[str, Any]) -> None:
    calibration = settings["calibration"]
    numbers = (
        settings["bias"],
        settings["emphasis"],
        calibration["slope"],
        calibration["intercept"],
    )
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        raise ValueError("bias, emphasis and calibration must be finite numbers")
    if calibration["slope"] <= 0:
        raise ValueError(
            f"the slope of the calibration must be positive, got {calibration['slope']}"
        )


def _read_weights(file: Traversable, bias: float, emphasis: float) -> Weights:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        tables = {name: _read_table(arrays, name) for name in ("words", "pairs", "grams")}
    return Weights(bias, emphasis, **tables)


def _read_table(arrays: Any, name: str) -> dict[str, float]:
    values, letters = arrays[f"{name}_weights"], arrays[f"{name}_names"]
    if values.ndim != 1 or letters.dtype != np.uint8 or not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite numbers with names")
    joined = letters.tobytes().decode()
    names = joined.split("\n") if joined else []
    if len(names) != len(values):
        raise ValueError(f"{len(names)} {name} but {len(values)} weights")
    return dict(zip(names, values.tolist(), strict=True))
