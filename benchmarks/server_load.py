"""What the server costs over its engine, and what batching buys.

    python benchmarks/server_load.py -o server_load.json        both; --only overhead | batching
    python benchmarks/server_load.py --quick                    a tenth of the requests

*overhead*: a stub engine that takes 20 ms a batch, eight clients in a closed loop. Every answer
says how long its text waited and how long its batch was in the engine (Server-Timing); what is
left of the time that the client measured is the server: HTTP, JSON, checks, the pipe.

*batching*: the real engine, sixteen clients, texts of which each has an insult; the same texts
with batches of one and of sixteen, the two servers one after the other.

Figures mean something on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.load import Answer, closed_loop, percentile  # found from the root

ROOT = Path(__file__).parents[1]
INSULTS = "idiot moron clown fool jerk loser".split()
ABOUT = (
    "read the article before you comment",
    "the bus leaves at 9",
    "this patch broke 3 of my tests",
    "nobody asked for your opinion on bread",
    "the second chapter is where it gets interesting",
)


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, int, int]]:
    """A server that is ready: host, port and process."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tactful", "serve", "--port", "0", "--deadline", "300", *options],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stderr is not None
    host, port = "", 0
    try:
        for line in process.stderr:
            if found := re.search(r'"address": "http://([^:]+):(\d+)"', line):
                host, port = found[1], int(found[2])
            if '"engine ready"' in line:
                break
        else:
            raise SystemExit("the server did not start; try tactful serve by hand")
        print(f"ready after {time.monotonic() - began:.1f} s", file=sys.stderr)  # noqa: T201
        # The pipe must not fill up.
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield host, port, process.pid
        process.terminate()
        process.wait()
        drain.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def load(host: str, port: int, texts: list[str], concurrency: int) -> tuple[list[Answer], float]:
    """Answers to all texts and the seconds that they took together."""
    bodies = [{"text": text} for text in texts]
    began = time.perf_counter()
    answers = asyncio.run(closed_loop(host, port, "/v1/rewrite", bodies, concurrency=concurrency))
    seconds = time.perf_counter() - began
    wrong = [answer.status for answer in answers if answer.status != 200]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(answers)} requests failed, with {set(wrong)}")
    return answers, seconds


def overhead(count: int) -> dict[str, float]:
    """Milliseconds that are neither waiting nor work."""
    with serving("--engine", "tests.serving.stub:a_batch_20ms") as (host, port, pid):
        load(host, port, ["warm up"] * 200, 8)
        answers, seconds = load(host, port, ["you are an idiot"] * count, 8)
        memory = psutil.Process(pid).memory_info().rss
    over = [1e3 * (a.seconds - a.timing("queue") - a.timing("engine")) for a in answers]
    return {
        "requests": count,
        "requests_per_s": count / seconds,
        "overhead_p50_ms": percentile(over, 0.5),
        "overhead_p99_ms": percentile(over, 0.99),
        "server_memory_mb": memory / 1e6,
    }


def batching(count: int) -> dict[str, float]:
    """Texts a second from the real engine, one by one and together."""
    texts = [
        f"{ABOUT[i % len(ABOUT)]}, you {INSULTS[i % len(INSULTS)]}, number {i}"
        for i in range(count)
    ]
    found: dict[str, float] = {"texts": count}
    for name, batch in (("one_by_one", 1), ("together", 16)):
        with serving("--batch", str(batch), "--engine-timeout", "300") as (host, port, pid):
            load(host, port, texts[:16], 16)
            answers, seconds = load(host, port, texts, 16)
            server = psutil.Process(pid)
            memory = sum(
                process.memory_info().rss for process in [server, *server.children(recursive=True)]
            )
        found[f"{name}_texts_per_s"] = count / seconds
        found[f"{name}_p50_s"] = percentile([answer.seconds for answer in answers], 0.5)
        found[f"{name}_memory_mb"] = memory / 1e6
    found["speedup"] = found["together_texts_per_s"] / found["one_by_one_texts_per_s"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--only", choices=["overhead", "batching"])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    record: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count()}
    if asked.only != "batching":
        record["overhead"] = overhead(400 if asked.quick else 4000)
    if asked.only != "overhead":
        record["batching"] = batching(32 if asked.quick else 320)
    for part in ("overhead", "batching"):
        for name, value in record.get(part, {}).items():
            print(f"{part:10} {name:28} {value:12,.2f}")  # noqa: T201  # the table is the result
    if asked.out:
        asked.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
