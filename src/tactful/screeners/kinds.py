"""Which kind of toxic a text is: an insult, profanity, a threat, an attack on an identity, severe.

    P(kind) = P(toxic) * P(kind | toxic)

Only toxic texts bear labels of kinds, so only the second factor can be learned from them; the first
is the screener's. Both are asked of each sentence, and a text scores what its worst sentence
scores, as in the screener. An insult in one sentence and a word for a group in another are thereby
no attack on that group, and what is said of a text is what is said of one of its sentences.

The second factor is a logistic regression over the presence of normalised words, pairs of
neighbouring words and letter groups. A sentence's sum is divided by the root of how many of them
are known: unlike toxicity, kinds are learned from whole comments and asked of single sentences.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tactful.config import Config
from tactful.errors import CorruptFileError, DataError, ModelsMissingError
from tactful.screeners.base import FloatArray
from tactful.screeners.calibration import Calibration, fit_calibration
from tactful.screeners.linear import letter_groups, words
from tactful.segment import split

if TYPE_CHECKING:
    from typing import Self

    from scipy.sparse import csr_matrix

WEIGHTS_FILE = "weights.npz"
SETTINGS_FILE = "kinds.json"
_FORMAT = 1


class SaysToxicity(Protocol):
    """As much of a screener as is asked here."""

    def toxicity(self, texts: Sequence[str]) -> FloatArray: ...


class KindsConfig(Config):
    """What shapes the model; everything the data do not decide."""

    penalty: float = 0.25
    """Weight of the squared weights against the summed loss: higher is simpler."""
    word_count: int = 5
    """Words in fewer comments are known by their letters only."""
    pair_count: int = 5
    gram_count: int = 7
    gram_lengths: tuple[int, int] = (3, 5)
    seed: int = 0


class Kinds:
    """Says how likely a text is toxic in each of several ways.

    Args:
        names: The kinds, in the order of the columns of `weights`.
        features: What has a weight, in the order of the rows of `weights`.
        weights: One row for each feature, one column for each kind, as they are kept in the file.
        biases: One for each kind.
        calibrations: One for each kind, from raw scores to P(kind | toxic).
    """

    def __init__(
        self,
        names: Sequence[str],
        features: Sequence[str],
        weights: NDArray[np.float16],
        biases: Sequence[float],
        calibrations: Sequence[Calibration],
        config: KindsConfig | None = None,
    ) -> None:
        self.names = tuple(names)
        self.config = config or KindsConfig()
        self.calibrations = tuple(calibrations)
        self._features = tuple(features)
        self._rows = {feature: row for row, feature in enumerate(self._features)}
        self._weights = weights
        # Half precision is for the file; sums are made in full.
        self._sums = weights.astype(np.float64)
        self._biases = np.array(biases, dtype=np.float64)

    @property
    def name(self) -> str:
        """Which weights these are, in eight digits."""
        return f"kinds@{self._sha256()[:8]}"

    # --- asking -----------------------------------------------------------------------------

    def probabilities(self, texts: Sequence[str], screener: SaysToxicity) -> dict[str, FloatArray]:
        """P(toxic) * P(kind | toxic) of each text's worst sentence, by kind.

        Never above the toxicity of the whole text, whatever the screener makes of its parts.
        """
        pieces, owners = _cut(texts)
        toxic = screener.toxicity(pieces)
        found = np.zeros((len(texts), len(self.names)))
        np.maximum.at(found, owners, toxic[:, None] * self._given_toxic(self._raw(pieces)))
        found = np.minimum(found, screener.toxicity(texts)[:, None])
        return {name: found[:, column] for column, name in enumerate(self.names)}

    def given_toxic(self, texts: Sequence[str]) -> FloatArray:
        """P(kind | toxic) by the sentence that says most for each kind: a column for each."""
        return self._given_toxic(self.scores(texts))

    def scores(self, texts: Sequence[str]) -> FloatArray:
        """Raw scores by the same sentences, for calibration; -inf for a text without sentences."""
        pieces, owners = _cut(texts)
        found = np.full((len(texts), len(self.names)), -np.inf)
        np.maximum.at(found, owners, self._raw(pieces))
        return found

    def _given_toxic(self, scores: FloatArray) -> FloatArray:
        columns = [c.probability(scores[:, i]) for i, c in enumerate(self.calibrations)]
        return np.stack(columns, axis=1) if columns else scores

    def _raw(self, pieces: Sequence[str]) -> FloatArray:
        found = np.empty((len(pieces), len(self.names)))
        for number, piece in enumerate(pieces):
            rows = [
                self._rows[feature]
                for feature in _features(piece, self.config.gram_lengths)
                if feature in self._rows
            ]
            found[number] = self._sums[rows].sum(axis=0) / math.sqrt(max(1, len(rows)))
        return found + self._biases

    # --- learning ---------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Mapping[str, Sequence[bool]],
        config: KindsConfig | None = None,
    ) -> Self:
        """Learn P(kind | toxic) from toxic texts; the same texts and seed give the same weights."""
        config = config or KindsConfig()
        _require_both(texts, labels)
        # Imported here: scoring must not wait for it.
        from sklearn.linear_model import LogisticRegression

        said = [_features_of_all(text, config.gram_lengths) for text in texts]
        features = _frequent(said, config)
        table = _table(said, features)
        weights = np.empty((len(features), len(labels)), dtype=np.float16)
        biases = []
        for column, marked in enumerate(labels.values()):
            model = LogisticRegression(
                C=1 / config.penalty, solver="liblinear", random_state=config.seed
            ).fit(table, np.asarray(marked))
            weights[:, column] = model.coef_[0]
            biases.append(float(model.intercept_[0]))
        return cls(list(labels), features, weights, biases, [Calibration()] * len(labels), config)

    def calibrated(self, texts: Sequence[str], labels: Mapping[str, Sequence[bool]]) -> Self:
        """The same, with P(kind | toxic) fitted on toxic texts that `fit` has not seen."""
        _require_both(texts, labels)
        scores = self.scores(texts)
        calibrations = []
        for column, name in enumerate(self.names):
            try:
                calibrations.append(fit_calibration(scores[:, column], labels[name]))
            except DataError as error:
                raise DataError(
                    f"texts that are {name} do not score above others; there is nothing to learn "
                    "it from. Leave the kind out, or give more texts"
                ) from error
        return self._with(self.names, calibrations)

    def only(self, names: Sequence[str]) -> Self:
        """The same, for some of its kinds."""
        kept = [name for name in self.names if name in names]
        return self._with(kept, [self.calibrations[self.names.index(name)] for name in kept])

    def _with(self, names: Sequence[str], calibrations: Sequence[Calibration]) -> Self:
        columns = [self.names.index(name) for name in names]
        return type(self)(
            names,
            self._features,
            self._weights[:, columns],
            self._biases[columns].tolist(),
            calibrations,
            self.config,
        )

    # --- keeping ----------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the weights and everything else into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            folder / WEIGHTS_FILE,
            allow_pickle=False,
            features=np.frombuffer("\n".join(self._features).encode(), dtype=np.uint8),
            weights=self._weights,
        )
        settings = {
            "format": _FORMAT,
            "sha256": self._sha256(),
            "kinds": {
                name: {"bias": bias, **asdict(calibration)}
                for name, bias, calibration in zip(
                    self.names, self._biases.tolist(), self.calibrations, strict=True
                )
            },
            "config": self.config.model_dump(mode="json"),
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Self:
        """Read saved kinds; without a folder, those that ship with the package."""
        place: Traversable
        place = Path(folder) if folder else resources.files("tactful") / "assets" / "kinds"
        settings_file, weights_file = place / SETTINGS_FILE, place / WEIGHTS_FILE
        for file in (settings_file, weights_file):
            if not file.is_file():
                raise ModelsMissingError(
                    f"no kinds here: {file} does not exist. Make them with `tactful screener kinds`."
                )
        try:
            settings = json.loads(settings_file.read_text(encoding="utf-8"))
            if settings["format"] != _FORMAT:
                raise ValueError(f"format {settings['format']!r}, expected {_FORMAT}")
            kinds: dict[str, dict[str, float]] = settings["kinds"]
            numbers = np.array(
                [[kind[key] for key in ("bias", "slope", "intercept")] for kind in kinds.values()],
                dtype=np.float64,
            ).reshape(-1, 3)
            if not np.isfinite(numbers).all() or not (numbers[:, 1] > 0).all():
                raise ValueError("biases and calibrations must be finite, slopes positive")
            config = KindsConfig.model_validate(settings["config"])
            sha256 = settings["sha256"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(f"{settings_file} is not settings of kinds: {error}") from error
        try:
            features, weights = _read_weights(weights_file, len(kinds))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise CorruptFileError(f"{weights_file} is damaged: {error}") from error
        loaded = cls(
            list(kinds),
            features,
            weights,
            numbers[:, 0].tolist(),
            [Calibration(slope, intercept) for _, slope, intercept in numbers.tolist()],
            config,
        )
        if loaded._sha256() != sha256:
            raise CorruptFileError(
                f"{weights_file} does not hold the weights that {settings_file} was written for"
            )
        return loaded

    def _sha256(self) -> str:
        digest = hashlib.sha256("\n".join((*self.names, *self._features)).encode())
        digest.update(np.ascontiguousarray(self._weights).tobytes() + self._biases.tobytes())
        return digest.hexdigest()


def _require_both(texts: Sequence[str], labels: Mapping[str, Sequence[bool]]) -> None:
    for name, marked in labels.items():
        if len(marked) != len(texts) or all(marked) or not any(marked):
            raise DataError(
                f"kinds need toxic texts that are {name} and some that are not, a label each; "
                f"got {sum(marked)} of {len(marked)} labels for {len(texts)} texts"
            )


def _read_weights(file: Traversable, kinds: int) -> tuple[list[str], NDArray[np.float16]]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        letters, weights = arrays["features"], arrays["weights"]
    if letters.dtype != np.uint8 or weights.dtype != np.float16 or not np.isfinite(weights).all():
        raise ValueError("features must be bytes and weights finite numbers of half precision")
    joined = letters.tobytes().decode()
    features = joined.split("\n") if joined else []
    if weights.shape != (len(features), kinds):
        raise ValueError(f"{weights.shape} weights for {len(features)} features and {kinds} kinds")
    return features, weights


# --- features -------------------------------------------------------------------------------


def _cut(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int_]]:
    """All sentences of all texts, and to which text each belongs."""
    cut = [split(text) for text in texts]
    owners = np.repeat(np.arange(len(cut)), [len(pieces) for pieces in cut])
    return [piece for pieces in cut for piece in pieces], owners


def _features(sentence: str, lengths: tuple[int, int]) -> dict[str, None]:
    """The distinct words, word pairs and letter groups of a sentence, in order.

    A pair has a space in it and a group a mark before it, neither of which stands in words.
    """
    found = words(sentence)
    features = dict.fromkeys(found)
    for word in dict.fromkeys(found):
        features |= dict.fromkeys(_groups(word, lengths))
    features |= dict.fromkeys(" ".join(pair) for pair in pairwise(found))
    return features


@lru_cache(maxsize=50_000)
def _groups(word: str, lengths: tuple[int, int]) -> tuple[str, ...]:
    return tuple(f"#{group}" for group in letter_groups(word, lengths))


def _features_of_all(text: str, lengths: tuple[int, int]) -> dict[str, None]:
    """Those of all sentences of a text together: a label says nothing of where it is about."""
    features: dict[str, None] = {}
    for piece in split(text):
        features |= _features(piece, lengths)
    return features


def _frequent(said: Sequence[Mapping[str, None]], config: KindsConfig) -> list[str]:
    """What stands in enough texts to be learned, sorted."""
    counts = Counter(feature for features in said for feature in features)

    def least(feature: str) -> int:
        if feature.startswith("#"):
            return config.gram_count
        return config.pair_count if " " in feature else config.word_count

    return sorted(feature for feature, count in counts.items() if count >= least(feature))


def _table(said: Sequence[Mapping[str, None]], features: Sequence[str]) -> csr_matrix:
    """One row for each text, of length 1; a column for each feature."""
    from scipy.sparse import csr_matrix

    columns = {feature: column for column, feature in enumerate(features)}
    indices: list[int] = []
    values: list[float] = []
    pointers = [0]
    for one in said:
        known = [columns[feature] for feature in one if feature in columns]
        indices += known
        values += [1 / math.sqrt(max(1, len(known)))] * len(known)
        pointers.append(len(indices))
    return csr_matrix((values, indices, pointers), shape=(len(said), len(features)))
