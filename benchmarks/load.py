"""Requests at a rate or from a number of clients, over plain sockets, so that little is measured
but the server.

An open loop sends at its rate whether or not answers come, as the world does; a closed loop has
so many clients, and each asks again when it has its answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, after how many seconds; status 0 when the connection broke instead."""

    status: int
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def timing(self, name: str) -> float:
        """Seconds of one entry of the Server-Timing header."""
        for entry in self.headers.get("server-timing", "").split(","):
            found, _, duration = entry.strip().partition(";dur=")
            if found == name:
                return float(duration) / 1e3
        return 0.0


class Client:
    """One connection, opened when it is first needed, or again after it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, route: str, body: Any) -> Answer:
        """Send JSON, wait for the answer."""
        raw = json.dumps(body).encode()
        began = time.perf_counter()
        used = self._streams is not None
        answer = await self._ask(route, raw, began)
        if used and answer.status == 0:
            # A server may close a connection that was idle; every client then opens another one.
            answer = await self._ask(route, raw, began)
        return answer

    async def _ask(self, route: str, raw: bytes, began: float) -> Answer:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self.host, self.port)
            reader, writer = self._streams
            writer.write(
                f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(raw)}\r\n\r\n".encode()
                + raw
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            found = await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError):
            self.close()
            return Answer(0, time.perf_counter() - began)
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(head[0].split()[1]), time.perf_counter() - began, headers, found)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def open_loop(
    host: str, port: int, route: str, body: Any, *, rate: float, seconds: float
) -> list[Answer]:
    """Answers to `rate` requests a second, sent on time however long answers take."""
    idle: list[Client] = []
    clients: list[Client] = []

    async def ask() -> Answer:
        if idle:
            client = idle.pop()
        else:
            clients.append(client := Client(host, port))
        answer = await client.post(route, body)
        idle.append(client)
        return answer

    began = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(ask()))
    answers = await asyncio.gather(*tasks)
    for client in clients:
        client.close()
    return answers


async def closed_loop(
    host: str, port: int, route: str, bodies: Sequence[Any], *, concurrency: int
) -> list[Answer]:
    """Answers to all bodies, from so many clients at a time, in the order in which they came."""
    left = iter(bodies)
    answers: list[Answer] = []

    async def ask() -> None:
        client = Client(host, port)
        for body in left:
            answers.append(await client.post(route, body))
        client.close()

    await asyncio.gather(*(ask() for _ in range(concurrency)))
    return answers


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
