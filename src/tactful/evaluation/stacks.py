"""The published metric stacks by name, from models that are on this machine.

    s-nlp      ParaDetox (ACL 2022): style and fluency as verdicts, meaning as a cosine
    clef2024   TextDetox 2024: P(neutral), LaBSE, chrF against the references
    clef2025   TextDetox 2025: all three against source and references; XCOMET from a file

What they answer is comparable with published figures only when the parts are the models the
stack names; the signature says which were loaded. Trailing line breaks are stripped, so that a
text scores alike from any kind of file. A negative cosine counts as 0, as scores lie in [0, 1].

XCOMET is not run here: it needs a library of its own and a GPU. `write_xcomet_requests` writes
what it must score and `read_xcomet_scores` reads its answers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tactful.errors import ConfigError, CorruptFileError, DataError, ModelsMissingError
from tactful.evaluation.base import FloatArray, Judge, Scores
from tactful.models import ModelFiles, file_sha256, load_whole, quiet_transformers, resolve

_MAX_TOKENS = 512


# --- the formulas ---------------------------------------------------------------------------


def verdicts(probabilities: FloatArray) -> FloatArray:
    """1 where the wanted class is the likelier of two (1 - argmax), else 0."""
    return (probabilities >= 0.5).astype(np.float64)


def untokenise(text: str) -> str:
    """Undo the spaces that tokenised corpora have before punctuation and inside brackets."""
    return re.sub(r"(?<=\() ", "", re.sub(r" (?=[.,!?)])", "", text))


def cosine(left: FloatArray, right: FloatArray) -> FloatArray:
    """Cosine of unit vectors row by row, in [0, 1]; what points away from each other scores 0."""
    product: FloatArray = (left * right).sum(axis=1)
    return product.clip(0.0, 1.0)


def clef2025_style(source: FloatArray, output: FloatArray, reference: FloatArray) -> FloatArray:
    """1 where the output is as neutral as its reference, else what it has of neutrality.

    All three are P(neutral). The rest is the mean of P(neutral | output) and of whether the
    output is no more toxic than the source: so even a copy gets at least one half.
    """
    against_source = (output + (source <= output)) / 2
    return np.maximum((reference <= output).astype(np.float64), against_source)


def clef2025_meaning(to_source: FloatArray, to_reference: FloatArray) -> FloatArray:
    """0.4 of the similarity to the source and 0.6 of that to the reference."""
    return 0.4 * to_source + 0.6 * to_reference


# --- the models -----------------------------------------------------------------------------


class Probability(Protocol):
    """Texts in, one probability each out."""

    @property
    def name(self) -> str: ...

    def __call__(self, texts: Sequence[str]) -> FloatArray: ...


class Embedder(Protocol):
    """Texts in, one vector of length 1 each out; zeros where a text has nothing to embed."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> FloatArray: ...


class _Encoder:
    """A transformer with its tokenizer, run over texts in batches of alike length."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int, max_tokens: int) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_tokens = max_tokens

    def __call__(self, texts: Sequence[str], read: Callable[[Any, Any], Any]) -> FloatArray:
        """`read(output, mask)` for every text, in order; a text that comes twice is run once."""
        import torch

        distinct = list(dict.fromkeys(texts))
        # Users' text is data: "</s>" in it must not act as a separator.
        tokens: list[list[int]] = self.tokenizer(
            distinct, truncation=True, max_length=self.max_tokens, split_special_tokens=True
        )["input_ids"]
        # The longest first, so that a batch that does not fit into memory fails at once.
        order = sorted(range(len(distinct)), key=lambda i: -len(tokens[i]))
        rows: dict[str, FloatArray] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            padded = self.tokenizer.pad(
                {"input_ids": [tokens[i] for i in batch]}, return_tensors="pt"
            ).to(self.model.device)
            with torch.inference_mode():
                answers = read(self.model(**padded), padded["attention_mask"])
            for i, answer in zip(batch, answers.double().cpu().numpy(), strict=True):
                rows[distinct[i]] = answer
        return np.array([rows[text] for text in texts], dtype=np.float64)


class NeutralClassifier:
    """P(class 0) by a two-class sequence classifier; the stacks' classifiers put the good first."""

    def __init__(self, model: Any, tokenizer: Any, name: str, *, batch_size: int = 32) -> None:
        if model.config.num_labels != 2:
            raise ConfigError(f"{name} has {model.config.num_labels} classes; it needs two.")
        if str(model.config.id2label[0]).lower() in _BAD_LABELS:
            raise ConfigError(
                f"{name} calls its class 0 {model.config.id2label[0]!r}, but class 0 must be the "
                "good one: neutral, or acceptable. Use the classifier that the stack names."
            )
        self.name = name
        self._encoder = _Encoder(
            model, tokenizer, batch_size=batch_size, max_tokens=_token_limit(model)
        )

    @classmethod
    def load(
        cls, path: str | Path, *, batch_size: int = 32, device: str | None = None
    ) -> NeutralClassifier:
        """Load a classifier from a folder, or a hub id that is on this machine."""
        files = resolve(path)
        model, tokenizer = _load_model(files, "AutoModelForSequenceClassification", device)
        return cls(model, tokenizer, _full_name(files), batch_size=batch_size)

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """One probability for each text, in order."""
        if not texts:
            return np.zeros(0)
        return self._encoder(texts, lambda output, _mask: output.logits.double().softmax(-1)[:, 0])


_BAD_LABELS = frozenset(["toxic", "unacceptable", "offensive", "hate", "abusive"])


@dataclass(frozen=True, slots=True)
class Pooling:
    """How token states become one vector: first token or mean, then perhaps a dense layer.

    `dense` is (weight, bias or None, activation), as sentence-transformers stores it.
    """

    mode: str = "mean"
    dense: tuple[Any, Any, str] | None = None
    max_tokens: int = _MAX_TOKENS
    lower_case: bool = False

    @property
    def name(self) -> str:
        """What the signature says: `cls+dense` for LaBSE."""
        return self.mode + ("+dense" if self.dense else "")


class SentenceEncoder:
    """Unit sentence vectors by a transformer, pooled as its folder says; the mean where it is silent.

    LaBSE takes the first token's state through a dense layer with tanh.
    """

    def __init__(
        self, model: Any, tokenizer: Any, name: str, pooling: Pooling, *, batch_size: int = 32
    ) -> None:
        self.pooling = pooling
        self.name = f"{name}:{pooling.name}"
        limit = min(pooling.max_tokens, _token_limit(model))
        self._encoder = _Encoder(model, tokenizer, batch_size=batch_size, max_tokens=limit)

    @classmethod
    def load(
        cls, path: str | Path, *, batch_size: int = 32, device: str | None = None
    ) -> SentenceEncoder:
        """Load an encoder from a folder, or a hub id that is on this machine."""
        files = resolve(path)
        pooling = read_pooling(files.folder)
        model, tokenizer = _load_model(files, "AutoModel", device)
        return cls(model, tokenizer, _full_name(files), pooling, batch_size=batch_size)

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of length 1, shape (len(texts), dimension), in order."""
        if not texts:
            return np.zeros((0, self._encoder.model.config.hidden_size))
        if self.pooling.lower_case:
            texts = [text.lower() for text in texts]
        return self._encoder(texts, self._pool)

    def _pool(self, output: Any, mask: Any) -> Any:
        import torch

        states = output.last_hidden_state
        if self.pooling.mode == "cls":
            pooled = states[:, 0]
        else:
            counted = mask.unsqueeze(-1)
            pooled = (states * counted).sum(dim=1) / counted.sum(dim=1)
        if self.pooling.dense:
            weight, bias, activation = self.pooling.dense
            pooled = pooled @ weight.to(pooled.device).T
            pooled = pooled if bias is None else pooled + bias.to(pooled.device)
            pooled = pooled.tanh() if activation == "Tanh" else pooled
        return torch.nn.functional.normalize(pooled, dim=1)


def read_pooling(folder: Path) -> Pooling:
    """What a sentence-transformers folder says about pooling: modules.json and what it points to."""
    if not (folder / "modules.json").is_file():
        return Pooling()
    mode, dense = "mean", None
    for module in _read_json(folder / "modules.json"):
        kind, place = str(module["type"]).rpartition(".")[2], folder / module["path"]
        if kind == "Pooling":
            mode = _pooling_mode(place / "config.json")
        elif kind == "Dense":
            dense = _read_dense(place)
        elif kind not in ("Transformer", "Normalize"):
            raise ConfigError(
                f"{folder / 'modules.json'} asks for {kind}, which is not known here."
            )
    settings = folder / "sentence_bert_config.json"
    said = _read_json(settings) if settings.is_file() else {}
    return Pooling(
        mode,
        dense,
        max_tokens=min(_MAX_TOKENS, said.get("max_seq_length") or _MAX_TOKENS),
        lower_case=bool(said.get("do_lower_case")),
    )


def _pooling_mode(path: Path) -> str:
    settings = _read_json(path)
    flags = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    chosen = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value]
    if len(chosen) != 1 or chosen[0] not in flags:
        raise ConfigError(
            f"{path} asks for {', '.join(chosen) or 'no pooling'}; known is one of "
            f"{', '.join(flags)}."
        )
    return flags[chosen[0]]


def _read_dense(place: Path) -> tuple[Any, Any, str]:
    from safetensors.torch import load_file

    weights = place / "model.safetensors"
    if not weights.is_file():
        raise ModelsMissingError(
            f"{weights} is missing. Only safetensors weights are read, as pickles (*.bin) can run "
            "code: save the encoder again with a newer sentence-transformers."
        )
    settings = _read_json(place / "config.json")
    activation = str(settings.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ("Tanh", "Identity"):
        raise ConfigError(f"{place / 'config.json'} asks for {activation}; known: Tanh, Identity.")
    tensors = load_file(weights)
    return tensors["linear.weight"], tensors.get("linear.bias"), activation


class SubwordAverage:
    """Unit sentence vectors as the mean of sub-word vectors (Wieting et al. 2019), no context.

    The folder holds `tokenizer.json`, which cuts into sub-words and knows their ids, and
    `embeddings.safetensors` with one tensor `embeddings` of shape (ids, dimension): row i belongs
    to id i. Texts are split as the Penn Treebank does and lower-cased first, as the vectors of
    the published stack were trained.
    """

    def __init__(self, vectors: FloatArray, tokenizer: Any, name: str) -> None:
        self.vectors = vectors
        self.tokenizer = tokenizer
        self.name = f"{name}:subwords"

    @classmethod
    def load(cls, folder: Path) -> SubwordAverage:
        """Load a folder with `embeddings.safetensors` and `tokenizer.json`."""
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        tables = load_file(folder / "embeddings.safetensors")
        if "embeddings" not in tables or tables["embeddings"].ndim != 2:
            raise CorruptFileError(
                f"{folder / 'embeddings.safetensors'} must hold one tensor `embeddings` of shape "
                f"(ids, dimension); found {', '.join(tables) or 'nothing'}."
            )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        vectors = tables["embeddings"].astype(np.float64)
        if tokenizer.get_vocab_size() > len(vectors):
            raise CorruptFileError(
                f"{folder} has {len(vectors)} vectors for {tokenizer.get_vocab_size()} ids."
            )
        digest = _digest([folder / "embeddings.safetensors", folder / "tokenizer.json"], folder)
        return cls(vectors, tokenizer, f"{folder.absolute().name}@{digest}")

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of length 1, shape (len(texts), dimension), in order."""
        means = np.zeros((len(texts), self.vectors.shape[1]))
        for i, text in enumerate(texts):
            ids = self.tokenizer.encode(treebank(text.lower()), add_special_tokens=False).ids
            if ids:
                means[i] = self.vectors[ids].mean(axis=0)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return means / np.where(lengths > 0, lengths, 1.0)


# The rules of the Penn Treebank's tokenizer, in their order.
_TREEBANK = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"^\"", "``"),
        (r"(``)", r" \1 "),
        (r"([ (\[{<])(?:\"|'{2})", r"\1 `` "),
        (r"([:,])(\D)", r" \1 \2"),
        (r"([:,])$", r" \1 "),
        (r"\.\.\.", " ... "),
        (r"([;@#$%&])", r" \1 "),
        (r"([^.])(\.)([\])}>\"']*)\s*$", r"\1 \2\3 "),
        (r"([?!])", r" \1 "),
        (r"([^'])' ", r"\1 ' "),
        (r"([\]\[(){}<>])", r" \1 "),
        (r"--", " -- "),
        (r"^(.*)$", r" \1 "),
        (r"''|\"", " '' "),
        (r"([^' ])('[smdSMD]|') ", r"\1 \2 "),
        (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
        (r"(?i)\b(can)(not)\b", r" \1 \2 "),
        (r"(?i)\b(d)('ye)\b", r" \1 \2 "),
        (r"(?i)\b(gim|lem)(me)\b", r" \1 \2 "),
        (r"(?i)\b(gon)(na)\b", r" \1 \2 "),
        (r"(?i)\b(got)(ta)\b", r" \1 \2 "),
        (r"(?i)\b(more)('n)\b", r" \1 \2 "),
        (r"(?i)\b(wan)(na)\s", r" \1 \2 "),
        (r"(?i) ('t)(is|was)\b", r" \1 \2 "),
    ]
]


def treebank(text: str) -> str:
    """The text with a space between its tokens as the Penn Treebank counts them."""
    for pattern, replacement in _TREEBANK:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


# --- the stacks -----------------------------------------------------------------------------


class SNLPStack:
    """ParaDetox's STA, SIM and FL: a verdict, a cosine with the source, a verdict.

    `soft` takes the classifiers' probabilities instead of their verdicts; it is another metric,
    and its signature says so.
    """

    name = "s-nlp"
    needs_references = False

    def __init__(
        self, style: Probability, meaning: Embedder, fluency: Probability, *, soft: bool = False
    ) -> None:
        self.style, self.meaning, self.fluency, self.soft = style, meaning, fluency, soft
        self.signature = _signature(
            f"{self.name}-{'soft' if soft else 'hard'}",
            style=style.name,
            meaning=meaning.name,
            fluency=fluency.name,
        )

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        """Score rewrites against their sources; references are not looked at."""
        batch = _Batch.of(sources, rewrites)
        style = self.style(batch.rewrites)
        fluency = self.fluency([untokenise(rewrite) for rewrite in batch.rewrites])
        if not self.soft:
            style, fluency = verdicts(style), verdicts(fluency)
        return batch.scores(
            style, _similarity(self.meaning, batch.sources, batch.rewrites), fluency
        )


class CLEF2024Stack:
    """TextDetox 2024: P(neutral), LaBSE with the source, and chrF in the place of fluency.

    chrF is sacrebleu's for sentences, with its defaults, against the reference it is best with.
    """

    name = "clef2024"
    needs_references = True

    def __init__(self, style: Probability, meaning: Embedder) -> None:
        import sacrebleu

        self.style, self.meaning = style, meaning
        self._chrf = sacrebleu.CHRF()
        self.signature = _signature(
            self.name,
            style=style.name,
            meaning=meaning.name,
            fluency=f"chrf@sacrebleu-{sacrebleu.__version__}",
        )

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        """Score rewrites against sources and references; every row needs a reference."""
        batch = _Batch.of(sources, rewrites, _required(self.name, references))
        chrf = [
            self._chrf.sentence_score(rewrite, people).score / 100
            for rewrite, people in zip(batch.rewrites, batch.references, strict=True)
        ]
        return batch.scores(
            self.style(batch.rewrites),
            _similarity(self.meaning, batch.sources, batch.rewrites),
            np.array(chrf, dtype=np.float64).clip(0.0, 1.0),
        )


Triple = tuple[str, str, str]
"""Source, rewrite, reference: what XCOMET scores."""


class CLEF2025Stack:
    """TextDetox 2025: style and meaning against source and reference, fluency by XCOMET-lite.

    With several references each is tried, and the one with the best product stands (the
    published test has one).
    """

    name = "clef2025"
    needs_references = True

    def __init__(
        self,
        style: Probability,
        meaning: Embedder,
        xcomet: Mapping[Triple, float] | None = None,
        *,
        xcomet_name: str = "none",
    ) -> None:
        self.style, self.meaning, self.xcomet = style, meaning, xcomet
        self.signature = _signature(
            self.name, style=style.name, meaning=meaning.name, fluency=f"xcomet@{xcomet_name}"
        )

    def score(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> Scores:
        """Score rewrites against sources and references; every row needs a reference."""
        batch = _Batch.of(sources, rewrites, _required(self.name, references))
        rows = [i for i, people in enumerate(batch.references) for _ in people]
        triples = batch.triples()
        fluency = self._fluency(triples)
        o, g, h = ([triple[part] for triple in triples] for part in range(3))
        style = clef2025_style(self.style(o), self.style(g), self.style(h))
        meaning = clef2025_meaning(_similarity(self.meaning, o, g), _similarity(self.meaning, h, g))
        best = _best_of_each(style * meaning * fluency, rows, len(batch.rewrites))
        return batch.scores(style[best], meaning[best], fluency[best])

    def _fluency(self, triples: Sequence[Triple]) -> FloatArray:
        if self.xcomet is None:
            raise ModelsMissingError(_XCOMET_STEPS)
        missing = sum(triple not in self.xcomet for triple in triples)
        if missing:
            raise DataError(
                f"The XCOMET scores lack {missing} of {len(triples)} texts to score.\n"
                + _XCOMET_STEPS
            )
        return np.array([self.xcomet[triple] for triple in triples], dtype=np.float64)


def write_xcomet_requests(
    path: Path,
    sources: Sequence[str],
    rewrites: Sequence[str],
    references: Sequence[Sequence[str]],
) -> int:
    """Write what XCOMET must score, one JSON object {src, mt, ref} a line; returns how many.

    Empty rewrites are left out: they score 0 without it. A triple that comes twice is written
    once.
    """
    triples = list(dict.fromkeys(_Batch.of(sources, rewrites, references).triples()))
    lines = (
        json.dumps(dict(zip(("src", "mt", "ref"), triple, strict=True)), ensure_ascii=False)
        for triple in triples
    )
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(triples)


def read_xcomet_scores(path: Path) -> dict[Triple, float]:
    """Read {src, mt, ref, score} lines; the order is free, and scores are clipped to [0, 1]."""
    scores: dict[Triple, float] = {}
    faults = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            triple = (_clean(row["src"]), _clean(row["mt"]), _clean(row["ref"]))
            score = float(row["score"])
        except (ValueError, KeyError, TypeError, AttributeError):
            faults.append(f"line {number} is no JSON object with src, mt, ref and score")
            continue
        if math.isfinite(score):
            scores[triple] = min(max(score, 0.0), 1.0)
        else:
            faults.append(f"line {number} has the score {score}")
    if faults:
        shown = "\n  ".join(faults[:10])
        raise DataError(f"{path} has {len(faults)} lines that cannot be used:\n  {shown}")
    return scores


_XCOMET_STEPS = """The clef2025 stack needs XCOMET-lite scores, which are made elsewhere:
  1. write_xcomet_requests("requests.jsonl", sources, rewrites, references)
  2. On a machine with a GPU, score every line {src, mt, ref} with myyycroft/XCOMET-lite, for
     example by the organisers' code (pan-code, clef25/text-detoxification/evaluation):
         CometFluency().get_scores(input_data=rows, batch_size=512)
  3. Write the rows with a "score" each to scores.jsonl and give it as folders["xcomet"]."""


# --- loading --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """One thing a stack is made of, in words for the error that asks for it."""

    key: str
    what: str
    optional: bool = False


_MODEL = "a folder with config.json, *.safetensors and its tokenizer, or <hub id>@<commit>"
_LABSE = f"sentence-transformers/LaBSE: {_MODEL}; modules.json, 1_Pooling and 2_Dense belong to it"

STACKS: dict[str, tuple[_Part, ...]] = {
    "s-nlp": (
        _Part("style", f"s-nlp/roberta_toxicity_classifier: {_MODEL}"),
        _Part(
            "meaning",
            f"{_LABSE}. Or Wieting's vectors: a folder with embeddings.safetensors (one tensor "
            "`embeddings`, a row for each id) and tokenizer.json",
        ),
        _Part("fluency", f"cointegrated/roberta-large-cola-krishna2020: {_MODEL}"),
    ),
    "clef2024": (
        _Part("style", f"textdetox/xlmr-large-toxicity-classifier: {_MODEL}"),
        _Part("meaning", _LABSE),
    ),
    "clef2025": (
        _Part("style", f"textdetox/xlmr-large-toxicity-classifier-v2: {_MODEL}"),
        _Part("meaning", _LABSE),
        _Part("xcomet", "a JSONL file with src, mt, ref and score in every line", optional=True),
    ),
}
"""What each stack is made of: the keys that `load_stack` takes, and what belongs there."""


def load_stack(
    name: str,
    folders: Mapping[str, str | Path],
    *,
    soft: bool = False,
    batch_size: int = 32,
    device: str | None = None,
) -> Judge:
    """Load a stack by name; nothing is downloaded, and all that is missing is told at once.

    Args:
        name: A key of `STACKS`.
        folders: For each part of the stack a folder, or a hub id with its commit that was
            fetched before.
        soft: Probabilities instead of verdicts; for `s-nlp` only.
        batch_size: Rows in one pass; it changes no score.
        device: A GPU if there is one, else the CPU, unless told.
    """
    _check_request(name, folders, soft)
    _check_parts(name, folders)
    options: dict[str, Any] = {"batch_size": batch_size, "device": device}
    style = NeutralClassifier.load(folders["style"], **options)
    meaning = _load_meaning(folders["meaning"], options)
    if name == "s-nlp":
        fluency = NeutralClassifier.load(folders["fluency"], **options)
        return SNLPStack(style, meaning, fluency, soft=soft)
    if name == "clef2024":
        return CLEF2024Stack(style, meaning)
    if "xcomet" not in folders:
        return CLEF2025Stack(style, meaning)
    scores = Path(folders["xcomet"])
    xcomet_name = f"{scores.stem}-{file_sha256(scores)[:8]}"
    return CLEF2025Stack(style, meaning, read_xcomet_scores(scores), xcomet_name=xcomet_name)


def _check_request(name: str, folders: Mapping[str, str | Path], soft: bool) -> None:
    if name not in STACKS:
        close = difflib.get_close_matches(name, STACKS, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise ConfigError(f"There is no stack {name!r}.{hint}  (known: {', '.join(STACKS)})")
    known = [part.key for part in STACKS[name]]
    if unknown := [key for key in folders if key not in known]:
        raise ConfigError(
            f"The {name} stack has no part {', '.join(unknown)}; its parts: {', '.join(known)}"
        )
    if soft and name != "s-nlp":
        raise ConfigError(f"The {name} stack has no soft form; only s-nlp has.")


def _check_parts(name: str, folders: Mapping[str, str | Path]) -> None:
    faults = []
    for part in STACKS[name]:
        if part.key not in folders:
            problem = "" if part.optional else "not given"
        else:
            problem = _problem(name, part.key, folders[part.key])
        if problem:
            faults.append(f"{part.key} ({problem})\n      needs {part.what}")
    if faults:
        raise ModelsMissingError(
            f"The {name} stack lacks {len(faults)} of its parts. Nothing is downloaded here; "
            "`tactful fetch <hub id>@<commit>` gets a model.\n  " + "\n  ".join(faults)
        )


def _problem(stack: str, key: str, place: str | Path) -> str:
    """What is wrong with a part's place, in words; "" when it can be loaded."""
    folder = Path(place)
    if key == "xcomet":
        return "" if folder.is_file() else f"there is no file {place}"
    if key == "meaning" and (folder / "embeddings.safetensors").is_file():
        if stack != "s-nlp":
            return f"{place} holds sub-word vectors, which only s-nlp uses"
        has_tokenizer = (folder / "tokenizer.json").is_file()
        return "" if has_tokenizer else f"{place} holds no tokenizer.json"
    try:
        resolve(place)
    except (ModelsMissingError, ConfigError) as error:
        return str(error)
    return ""


def _load_meaning(place: str | Path, options: dict[str, Any]) -> Embedder:
    if (Path(place) / "embeddings.safetensors").is_file():
        return SubwordAverage.load(Path(place))
    return SentenceEncoder.load(place, **options)


def _load_model(files: ModelFiles, kind: str, device: str | None) -> tuple[Any, Any]:
    """The model in float32, whatever it was saved in, and its tokenizer."""
    import torch
    import transformers

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            files.folder, local_files_only=True, trust_remote_code=False
        )
        model = load_whole(
            getattr(transformers, kind), files.folder, unused="pooler", dtype=torch.float32
        )
    return model.to(device), tokenizer


def _token_limit(model: Any) -> int:
    """How many tokens a model reads, 512 at most; RoBERTa counts positions from its padding on."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", _MAX_TOKENS)
    if "roberta" in config.model_type:
        positions -= config.pad_token_id + 1
    return int(min(_MAX_TOKENS, positions))


def _full_name(files: ModelFiles) -> str:
    """Name, hash of the weights, and hash of the settings, tokenizer and further layers."""
    weights = set(files.folder.glob("*.safetensors"))
    kinds = ("*.json", "*.txt", "*.model", "*.safetensors")
    others = {path for kind in kinds for path in files.folder.rglob(kind)} - weights
    return f"{files.name}+{_digest(others, files.folder)}"


def _digest(paths: set[Path] | list[Path], folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(folder)}:{file_sha256(path)}\n".encode())
    return digest.hexdigest()[:8]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}") from error


# --- rows -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows that have a rewrite, cleaned, and where they stood among all `count`."""

    sources: list[str]
    rewrites: list[str]
    references: list[list[str]]
    rows: list[int]
    count: int

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        rewrites: Sequence[str],
        references: Sequence[Sequence[str]] | None = None,
    ) -> _Batch:
        if len(sources) != len(rewrites):
            raise DataError(f"{len(sources)} sources but {len(rewrites)} rewrites.")
        if references is not None and len(references) != len(sources):
            raise DataError(f"{len(sources)} sources but references for {len(references)}.")
        filled = [i for i, rewrite in enumerate(rewrites) if rewrite.strip()]
        people = [
            [_clean(text) for text in references[i] if text.strip()] if references else []
            for i in filled
        ]
        if references is not None and (
            bare := [i for i, p in zip(filled, people, strict=True) if not p]
        ):
            raise DataError(
                f"{len(bare)} rows have no reference, the first is row {bare[0]} (counted from 0)."
            )
        return cls(
            [_clean(sources[i]) for i in filled],
            [_clean(rewrites[i]) for i in filled],
            people,
            filled,
            len(rewrites),
        )

    def triples(self) -> list[Triple]:
        """Every rewrite with its source and each of its references."""
        return [
            (source, rewrite, reference)
            for source, rewrite, people in zip(
                self.sources, self.rewrites, self.references, strict=True
            )
            for reference in people
        ]

    def scores(self, style: FloatArray, meaning: FloatArray, fluency: FloatArray) -> Scores:
        """The scores of these rows among zeros for the empty ones."""
        spread = [np.zeros(self.count) for _ in range(3)]
        for whole, part in zip(spread, (style, meaning, fluency), strict=True):
            whole[self.rows] = part
        return Scores(*spread)


def _required(name: str, references: Sequence[Sequence[str]] | None) -> Sequence[Sequence[str]]:
    if references is None:
        raise DataError(f"The {name} stack compares with references; give some for every source.")
    return references


def _clean(text: str) -> str:
    return text.rstrip("\r\n")


def _similarity(embedder: Embedder, left: Sequence[str], right: Sequence[str]) -> FloatArray:
    distinct = list(dict.fromkeys([*left, *right]))
    place = {text: i for i, text in enumerate(distinct)}
    vectors = embedder.embed(distinct)
    return cosine(vectors[[place[t] for t in left]], vectors[[place[t] for t in right]])


def _best_of_each(values: FloatArray, rows: Sequence[int], count: int) -> list[int]:
    """For each of `count` rows the place of its highest value; the first where they are equal."""
    best: dict[int, int] = {}
    for place, row in enumerate(rows):
        if row not in best or values[place] > values[best[row]]:
            best[row] = place
    return [best[row] for row in range(count)]


def _signature(name: str, **parts: str) -> str:
    return "|".join([f"judge:{name}", *(f"{key}:{value}" for key, value in parts.items())])
