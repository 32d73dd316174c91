"""Many small requests become few large ones, and never more than can be answered in time.

One batch is in work at a time; what comes meanwhile waits and forms the next one. So a lone
request never waits for company, and batches grow by themselves as load does. The number of items
admitted, waiting or in work, is bounded: what is beyond is refused at once rather than kept until
nobody wants the answer any more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Clients that were answered together ask again together, within a few milliseconds.
_GATHER = 0.004


class QueueFullError(Exception):
    """Nothing more is admitted now; `retry_after` are the seconds the present queue will take."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that an item waited for its batch, and that its batch was in work."""

    waited: float
    worked: float


@dataclass(eq=False, slots=True)
class _Job(Generic[T, R]):
    item: T
    size: int
    answer: asyncio.Future[tuple[R, Timing]]
    came: float


class Batcher(Generic[T, R]):
    """Hands items to `work` in batches, in the order in which they came.

    Args:
        work: Answers a batch in order. What it raises, every item of the batch gets.
        bound: Items admitted at a time.
        most: Items of a batch.
        size: How large an item is; `most_size` bounds the sum in a batch (one item always fits).
        told: Called with the number of items of every batch.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Awaitable[list[R]]],
        *,
        bound: int,
        most: int,
        size: Callable[[T], int] = lambda _: 1,
        most_size: int | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._work = work
        self._bound = bound
        self._most = most
        self._size = size
        self._most_size = most_size
        self._told = told
        self._queue: deque[_Job[T, R]] = deque()
        self._in_work = 0
        self._last = 0
        self._ended = 0.0
        self._seconds_per_item = 0.1
        self._worker: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Items admitted and not yet answered."""
        return len(self._queue) + self._in_work

    async def submit(
        self, items: Sequence[T], *, timeout: float | None = None
    ) -> list[tuple[R, Timing]]:
        """The answers to all items, in order; all are admitted, or none.

        Raises QueueFullError at once, TimeoutError when `timeout` seconds have passed, and what
        `work` raised. What still waits then is taken back; what is in work is finished unheard.
        """
        if len(self) + len(items) > self._bound:
            raise QueueFullError(len(self) * self._seconds_per_item)
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        jobs = [_Job(item, self._size(item), loop.create_future(), now) for item in items]
        self._queue.extend(jobs)
        self._wake.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(timeout):
                return [await job.answer for job in jobs]
        finally:
            for job in jobs:
                # Answers that come later, or errors that nobody is left to hear, are no fault.
                if not job.answer.done():
                    job.answer.cancel()
                elif not job.answer.cancelled():
                    job.answer.exception()
            if any(job.answer.cancelled() for job in jobs):
                self._queue = deque(job for job in self._queue if not job.answer.cancelled())

    async def close(self) -> None:
        """Stop working; whoever still waits gets a RuntimeError."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for job in self._queue:
            if not job.answer.done():
                job.answer.set_exception(RuntimeError("closed"))
        self._queue.clear()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            if len(self._queue) < self._last and time.monotonic() - self._ended < 5 * _GATHER:
                await asyncio.sleep(_GATHER)
            batch = self._take()
            if batch:
                await self._answer(batch)

    def _take(self) -> list[_Job[T, R]]:
        batch: list[_Job[T, R]] = []
        room = self._most_size
        while self._queue and len(batch) < self._most:
            job = self._queue[0]
            if room is not None:
                if batch and job.size > room:
                    break
                room -= job.size
            batch.append(self._queue.popleft())
        return batch

    async def _answer(self, batch: list[_Job[T, R]]) -> None:
        self._in_work = self._last = len(batch)
        self._told(len(batch))
        began = time.monotonic()
        try:
            results = await self._work([job.item for job in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} answers to {len(batch)} items")
        except Exception as error:
            self._fail(batch, error)
            return
        except asyncio.CancelledError:
            self._fail(batch, RuntimeError("closed"))
            raise
        finally:
            self._in_work = 0
            self._ended = time.monotonic()
        worked = time.monotonic() - began
        # A moving average: what the last few batches took is what the next one will.
        self._seconds_per_item += 0.3 * (worked / len(batch) - self._seconds_per_item)
        for job, result in zip(batch, results, strict=True):
            if not job.answer.done():
                job.answer.set_result((result, Timing(began - job.came, worked)))

    def _fail(self, batch: Sequence[_Job[T, R]], error: Exception) -> None:
        for job in batch:
            if not job.answer.done():
                job.answer.set_exception(error)
