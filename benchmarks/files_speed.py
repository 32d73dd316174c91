"""How fast files are, beside the engine itself; how much memory they take; what clean texts cost.

    python benchmarks/files_speed.py -o docs/results/files_speed.json
    python benchmarks/files_speed.py --only memory -o docs/results/files_speed.json   # one part
    python benchmarks/files_speed.py --quick          # smaller, for a look
    python benchmarks/files_speed.py --no-models      # deletion, and words in common for vectors

Speed is measured in turns, everybody after everybody, and ratios are taken within a turn, so what
else the machine does hits all. Memory is the peak of the main process and that of its workers
together, with an engine that does nothing (`files_stub.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.files_reliability import finish, start  # noqa: E402

from tactful.rewriting.files import rewrite_file  # noqa: E402
from tactful.rewriting.workers import Engine, Workers  # noqa: E402

SEED = 0
PARTS = ("memory", "throughput")
_TOXIC = (
    "you are an idiot, read the article before you comment",
    "what a stupid plan, and you know it",
    "this update is garbage and broke 3 of my apps",
    "shut up, you moron, nobody asked you",
    "only a clown would park across 2 spaces",
)
_CLEAN = (
    "thanks for the link, I had missed that page",
    "the train was 10 minutes late again today",
    "I think the second photo shows it better",
    "has anyone tried this with the older version?",
    "we planted tomatoes and beans along the fence",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="model")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--toxic", type=int, default=192, help="rows of the toxic file")
    parser.add_argument("--mixed", type=int, default=1920, help="rows of the 5 %% toxic file")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large file")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-models", action="store_true", help="our rewriter without models")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.turns, args.toxic, args.mixed, args.rows = 1, 96, 1280, 100_000
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], Any]] = {
            "memory": lambda: memory(Path(folder), few=10_000, many=args.rows),
            "throughput": lambda: throughput(Path(folder), args),
        }
        found = {"cores": os.cpu_count()}
        if args.output and args.output.exists():
            # What another run measured stays, where it is not measured again.
            found |= json.loads(args.output.read_text(encoding="utf-8"))
        found |= {name: parts[name]() for name in args.only}
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")


# ---- memory -------------------------------------------------------------------------------------


def memory(folder: Path, *, few: int, many: int, chars: int = 60) -> dict[str, Any]:
    """Peaks with few and with many distinct rows, in MiB, and the rate of the no-op engine."""
    peaks, sizes, rates = [], [], []
    for rows in (few, many):
        source = folder / f"{rows}.csv"
        with source.open("w", encoding="utf-8") as handle:
            handle.write("id,text\n")
            for number in range(rows):
                handle.write(f"{number},{f'row {number} is fine '.ljust(chars, 'x')}\n")
        started = time.monotonic()
        command = ("rewrite", source, "--column", "text", "-o", folder / f"{rows}.out.csv")
        process = start(*command, STUB_ENGINE="nothing")
        peaks.append(peak(process))
        code, said = finish(process)
        if code:
            raise SystemExit(said)
        rates.append(rows / (time.monotonic() - started))
        sizes.append(source.stat().st_size / 2**20)
        (folder / f"{rows}.out.csv").unlink()
    return {
        "rows": [few, many],
        "input_mb": [round(size, 1) for size in sizes],
        "peak_mb": [round(value, 1) for value in peaks],
        "grown_mb": round(peaks[1] - peaks[0], 1),
        "rows_per_second_no_op": round(rates[1]),
    }


def peak(process: subprocess.Popen[str]) -> float:
    """The peaks of a process and its children added, in MiB, watched until it ends."""
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in [process.pid, *_children(process.pid)]:
            with suppress(OSError, ValueError, StopIteration):
                status = Path(f"/proc/{pid}/status").read_text()
                line = next(x for x in status.splitlines() if x.startswith("VmHWM"))
                # The last one: a child begins as a copy of us, and that peak is forgotten.
                peaks[pid] = int(line.split()[1])
        time.sleep(0.02)
    return sum(peaks.values()) / 1024


def _children(pid: int) -> Sequence[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


# ---- throughput ---------------------------------------------------------------------------------


def load_engine(method: str, models: bool) -> Engine:
    """The rewriter as the command line loads it, or without fetched models."""
    if models:
        from tactful import Rewriter

        return Rewriter.load(method=cast(Any, method))
    from benchmarks.files_stub import without_models

    return without_models()


def throughput(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Shares of the engine's own rate, and a file that is 5 % toxic against rewriting all of it."""
    chance = random.Random(SEED)
    # What is clean is left alone by the act gate; --all is what it would cost without it.
    mixed = [
        _varied(_TOXIC if chance.random() < 0.05 else _CLEAN, number)
        for number in range(args.mixed)
    ]
    texts = {
        "toxic": [_varied(_TOXIC, number) for number in range(args.toxic)],
        "mixed": mixed,
        "all of mixed": mixed[: max(64, args.mixed // 20)],
    }
    for name, some in texts.items():
        lines = (json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(some))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    load = partial(load_engine, args.method, not args.no_models)
    engine = load()
    engine.rewrite_many(texts["toxic"][:32])
    turns: list[dict[str, float]] = []
    statuses: dict[str, Any] = {}
    for _ in range(args.turns):
        turn = {}
        for name, some in texts.items():
            force = name == "all of mixed"
            turn[f"file, {name}"], statuses[name] = _file_rate(folder, name, load, force=force)
            started = time.perf_counter()
            engine.rewrite_many(some, force=force)
            turn[f"engine, {name}"] = len(some) / (time.perf_counter() - started)
        turns.append(turn)
    ratios = {
        "file to engine, toxic": ("file, toxic", "engine, toxic"),
        "file to engine, mixed": ("file, mixed", "engine, mixed"),
        "mixed to rewriting all": ("file, mixed", "file, all of mixed"),
    }
    return {
        "engine": engine.name,
        "turns": args.turns,
        "rows": {name: len(some) for name, some in texts.items()},
        "statuses": statuses,
        "rows_per_second": {
            name: round(statistics.median(turn[name] for turn in turns), 2) for name in turns[0]
        },
        "ratios (median, least, most)": {
            name: _spread([turn[above] / turn[below] for turn in turns])
            for name, (above, below) in ratios.items()
        },
    }


def _varied(texts: Sequence[str], number: int) -> str:
    """No two alike, as equal texts are answered once."""
    return f"{texts[number % len(texts)]}, page {number}"


def _file_rate(
    folder: Path, name: str, load: Callable[[], Engine], *, force: bool
) -> tuple[float, dict[str, int]]:
    """Rows a second from the first row to the whole output, loading left out; and the statuses."""
    started = 0.0

    def told(what: str, done: int, total: int | None) -> None:
        nonlocal started
        if what == "rewriting" and done == 0:
            started = time.perf_counter()

    report = rewrite_file(
        folder / f"{name}.jsonl",
        folder / "out.jsonl",
        "text",
        Workers(load, 1, force=force),
        told=told,
    )
    return report.rows / (time.perf_counter() - started), dict(report.statuses)


def _spread(ratios: list[float]) -> list[float]:
    return [round(x, 3) for x in (statistics.median(ratios), min(ratios), max(ratios))]


if __name__ == "__main__":
    main()
