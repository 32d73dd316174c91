"""Processes that rewrite chunks of texts: answers in order, whatever becomes of a process.

A process that dies, or takes longer for a chunk than it may, is replaced. Its chunk is tried once
more; then its texts are tried one by one, so that a text that kills every process costs only
itself, and gets the status `error`. What was answered counts once: a process that is given up is
killed before its texts are handed to another.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from tactful import errors
from tactful.errors import TactfulError, UnreachableError
from tactful.records import Rewrite
from tactful.rewriting.batch import as_columns
from tactful.rewriting.journal import Answer

T = TypeVar("T")

# A chunk is tried so often as a whole before its texts are tried alone.
_TRIES = 2
# Processes lost one after another without a single answer: the engine is broken, not a text.
_MOST_LOST = 10
# The same for processes that die before they have loaded it.
_MOST_LOADS = 3
# Loading may mean reading gigabytes from a slow disk.
_LOAD_SECONDS = 600.0
# Chunks under way for each process: an early one that takes long must not stop the others.
_AHEAD = 4


class Engine(Protocol):
    """What rewrites; `Rewriter` is one."""

    @property
    def name(self) -> str: ...

    def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]: ...


class Workers:
    """Rewrites chunks of texts in `count` processes, or in this one when `count` is 0.

    `load` makes the engine, once in each process; it must be picklable. `timeout` is how many
    seconds a chunk may take. Use it as a context manager.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        count: int = 1,
        *,
        timeout: float = 900.0,
        force: bool = False,
    ) -> None:
        self._load = load
        self._count = count
        self._timeout = timeout
        self._force = force
        self._engine: Engine | None = None
        self._workers: list[_Worker] = []
        self._name: str | None = None
        self._lost_in_a_row = 0
        self._dead_loads = 0
        self.lost = 0
        """Processes that died or took too long."""

    def __enter__(self) -> Workers:
        if self._count:
            self._workers = [self._start() for _ in range(self._count)]
        else:
            self._engine = self._load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers = []
        self._engine = None

    @property
    def name(self) -> str:
        """The engine's name; waits until one process has loaded it."""
        if self._engine is not None:
            return self._engine.name
        while self._name is None:
            self._listen(deque())
        return self._name

    def map(
        self, items: Iterable[T], texts: Callable[[T], Sequence[Any]]
    ) -> Iterator[tuple[T, list[Answer]]]:
        """Answers to the texts of every item, in order; some items are taken ahead."""
        if self._engine is not None:
            for item in items:
                asked = texts(item)
                yield item, _answers(self._engine, asked, self._force) if asked else []
            return
        stream: Iterator[Any] = iter(items)
        most = _AHEAD * self._count
        under_way: deque[_Job[T]] = deque()
        tasks: deque[_Task] = deque()
        more = True
        while more or under_way:
            if more and len(under_way) < most:
                item = next(stream, _END)
                if item is _END:
                    more = False
                else:
                    job = _Job(item, list(texts(item)))
                    under_way.append(job)
                    tasks.extend([_Task(job, range(len(job.texts)))] if job.texts else [])
            self._hand_out(tasks)
            while under_way and under_way[0].done:
                job = under_way.popleft()
                yield job.item, job.answers
            if under_way:
                # While there is something to read, nobody is waited for.
                self._listen(tasks, seconds=0.0 if more and len(under_way) < most else None)

    def _start(self) -> _Worker:
        return _Worker(self._load, self._force, self._timeout)

    def _hand_out(self, tasks: deque[_Task]) -> None:
        for worker in self._workers:
            if worker.ready and worker.task is None and tasks:
                worker.give(tasks.popleft())

    def _listen(self, tasks: deque[_Task], *, seconds: float | None = None) -> None:
        """Take what the processes say, and replace those that say nothing any more."""
        now = time.monotonic()
        until = min(worker.deadline for worker in self._workers)
        patience = max(0.0, until - now) if seconds is None else seconds
        heard: list[Any] = [end for worker in self._workers for end in worker.ends]
        speaking = set(wait(heard, None if patience == float("inf") else patience))
        for place, worker in enumerate(self._workers):
            why = None
            if speaking.intersection(worker.ends):
                why = self._take(worker)
            if why is None and worker.deadline <= time.monotonic():
                allowed = self._timeout if worker.ready else _LOAD_SECONDS
                why = f"took longer than {allowed:g} seconds"
            if why is not None:
                self._replace(place, worker, why, tasks)

    def _take(self, worker: _Worker) -> str | None:
        """One message of a process; returns how it ended when there is none."""
        try:
            if not worker.pipe.poll():
                return worker.ending()
            kind, content = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return worker.ending()
        if kind == "refused":
            raise raised_again(*content)
        if kind == "ready":
            worker.ready, worker.deadline = True, float("inf")
            self._name = self._name or content
            self._dead_loads = 0
            if content != self._name:
                raise TactfulError(
                    f"the rewriter changed while it was at work: it was {self._name}, a new "
                    f"process loaded {content}. Run again when nothing changes it any more"
                )
        else:
            worker.done(content)
            self._lost_in_a_row = 0
        return None

    def _replace(self, place: int, worker: _Worker, why: str, tasks: deque[_Task]) -> None:
        worker.kill()
        self.lost += 1
        self._lost_in_a_row += 1
        self._dead_loads += not worker.ready
        if self._dead_loads >= _MOST_LOADS:
            raise TactfulError(
                f"the process that loads the rewriter {why}, {self._dead_loads} times. Is there "
                "too little memory? Fewer --workers need less"
            )
        if worker.task is not None:
            worker.task.failed(why, tasks)
        if self._lost_in_a_row >= _MOST_LOST:
            raise TactfulError(
                f"{self._lost_in_a_row} processes in a row were lost without an answer; the last "
                f"one {why}"
            )
        self._workers[place] = self._start()


_END: Any = object()


@dataclass(slots=True)
class _Job(Generic[T]):
    """An item and what is known of its answers."""

    item: T
    texts: list[Any]
    answers: list[Any] = field(default_factory=list)
    open: int = 0

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.texts)
        self.open = len(self.texts)

    @property
    def done(self) -> bool:
        return self.open == 0

    def answer(self, places: Sequence[int], answers: Sequence[Answer]) -> None:
        for place, answer in zip(places, answers, strict=True):
            self.answers[place] = answer
        self.open -= len(places)


@dataclass(slots=True)
class _Task:
    """Some texts of a job, for one process."""

    job: _Job[Any]
    places: Sequence[int]
    tries: int = _TRIES

    @property
    def texts(self) -> list[Any]:
        return [self.job.texts[place] for place in self.places]

    def failed(self, why: str, tasks: deque[_Task]) -> None:
        """Try again, in parts at last; a text that was alone and failed is given up."""
        if self.tries > 1:
            tasks.appendleft(_Task(self.job, self.places, self.tries - 1))
        elif len(self.places) > 1:
            tasks.extendleft(_Task(self.job, [place], 1) for place in reversed(self.places))
        else:
            reason = f"the process that rewrites {why}"
            self.job.answer(self.places, [_given_up(text, reason) for text in self.texts])


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, load: Callable[[], Engine], force: bool, timeout: float) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._timeout = timeout
        self._process: SpawnProcess = context.Process(
            target=_work, args=(theirs, load, force), daemon=True, name="tactful-worker"
        )
        # Ctrl-C reaches every process of a terminal: the children leave it to us, from their first
        # moment on.
        with _ignoring_interrupts():
            self._process.start()
        theirs.close()
        self._gone = False
        self.ready = False
        self.task: _Task | None = None
        self.deadline = time.monotonic() + _LOAD_SECONDS

    @property
    def ends(self) -> tuple[Connection, int]:
        """What stirs when the process speaks or dies."""
        return self.pipe, self._process.sentinel

    def give(self, task: _Task) -> None:
        self.task = task
        self.deadline = time.monotonic() + self._timeout
        try:
            self.pipe.send(task.texts)
        except OSError:
            # It is dead, and will be found so.
            return

    def done(self, answers: list[Answer]) -> None:
        assert self.task is not None
        self.task.job.answer(self.task.places, answers)
        self.task = None
        self.deadline = float("inf")

    def ending(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return "died" if code is None else f"ended with exit code {code}"

    def kill(self) -> None:
        """End it, whatever it does; a second time does nothing."""
        if self._gone:
            return
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()
        self._gone = True


class _ignoring_interrupts:
    """Children inherit what we ignore. Only the main thread may say what is ignored."""

    def __enter__(self) -> None:
        self._ours = threading.current_thread() is threading.main_thread()
        if self._ours:
            self._before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._before)


# ---- in the process -----------------------------------------------------------------------------


def _work(pipe: Connection, load: Callable[[], Engine], force: bool) -> None:
    _end_with_parent()
    try:
        try:
            engine = load()
            pipe.send(("ready", engine.name))
        except Exception as error:
            pipe.send(("refused", (type(error).__name__, str(error))))
            return
        while True:
            asked = pipe.recv()
            try:
                answers = _answers(engine, asked, force)
            except UnreachableError as error:
                pipe.send(("refused", (type(error).__name__, str(error))))
                return
            pipe.send(("done", answers))
    except (EOFError, OSError):
        # Nobody listens any more.
        return


def _end_with_parent() -> None:
    """A process that hangs must not outlive a parent that was killed."""
    parent = mp.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _answers(engine: Engine, texts: Sequence[Any], force: bool) -> list[Answer]:
    """What the engine says to every text; where it raises, the texts are tried one by one.

    An engine whose server is gone would say so to every one of them: that ends the run instead.
    """
    try:
        results = engine.rewrite_many(texts, force=force)
        if len(results) != len(texts):
            raise ValueError(f"{len(results)} answers to {len(texts)} texts")
    except UnreachableError:
        raise
    except Exception as error:
        if len(texts) > 1:
            return [answer for text in texts for answer in _answers(engine, [text], force)]
        return [_given_up(text, f"{type(error).__name__}: {error}") for text in texts]
    return [answer_of(result, text) for result, text in zip(results, texts, strict=True)]


def answer_of(result: Rewrite, text: Any) -> Answer:
    """The added columns of a result as they are kept."""
    values = list(as_columns(result).values())
    if text and result.text == text:
        values[0] = None
    return values


def _given_up(text: Any, reason: str) -> Answer:
    # It was never screened: nothing of it is printed.
    return answer_of(Rewrite(str(text), "", "error", reason=reason), text)


def raised_again(name: str, message: str) -> TactfulError:
    """An error that another process told by its class and its words."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, TactfulError):
        error = kind.__new__(kind)
        error.args = (message,)
        return error
    return TactfulError(f"the rewriter could not be loaded: {name}: {message}")
