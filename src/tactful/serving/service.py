"""What the routes share: two lanes, one for scoring and one for rewriting, and who may use them.

Scoring takes microseconds, in a thread of this process; rewriting takes a good part of a second,
in another process. Each lane has a batcher of its own, so a score never waits behind a rewrite.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request

from tactful.records import Rewrite
from tactful.screeners.base import Screener
from tactful.screeners.kinds import Kinds
from tactful.serving.batcher import Batcher, QueueFullError, Timing
from tactful.serving.decisions import Decisions
from tactful.serving.engine import Engine, EngineDownError, Task
from tactful.serving.keys import Keys
from tactful.serving.metrics import Metrics
from tactful.serving.problems import Problem
from tactful.serving.schemas import Decision
from tactful.serving.scoring import Question, Score, score
from tactful.serving.settings import BATCH_CHARS, ServeConfig

_SCORED_AT_A_TIME = 64
_SCORED_CHARS = 100_000
_SCORES_QUEUED = 4_096
_RESTART_SECONDS = 5.0

R = TypeVar("R")


class Service:
    """Everything behind the routes. `start` inside an event loop, `stop` when the last is answered."""

    def __init__(
        self,
        config: ServeConfig,
        screener: Screener,
        keys: Keys | None = None,
        decisions: Decisions | None = None,
        kinds: Kinds | None = None,
    ) -> None:
        self.config = config
        self.screener = screener
        self.kinds = kinds or Kinds.load()
        self.keys = keys or Keys()
        self.decisions = decisions
        self.metrics = Metrics()
        self.draining = False
        self.in_hand = 0
        """Requests that are being answered now."""
        self.engine = Engine(
            config.engine,
            timeout=config.engine_timeout,
            start_timeout=config.start_timeout,
            patience=config.deadline,
            restarted=lambda reason: self.metrics.restarts.labels(reason).inc(),
        )
        self._thread = ThreadPoolExecutor(1, "scoring")
        self._scores: Batcher[Question, Score] = Batcher(
            self._score,
            bound=_SCORES_QUEUED,
            most=_SCORED_AT_A_TIME,
            size=lambda question: len(question.text),
            most_size=_SCORED_CHARS,
        )
        self._rewrites: Batcher[Task, tuple[Rewrite, float]] = Batcher(
            self.engine.rewrite,
            bound=config.queue,
            most=config.batch,
            size=lambda task: len(task.text),
            most_size=BATCH_CHARS,
            told=self.metrics.batches.observe,
        )
        self.metrics.watch("score", lambda: len(self._scores))
        self.metrics.watch("rewrite", lambda: len(self._rewrites))
        self.metrics.watch_ready(lambda: not self.not_ready())

    async def start(self) -> None:
        """Start the engine; it is ready when `not_ready` says nothing."""
        self.engine.start()

    async def stop(self) -> None:
        """End the engine and the lanes."""
        await self._rewrites.close()
        await self._scores.close()
        await self.engine.stop()
        self._thread.shutdown()

    def not_ready(self) -> str:
        """Why texts cannot be rewritten now; empty when they can."""
        return "the server is stopping" if self.draining else self.engine.not_ready()

    def charge(self, request: Request, texts: int) -> None:
        """Count the texts of a request: the first was paid for at the door."""
        request.state.texts = texts
        key = request.scope["state"].get("key")
        if key is not None:
            self.keys.charge(key, texts - 1, paid=1)

    async def score(self, questions: Sequence[Question]) -> list[Score]:
        """Scores in order, or a Problem."""
        found = await self._submit(self._scores, questions)
        for result, _ in found:
            verdict = {None: "not_screened", True: "toxic", False: "clean"}[result.toxic]
            self.metrics.scores.labels(verdict).inc()
        return [result for result, _ in found]

    async def rewrite(self, tasks: Sequence[Task]) -> tuple[list[Rewrite], str]:
        """Rewrites in order, and where the time went as a Server-Timing header; or a Problem."""
        if len(tasks) > self.config.queue:
            raise Problem(
                413,
                "too_many_texts",
                f"{len(tasks)} texts; this server rewrites {self.config.queue} at a time",
            )
        if why := self.engine.not_ready():
            raise Problem(503, "engine_down", f"{why}; ask again", retry_after=_RESTART_SECONDS)
        found = await self._submit(self._rewrites, tasks)
        for (result, _), _ in found:
            self.metrics.rewrites.labels(result.status).inc()
        return [result for (result, _), _ in found], _server_timing(
            [(worked, timing) for (_, worked), timing in found]
        )

    async def keep(self, decision: Decision, key: str | None) -> None:
        """Write down what a person decided, or a Problem."""
        if self.decisions is None:
            raise Problem(
                404, "no_decisions", "this server keeps no decisions; start it with --decisions"
            )
        try:
            # Not in the thread that scores: a slow disk is no reason to make others wait.
            await asyncio.to_thread(self.decisions.keep, decision, key)
        except OSError as error:
            raise Problem(
                503, "not_kept", f"the decision was not kept: {error.strerror or error}"
            ) from error

    async def _submit(self, lane: Batcher[Any, R], items: Sequence[Any]) -> list[tuple[R, Timing]]:
        try:
            return await lane.submit(items, timeout=self.config.deadline)
        except QueueFullError as error:
            raise Problem(
                503, "queue_full", "more is waiting than can be done", retry_after=error.retry_after
            ) from error
        except TimeoutError as error:
            message = f"not done within {self.config.deadline:g} seconds"
            raise Problem(503, "deadline", message, retry_after=_RESTART_SECONDS) from error
        except EngineDownError as error:
            raise Problem(
                503, "engine_down", f"{error}; ask again", retry_after=_RESTART_SECONDS
            ) from error

    async def _score(self, questions: list[Question]) -> list[Score]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, score, self.screener, questions, self.kinds)


def _server_timing(found: Sequence[tuple[float, Timing]]) -> str:
    """Milliseconds in the queue and in the engine, of the text that took longest."""
    worked, timing = max(found, key=lambda pair: pair[1].waited + pair[1].worked)
    return f"queue;dur={1e3 * timing.waited:.2f}, engine;dur={1e3 * worked:.2f}"


def wall() -> int:
    """Seconds since 1970, as OpenAI's shapes want it."""
    return int(time.time())
