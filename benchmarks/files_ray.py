"""Are rows lost or doubled over Ray when workers are killed, or the whole run?

    python benchmarks/files_ray.py [--kills 3] [--rows 10000] [-o FILE]

A Ray cluster of two workers on this machine, kill -9 of one of them again and again while a file
and a folder are rewritten, and of the process that leads them. The engine needs no model
(`files_stub.py`). The bytes must be those of a run without Ray that was left alone. Tests run the
same functions, smaller.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.files_reliability import finish, start, write_input  # noqa: E402
from benchmarks.files_stub import Words  # noqa: E402

from tactful.rewriting.files import rewrite_file  # noqa: E402
from tactful.rewriting.journal import journal_of  # noqa: E402
from tactful.rewriting.workers import Workers  # noqa: E402

PARTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [
            killed(Path(folder), what, rows=args.rows, kills=args.kills, leader=leader)
            for what in ("file", "folder")
            for leader in (False, True)
        ]
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    sys.exit(0 if all(run["held"] for run in found) else 1)


def killed(
    folder: Path, what: str, *, rows: int, kills: int = 1, leader: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Rewrite a file or a folder over Ray while processes are killed; compare with a quiet run.

    With `leader` the process that was started is killed, and the same command given again.
    """
    folder = folder / f"{what}-{leader}"
    source, output = _inputs(folder, what, rows)
    expected = _expected(folder, source)
    command = ("rewrite", source, "-c", "comment", "-o", output, "--ray", "--workers", "2")
    chance = random.Random(seed)
    started = time.monotonic()
    process = start(*command, STUB_SECONDS="0.3")
    struck, orphans = 0, 0
    while struck < kills:
        # In the middle: after some more chunks than at the last time.
        if not _wait_for(process, output, 2 * (struck + 1)):
            break
        workers = list(_workers(process.pid))
        if leader:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            orphans += len(psutil.wait_procs(family, timeout=30)[1])
            process = start(*command, STUB_SECONDS="0.3")
        elif workers:
            with suppress(psutil.NoSuchProcess):
                chance.choice(workers).kill()
        struck += bool(leader or workers)
    code, said = finish(process)
    found = {path.name: path.read_bytes() for path in _outputs(output)}
    left = sorted(path.name for path in folder.iterdir() if "journal" in path.name)
    return {
        "what": what,
        "killed": "the leader" if leader else "a worker",
        "kills": struck,
        "rows": rows,
        "seconds": round(time.monotonic() - started, 1),
        "exit_code": code,
        "said": said,
        "same_bytes": found == expected,
        "left_behind": left,
        "orphans": orphans,
        "held": (code, struck, left, orphans) == (0, kills, [], 0) and found == expected,
    }


def _inputs(folder: Path, what: str, rows: int) -> tuple[Path, Path]:
    folder.mkdir()
    if what == "file":
        write_input(folder / "in.csv", rows)
        return folder / "in.csv", folder / "out.csv"
    (folder / "in" / "deep").mkdir(parents=True)
    for number in range(PARTS):
        place = folder / "in" / ("deep" if number % 2 else ".")
        write_input(place / f"part-{number}.csv", rows // PARTS, seed=number)
    (folder / "in" / "_SUCCESS").touch()
    return folder / "in", folder / "out"


def _expected(folder: Path, source: Path) -> dict[str, bytes]:
    """The bytes of each output, made in this process."""
    found = {}
    for path in _outputs(source):
        plain = folder / f"plain.{path.name}"
        rewrite_file(path, plain, "comment", Workers(Words, 0))
        found["out.csv" if source.is_file() else path.name] = plain.read_bytes()
        plain.unlink()
    return found


def _outputs(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(place.rglob("*.csv"))
    return [place] if place.exists() else []


def _wait_for(process: subprocess.Popen[str], output: Path, chunks: int) -> bool:
    """Until so many lines stand in the journals; False when the run ended before."""
    while process.poll() is None:
        journals = [journal_of(output)]
        if output.is_dir():
            journals = list(output.rglob("*.journal"))
        lines = 0
        for journal in journals:
            with suppress(FileNotFoundError):
                lines += journal.read_bytes().count(b"\n")
        if lines > chunks:
            return True
        time.sleep(0.01)
    return False


def _workers(pid: int) -> Iterator[psutil.Process]:
    """Ray's workers that rewrite, each with the process of its engine below it."""
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "MapWorker" in " ".join(process.cmdline()):
                yield process


if __name__ == "__main__":
    main()
