from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from tactful.serving.engine import Engine, EngineDownError, Task
from tactful.serving.settings import EngineConfig
from tests.serving.running import ROOT


@pytest.fixture(autouse=True)
def _stub_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def with_engine(
    test: Callable[[Engine, list[str]], Awaitable[None]],
    factory: str = "at_once",
    *,
    timeout: float = 5.0,
    start_timeout: float = 30.0,
    patience: float | None = None,
) -> None:
    """Run a test with an engine that is being started."""

    async def run() -> None:
        lost: list[str] = []
        engine = Engine(
            EngineConfig(factory=f"tests.serving.stub:{factory}"),
            timeout=timeout,
            start_timeout=start_timeout,
            patience=patience,
            restarted=lost.append,
        )
        engine.start()
        try:
            await test(engine, lost)
        finally:
            pid = engine.pid
            await engine.stop()
            assert pid is None or not psutil.pid_exists(pid)

    asyncio.run(run())


async def ready(engine: Engine, within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while engine.not_ready():
            await asyncio.sleep(0.01)


async def text(engine: Engine, source: str) -> str:
    ((result, _),) = await engine.rewrite([Task(source)])
    return result.text


def test_a_killed_engine_is_replaced() -> None:
    """Death is seen at once, with or without a text in work; another process takes over."""

    async def test(engine: Engine, lost: list[str]) -> None:
        assert engine.not_ready() == "the engine is starting"
        await ready(engine)
        assert await text(engine, "idiot") == "person"
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        began = time.monotonic()
        while not engine.not_ready():
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 2.0
        with pytest.raises(EngineDownError, match="replaced"):
            await text(engine, "idiot")
        await ready(engine)
        assert engine.pid != first
        with pytest.raises(EngineDownError, match="died"):
            await text(engine, ":die")
        await ready(engine)
        assert await text(engine, "idiot") == "person"
        assert lost == ["died", "died"]

    with_engine(test)


def test_a_hung_engine_is_replaced() -> None:
    """Who works on one batch for longer than the timeout is killed."""

    async def test(engine: Engine, lost: list[str]) -> None:
        await ready(engine)
        began = time.monotonic()
        with pytest.raises(EngineDownError, match="hung"):
            await text(engine, ":hang")
        assert 0.5 <= time.monotonic() - began < 1.5
        await ready(engine)
        assert await text(engine, "idiot") == "person"
        assert lost == ["hung"]

    with_engine(test, timeout=0.5)


def test_a_batch_that_takes_too_long_is_no_readiness() -> None:
    """Long before it is taken to hang: whoever would wait for it has gone."""

    async def test(engine: Engine, lost: list[str]) -> None:
        await ready(engine)
        asking = asyncio.create_task(text(engine, ":hang"))
        await asyncio.sleep(0.1)
        assert not engine.not_ready()
        async with asyncio.timeout(3.5):
            while engine.not_ready() != "the engine has been at one batch for too long":
                await asyncio.sleep(0.01)
        with pytest.raises(EngineDownError, match="hung"):
            await asking
        assert lost == ["hung"]

    with_engine(test, timeout=4.0, patience=1.5)


def test_an_engine_that_no_process_can_be_started_for_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory or files may come back."""
    start = asyncio.create_subprocess_exec
    refused = []

    async def first_not(*given: Any, **more: Any) -> Any:
        if not refused:
            refused.append(1)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return await start(*given, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", first_not)

    async def test(engine: Engine, lost: list[str]) -> None:
        async with asyncio.timeout(5):
            while "no process can be started (Cannot allocate" not in engine.not_ready():
                await asyncio.sleep(0.01)
        await ready(engine)
        assert await text(engine, "idiot") == "person"

    with_engine(test)


def test_an_idle_engine_that_stops_answering_is_noticed() -> None:
    """A stopped process is not ready, though it has not died and nobody has asked it anything."""

    async def test(engine: Engine, lost: list[str]) -> None:
        await ready(engine)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        began = time.monotonic()
        while not engine.not_ready():
            await asyncio.sleep(0.02)
        assert time.monotonic() - began < 4.0
        os.kill(engine.pid, signal.SIGCONT)
        await ready(engine)
        assert lost == []

    with_engine(test)


def test_an_engine_that_refuses_is_not_asked_again() -> None:
    """What it says at its first start is kept for whoever runs the server."""

    async def test(engine: Engine, lost: list[str]) -> None:
        async with asyncio.timeout(30):
            while engine.refused is None:
                await asyncio.sleep(0.01)
        assert engine.refused == "no weights for the stub"
        assert "log" in engine.not_ready()

    with_engine(test, "refuses")


def test_an_engine_that_is_not_there_is_told() -> None:
    """A factory that cannot be imported says how one is written."""

    async def test(engine: Engine, lost: list[str]) -> None:
        async with asyncio.timeout(30):
            while engine.refused is None:
                await asyncio.sleep(0.01)
        assert "package.module:callable" in engine.refused

    with_engine(test, "nothing")


def test_the_engine_does_not_see_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys stay in the server's process."""
    monkeypatch.setenv("TACTFUL_KEYS", "app 0123456789abcdef")

    async def test(engine: Engine, lost: list[str]) -> None:
        await ready(engine)
        assert "TACTFUL_KEYS" not in psutil.Process(engine.pid).environ()

    with_engine(test)
