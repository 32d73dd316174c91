"""The engine in a process of its own: started, watched, and replaced when it dies or hangs.

Rewriting keeps a processor busy for seconds, and native code can crash or hang; neither may take
the server with it. The server talks to the process through its standard input and output (see
worker.py) from the event loop, so there are no threads and no locks between them but one: a
question is asked when the one before it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tactful.records import Rewrite
from tactful.serving.settings import EngineConfig
from tactful.serving.worker import LENGTH, as_rewrite, pack

_PING_EVERY = 1.0
_PING_LATE = 1.0
_PING_TIMEOUT = 10.0
_LONGEST_PAUSE = 30.0

log = logging.getLogger(__name__)

State = Literal["starting", "ready", "down"]


class EngineDownError(Exception):
    """There is no engine to rewrite now, or it was lost over this very batch."""


@dataclass(frozen=True, slots=True)
class Task:
    """A text to be rewritten; with `force` even if it is clean."""

    text: str
    force: bool = False


class Engine:
    """Keeps one engine process alive; `rewrite` asks it.

    Args:
        config: What the process is told.
        timeout: Seconds it may work on one batch.
        patience: Seconds of that after which it is not called ready, as nobody waits so long.
        start_timeout: Seconds it may take until its warm-up has passed.
        restarted: Called with the reason each time it has to be replaced.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        timeout: float,
        start_timeout: float,
        patience: float | None = None,
        restarted: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = ""
        self.state: State = "starting"
        self.why = "the engine is starting"
        self.refused: str | None = None
        """What the engine said when it could not start at all; it would say the same again."""
        self._config = config
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._patience = timeout if patience is None else patience
        self._asked: float | None = None
        self._restarted = restarted
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self._pinged: float | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    def not_ready(self) -> str:
        """Why nothing can be rewritten now; empty when it can."""
        if self.state != "ready":
            return self.why
        if self._pinged is not None and time.monotonic() - self._pinged > _PING_LATE:
            return "the engine does not answer"
        if self._asked is not None and time.monotonic() - self._asked > self._patience:
            return "the engine has been at one batch for too long"
        return ""

    def start(self) -> None:
        """Start the process and keep one running until `stop`."""
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End the process."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._process is not None:
            # The keeper may have been cancelled while it was doing just this.
            await _end(self._process)

    async def rewrite(self, tasks: Sequence[Task]) -> list[tuple[Rewrite, float]]:
        """The rewrites in order, each with the seconds the engine took for all of them.

        Raises EngineDownError when there is no engine, or when it died or hung over these texts.
        """
        question = {"texts": [t.text for t in tasks], "force": [t.force for t in tasks]}
        answer = await self._ask(question, self._timeout)
        if "error" in answer:
            log.error("rewriting failed", extra={"error": answer["error"], "texts": len(tasks)})
            raise EngineDownError(f"the engine failed on this request ({answer['error']})")
        return [(as_rewrite(fields), answer["seconds"]) for fields in answer["rewrites"]]

    async def _ask(self, question: Any, timeout: float) -> Any:
        async with self._asking:
            process = self._process
            if self.state != "ready" or process is None:
                raise EngineDownError(self.why)
            self._asked = time.monotonic()
            try:
                async with asyncio.timeout(timeout):
                    await _send(process, question)
                    return await _receive(process)
            except TimeoutError as error:
                self._lost(process, "hung")
                raise EngineDownError("the engine hung and is being replaced") from error
            except (OSError, EOFError, ValueError) as error:
                self._lost(process, "died")
                raise EngineDownError("the engine died and is being replaced") from error
            except asyncio.CancelledError:
                # Its answer would be taken for that to the next question.
                self._lost(process, "abandoned")
                raise
            finally:
                self._asked = None

    def _lost(self, process: asyncio.subprocess.Process, reason: str) -> None:
        """Note once that a process is gone, and make sure that it is."""
        if self.state == "ready" and process is self._process:
            self.state, self.why = "down", f"the engine {reason} and is being replaced"
            self._restarted(reason)
            log.error("engine lost", extra={"reason": reason, "pid": process.pid})
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            began = time.monotonic()
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "tactful.serving.worker"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env=_environment(),
                )
            except OSError as error:
                # No memory or no files left, which may pass: without a keeper it never would.
                self.state, self.why = "down", f"no process can be started ({error.strerror})"
                log.error("engine cannot be started", extra={"error": str(error)})
                pause = min(_LONGEST_PAUSE, 2 * pause or 1.0)
                await asyncio.sleep(pause)
                continue
            self._process = process
            try:
                if await self._warm(process):
                    pause = 0.0
                    log.info(
                        "engine ready",
                        extra={
                            "engine": self.name,
                            "pid": process.pid,
                            "seconds": round(time.monotonic() - began, 2),
                        },
                    )
                    await self._watch(process)
                    self._lost(process, "died")
            finally:
                await _end(process)
            if self.refused is not None:
                return
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause or 1.0)

    async def _warm(self, process: asyncio.subprocess.Process) -> bool:
        """Wait for a started process to pass its warm-up."""
        try:
            async with asyncio.timeout(self._start_timeout):
                await _send(process, self._config.model_dump(mode="json"))
                answer = await _receive(process)
        except (TimeoutError, OSError, EOFError, ValueError):
            self.state, self.why = "down", "the engine does not start; see the server's log"
            log.error("engine does not start", extra={"pid": process.pid})
            return False
        if "failed" in answer:
            self.state, self.why = "down", "the engine cannot start; see the server's log"
            if not self.name:
                self.refused = answer["failed"]
            log.error("engine cannot start", extra={"error": answer["failed"]})
            return False
        self.name, self.state, self.why = answer["ready"], "ready", ""
        return True

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Return when the process has ended; ask it now and then, when idle, whether it lives."""
        gone = asyncio.create_task(process.wait())
        try:
            while not (await asyncio.wait([gone], timeout=_PING_EVERY))[0]:
                if not self._asking.locked():
                    self._pinged = time.monotonic()
                    with contextlib.suppress(EngineDownError):
                        await self._ask({"ping": True}, _PING_TIMEOUT)
                    self._pinged = None
        finally:
            self._pinged = None
            gone.cancel()


def _environment() -> dict[str, str]:
    """The server's own, less what the engine has no use for: keys, and modules lying about here."""
    kept = {name: value for name, value in os.environ.items() if name != "TACTFUL_KEYS"}
    return {**kept, "PYTHONSAFEPATH": "1"}


async def _send(process: asyncio.subprocess.Process, message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(pack(message))
    await process.stdin.drain()


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    assert process.stdin is not None
    process.stdin.close()


async def _receive(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    head = await process.stdout.readexactly(LENGTH.size)
    return json.loads(await process.stdout.readexactly(LENGTH.unpack(head)[0]))
