"""What each part of the rewriter buys: base, warm starts, the games, and the choice among samples.

    python benchmarks/ablation.py --data CORPUS --warm weights/warm --rows 120 \\
        --supervised runs/supervised/adapter -o docs/results/ablation.json
    ... --second runs/second/adapter --paper runs/game/sro-paper-0/adapter    two steps apart

The same texts of fold 9 (ParaDetox, act gate off) to every part, the dev judge, intervals by
bootstrap over sentences; the differences are to the part named beside them, paired. What is sampled
and ranked is also timed, a text at a time. Rewrites are kept in --work, so a run that was stopped goes
on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tactful.corpora.piles import Pile, read_piles
from tactful.evaluation.base import Scores
from tactful.evaluation.judges import load_judge
from tactful.evaluation.metrics import bootstrap_interval, paired_bootstrap
from tactful.models import ADAPTER_FILE, file_sha256, shipped
from tactful.pipeline import Piles, answer, texts_of
from tactful.prompts import few_shot
from tactful.rewriting.candidates import written
from tactful.rewriting.idioms import PastIdioms
from tactful.rewriting.methods import Method
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.local import LocalBackend
from tactful.training.policy import Policy

PARTS = ("style", "meaning", "fluency", "joint")
ALONE = 20
"""Texts that are timed one by one."""

Written = tuple[list[str], float | None]
"""Rewrites, and the seconds that the median text took by itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """A system, and the one it is compared with."""

    name: str
    write: Callable[[Sequence[str]], Written]
    against: str = ""
    adapter: Path | None = None

    @property
    def told(self) -> str:
        """Its name with what it is made of, so that nothing is taken for something else."""
        made_of = file_sha256(self.adapter / ADAPTER_FILE)[:12] if self.adapter else ""
        return f"{self.name} {made_of}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--warm", type=Path, required=True, help="adapter of the first warm start")
    parser.add_argument("--second", type=Path, help="adapter of the second one")
    parser.add_argument("--paper", type=Path, help="the paper's game from there")
    parser.add_argument(
        "--ours", type=Path, default=shipped("rewriter"), help="our game from there"
    )
    parser.add_argument("--supervised", type=Path, help="an adapter taught by pairs, to compare")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    ours = given.ours
    base, first, second = "base model, few-shot", "first warm start, greedy", "second, greedy"
    # What ships has played from the second warm start, so that without it two steps are one.
    game = "+ our game" if given.second else "+ second warm start and our game"
    greedy, chosen, ships = f"{game}, greedy", "the same, best of 8", "+ lists first (ships)"
    before = second if given.second else first
    rows = [
        Row(base, _prompted),
        Row("lists and the table of replacements", _product(None, method="replace")),
        Row(first, _greedy(given.warm), base, given.warm),
    ]
    if given.second:
        rows.append(Row(second, _greedy(given.second), first, given.second))
    if given.paper:
        rows.append(Row("+ the paper's game, greedy", _greedy(given.paper), before, given.paper))
    rows += [
        Row(greedy, _greedy(ours), before, ours),
        Row(chosen, _product(ours, lists=False), greedy, ours),
        Row(ships, _product(ours), chosen, ours),
        Row("+ lists first, best of 2", _product(ours, samples=2), ships, ours),
        Row("+ lists first, best of 24", _product(ours, samples=24), ships, ours),
    ]
    if given.supervised:
        pairs = given.supervised
        rows += [
            Row("taught by pairs, greedy", _greedy(pairs), greedy, pairs),
            Row("taught by pairs, as it ships", _product(pairs), ships, pairs),
        ]
    pile = Pile(file="toxic.jsonl", toxic=True)
    piles = Piles(dir=given.data, toxic=(pile,), folds=(0,), dev_folds=(9,))
    texts = texts_of(read_piles(given.data, piles.toxic), piles, (9,), ("paradetox",))
    texts = texts[:: max(1, len(texts) // given.rows)][: given.rows]
    judge, console = load_judge("dev"), Console()
    scores: dict[str, Scores] = {}
    systems: dict[str, dict[str, Any]] = {}
    for row in rows:
        rewrites, seconds = _kept(given.work / f"{len(systems)}.json", row, texts)
        found = scores[row.name] = judge.score(texts, rewrites)
        systems[row.name] = {
            "scores": {p: asdict(bootstrap_interval(getattr(found, p))) for p in PARTS},
            "against": row.against,
            "gain": asdict(paired_bootstrap(found.joint, scores[row.against].joint))
            if row.against
            else None,
            "median_seconds_alone": seconds,
        }
        console.print(f"{row.name}: J {found.joint.mean():.3f}")
    _print(console, systems)
    if given.output:
        told = {"judge": judge.name, "rows": len(texts), "systems": systems}
        given.output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _kept(path: Path, row: Row, texts: Sequence[str]) -> Written:
    """What was written before for the same texts by a system of this name, or is now."""
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        if kept["system"] == row.told and kept["texts"] == list(texts):
            return kept["rewrites"], kept["seconds"]
    rewrites, seconds = row.write(texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"system": row.told, "texts": list(texts), "rewrites": rewrites, "seconds": seconds}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return rewrites, seconds


def _prompted(texts: Sequence[str]) -> Written:
    backend = LocalBackend.load()
    asked = [Request(few_shot(text), len(text) // 2 + 8, 0) for text in texts]
    answers = backend.generate(asked, Sampling(num=1, temperature=0.0))
    return [" ".join(answer[0].text.split()) for answer in answers], None


def _greedy(adapter: Path) -> Callable[[Sequence[str]], Written]:
    return lambda texts: (answer(Policy.load(adapter=adapter), texts), None)


def _product(
    adapter: Path | None, *, method: Method = "model", samples: int = 8, lists: bool = True
) -> Callable[[Sequence[str]], Written]:
    def write(texts: Sequence[str]) -> Written:
        config = RewriteConfig(samples=samples)
        rewriter = Rewriter.load(adapter=adapter, config=config, method=method)
        if not lists:
            model = next(one.model for one in rewriter.sources if isinstance(one, PastIdioms))
            rest = [s for s in rewriter.sources if not (written(s) or isinstance(s, PastIdioms))]
            rewriter.sources = [model, *rest]
        rewrites = [r.text for r in rewriter.rewrite_many(texts, force=True)]
        took = []
        for text in texts[:ALONE]:
            began = time.perf_counter()
            rewriter.rewrite(text, force=True)
            took.append(time.perf_counter() - began)
        return rewrites, statistics.median(took)

    return write


def _print(console: Console, systems: dict[str, dict[str, Any]]) -> None:
    table = Table("system", "STA", "SIM", "FL", "J [95 %]", "gain [95 %]", "against", "s, alone")
    for name, row in systems.items():
        scores: dict[str, dict[str, float]] = row["scores"]
        joint, gain = scores["joint"], row["gain"]
        seconds = row["median_seconds_alone"]
        table.add_row(
            name,
            *(f"{scores[part]['mean']:.3f}" for part in PARTS[:3]),
            f"{joint['mean']:.3f} [{joint['low']:.3f}, {joint['high']:.3f}]",
            f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else "",
            str(row["against"]),
            f"{seconds:.2f}" if seconds else "",
        )
    console.print(table)


if __name__ == "__main__":
    main()
