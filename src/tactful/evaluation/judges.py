"""Our own judges: two of a kind, on folds of their own, that no model may train on.

*dev* steers development: checkpoints, settings, ablations. *final* is built last and asked once for
each figure that is published. Neither shares data with the screener, the gates or the policy.

style    a reader (MiniLM, fine-tuned) and letter groups, of the worst sentence
meaning  a reader of both texts that was shown what machines do to a point, and the overlap in
         static word vectors and in letters, weighed against people's ratings
fluency  a reader that was shown acceptable and unacceptable sentences, and machine edits
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError, CorruptFileError, ModelsMissingError, TactfulError
from tactful.evaluation.base import FloatArray, Scores
from tactful.evaluation.reader import Reader, ReaderConfig, plain
from tactful.evaluation.vectors import StaticVectors
from tactful.memory import give_back
from tactful.models import home
from tactful.segment import split

JUDGES = ("dev", "final")
SETTINGS_FILE = "judge.json"
LETTERS_FILE = "letters.npy"
PARTS = ("style", "meaning", "fluency")
_LETTER_FEATURES = 2**17
# Goes up when the same weights come to other scores: figures of two versions cannot be compared.
_VERSION = 2
# A longer sentence is read in pieces, as a reader sees no more than its first tokens.
_LONGEST_PIECE = 35


@dataclass(frozen=True, slots=True)
class Letters:
    """A linear model over groups of two to five letters: sees disguises a reader stumbles over."""

    weights: NDArray[np.float32]
    intercept: float

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Log-odds that each text is decent."""
        answers: FloatArray = letter_groups(texts) @ self.weights.astype(np.float64)
        return answers + self.intercept


def letter_groups(texts: Sequence[str]) -> Any:
    """The sparse features of `Letters`."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), n_features=_LETTER_FEATURES, alternate_sign=False
    )
    if not texts:
        from scipy.sparse import csr_matrix

        return csr_matrix((0, _LETTER_FEATURES))
    return hashing.transform([plain(text) for text in texts])


def shared_letters(source: str, rewrite: str, size: int = 4) -> tuple[float, float]:
    """Of the groups of four letters in a source, the share that its rewrite has; and the reverse."""
    first, second = (
        Counter(text[i : i + size] for i in range(len(text) - size + 1))
        for text in (plain(source), plain(rewrite))
    )
    common = (first & second).total()
    return common / max(1, first.total()), common / max(1, second.total())


@dataclass(frozen=True, slots=True)
class Scale:
    """Weights of several signals and an intercept: probability = sigmoid(weights . signals + b)."""

    weights: tuple[float, ...]
    intercept: float

    def __call__(self, signals: FloatArray) -> FloatArray:
        logits = signals @ np.array(self.weights) + self.intercept
        answers: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(logits, -700, 700)))
        return answers


class OwnJudge:
    """Scores style, meaning and fluency of rewrites, and signs with the hash of its weights."""

    needs_references = False

    def __init__(
        self,
        name: str,
        readers: Mapping[str, Reader],
        letters: Letters,
        vectors: StaticVectors,
        scales: Mapping[str, Scale],
    ) -> None:
        self.name = name
        self._readers = {part: readers[part] for part in PARTS}
        self._letters = letters
        self._vectors = vectors
        self._scales = scales

    @property
    def signature(self) -> str:
        """The hash of all that decides a score, and the vectors."""
        return f"{self.name}@{self.digest}|{self._vectors.name}"

    @cached_property
    def digest(self) -> str:
        """The first hex digits of the sha256 of readers, letters, scales and settings.

        Hashed once: it is asked for with every chunk that is judged.
        """
        found = hashlib.sha256(self._letters.weights.astype(np.float16).tobytes())
        settings = self._settings()
        del settings["name"]
        found.update(json.dumps([_VERSION, settings], sort_keys=True).encode())
        return found.hexdigest()[:8]

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        """Each rewrite by itself; one without a letter or digit scores 0 in everything."""
        said = np.array([any(c.isalnum() for c in text) for text in rewrites], dtype=bool)
        asked = np.flatnonzero(said)
        old, new = [sources[int(i)] for i in asked], [rewrites[int(i)] for i in asked]
        parts = [np.zeros(len(rewrites)) for _ in PARTS]
        if len(asked):
            parts[0][asked] = self.style(new)
            parts[1][asked] = self.same_meaning(old, new)
            parts[2][asked] = self.fluency(new)
        # Batches of every width leave holes that are reused badly: 100 KB for each row judged.
        give_back()
        return Scores(*parts)

    def style(self, texts: Sequence[str]) -> FloatArray:
        """P(nobody is insulted), of the worst sentence."""
        return self._by_pieces(texts, "style", self.style_signals, np.min)

    def fluency(self, texts: Sequence[str]) -> FloatArray:
        """P(a person could have written it), on average over the sentences."""
        return self._by_pieces(texts, "fluency", self.fluency_signals, np.mean)

    def same_meaning(self, sources: Sequence[str], rewrites: Sequence[str]) -> FloatArray:
        """P(the same point is made); a copy makes it by definition.

        Of long texts the reader sees the beginnings; the overlaps see all of both.
        """
        found = self._scales["meaning"](self.meaning_signals(sources, rewrites))
        same = [plain(s) == plain(r) for s, r in zip(sources, rewrites, strict=True)]
        return np.where(same, 1.0, found)

    def style_signals(self, texts: Sequence[str]) -> FloatArray:
        """What the reader and the letters say."""
        read = self._readers["style"].logits([(text,) for text in texts])
        return np.stack([read, self._letters.logits(texts)], axis=1)

    def fluency_signals(self, texts: Sequence[str]) -> FloatArray:
        """What the reader says."""
        return self._readers["fluency"].logits([(text,) for text in texts])[:, None]

    def meaning_signals(self, sources: Sequence[str], rewrites: Sequence[str]) -> FloatArray:
        """What the reader of both says, three kinds of overlap in words and two in letters."""
        pairs = list(zip(sources, rewrites, strict=True))
        overlap = self._vectors.compare(sources, rewrites)
        columns = [overlap.cosine, overlap.recall, overlap.precision]
        shared = np.array([shared_letters(*pair) for pair in pairs]).reshape(-1, 2)
        return np.column_stack([self._readers["meaning"].logits(pairs), *columns, shared])

    def _by_pieces(
        self,
        texts: Sequence[str],
        part: str,
        signals: Callable[[Sequence[str]], FloatArray],
        together: Callable[[FloatArray], Any],
    ) -> FloatArray:
        """Many rows hold the same sentence; it is read once."""
        pieces = {text: pieces_of(text) for text in texts}
        distinct = list(dict.fromkeys(piece for found in pieces.values() for piece in found))
        said = dict(zip(distinct, self._scales[part](signals(distinct)), strict=True))
        return np.array(
            [together(np.array([said[piece] for piece in pieces[text]])) for text in texts]
        )

    # --- keeping ----------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write weights and settings into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for part, reader in self._readers.items():
            reader.save(folder / f"{part}.safetensors")
        np.save(folder / LETTERS_FILE, self._letters.weights.astype(np.float16))
        settings = self._settings() | {"digest": self.digest}
        text = json.dumps(settings, indent=1) + "\n"
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")

    def _settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "readers": {
                part: reader.config.model_dump() | {"digest": reader.digest}
                for part, reader in self._readers.items()
            },
            "letters": {"intercept": self._letters.intercept},
            "scales": {
                part: {"weights": list(scale.weights), "intercept": scale.intercept}
                for part, scale in self._scales.items()
            },
        }

    @classmethod
    def load(cls, folder: Path) -> OwnJudge:
        """Read a saved judge; weights that are not those it was saved with are refused."""
        if not (folder / SETTINGS_FILE).is_file():
            raise ModelsMissingError(
                f"no judge here: {folder / SETTINGS_FILE} does not exist. One is made by: "
                "tactful judge fit recipes/judge-dev.yaml -o FOLDER"
            )
        try:
            settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            readers = {
                part: Reader.load(folder / f"{part}.safetensors", _config(settings, part))
                for part in PARTS
            }
            weights = np.load(folder / LETTERS_FILE, allow_pickle=False).astype(np.float32)
            judge = cls(
                settings["name"],
                readers,
                Letters(weights, settings["letters"]["intercept"]),
                StaticVectors.load(),
                {
                    part: Scale(tuple(scale["weights"]), scale["intercept"])
                    for part, scale in settings["scales"].items()
                },
            )
            if judge.digest != settings["digest"]:
                raise ValueError("its files are not those it was saved with")
        except TactfulError:
            raise
        except Exception as error:
            # Half a dozen libraries read these files, each with its own exceptions.
            raise CorruptFileError(
                f"{folder} does not hold a sound judge: {type(error).__name__}: {error}"
            ) from error
        return judge


def _config(settings: Mapping[str, Any], part: str) -> ReaderConfig:
    return ReaderConfig.model_validate(
        {name: value for name, value in settings["readers"][part].items() if name != "digest"}
    )


def pieces_of(text: str) -> list[str]:
    """The sentences of a text that say something, long ones in pieces; at least one."""
    found = []
    for sentence in split(text):
        words = sentence.split()
        if any(char.isalnum() for char in sentence):
            found += [
                " ".join(words[start : start + _LONGEST_PIECE])
                for start in range(0, len(words), _LONGEST_PIECE)
            ]
    return found or [text]


FINAL_RUNS = "final_runs.jsonl"


def load_judge(name: str, *, purpose: str = "") -> OwnJudge:
    """Load `dev` or `final` as they ship, or a folder that `tactful judge fit` wrote.

    Whoever asks the final judge again and again has tuned to it. So each time it is loaded, a line
    with the date and the purpose goes into `final_runs.jsonl` in the folder of what was fetched.
    """
    judge = _found(name)
    if judge.name == "final":
        entry = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "judge": judge.signature,
            "purpose": purpose or "not told",
        }
        with (home() / FINAL_RUNS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    return judge


def _found(name: str) -> OwnJudge:
    if name in JUDGES:
        with resources.as_file(resources.files("tactful") / "assets" / "judges" / name) as folder:
            return OwnJudge.load(folder)
    if Path(name).is_dir():
        return OwnJudge.load(Path(name))
    raise ConfigError(f"there is no judge {name!r}: it is neither dev nor final nor a folder here")
