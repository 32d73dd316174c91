"""A real server: a process of its own, on a free port, that is really asked and really killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which something that should happen has not; long, for a busy machine."""


def fast_or_full(fast: int, full: int) -> int:
    """How much of a test is done: all of it by `make reliability-server`."""
    return full if os.environ.get("TACTFUL_FULL") else fast


class Running:
    """A server that was started, its lines, and a client of it."""

    def __init__(self, *options: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tactful", "serve", "--port", "0", *options],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
        self.raw = b""
        self._found = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self._found.wait(PATIENCE) or not self.address:
            self.close()
            raise RuntimeError(f"the server did not start: {self.raw.decode()}")
        self.client = httpx.Client(base_url=self.address, timeout=PATIENCE, trust_env=False)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.raw += line
            if b'"listening"' in line:
                self._found.set()
        self._found.set()

    @property
    def address(self) -> str:
        """Where it listens."""
        found = re.search(rb'"address": "([^"]+)"', self.raw)
        return found[1].decode() if found else ""

    @property
    def host_port(self) -> tuple[str, int]:
        """The same, for a socket."""
        host, _, port = self.address.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.raw.splitlines()]

    def events(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        return [line for line in self.lines if line["event"] == event]

    def post(self, route: str, body: Any, **kwargs: Any) -> httpx.Response:
        """A POST of JSON."""
        return self.client.post(route, json=body, **kwargs)

    def rewrite(self, text: str) -> httpx.Response:
        """The rewrite of one text."""
        return self.post("/v1/rewrite", {"text": text})

    def ready(self) -> bool:
        """What `/readyz` says."""
        return self.client.get("/readyz").status_code == 200

    def wait_ready(self, *, within: float = PATIENCE) -> None:
        """Wait until it is ready."""
        until(self.ready, within=within)

    def metric(self, name: str) -> float:
        """One sample of `/metrics`."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.M)
        return float(found[1]) if found else 0.0

    def engine_pid(self) -> int:
        """The process of the engine there is now."""
        return int(self.events("engine ready")[-1]["pid"])

    def memory(self) -> int:
        """Bytes that the server's own process holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def files(self) -> int:
        """Its open files and sockets."""
        return int(psutil.Process(self.process.pid).num_fds())

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Make sure that nothing is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        if hasattr(self, "client"):
            self.client.close()


@contextmanager
def running(
    engine: str = "at_once",
    *options: str,
    env: dict[str, str] | None = None,
    ready: bool = True,
    stub: bool = True,
) -> Iterator[Running]:
    """A server with one of the engines of stub.py."""
    own = ("--engine", f"tests.serving.stub:{engine}") if stub else ()
    server = Running(*own, *options, env=env)
    try:
        if ready:
            server.wait_ready()
        yield server
    finally:
        server.close()


def until(happened: Any, *, within: float = PATIENCE) -> float:
    """Wait until something is so; the seconds it took."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > within:
            raise AssertionError(f"still not so after {within:g} seconds")
        time.sleep(0.02)
    return time.monotonic() - began
