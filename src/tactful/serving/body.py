"""Bodies are taken whole, within a size and a time, whatever their headers promise.

Nothing behind this middleware sees a body that is too large, too slow, compressed; a chunked one
is counted as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tactful.serving.problems import Problem, is_perspective, render

_DRAIN_BYTES = 16
"""How many times the limit is still read, and thrown away, of a body that is too large."""
_DRAIN_SECONDS = 2.0


async def json_only(request: Request) -> None:
    """What routes depend on that take a body: a web page of another site cannot send JSON unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind != "application/json":
        raise Problem(415, "not_json", "send JSON, and say so with Content-Type: application/json")


class BodyLimit:
    """ASGI middleware that reads the body before the application is called."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int,
        timeout: float,
        bodiless: Collection[str] = (),
    ) -> None:
        """`bodiless` are paths for which no body is waited."""
        self.app = app
        self.bodiless = frozenset(bodiless)
        self.max_body = max_body
        self.timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.bodiless:
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        try:
            self._check(scope, headers)
            async with asyncio.timeout(self.timeout):
                body = await self._read(receive)
        except Problem as problem:
            return await self._refuse(problem, scope, receive, send)
        except TimeoutError:
            late = Problem(
                408, "body_timeout", f"the body did not come within {self.timeout:g} seconds"
            )
            return await self._refuse(late, scope, receive, send, drain=False)
        if body is None:
            return None  # the client has gone
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """What the headers alone tell."""
        length = headers.get(b"content-length", b"0")
        if int(length) > self.max_body:
            raise self._too_large()
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise Problem(415, "encoded_body", "send the body as it is, without Content-Encoding")
        if is_perspective(scope["path"]):
            # Its documented examples call their JSON a form, or nothing at all.
            kept = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
            scope["headers"] = [*kept, (b"content-type", b"application/json")]

    def _too_large(self) -> Problem:
        return Problem(413, "body_too_large", f"a body may have {self.max_body:,} bytes at most")

    async def _read(self, receive: Receive) -> bytes | None:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self.max_body:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def _refuse(
        self, problem: Problem, scope: Scope, receive: Receive, send: Send, *, drain: bool = True
    ) -> None:
        """Answer, then read on for a moment.

        A connection that is closed on a client in the midst of sending looks to it like a broken
        one: it would never see why.
        """
        problem.headers["Connection"] = "close"

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "more_body": True}
            await send(message)

        await render(problem, scope["path"])(scope, receive, hold)
        if drain:
            await self._drain(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _drain(self, receive: Receive) -> None:
        left = _DRAIN_BYTES * self.max_body
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return
