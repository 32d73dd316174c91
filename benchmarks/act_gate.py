"""Are clean texts left alone, are toxic ones acted on, and is nothing printed worse than it was?

    python benchmarks/act_gate.py --data FOLDER [--neutral 1000] [--rewrite 300] [--out FILE]

Reads fold 9 of toxic.jsonl and neutral.jsonl. The act gate needs no language model, so it is
measured on all toxic rows; the rewriting is measured on the first `--rewrite` of them after a
fixed shuffle, with the default rewriter.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tactful import Rewriter
from tactful.corpora.piles import Example, Pile, read_piles
from tactful.rewriting.candidates import Copy
from tactful.scorers.base import Scorer
from tactful.screeners.linear import LinearScreener

FOLD = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--neutral", type=int, default=1000)
    parser.add_argument("--rewrite", type=int, default=300)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    piles = [Pile(file="toxic.jsonl", toxic=True), Pile(file="neutral.jsonl", toxic=False)]
    rows = [row for row in read_piles(args.data, piles) if row.fold == FOLD]
    random.Random(0).shuffle(rows)
    toxic = [row for row in rows if row.toxic]
    neutral = [row for row in rows if not row.toxic][: args.neutral]
    report = {
        "screener": LinearScreener.load().name,
        "act_gate": act_gate(toxic, neutral),
        "rewriting": rewriting(toxic[: args.rewrite]) if args.rewrite else None,
    }
    text = json.dumps(report, indent=1)
    sys.stdout.write(text + "\n")
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


def act_gate(toxic: list[Example], neutral: list[Example]) -> dict[str, Any]:
    """Statuses with a source that proposes nothing new: what is left alone shows the gate."""
    gate = Rewriter(LinearScreener.load(), _nothing_similar(), [Copy()])
    clean = gate.rewrite_many([row.text for row in neutral])
    acted = gate.rewrite_many([row.text for row in toxic])
    same = sum(r.status == "unchanged" and r.text == r.source for r in clean)
    by_source = {}
    for source in sorted({row.source for row in toxic}):
        hits = [r for row, r in zip(toxic, acted, strict=True) if row.source == source]
        by_source[source] = _share(sum(_acted(r.status) for r in hits), len(hits))
    return {
        "neutral_rows": len(clean),
        "neutral_unchanged": _share(same, len(clean)),
        "neutral_statuses": Counter(r.status for r in clean),
        "toxic_rows": len(acted),
        "toxic_acted_on": _share(sum(_acted(r.status) for r in acted), len(acted)),
        "toxic_acted_on_by_source": by_source,
        "toxic_statuses": Counter(r.status for r in acted),
    }


def rewriting(toxic: list[Example]) -> dict[str, Any]:
    """What the default rewriter makes of toxic rows, every one screened again by us."""
    rewriter = Rewriter.load()
    started = time.perf_counter()
    results = rewriter.rewrite_many([row.text for row in toxic])
    seconds = time.perf_counter() - started
    before = rewriter.screener.toxicity([r.source for r in results])
    after = rewriter.screener.toxicity([r.text for r in results])
    rewritten = [r for r in results if r.status == "rewritten"]
    return {
        "rows": len(results),
        "statuses": Counter(r.status for r in results),
        "printed_more_toxic": int(np.sum(after > before)),
        "acted_on_but_printed_toxic": int(
            sum(
                _acted(r.status) and score >= rewriter.screener.thresholds.act
                for r, score in zip(results, after, strict=True)
            )
        ),
        "median_similarity": round(float(np.median([r.similarity for r in rewritten])), 3),
        "seconds_per_row": round(seconds / len(results), 3),
    }


def _acted(status: str) -> bool:
    return status not in ("unchanged", "not_screened", "error")


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4)


def _nothing_similar() -> Scorer:
    class Zero:
        name = "zero"

        def __call__(self, sources: Any, rewrites: Any) -> Any:
            return np.zeros(len(sources))

    return Zero()


if __name__ == "__main__":
    main()
