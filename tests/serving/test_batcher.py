from __future__ import annotations

import asyncio
import time

import pytest

from tactful.serving.batcher import Batcher, QueueFullError


class Work:
    """Doubles numbers, `seconds` a batch, and remembers the batches."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []

    async def __call__(self, batch: list[int]) -> list[int]:
        self.batches.append(batch)
        await asyncio.sleep(self.seconds)
        if 13 in batch:
            raise ValueError("thirteen")
        return [2 * number for number in batch]


def values(answers: list[tuple[int, object]]) -> list[int]:
    return [value for value, _ in answers]


def test_a_lone_item_does_not_wait_for_company() -> None:
    """The first batch is what there is; what came meanwhile is the second one, in order."""

    async def run() -> Work:
        work = Work()
        batcher = Batcher(work, bound=10, most=10)
        answers = await asyncio.gather(*(batcher.submit([n]) for n in range(5)))
        assert [values(a) for a in answers] == [[0], [2], [4], [6], [8]]
        await batcher.close()
        return work

    work = asyncio.run(run())
    assert sorted(number for batch in work.batches for number in batch) == [0, 1, 2, 3, 4]
    assert len(work.batches) <= 2


def test_batches_are_bounded_by_number_and_by_size() -> None:
    """At most `most` items, and no more than `most_size` in all; one that is larger goes alone."""

    async def run(most: int, most_size: int | None) -> list[list[int]]:
        work = Work(0.0)
        batcher = Batcher(work, bound=99, most=most, size=lambda n: n, most_size=most_size)
        assert values(await batcher.submit([1, 2, 3, 9, 1])) == [2, 4, 6, 18, 2]
        await batcher.close()
        return work.batches

    assert asyncio.run(run(2, None)) == [[1, 2], [3, 9], [1]]
    assert asyncio.run(run(9, 5)) == [[1, 2], [3], [9], [1]]


def test_what_is_beyond_the_bound_is_refused_whole() -> None:
    """All items of a submission are admitted, or none; what is in work counts, too."""

    async def run() -> None:
        batcher = Batcher(Work(0.1), bound=3, most=1)
        first = asyncio.create_task(batcher.submit([1, 2]))
        await asyncio.sleep(0.02)
        with pytest.raises(QueueFullError) as refused:
            await batcher.submit([3, 4])
        assert refused.value.retry_after > 0
        assert len(batcher) == 2
        assert values(await batcher.submit([5])) == [10]
        assert values(await first) == [2, 4]
        assert len(batcher) == 0
        await batcher.close()

    asyncio.run(run())


def test_a_deadline_takes_back_what_still_waits() -> None:
    """Who has given up leaves no work behind, and frees its place at once."""

    async def run() -> None:
        work = Work(0.2)
        batcher = Batcher(work, bound=2, most=1)
        busy = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await batcher.submit([2], timeout=0.05)
        assert time.monotonic() - began < 0.15
        assert len(batcher) == 1
        assert values(await busy) == [2]
        await asyncio.sleep(0.05)
        assert work.batches == [[1]]
        await batcher.close()

    asyncio.run(run())


def test_a_failed_batch_fails_alone() -> None:
    """Everybody in the batch gets its error; the next batch is worked on as if nothing was."""

    async def run() -> None:
        batcher = Batcher(Work(), bound=9, most=9)
        with pytest.raises(ValueError, match="thirteen"):
            await batcher.submit([1, 13])
        assert values(await batcher.submit([4])) == [8]
        await batcher.close()

    asyncio.run(run())


def test_wrong_number_of_answers_is_an_error() -> None:
    """Answers that cannot be matched with items are nobody's."""

    async def forgetful(batch: list[int]) -> list[int]:
        return batch[1:]

    async def run() -> None:
        batcher = Batcher(forgetful, bound=9, most=9)
        with pytest.raises(RuntimeError, match="1 answers to 2 items"):
            await batcher.submit([1, 2])
        await batcher.close()

    asyncio.run(run())


def test_closing_tells_who_waits() -> None:
    """Nobody hangs on a batcher that is closed, whether in work or in the queue."""

    async def run() -> None:
        batcher = Batcher(Work(60), bound=9, most=1)
        waiting = [asyncio.create_task(batcher.submit([n])) for n in range(3)]
        await asyncio.sleep(0.01)
        await batcher.close()
        for task in waiting:
            with pytest.raises(RuntimeError, match="closed"):
                await task

    asyncio.run(run())
