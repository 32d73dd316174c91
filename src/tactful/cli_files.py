"""`tactful rewrite FILE -o FILE`: progress while it runs, and what became of the file at the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from tactful.errors import InterruptedRunError
from tactful.rewriting.batch import summary
from tactful.rewriting.files import FileReport, rewrite_file
from tactful.rewriting.workers import Engine, Workers

# How often a log that nobody watches gets a line.
_SECONDS_BETWEEN_LINES = 60.0


def rewrite_to_file(
    source: Path,
    output: Path,
    column: str,
    load: Callable[[], Engine],
    *,
    settings: Mapping[str, Any],
    workers: int,
    timeout: float,
    force: bool,
    neutralise_formulas: bool,
    fresh: bool,
    report: Path | None,
    ray: bool = False,
) -> Counter[str]:
    """Rewrite a file, tell how far it is, sum up; returns how many rows got each status.

    With `ray` the work is done on a Ray cluster, and `source` may be a folder.
    """
    if report is not None:
        from tactful.file_report import require_report

        require_report(report)
    with _stopping_cleanly(), _watching() as told:
        options: dict[str, Any] = {
            "settings": settings,
            "neutralise_formulas": neutralise_formulas,
            "fresh": fresh,
            "told": told,
        }
        if ray:
            from tactful.rewriting.ray_files import RayWorkers, rewrite_folder

            cluster = RayWorkers(load, workers, timeout=timeout, force=force)
            rewrite = rewrite_folder if source.is_dir() else rewrite_file
            found = rewrite(source, output, column, cluster, **options)
        else:
            _share_cores(workers)
            here = Workers(load, workers, timeout=timeout, force=force)
            found = rewrite_file(source, output, column, here, **options)
    _say(render(found))
    if report is not None:
        from tactful.file_report import write_file_report

        write_file_report(found, report)
        _say(f"wrote {report}")
    return found.statuses


def render(report: FileReport) -> str:
    """What became of a file, in a few lines."""
    lines = [summary(report.statuses)]
    if report.mean_toxicity is not None:
        before, after = report.mean_toxicity
        lines.append(f"mean toxicity: {before:.3f} before, {after:.3f} after")
    if report.repeated:
        lines.append(f"{report.repeated:,} rows repeat a text that was answered before")
    if report.resumed:
        lines.append(f"{report.resumed:,} rows were done by an earlier run")
    if report.lost:
        lines.append(f"{report.lost:,} worker processes died or took too long; they were replaced")
    pace = f", {report.rate:,.1f} rows a second" if report.seconds else ""
    lines.append(f"wrote {report.output} in {clock(report.seconds)}{pace}")
    return "\n".join(lines)


def clock(seconds: float) -> str:
    """A span of time as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _share_cores(workers: int) -> None:
    """Two processes with a thread for every core each would mostly wait for each other."""
    if workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@contextmanager
def _stopping_cleanly() -> Iterator[None]:
    """A service manager asks with SIGTERM for what a person asks with Ctrl-C."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        # Anywhere but among the rows, where `rewrite_file` says how much is done.
        raise InterruptedRunError("stopped; run the same command again to go on") from None
    finally:
        signal.signal(signal.SIGTERM, before)


class _Pace:
    """How fast rows of one kind of work are done, and how long the rest takes at that."""

    def __init__(self, what: str, done: int) -> None:
        self.what = what
        self._first = done
        self._started = time.monotonic()

    def tell(self, done: int, total: int | None) -> tuple[str, str]:
        """The rate and the time left, "" where they are not known."""
        seconds = time.monotonic() - self._started
        rate = (done - self._first) / seconds if seconds else 0.0
        left = clock((total - done) / rate) if total and rate and done <= total else ""
        return f"{rate:,.1f} a second" if rate else "", left


@contextmanager
def _watching() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on stderr when a person is watching, else a line a minute."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=2,
    )
    task = progress.add_task("loading the model", total=None, rows="", pace="")
    pace = _Pace("", 0)

    def tell(what: str, done: int, total: int | None) -> None:
        nonlocal pace
        if what != pace.what:
            pace = _Pace(what, done)
        rate, left = pace.tell(done, total)
        progress.update(
            task,
            description=what,
            completed=done,
            total=total,
            rows=_rows(done, total),
            pace=", ".join(filter(None, [rate, left and f"{left} left"])),
        )

    with progress:
        yield tell


def _lines() -> Callable[[str, int, int | None], None]:
    pace, last = _Pace("", 0), time.monotonic()

    def tell(what: str, done: int, total: int | None) -> None:
        nonlocal pace, last
        if what != pace.what:
            pace = _Pace(what, done)
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            rate, left = pace.tell(done, total)
            known = [f"{what}: {_rows(done, total)}", rate, left and f"{left} left"]
            _say(", ".join(filter(None, known)))

    return tell


def _rows(done: int, total: int | None) -> str:
    return f"{done:,} of {total:,} rows" if total and done <= total else f"{done:,} rows"


def _say(message: str) -> None:
    typer.echo(message, err=True)
