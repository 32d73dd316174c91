"""Are rows lost or doubled when a run over a file is killed? Do bad rows come out with a reason?

    python benchmarks/files_reliability.py [--kills 50] [--rows 10000] [-o FILE]

Real processes and kill -9 at random moments, from the first import to the last rename, with an
engine that needs no model (`files_stub.py`). The output must be the same bytes as those of a run
that was left alone. Tests run the same functions, smaller.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tactful.corpora.read import read_rows  # noqa: E402
from tactful.rewriting.journal import journal_of  # noqa: E402

OUTPUTS = ("out.csv", "out.tsv.gz", "out.jsonl", "out.jsonl.zst", "out.parquet", "out.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="for each output format")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "rows": args.rows,
            "exactly_once": [
                exactly_once(
                    Path(folder), name, rows=args.rows, kills=args.kills, workers=args.workers
                )
                for name in OUTPUTS
            ],
            "bad_rows": [bad_rows(Path(folder), kind, rows=args.rows) for kind in ("csv", "jsonl")],
        }
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    runs = [*found["exactly_once"], *found["bad_rows"]]
    sys.exit(0 if all(run["held"] for run in runs) else 1)


# ---- processes ----------------------------------------------------------------------------------


def start(*args: str | Path, **environment: str) -> subprocess.Popen[str]:
    """The command line with the stub, as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.files_stub", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
    )


def finish(process: subprocess.Popen[str], timeout: float = 600) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    _, said = process.communicate(timeout=timeout)
    return process.returncode, said


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool]) -> tuple[bool, str]:
    """kill -9 the main process at a moment, unless it ended before; its workers are on their own.

    Whether it was killed, and what it said on stderr.
    """
    while process.poll() is None:
        if moment():
            process.send_signal(signal.SIGKILL)
            return True, process.communicate()[1]
        time.sleep(0.001)
    return False, process.communicate()[1]


def chunks_done(output: Path, count: int) -> Callable[[], bool]:
    """The moment at which the journal holds so many chunks."""
    journal = journal_of(output)

    def reached() -> bool:
        try:
            return journal.read_bytes().count(b"\n") > count
        except FileNotFoundError:
            return False

    return reached


# ---- R9: each row once, in order, the same bytes ------------------------------------------------


def write_input(path: Path, rows: int, *, seed: int = 0) -> None:
    """Comments of all lengths, a third of them toxic, some of them again and again."""
    chance = random.Random(seed)
    usual = ["so true", "you idiot", "first!", 'he said "no",\nand left', "thanks, é 😀"]
    with path.open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["id", "comment", "note"])
        for number in range(rows):
            words = chance.choices(
                ["the", "plan", "is", "fine", "idiot", "read"], k=chance.randrange(30)
            )
            text = chance.choice(usual) if chance.random() < 0.2 else f"{' '.join(words)} {number}"
            table.writerow([number, text, chance.randrange(100)])


def exactly_once(
    folder: Path, name: str, *, rows: int, kills: int, workers: int = 1, seed: int = 0
) -> dict[str, Any]:
    """Kill runs at random moments until so many were killed; compare every output that came."""
    source, output = folder / "in.csv", folder / name
    write_input(source, rows)
    pace = {"STUB_SECONDS": "0.02"}
    command = ("rewrite", source, "--column", "comment", "--workers", str(workers))
    plain = folder / f"plain.{name}"
    started = time.monotonic()
    code, said = finish(start(*command, "-o", plain, **pace))
    whole = time.monotonic() - started
    if code:
        raise SystemExit(said)
    chance = random.Random(seed)
    killed, same, finished, resumed, wrong = 0, 0, 0, 0, []
    under_way = True
    while killed < kills or under_way:
        process = start(*command, "-o", output, **pace)
        after = time.monotonic() + (chance.random() * whole if killed < kills else 1e9)
        resumed += journal_of(output).exists()
        was_killed, said = kill_when(process, lambda after=after: time.monotonic() >= after)
        if was_killed:
            killed += 1
            under_way = True
            continue
        finished += 1
        under_way = False
        if process.returncode:
            wrong.append(f"exit code {process.returncode}: {said}")
        elif output.read_bytes() == plain.read_bytes():
            same += 1
        else:
            wrong.append("other bytes")
        output.unlink(missing_ok=True)
    ids = [] if name.endswith(".txt") else [int(row.values["id"]) for row in read_rows(plain)]
    in_order = ids == list(range(rows)) or name.endswith(".txt")
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith(name))
    return {
        "output": name,
        "kills": killed,
        "resumed": resumed,
        "finished": finished,
        "same_bytes": same,
        "wrong": wrong,
        "left_behind": left,
        "held": same == finished and in_order and not left,
    }


# ---- R10: bad rows ------------------------------------------------------------------------------


BAD = ("null", "invalid UTF-8", "1 MB cell", "NUL", "ragged", "formula")


def bad_rows(folder: Path, kind: str, *, rows: int, share: float = 0.01) -> dict[str, Any]:
    """A file with bad rows through our rewriter; none may be lost, and each says what is wrong."""
    source, output = folder / f"bad.{kind}", folder / f"good.{kind}"
    planted = _plant(source, kind, rows, share)
    command = ("rewrite", source, "--column", "comment", "--neutralise-formulas", "-o", output)
    code, said = finish(start(*command, STUB_ENGINE="delete"))
    strict, _ = finish(start(*command, "--strict", "--workers", "0", STUB_ENGINE="delete"))
    if code:
        raise SystemExit(said)
    found = list(read_rows(output))
    unreasoned: Counter[str] = Counter()
    for number, what in planted.items():
        row = found[number].values if number < len(found) else {}
        if what == "formula":
            safe = kind != "csv" or str(row["comment"]).startswith("'=")
            unreasoned[what] += not safe
        elif what == "NUL":
            unreasoned[what] += "\0" not in str(row["comment"])
        else:
            told = row.get("_status") in ("error", "not_screened") and bool(row.get("_reason"))
            unreasoned[what] += not told
    lost = rows - len(found)
    in_order = [str(row.values.get("id")) for row in found if row.values.get("id") is not None]
    in_order_held = in_order == sorted(in_order, key=int)
    return {
        "input": source.name,
        "planted": dict(Counter(planted.values())),
        "rows_lost": lost,
        "without_reason": {name: count for name, count in unreasoned.items() if count},
        "exit_code": code,
        "exit_code_strict": strict,
        "held": not lost and not +unreasoned and in_order_held and (code, strict) == (0, 3),
    }


def _plant(path: Path, kind: str, rows: int, share: float) -> dict[int, str]:
    chance = random.Random(1)
    kinds = [what for what in BAD if (kind, what) not in {("csv", "null"), ("jsonl", "ragged")}]
    count = max(len(kinds), round(rows * share))
    places = chance.sample(range(rows), count)
    # A megabyte in each of many rows would only make the file large.
    order = [kinds[turn % len(kinds)] for turn in range(count)]
    planted = dict(zip(places, order, strict=True))
    line = _csv_line if kind == "csv" else _json_line
    with path.open("wb") as handle:
        handle.write(b"id,comment\r\n" if kind == "csv" else b"")
        for number in range(rows):
            handle.write(line(number, planted.get(number)))
    return planted


def _csv_line(number: int, bad: str | None) -> bytes:
    cell = _cell(number, bad)
    return b"%d,%b%b\r\n" % (number, cell, b",surplus" if bad == "ragged" else b"")


def _json_line(number: int, bad: str | None) -> bytes:
    if bad == "null":
        return b'{"id": %d, "comment": null}\n' % number
    cell = _cell(number, bad).replace(b"\0", b"\\u0000")
    return b'{"id": %d, "comment": "%b"}\n' % (number, cell)


def _cell(number: int, bad: str | None) -> bytes:
    return {
        "invalid UTF-8": b"caf\xe9 %d" % number,
        "1 MB cell": b"word " * 200_000,
        "NUL": b"a fine\0 day %d" % number,
        "formula": b"=SUM(A1:A%d) is fine" % number,
    }.get(bad or "", b"the plan is fine, page %d" % number)


if __name__ == "__main__":
    main()
