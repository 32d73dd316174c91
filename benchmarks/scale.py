"""What a billion texts cost: the rates of this machine, measured, and the arithmetic of docs/how-to/scale.md.

    python benchmarks/scale.py -o docs/results/scale.json
    python benchmarks/scale.py --rates docs/results/scale.json --core-hour 0.05
    python benchmarks/scale.py --rates docs/results/scale.json --gpu-completions 4000 --gpu-hour 2

Three rates make the sum: a row that passes through (read, journalled, written), a text that is
screened, and a toxic text that is rewritten, of which the part that a GPU would take over is
told. They are seconds of one core that were spent on us, so that other work on the machine does not
count. Prices are yours to give; those of the defaults are only there to have a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.files_stub import Nothing  # noqa: E402

from tactful import Rewriter  # noqa: E402
from tactful.corpora.piles import own_corpus  # noqa: E402
from tactful.rewriting.files import rewrite_file  # noqa: E402
from tactful.rewriting.workers import Workers  # noqa: E402
from tactful.screeners.linear import LinearScreener  # noqa: E402

ROWS = 20_000
SHARES = (0.01, 0.05, 0.2)
CORES = (2, 64, 1024)
HOUR = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", type=Path, help="what -o wrote; measured anew without it")
    parser.add_argument("--texts", type=int, default=128, help="toxic texts that are rewritten")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--total", type=float, default=1e9, help="texts")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument("--gpu-hour", type=float, default=2.0, help="price of a GPU for an hour")
    parser.add_argument("--gpu-completions", type=float, help="completions a second of one GPU")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.rates:
        rates: dict[str, Any] = json.loads(given.rates.read_text(encoding="utf-8"))
    else:
        rates = measured(given.texts, given.engine)
    if given.output:
        given.output.write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")
    console = Console()
    console.print_json(json.dumps(rates))
    console.print(on_cpus(rates, given.total, given.core_hour))
    if given.gpu_completions:
        prices = (given.core_hour, given.gpu_hour)
        console.print(on_gpus(rates, given.total, given.gpu_completions, *prices))


# ---- rates --------------------------------------------------------------------------------------


def measured(texts: int, engine: str) -> dict[str, Any]:
    """Core seconds for a row, for a screened text and for a rewritten one."""
    toxic = [example.text for example in own_corpus() if example.toxic]
    asked = [f"{toxic[number % len(toxic)]} ({number})" for number in range(texts)]
    rewriter = Rewriter.load(engine=engine)
    rewriter.rewrite_many(asked[:2], force=True)
    writing = _Watched(rewriter)
    started = time.process_time()
    results = rewriter.rewrite_many(asked, force=True)
    spent = time.process_time() - started
    return {
        "rewriter": rewriter.name,
        "threads": torch.get_num_threads(),
        "texts": texts,
        "row_s": _row(),
        "screen_s": _screen(asked),
        "rewrite_s": spent / texts,
        "of_that_writing_s": writing.seconds / texts,
        "completions": writing.completions / texts,
        "rewritten": sum(result.status == "rewritten" for result in results) / texts,
    }


class _Watched:
    """Counts what the engine below a rewriter is asked, and how long it takes."""

    def __init__(self, rewriter: Rewriter) -> None:
        self.seconds = 0.0
        self.completions = 0
        for source in rewriter.sources:
            # The model stands behind the idioms.
            backend = getattr(getattr(source, "model", source), "backend", None)
            if backend is not None:
                backend.generate = self._around(backend.generate)

    def _around(self, generate: Any) -> Any:
        def watched(requests: Sequence[Any], sampling: Any) -> Any:
            started = time.process_time()
            answers = generate(requests, sampling)
            self.seconds += time.process_time() - started
            self.completions += sum(map(len, answers))
            return answers

        return watched


def _row() -> float:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.csv"
        lines = (
            f"{number},a comment of some sixty letters, as they are, {number}\n"
            for number in range(ROWS)
        )
        source.write_text("id,text\n" + "".join(lines).replace(", ", " "), encoding="utf-8")
        started = time.process_time()
        rewrite_file(source, Path(folder) / "out.csv", "text", Workers(Nothing, 0))
        return (time.process_time() - started) / ROWS


def _screen(texts: Sequence[str]) -> float:
    screener = LinearScreener.load()
    many = [f"{text} {number}" for number in range(20) for text in texts]
    screener.toxicity(many[:10])
    started = time.process_time()
    screener.toxicity(many)
    return (time.process_time() - started) / len(many)


# ---- arithmetic ---------------------------------------------------------------------------------


def core_seconds(rates: dict[str, Any], share: float, *, writing: bool = True) -> float:
    """Of one core for one text, when `share` of the texts are toxic."""
    rewrite = rates["rewrite_s"] - (0 if writing else rates["of_that_writing_s"])
    return float(rates["row_s"] + rates["screen_s"] + share * rewrite)


def on_cpus(rates: dict[str, Any], total: float, price: float) -> Table:
    """Core hours, what a million costs, and days on some numbers of cores."""
    table = Table("toxic", "core hours", "a million", *(f"{n:,} cores" for n in CORES))
    for share in SHARES:
        seconds = core_seconds(rates, share)
        hours = total * seconds / HOUR
        table.add_row(
            f"{share:.0%}",
            f"{hours:,.0f}",
            f"{1e6 * seconds / HOUR * price:.2f}",
            *(f"{hours / n / 24:,.1f} days" for n in CORES),
        )
    return table


def on_gpus(
    rates: dict[str, Any], total: float, completions: float, core_price: float, gpu_price: float
) -> Table:
    """GPU hours for the writing, core hours for the rest, and cores that keep one GPU busy."""
    table = Table("toxic", "GPU hours", "core hours", "a million", "cores to a GPU")
    for share in SHARES:
        gpu = share * rates["completions"] / completions
        cpu = core_seconds(rates, share, writing=False)
        table.add_row(
            f"{share:.0%}",
            f"{total * gpu / HOUR:,.0f}",
            f"{total * cpu / HOUR:,.0f}",
            f"{1e6 * (gpu * gpu_price + cpu * core_price) / HOUR:.2f}",
            f"{cpu / gpu:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
