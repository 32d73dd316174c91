"""Files over Ray: the same rows, answers and journals, with workers on many machines.

    one file    slices of its rows ─► Ray Data ─► answers, in order ─► journal ─► output
    a folder    its files ─► Ray Data: a worker takes a file, and its journal, from end to end

Ray moves the work and starts it again where a machine is lost; what an engine may do wrong is seen
to by the same `Workers` as on one machine, one in each of Ray's. All machines must see the input
under the same path, and of a folder the output as well.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from tactful import errors
from tactful.corpora.read import Row, kind_of, read_rows
from tactful.corpora.write import part_of
from tactful.errors import (
    ConfigError,
    DataError,
    InterruptedRunError,
    MissingExtraError,
    TactfulError,
    UnreachableError,
)
from tactful.rewriting.files import FileReport, Known, Told, answers_here, rewrite_file
from tactful.rewriting.journal import Answer, Journal, Refused, journal_of
from tactful.rewriting.workers import Engine, Workers, raised_again

# Rows of a file that a worker gets at a time: little enough to lose, and enough to be worth Ray's
# ten milliseconds.
_SLICE = 1024
# More slices than that only keep the driver busy; those of a very long file are longer.
_MOST_SLICES = 8192
_TOLD_FAILURES = 5
_STARTS = 3


class RayWorkers:
    """Rewrites on a Ray cluster, for `rewrite_file` and `rewrite_folder`.

    `load` makes the engine, once in each of `count` workers, which share the cores; it must be
    picklable. `timeout` is how many seconds some 256 texts may take. The cluster is the one that
    `RAY_ADDRESS` names (`auto`: the one that was started on this machine); without it one is started
    here, and stopped at the end. Use it as a context manager.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        count: int = 1,
        *,
        timeout: float = 900.0,
        force: bool = False,
    ) -> None:
        if count < 1:
            raise ConfigError(f"over Ray there must be at least one worker, not {count}")
        self._load, self._count = load, count
        self._timeout, self._force = timeout, force
        self._ray: Any = None
        self._ours = False
        self.lost = 0
        """Engine processes that died or took too long; not what Ray itself started again."""
        self.repeated = 0
        """Rows whose text the same worker had answered before."""

    def __enter__(self) -> RayWorkers:
        self._ray, self._ours = _connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ours:
            self._ray.shutdown()
        self._ray = None

    def answers(
        self, source: Path, column: str, first: int, rows: int | None
    ) -> tuple[str, Iterator[list[Answer]]]:
        """The engine's name, and answers to the rows of a file from row `first` on, in order."""
        if rows is None:
            rows = sum(1 for _ in read_rows(source))
        size = max(_SLICE, -(-rows // _MOST_SLICES))
        # One at least, as it says what the engine is called.
        items = [{"first": place} for place in range(first, rows, size)] or [{"first": first}]
        found = self._map(_Slices, items, source.absolute(), column, size, in_order=True)
        one = next(found)
        return one["name"], self._slices(one, found)

    def _slices(
        self, one: dict[str, Any], others: Iterator[dict[str, Any]]
    ) -> Iterator[list[Answer]]:
        name = one["name"]
        while True:
            if one["name"] != name:
                raise _not_alike(name, one["name"])
            self.lost += one["lost"]
            self.repeated += one["repeated"]
            if one["answers"]:
                yield one["answers"]
            if (following := next(others, None)) is None:
                return
            one = following

    def files(
        self,
        parts: Sequence[tuple[Path, Path]],
        column: str,
        expected: str | None,
        options: Mapping[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """What became of each of some files, as they are done."""
        items = [{"source": str(source), "output": str(output)} for source, output in parts]
        yield from self._map(_Files, items, column, expected, dict(options), in_order=False)

    def _map(
        self, kind: type[Any], items: list[dict[str, Any]], *given: Any, in_order: bool
    ) -> Iterator[dict[str, Any]]:
        """A worker for each item, an answer from each."""
        from ray.data import ActorPoolStrategy, DataContext, from_items
        from ray.exceptions import RayError

        context = DataContext.get_current()
        # What is said is said by whoever called us.
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context.execution_options.preserve_order = in_order
        count = min(self._count, len(items))
        answered = from_items(items, override_num_blocks=len(items)).map_batches(
            kind,
            fn_constructor_args=(self._load, self._timeout, self._force, *given),
            batch_size=1,
            compute=ActorPoolStrategy(size=count),
            num_cpus=_cores_each(self._ray, count),
        )
        try:
            for row in answered.iter_rows():
                yield or_raise(json.loads(row["told"]))
        except RayError as error:
            raise TactfulError(f"Ray: {type(error).__name__}: {_first_line(error)}") from error


def _not_alike(one: str, other: str) -> TactfulError:
    return TactfulError(f"not all machines have the same rewriter: one has {one}, one {other}")


# ---- on the workers -----------------------------------------------------------------------------


class _Kept(Workers):
    """Stays loaded from one file to the next, unless something went wrong."""

    def __enter__(self) -> _Kept:
        self.lost = 0
        if not self._workers:
            super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            # What it was asked last would be taken for the answer to what it is asked next.
            super().__exit__(kind, error, trace)


class _Slices:
    """Answers slices of a file. Each worker reads the file once, and passes over what others do."""

    def __init__(
        self,
        load: Callable[[], Engine],
        timeout: float,
        force: bool,
        source: Path,
        column: str,
        size: int,
    ) -> None:
        self._workers = _Kept(load, timeout=timeout, force=force)
        self._source, self._column, self._size = source, column, size
        self._known = Known()
        self._rows: Iterator[Row] = iter(())
        self._place: int | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        return _told(lambda: self._answer(int(batch["first"][0])))

    def _answer(self, first: int) -> dict[str, Any]:
        if self._place is None or first < self._place:
            self._rows, self._place = read_rows(self._source), 0
        for _ in islice(self._rows, first - self._place):
            pass
        self._place = first + self._size
        before = self._known.hits
        with self._workers as workers:
            answers = [
                answer
                for some in answers_here(
                    workers, islice(self._rows, self._size), self._column, self._known
                )
                for answer in some
            ]
            return {
                "name": workers.name,
                "answers": answers,
                "lost": workers.lost,
                "repeated": self._known.hits - before,
            }


class _Files:
    """Rewrites whole files; one that a lost worker had under way goes on from its journal."""

    def __init__(
        self,
        load: Callable[[], Engine],
        timeout: float,
        force: bool,
        column: str,
        expected: str | None,
        options: Mapping[str, Any],
    ) -> None:
        self._workers = _Kept(load, timeout=timeout, force=force)
        self._column, self._expected, self._options = column, expected, options

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        return _told(lambda: self._rewrite(Path(batch["source"][0]), Path(batch["output"][0])))

    def _rewrite(self, source: Path, output: Path) -> dict[str, Any]:
        with self._workers as workers:
            if self._expected not in (None, workers.name):
                raise Refused(
                    f"rewriter: it was {self._expected}, now it is {workers.name}. Give what it "
                    "was to go on, or --fresh to start over"
                )
        try:
            stamp = _stamp(source)
            output.parent.mkdir(parents=True, exist_ok=True)
            report = rewrite_file(source, output, self._column, self._workers, **self._options)
        except UnreachableError:
            raise
        except TactfulError as error:
            # Of this file; the others are none the worse for it.
            return {"source": str(source), "failed": str(error)}
        return {"source": str(source), "stamp": stamp, "report": _figures(report)}


def _told(answer: Callable[[], dict[str, Any]]) -> dict[str, list[str]]:
    try:
        told = answer()
    except TactfulError as error:
        # A user's error is no crash: Ray would try it again, and print where it came from.
        kind = next(c.__name__ for c in type(error).__mro__ if hasattr(errors, c.__name__))
        told = {"refused": [kind, str(error)]}
    return {"told": [json.dumps(told)]}


def or_raise(told: dict[str, Any]) -> dict[str, Any]:
    """What a worker told, unless that is an error that ends the run."""
    if "refused" in told:
        raise raised_again(*told["refused"])
    return told


# ---- a folder -----------------------------------------------------------------------------------


def rewrite_folder(
    source: Path,
    output: Path,
    column: str,
    workers: RayWorkers,
    *,
    settings: Mapping[str, Any] | None = None,
    neutralise_formulas: bool = False,
    fresh: bool = False,
    told: Told = lambda what, done, total: None,
) -> FileReport:
    """Rewrites all data files in a folder, each into a file of the same name in another one.

    Beside the output folder a journal says which files are done; those under way have their own.
    The same call again goes on, and does again what changed meanwhile. A file that cannot be
    rewritten does not stop the others; at the end DataError names it.
    """
    names = data_files(source)
    if output.absolute().is_relative_to(source.absolute()):
        raise DataError(f"{output} lies in the folder that is read; give another --output")
    head = {"input": source.name, "column": column, **(settings or {})}
    options = {"settings": dict(settings or {}), "neutralise_formulas": neutralise_formulas}
    report = FileReport(source.name, output.name, "")
    failed: list[str] = []
    output.mkdir(parents=True, exist_ok=True)
    with Journal(output, fresh=fresh, of="file") as journal, _stopping(journal):
        journal.agree(head)
        if fresh:
            _forget([output / name for name in names])
        done = _done(source, output, journal, report)
        report.resumed = report.rows
        told("rewriting", report.rows, None)
        left = [name for name in names if name not in done]
        parts = [((source / name).absolute(), (output / name).absolute()) for name in left]
        name = journal.head.get("rewriter")
        with workers:
            since: float | None = time.monotonic()
            for found in workers.files(parts, column, name, options) if parts else ():
                if "failed" in found:
                    failed.append(found["failed"])
                    continue
                name = name or found["report"]["rewriter"]
                if found["report"]["rewriter"] != name:
                    raise _not_alike(name, found["report"]["rewriter"])
                if since is not None:
                    journal.begin(head | {"rewriter": name}, since=since)
                    since = None
                place = Path(found["source"]).relative_to(source.absolute())
                journal.append([[str(place), found["stamp"], found["report"]]])
                _add(report, found["report"])
                report.resumed += found["report"]["resumed"]
                told("rewriting", report.rows, None)
        for chunk in journal.chunks():
            report.seconds += chunk.seconds
        report.pace.append((report.seconds, report.rows))
        if failed:
            raise DataError(_failures(failed))
        journal.remove()
    return report


def data_files(folder: Path) -> list[str]:
    """The files in a folder and below it whose names say that they hold rows, in order."""
    found = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and _is_data(path.relative_to(folder))
    )
    if not found:
        raise DataError(f"{folder} holds no file of rows (.csv, .tsv, .jsonl, .txt, .parquet)")
    return [str(name) for name in found]


def _is_data(name: Path) -> bool:
    # `_SUCCESS`, `.crc` and what else programs leave beside their parts.
    if any(part.startswith((".", "_")) for part in name.parts):
        return False
    with suppress(DataError):
        kind_of(name)
        return True
    return False


def _done(source: Path, output: Path, journal: Journal, report: FileReport) -> set[str]:
    """Files that an earlier run did, are as they were, and whose output is there."""
    done = {
        name: (stamp, told) for chunk in journal.chunks() for name, stamp, told in chunk.answers
    }
    kept = set()
    for name, (stamp, told) in done.items():
        if (output / name).is_file() and _same(source / name, stamp):
            kept.add(name)
            _add(report, told)
    return kept


def _forget(outputs: Iterable[Path]) -> None:
    """Once, and before the work: a worker that is lost must not begin its file anew."""
    for output in outputs:
        for path in (journal_of(output), part_of(output)):
            path.unlink(missing_ok=True)


def _same(path: Path, stamp: list[int]) -> bool:
    with suppress(OSError):
        return _stamp(path) == stamp
    return False


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _figures(report: FileReport) -> dict[str, Any]:
    names = ("rewriter", "rows", "resumed", "repeated", "lost", "before", "after", "sums")
    return {name: getattr(report, name) for name in names} | {"statuses": dict(report.statuses)}


def _add(report: FileReport, told: Mapping[str, Any]) -> None:
    report.rewriter = report.rewriter or told["rewriter"]
    report.rows += told["rows"]
    report.statuses.update(told["statuses"])
    report.repeated += told["repeated"]
    report.lost += told["lost"]
    for mine, theirs in ((report.before, told["before"]), (report.after, told["after"])):
        mine[:] = [a + b for a, b in zip(mine, theirs, strict=True)]
    report.sums = [a + b for a, b in zip(report.sums, told["sums"], strict=True)]


def _failures(failed: Sequence[str]) -> str:
    lines = [f"{len(failed)} {'file' if len(failed) == 1 else 'files'} could not be rewritten:"]
    lines += [f"  {message}" for message in failed[:_TOLD_FAILURES]]
    if len(failed) > _TOLD_FAILURES:
        lines.append(f"  and {len(failed) - _TOLD_FAILURES} more")
    return "\n".join(lines)


@contextmanager
def _stopping(journal: Journal) -> Iterator[None]:
    try:
        yield
    except (TactfulError, KeyboardInterrupt) as error:
        kept = (
            f"{journal.rows:,} {'file is' if journal.rows == 1 else 'files are'} done; run the "
            "same command again to go on, also within the files that were under way"
        )
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedRunError(f"stopped; {kept}") from None
        if not isinstance(error, Refused):
            error.args = (f"{error}\n{kept}",)
        raise


# ---- Ray ----------------------------------------------------------------------------------------


def _connect() -> tuple[Any, bool]:
    """Ray, and whether we began it: then it is ours to end."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    # It counts its users unless told not to, and we send nothing anywhere.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What goes wrong comes as an exception; what it writes besides is for those who work on Ray.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address == "local" and "ray" not in sys.modules:
        _lock()
    try:
        import ray
        import ray.data  # its parts need more packages than Ray alone
    except ImportError as error:
        raise MissingExtraError("Ray", "ray") from error

    if ray.is_initialized():
        return ray, False
    given: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        given["include_dashboard"] = False
    with _keeping_signals():
        try:
            _start(ray, address, given)
        except Exception as error:  # Ray raises plain ones, too
            why = _first_line(error)
            raise TactfulError(
                f"Ray cannot be started here: {why}"
                if address == "local"
                else f"no Ray cluster answers at {address} (RAY_ADDRESS): {why}"
            ) from error
    return ray, True


def _start(ray: Any, address: str, given: Mapping[str, Any]) -> None:
    """Ray gives its own processes 30 seconds to begin, which on a busy machine is not enough."""
    for left in reversed(range(_STARTS if address == "local" else 1)):
        try:
            ray.init(address=address, **given)
            return
        except Exception:
            ray.shutdown()
            if not left:
                raise


def _lock() -> None:
    """Whoever reaches a cluster's ports runs code on it: ours takes a key that nobody is told.

    Ray reads this once, when it is imported.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which here asks for a clean stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _cores_each(ray: Any, count: int) -> int:
    """How many cores each worker may have, so that all of them find room."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = max(cores, default=1)
    fitting = [each for each in range(1, most + 1) if sum(c // each for c in cores) >= count]
    if not fitting:
        raise ConfigError(
            f"--workers {count} is more than the {sum(cores)} cores of the Ray cluster; a worker "
            "needs one at least"
        )
    return fitting[-1]
