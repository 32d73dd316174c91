"""What a rewriter makes of disguised sources, against the same sources in plain.

    python benchmarks/evasion.py --data CORPUS -o docs/results/evasion_rewriter.json

Texts of fold 9 are disguised (each in a way of its own, drawn by its text) at 0, 5, 10, 20 and 40 %
of their words, rewritten with the act gate off, and judged by the dev judge against the *plain*
source: a rewrite must say what was meant, not what was typed. Differences are paired by sentence.
What was judged is kept beside the output, so a second call goes on.
"""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tactful.corpora.piles import Pile, read_piles
from tactful.evaluation.judges import load_judge
from tactful.evaluation.metrics import paired_bootstrap
from tactful.evaluation.report import write_whole
from tactful.pipeline import Piles, texts_of
from tactful.rewriting.rewriter import Rewriter
from tactful.screeners.disguise import DISGUISES, disguised

SHARES = (0.0, 0.05, 0.10, 0.20, 0.40)
PARTS = ("joint", "style", "meaning", "fluency")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, help="a rewriter; by default the one that ships")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    pile = Pile(file="toxic.jsonl", toxic=True)
    piles = Piles(dir=given.data, toxic=(pile,), folds=(9,), dev_folds=(9,))
    texts = texts_of(read_piles(given.data, [pile]), piles, (9,), ("paradetox",))
    texts = texts[:: max(1, len(texts) // given.rows)][: given.rows]
    rewriter, judge = Rewriter.load(adapter=given.adapter), load_judge("dev")
    about = {"judge": judge.signature, "rewriter": rewriter.name, "rows": len(texts)}
    kept_in = given.output.with_suffix(".part.json")
    kept = json.loads(kept_in.read_text("utf-8")) if kept_in.exists() else {}
    if kept.get("about") != about:
        kept = {"about": about, "scores": {}}
    for share in dict.fromkeys([0.0, *given.shares]):
        if f"{share:g}" in kept["scores"]:
            continue
        sources = [disguised(text, _way(text), share) for text in texts]
        rewrites = [result.text for result in rewriter.rewrite_many(sources, force=True)]
        scores = judge.score(texts, rewrites)
        kept["scores"][f"{share:g}"] = {part: getattr(scores, part).tolist() for part in PARTS}
        write_whole(kept_in, json.dumps(kept))
        Console().print(f"{share:.0%} of words in disguise: J {scores.joint.mean():.3f}")
    plain = kept["scores"]["0"]
    found = about | {
        "shares": {
            share: {
                **{part: sum(values[part]) / len(texts) for part in PARTS},
                "against_plain": {
                    part: asdict(paired_bootstrap(values[part], plain[part])) for part in PARTS
                },
            }
            for share, values in kept["scores"].items()
        }
    }
    _print(found)
    write_whole(given.output, json.dumps(found, indent=1) + "\n")
    kept_in.unlink()


def _way(text: str) -> str:
    return DISGUISES[zlib.crc32(text.encode()) % len(DISGUISES)]


def _print(found: dict[str, object]) -> None:
    table = Table("words in disguise", *PARTS, "J - plain [95 %]")
    shares: dict[str, dict[str, object]] = found["shares"]  # type: ignore[assignment]
    for share, row in shares.items():
        gain = row["against_plain"]["joint"]  # type: ignore[index]
        interval = f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        table.add_row(f"{float(share):.0%}", *(f"{row[part]:.3f}" for part in PARTS), interval)
    Console().print(table)


if __name__ == "__main__":
    main()
