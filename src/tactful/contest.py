"""Runs that are to be compared: one warm start, one set of texts, one judge, a folder for each.

A run leaves its result last, and with it a key of everything that made it. So whoever is called
again takes what is there, goes on with what was begun, and never takes one thing for another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tactful.corpora.piles import read_piles
from tactful.errors import ConfigError, DataError
from tactful.evaluation.base import Judge
from tactful.evaluation.judges import load_judge
from tactful.evaluation.metrics import Difference, paired_bootstrap
from tactful.evaluation.report import write_whole
from tactful.models import ADAPTER_FILE, file_sha256
from tactful.pipeline import TrainRecipe, answer, texts_of, train
from tactful.rewriting.methods import Method
from tactful.rewriting.rewriter import Rewriter
from tactful.run_folder import ABOUT, ADAPTER, METRICS, grown
from tactful.training.policy import Policy

PARTS = ("joint", "style", "meaning", "fluency")
RESULT = "contest.json"
WARM = "warm start"
_DIGITS = 5
_BOOT = 2000

R = TypeVar("R")
Say = Callable[[str], None]
"""Takes a line for a person."""


@dataclass(frozen=True)
class Entrant:
    """A recipe with its seed; `name` is what stands in the table. The warm start has no recipe."""

    name: str
    seed: int
    adapter: Path
    """The warm start."""
    base: str
    recipe: TrainRecipe | None
    method: Method | None = None
    """What needs no training is a method of the rewriter, asked of the base as it is."""

    @property
    def folder(self) -> str:
        """Its run's, below that of the contest."""
        return f"{self.name}-{self.seed}" if self.recipe or self.method else "warm"


@dataclass(frozen=True)
class Outcome:
    """What came of an entrant."""

    key: str
    name: str
    seed: int
    warm: str
    """The first hex digits of the warm start's sha256, and of the adapter that came out."""
    adapter: str
    judge: str
    step: int
    generated: int
    trained: int
    seconds: float
    """Of one processor, in steps; looks and the final answers are not in it."""
    memory: float
    """Megabytes at the most, the judge of the looks included."""
    copies: float
    scores: dict[str, list[float]]
    """Of each text, without the joint one."""
    curve: list[dict[str, float]]
    """Looks: the tokens until then, and what the judge said."""
    unresolved: float = 0.0
    """The share that a whole rewriter gave up, and that counts as it masks it."""

    @cached_property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """Scores by sentence, the joint one with them."""
        found = {name: np.array(values) for name, values in self.scores.items()}
        return {"joint": found["style"] * found["meaning"] * found["fluency"], **found}


def dev_texts(recipe: TrainRecipe, rows: int | None) -> list[str]:
    """Texts that nobody has learned from: `rows` of them, drawn once and for all, or all."""
    data = recipe.data
    found = texts_of(read_piles(data.dir, data.toxic), data, data.dev_folds, data.dev_sources)
    if not found:
        raise DataError(f"no toxic texts to judge in folds {data.dev_folds}")
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order[:rows]]


def find_adapter(warm: Path) -> Path:
    """A warm start's adapter, given itself or the folder of the run that left it."""
    for folder in (warm, warm / ADAPTER):
        if (folder / ADAPTER_FILE).is_file():
            return folder
    raise ConfigError(f"{warm} holds no {ADAPTER_FILE}, so it is no warm start.")


def compete(
    entrants: Sequence[Entrant],
    texts: Sequence[str],
    folder: Path,
    *,
    judge: str = "dev",
    jobs: int = 1,
    say: Say = lambda line: None,
) -> list[Outcome]:
    """Run what has not been run, `jobs` at a time; the outcomes come in the order of the entrants."""
    keys = [_key(entrant, texts, judge) for entrant in entrants]
    signature = load_judge(judge, purpose="which judge it is").signature
    found = {
        i: kept
        for i, entrant in enumerate(entrants)
        if (kept := _kept(folder, entrant, keys[i])) and kept.judge == signature
    }
    waiting = [i for i in range(len(entrants)) if i not in found]
    if found:
        say(f"{len(found)} of {len(entrants)} runs are there")

    def done(number: int, outcome: Outcome) -> None:
        found[number] = outcome
        say(f"{len(found)} of {len(entrants)}: {_line(outcome)}")

    calls = [(entrants[i], texts, folder, judge, keys[i]) for i in waiting]
    for number, outcome in side_by_side(run, calls, jobs):
        done(waiting[number], outcome)
    return [found[i] for i in range(len(entrants))]


def side_by_side(
    call: Callable[..., R], calls: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, R]]:
    """Results as they come, each with the number of its call.

    Several jobs are processes with one thread, a new one for each call, so that none has another's
    memory; one job is done here.
    """
    if jobs == 1 or not calls:
        yield from ((number, call(*given)) for number, given in enumerate(calls))
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(jobs, len(calls)), mp_context=spawn, initializer=_alone, max_tasks_per_child=1
    ) as pool:
        asked = {pool.submit(call, *given): number for number, given in enumerate(calls)}
        try:
            for future in as_completed(asked):
                yield asked[future], future.result()
        except BaseException:
            # Those that run end by themselves, on a signal with a checkpoint; no other begins.
            pool.shutdown(cancel_futures=True)
            raise


def _alone() -> None:
    """One thread for each run, or they stand in each other's way; and none outlives its caller."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_caller, daemon=True).start()


def _end_with_the_caller() -> None:
    """Whoever is gone cannot stop what it began. A run that is told to end leaves a checkpoint."""
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os.kill(os.getpid(), signal.SIGTERM)


def run(entrant: Entrant, texts: Sequence[str], folder: Path, judge: str, key: str) -> Outcome:
    """Train one, and judge what it then answers to the texts."""
    out = folder / entrant.folder
    out.mkdir(parents=True, exist_ok=True)
    if entrant.method is not None:
        return _untrained(entrant, entrant.method, texts, out, judge, key)
    _forget_peak()
    adapter = entrant.adapter
    about: dict[str, Any] = {}
    if entrant.recipe is not None:
        train(entrant.recipe, out)
        adapter = out / ADAPTER
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    memory = _peak()
    rewrites = answer(Policy.load(entrant.base, adapter=adapter), texts)
    spent = about.get("spent", {})
    return _judged(
        entrant,
        texts,
        rewrites,
        out,
        judge,
        key=key,
        adapter=_digest(adapter),
        step=about.get("result", {}).get("step", 0),
        generated=spent.get("generated", 0),
        trained=spent.get("trained", 0),
        seconds=round(spent.get("seconds", 0.0), 1),
        memory=round(memory, 1),
        curve=curve_of(out / METRICS),
    )


def _untrained(
    entrant: Entrant, method: Method, texts: Sequence[str], out: Path, judge: str, key: str
) -> Outcome:
    """Ask a whole rewriter, the act gate off; what it wrote stays, so that a run goes on."""
    _forget_peak()
    rewriter = Rewriter.load(entrant.base, method=method)

    def made(some: Sequence[str]) -> list[dict[str, Any]]:
        began = time.process_time()
        results = rewriter.rewrite_many(some, force=True)
        spent = (time.process_time() - began) / len(some)
        if reason := next((r.reason for r in results if r.status == "error"), None):
            # An engine that failed would pass for a rewriter that masks.
            raise DataError(f"a text could not be rewritten: {reason}")
        return [{"text": r.text, "status": r.status, "seconds": spent} for r in results]

    lines = grown(out / f"written-{key}.jsonl", texts, made, lambda done: None)
    memory = _peak()
    return _judged(
        entrant,
        texts,
        [line["text"] for line in lines],
        out,
        judge,
        key=key,
        adapter="",
        step=0,
        generated=0,
        trained=0,
        seconds=round(sum(line["seconds"] for line in lines), 1),
        memory=round(memory, 1),
        curve=[],
        unresolved=float(np.mean([line["status"] == "unresolved" for line in lines])),
    )


def _judged(
    entrant: Entrant,
    texts: Sequence[str],
    rewrites: Sequence[str],
    out: Path,
    judge: str,
    **spent: Any,
) -> Outcome:
    """What came out, beside what was spent on it; it stays in the entrant's folder."""
    asked = load_judge(judge)
    outcome = Outcome(
        name=entrant.name,
        seed=entrant.seed,
        warm=_digest(entrant.adapter),
        judge=asked.signature,
        copies=_copies(texts, rewrites),
        scores=_scores(asked, texts, rewrites),
        **spent,
    )
    write_whole(out / RESULT, json.dumps(asdict(outcome)) + "\n")
    return outcome


def _copies(texts: Sequence[str], rewrites: Sequence[str]) -> float:
    return float(np.mean([text == rewrite for text, rewrite in zip(texts, rewrites, strict=True)]))


def _scores(judge: Judge, texts: Sequence[str], rewrites: Sequence[str]) -> dict[str, list[float]]:
    scores = judge.score(texts, rewrites)
    return {p: getattr(scores, p).round(_DIGITS).tolist() for p in PARTS if p != "joint"}


def curve_of(metrics: Path) -> list[dict[str, float]]:
    """What the looks of a run said, by step and by the tokens until then."""
    if not metrics.exists():
        return []
    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    return [
        {
            "step": line["step"],
            "tokens": line.get("tokens/generated", 0) + line.get("tokens/trained", 0),
        }
        | {part: round(line[f"eval_{part}"], 4) for part in PARTS}
        for line in lines
        if "eval_joint" in line
    ]


def by_sentence(outcomes: Sequence[Outcome], part: str) -> NDArray[np.float64]:
    """A score of each text, averaged over the seeds."""
    stacked = np.stack([outcome.values[part] for outcome in outcomes])
    return np.asarray(stacked.mean(axis=0), dtype=np.float64)


def of_seeds(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> list[Outcome]:
    """Those with a seed that others have, too: seeds differ more than most things do."""
    seeds = {other.seed for other in others}
    return [outcome for outcome in outcomes if outcome.seed in seeds]


def gains(outcomes: Sequence[Outcome], warm: Outcome) -> dict[str, Difference]:
    """What seeds gained on average over their warm start, paired by sentence."""
    return {
        part: paired_bootstrap(by_sentence(outcomes, part), warm.values[part]) for part in PARTS
    }


def lost(noisy: Sequence[Outcome], clean: Sequence[Outcome]) -> dict[str, float]:
    """What noise takes off J, paired by sentence; below 0 where it costs something."""
    return asdict(paired_bootstrap(by_sentence(noisy, "joint"), by_sentence(clean, "joint")))


def kept(
    noisy: Sequence[Outcome], clean: Sequence[Outcome], warm: Outcome, *, boot: int = _BOOT
) -> dict[str, float] | None:
    """The gain under noise by the gain without, with 95 % of its resamples of sentences.

    None where the gain without noise is not clearly above nothing: what is not there cannot be
    kept, and a ratio of it would say anything.
    """
    before = warm.values["joint"]
    return ratio(by_sentence(noisy, "joint") - before, by_sentence(clean, "joint") - before, boot)


def ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], boot: int = _BOOT
) -> dict[str, float] | None:
    """The ratio of two means over the same sentences, where the lower one is clearly above 0."""
    draw = np.random.default_rng(0).integers(len(numerator), size=(boot, len(numerator)))
    below = denominator[draw].mean(axis=1)
    if np.percentile(below, 2.5) <= 0:
        return None
    ratios = numerator[draw].mean(axis=1) / np.maximum(below, 1e-9)
    low, high = np.percentile(ratios, (2.5, 97.5))
    value = float(numerator.mean() / denominator.mean())
    return {"value": value, "low": float(low), "high": float(high)}


def signed(found: Mapping[str, float]) -> str:
    """A difference with its interval, as a person reads it."""
    return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def share(found: Mapping[str, float] | None) -> str:
    """A ratio with its interval, nothing where there is none."""
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" if found else ""


def read_outcome(path: Path) -> Outcome | None:
    """What a run left, None where it is not there or not whole."""
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _kept(folder: Path, entrant: Entrant, key: str) -> Outcome | None:
    """What is there of the same key; another study may have called it otherwise."""
    found = read_outcome(folder / entrant.folder / RESULT)
    return replace(found, name=entrant.name) if found is not None and found.key == key else None


def _key(entrant: Entrant, texts: Sequence[str], judge: str) -> str:
    """Of everything that decides a result but the program itself."""
    recipe: Mapping[str, Any] = entrant.recipe.model_dump(mode="json") if entrant.recipe else {}
    told = [recipe, entrant.base, _digest(entrant.adapter), list(texts), judge]
    if entrant.method is not None:
        # Its name has the versions of lists, models and screener in it.
        told += [entrant.method, Rewriter.load(entrant.base, method=entrant.method).name]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _digest(adapter: Path) -> str:
    return file_sha256(adapter / ADAPTER_FILE)[:12]


def _line(outcome: Outcome) -> str:
    joint = float(outcome.values["joint"].mean())
    return (
        f"{outcome.name}, seed {outcome.seed}: J {joint:.3f}, {outcome.step} steps, "
        f"{outcome.generated + outcome.trained:,} tokens, {outcome.seconds / 60:.1f} min"
    )


def _forget_peak() -> None:
    """So that the peak is of what comes now; only Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> float:
    """The most memory this process has held, in megabytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
