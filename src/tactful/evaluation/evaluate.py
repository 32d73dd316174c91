"""Sources, several systems' rewrites and a judge in; one report with intervals out.

Every row counts: a rewrite that is missing or empty scores 0 and is counted, never left out.
Judging is the slow part, so scores are kept by the hash of the texts: a text that comes twice is
judged once, and with a file behind the cache an evaluation that broke off goes on where it was.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from tactful.errors import DataError
from tactful.evaluation.base import ComparesMeaning, FloatArray, Judge, Scores
from tactful.evaluation.checks import Checks, ToxicWords, check, summarise
from tactful.evaluation.metrics import (
    Difference,
    HardThresholds,
    Interval,
    bootstrap_interval,
    harden,
    paired_bootstrap,
    signature,
)
from tactful.evaluation.overlap import Overlap, overlap

Metric = Literal["style", "meaning", "fluency", "joint"]
METRICS: tuple[Metric, ...] = get_args(Metric)
LABELS: dict[Metric, str] = {"style": "STA", "meaning": "SIM", "fluency": "FL", "joint": "J"}

Triple = tuple[float, float, float]
"""Style, meaning and fluency of one rewrite."""
Progress = Callable[[int, int], None]
"""Is told after each chunk how many rewrites of how many are done."""

_CHUNK = 256
_MOST_FAULTS = 20
_NOTHING: Triple = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class SystemResult:
    """How one system did: intervals of the means, what the checks found, and every sentence."""

    name: str
    soft: dict[Metric, Interval]
    hard: dict[Metric, Interval]
    empty: int
    checks: dict[str, dict[str, Any]]
    overlap: Overlap | None
    reference_meaning: Interval | None
    """Meaning compared with people's rewrites instead of the source, the closest of each row."""
    rewrites: tuple[str, ...] = field(repr=False)
    scores: Scores = field(repr=False)
    sentence_checks: tuple[Checks, ...] = field(repr=False)

    def sentence_scores(self, metric: Metric) -> FloatArray:
        """One judgement of each sentence, in the order of the sources."""
        scores: FloatArray = getattr(self.scores, metric)
        return scores

    def to_dict(self) -> dict[str, Any]:
        """Everything but the sentences, as JSON can hold it."""
        found = self.overlap
        return {
            "name": self.name,
            "sentences": len(self.rewrites),
            "empty": self.empty,
            "soft": {metric: asdict(interval) for metric, interval in self.soft.items()},
            "hard": {metric: asdict(interval) for metric, interval in self.hard.items()},
            "checks": self.checks,
            "reference_meaning": self.reference_meaning and asdict(self.reference_meaning),
            "overlap": found
            and {
                "bleu": found.bleu,
                "bleu_signature": found.bleu_signature,
                "chrf": found.chrf,
                "chrf_signature": found.chrf_signature,
            },
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A system against the baseline in one metric, sentence by sentence."""

    system: str
    metric: Metric
    hard: bool
    difference: Difference

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it."""
        named = {"system": self.system, "metric": self.metric, "hard": self.hard}
        return named | asdict(self.difference)


@dataclass(frozen=True, slots=True)
class Report:
    """What `evaluate` found. `signature` says what its figures depend on."""

    signature: str
    judge: str
    boot: int
    seed: int
    thresholds: HardThresholds
    baseline: str | None
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    sources: tuple[str, ...] = field(repr=False)
    references: tuple[tuple[str, ...], ...] | None = field(repr=False)

    def system(self, name: str) -> SystemResult:
        """The result of one system by its name."""
        return next(system for system in self.systems if system.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, as JSON can hold it: safe to keep where texts must not go."""
        return {
            "signature": self.signature,
            "judge": self.judge,
            "sentences": len(self.sources),
            "boot": self.boot,
            "seed": self.seed,
            "thresholds": asdict(self.thresholds),
            "baseline": self.baseline,
            "systems": [system.to_dict() for system in self.systems],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table behind the means: one row for each sentence and system, texts included."""
        for index, source in enumerate(self.sources):
            for system in self.systems:
                row = {"row": index + 1, "system": system.name, "source": source}
                row["rewrite"] = system.rewrites[index]
                row |= {m: float(system.sentence_scores(m)[index]) for m in METRICS}
                if system.overlap is not None:
                    row["bleu"] = float(system.overlap.sentence_bleu[index])
                    row["chrf"] = float(system.overlap.sentence_chrf[index])
                yield row | asdict(system.sentence_checks[index])


def evaluate(
    systems: Mapping[str, Sequence[str | None]],
    sources: Sequence[str],
    judge: Judge | str = "dev",
    *,
    references: Sequence[Sequence[str]] | None = None,
    baseline: str | None = None,
    boot: int = 1000,
    seed: int = 0,
    thresholds: HardThresholds | None = None,
    toxic: ToxicWords | None = None,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judges the rewrites of one or more systems and compares them with a baseline.

    Args:
        systems: rewrites by system name, aligned with `sources`; None and "" score 0.
        judge: a judge, or the name of one of our own: dev or final.
        references: people's rewrites, at least one for each source.
        baseline: the system that all others are compared with.
        boot: resamples behind each interval.
        toxic: which words count as toxic when they are new in a rewrite; without it that is not
            measured.
        cache: where scores are kept; without it only for the time of this call.
        progress: is told after each chunk how many rewrites of how many are done.
    """
    if isinstance(judge, str):
        from tactful.evaluation.judges import load_judge

        judge = load_judge(judge)
    _require_sound(systems, sources, references, baseline)
    if judge.needs_references and references is None:
        raise DataError(f"the judge {judge.name} compares with references; give it some")
    thresholds = thresholds or HardThresholds()
    cache = ScoreCache() if cache is None else cache
    done, total = 0, len(systems) * len(sources)
    results = []
    for name, given in systems.items():
        rewrites = tuple(rewrite or "" for rewrite in given)
        judged: list[Triple] = []
        for chunk in _chunks(len(sources)):
            some = None if references is None else references[chunk]
            judged += _judged(sources[chunk], rewrites[chunk], some, judge, cache)
            if progress is not None:
                progress(done + len(judged), total)
        done += len(judged)
        scores = _as_scores(judged)
        results.append(
            _result(
                name, sources, rewrites, scores, references, judge, thresholds, toxic, boot, seed
            )
        )
    n = len(sources)
    return Report(
        signature=signature(judge.signature, n=n, boot=boot, seed=seed, thresholds=thresholds),
        judge=judge.name,
        boot=boot,
        seed=seed,
        thresholds=thresholds,
        baseline=baseline,
        systems=tuple(results),
        comparisons=tuple(_comparisons(results, baseline, thresholds, boot, seed)),
        sources=tuple(sources),
        references=None if references is None else tuple(tuple(refs) for refs in references),
    )


def _result(
    name: str,
    sources: Sequence[str],
    rewrites: tuple[str, ...],
    scores: Scores,
    references: Sequence[Sequence[str]] | None,
    judge: Judge,
    thresholds: HardThresholds,
    toxic: ToxicWords | None,
    boot: int,
    seed: int,
) -> SystemResult:
    checks = tuple(check(s, r, toxic) for s, r in zip(sources, rewrites, strict=True))
    return SystemResult(
        name=name,
        soft=_intervals(scores, boot, seed),
        hard=_intervals(harden(scores, thresholds), boot, seed),
        empty=sum(found.empty for found in checks),
        checks=summarise(checks),
        overlap=None if references is None else overlap(rewrites, references),
        reference_meaning=_reference_meaning(rewrites, references, judge, boot, seed),
        rewrites=rewrites,
        scores=scores,
        sentence_checks=checks,
    )


def _reference_meaning(
    rewrites: Sequence[str],
    references: Sequence[Sequence[str]] | None,
    judge: Judge,
    boot: int,
    seed: int,
) -> Interval | None:
    if references is None or not isinstance(judge, ComparesMeaning):
        return None
    closest = np.zeros(len(rewrites))
    asked = [
        (i, reference, rewrite)
        for i, (rewrite, found) in enumerate(zip(rewrites, references, strict=True))
        if any(char.isalnum() for char in rewrite)
        for reference in found
    ]
    for start in range(0, len(asked), _CHUNK):
        rows, theirs, ours = zip(*asked[start : start + _CHUNK], strict=True)
        np.maximum.at(closest, list(rows), judge.same_meaning(theirs, ours))
    return bootstrap_interval(closest, boot=boot, seed=seed)


def _intervals(scores: Scores, boot: int, seed: int) -> dict[Metric, Interval]:
    return {m: bootstrap_interval(getattr(scores, m), boot=boot, seed=seed) for m in METRICS}


def _comparisons(
    results: Sequence[SystemResult],
    baseline: str | None,
    thresholds: HardThresholds,
    boot: int,
    seed: int,
) -> Iterator[Comparison]:
    theirs = next((result for result in results if result.name == baseline), None)
    if theirs is None:
        return
    hard_theirs = harden(theirs.scores, thresholds)
    for ours in results:
        if ours is theirs:
            continue
        hard_ours = harden(ours.scores, thresholds)
        for hard, one, other in (
            (False, ours.scores, theirs.scores),
            (True, hard_ours, hard_theirs),
        ):
            for metric in METRICS:
                difference = paired_bootstrap(
                    getattr(one, metric), getattr(other, metric), boot=boot, seed=seed
                )
                yield Comparison(ours.name, metric, hard, difference)


# --- judging --------------------------------------------------------------------------------


class ScoreCache:
    """Judges' scores by the hash of what was judged; with a path, kept across runs.

    The file is JSON Lines and only ever grows. A line that cannot be read, such as one torn by a
    crash, is passed over: what it held is judged again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._scores: dict[str, Triple] = {}
        self._torn = False
        if path is not None and path.exists():
            self._read(path)

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, key: str) -> bool:
        return key in self._scores

    def __getitem__(self, key: str) -> Triple:
        return self._scores[key]

    def add(self, judge: str, scores: Mapping[str, Triple]) -> None:
        """Keeps the scores of one judge, and has them on disk when it returns."""
        self._scores.update(scores)
        if self._path is None or not scores:
            return
        lines = (json.dumps({"judge": judge, "key": k, "scores": s}) for k, s in scores.items())
        # What a torn line left without its end must not swallow the next.
        text = "\n" * self._torn + "\n".join(lines) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(text)
        except OSError as error:
            raise DataError(f"{self._path} cannot be written: {error.strerror}") from error
        self._torn = False

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as handle:
                for line in handle:
                    self._torn = not line.endswith(b"\n")
                    if (entry := _entry(line)) is not None:
                        self._scores[entry[0]] = entry[1]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _entry(line: bytes) -> tuple[str, Triple] | None:
    try:
        found = json.loads(line)
        style, meaning, fluency = (float(score) for score in found["scores"])
        key = found["key"]
    except (ValueError, KeyError, TypeError):
        return None
    sound = isinstance(key, str) and all(0.0 <= s <= 1.0 for s in (style, meaning, fluency))
    return (key, (style, meaning, fluency)) if sound else None


def score_key(judge: str, source: str, rewrite: str, references: Sequence[str] | None) -> str:
    """The hash that a score is kept under: the judge's signature and all it was shown."""
    # As JSON, no two lists of texts look alike, whatever the texts contain.
    shown = [judge, source, rewrite, None if references is None else list(references)]
    return hashlib.blake2b(json.dumps(shown).encode(), digest_size=16).hexdigest()


def _judged(
    sources: Sequence[str],
    rewrites: Sequence[str],
    references: Sequence[Sequence[str]] | None,
    judge: Judge,
    cache: ScoreCache,
) -> list[Triple]:
    """The scores of one chunk; what the cache has not, and is not empty, is asked for once."""
    seen = [None] * len(sources) if references is None else references
    signed_by = judge.signature
    keys = [
        score_key(signed_by, source, rewrite, refs) if rewrite.strip() else None
        for source, rewrite, refs in zip(sources, rewrites, seen, strict=True)
    ]
    missing = {key: i for i, key in enumerate(keys) if key is not None and key not in cache}
    if missing:
        wanted = list(missing.values())
        scores = judge.score(
            [sources[i] for i in wanted],
            [rewrites[i] for i in wanted],
            None if references is None else [references[i] for i in wanted],
        )
        cache.add(signed_by, dict(zip(missing, _triples(scores, len(wanted), judge), strict=True)))
    return [_NOTHING if key is None else cache[key] for key in keys]


def _triples(scores: Scores, count: int, judge: Judge) -> list[Triple]:
    table = np.array([scores.style, scores.meaning, scores.fluency], dtype=np.float64)
    # Rounding may carry a probability a hair over the edge; more than that is a broken judge.
    if table.shape != (3, count) or not ((table > -1e-6) & (table < 1 + 1e-6)).all():
        raise DataError(
            f"the judge {judge.name} should give {count} scores in [0, 1] three times, got an array "
            f"of shape {table.shape} from {np.min(table)} to {np.max(table)}"
        )
    clipped = np.clip(table, 0.0, 1.0)
    return [(float(s), float(m), float(f)) for s, m, f in clipped.T]


def _as_scores(judged: Sequence[Triple]) -> Scores:
    style, meaning, fluency = np.array(judged, dtype=np.float64).T
    return Scores(style, meaning, fluency)


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, start + _CHUNK)


# --- what is wrong with the input -----------------------------------------------------------


def _require_sound(
    systems: Mapping[str, Sequence[str | None]],
    sources: Sequence[str],
    references: Sequence[Sequence[str]] | None,
    baseline: str | None,
) -> None:
    """Raises one DataError that names every fault, up to a limit."""
    if not systems or not len(sources):
        raise DataError("nothing to evaluate: give at least one system and one source")
    faults = [
        *_faults_of("the sources", sources, len(sources), required=True),
        *_faults_of_references(references, len(sources)),
        *_faults_of_baseline(baseline, list(systems)),
    ]
    for name, rewrites in systems.items():
        faults += _faults_of(f'system "{name}"', rewrites, len(sources), required=False)
    if faults:
        raise DataError(join_faults("the texts cannot be evaluated", faults))


def join_faults(what: str, faults: Sequence[str]) -> str:
    """One message for many faults, the first twenty in full."""
    count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
    more = len(faults) - _MOST_FAULTS
    shown = [*faults[:_MOST_FAULTS], *([f"... and {more} more"] if more > 0 else [])]
    return f"{what}: {count}\n  " + "\n  ".join(shown)


def _faults_of(column: str, cells: Sequence[Any], count: int, *, required: bool) -> Iterator[str]:
    if isinstance(cells, str):
        yield f"{column}: expected a list of texts, got one text"
        return
    if len(cells) != count:
        yield f"{column}: {len(cells)} rows, but {count} sources; row n must belong to source n"
    for number, cell in enumerate(cells, 1):
        if cell is None and not required:
            continue
        if not isinstance(cell, str):
            yield f"{column}, row {number}: expected text, got {type(cell).__name__} ({cell!r})"
        elif required and not cell.strip():
            yield f"{column}, row {number}: empty"


def _faults_of_references(references: Sequence[Sequence[str]] | None, count: int) -> Iterable[str]:
    if references is None:
        return
    if len(references) != count:
        yield f"the references: {len(references)} rows, but {count} sources"
    for number, listed in enumerate(references, 1):
        where = f"the references, row {number}"
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            yield f"{where}: expected a list of texts, got {type(listed).__name__}"
        elif not listed:
            yield f"{where}: none"
        else:
            yield from (
                f"{where}: expected text, got {type(text).__name__} ({text!r})"
                if not isinstance(text, str)
                else f"{where}: empty"
                for text in listed
                if not isinstance(text, str) or not text.strip()
            )


def _faults_of_baseline(baseline: str | None, names: Sequence[str]) -> Iterator[str]:
    if baseline is not None and baseline not in names:
        nearest = difflib.get_close_matches(baseline, names, n=1)
        hint = f' Did you mean "{nearest[0]}"?' if nearest else ""
        yield f'the baseline "{baseline}" is none of the systems.{hint}  ({", ".join(names)})'
