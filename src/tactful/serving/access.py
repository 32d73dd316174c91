"""The door: what is let in, and a line and a count for everything that knocked."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tactful.serving.keys import Key, given_key
from tactful.serving.problems import Problem, render
from tactful.serving.service import Service
from tactful.serving.settings import is_loopback
from tactful.serving.static import PATHS

OPEN = frozenset({"/livez", "/readyz"})
"""The routes that need no key and are answered to the last."""
FREE = OPEN | frozenset(PATHS)
"""Whoever asks for these without a key takes no place from those who have one: they are not counted as
in hand, and no body is waited for."""
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE".split())

log = logging.getLogger(__name__)


class Door:
    """ASGI middleware: refuses while draining or too busy, asks for a key, counts and logs."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.monotonic()
        status = 500
        started = False

        async def watch(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                if self.service.draining:
                    # Whoever asks again should ask another server.
                    message = {
                        **message,
                        "headers": [*message["headers"], (b"connection", b"close")],
                    }
            await send(message)

        counted = scope["path"] not in FREE
        self.service.in_hand += counted
        try:
            key = self._let_in(scope)
            scope.setdefault("state", {})["key"] = key
            await self.app(scope, receive, watch)
        except Problem as problem:
            self.service.metrics.refused.labels(problem.kind).inc()
            await render(problem, scope["path"])(scope, receive, watch)
        except Exception:
            log.exception("request failed")
            if not started:
                fault = Problem(500, "internal", "this is a fault of the server's, not yours")
                await render(fault, scope["path"])(scope, receive, watch)
        finally:
            self.service.in_hand -= counted
            self._note(scope, status, time.monotonic() - began)

    def _let_in(self, scope: Scope) -> Key | None:
        """The key of a request that may go on, None where none is needed; else a Problem."""
        path, headers, service = scope["path"], dict(scope["headers"]), self.service
        if path in OPEN:
            return None
        if not service.keys:
            _refuse_other_hosts(headers)
        key = service.keys.find(given_key(headers, path, scope["query_string"]))
        if path in PATHS:
            key = None  # nothing in these is worth a key, nor is looking at them counted
        elif service.keys and key is None:
            basic = b"text/html" in headers.get(b"accept", b"")
            challenge = 'Basic realm="tactful: your key as password"' if basic else "Bearer"
            raise Problem(
                401,
                "no_key",
                "a key is needed, as Authorization: Bearer KEY",
                headers={"WWW-Authenticate": challenge},
            )
        if service.draining:
            raise Problem(503, "stopping", "this server is stopping", retry_after=5)
        if service.in_hand > service.config.requests:
            raise Problem(503, "busy", "too many requests at a time", retry_after=1)
        if key is not None:
            service.keys.charge(key, 1)
        return key

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # A path that is no route of ours may hold anything, so it is not repeated.
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.service.metrics.requests.labels(route, str(status)).inc()
        self.service.metrics.seconds.labels(route).observe(seconds)
        state = scope.get("state", {})
        key = state.get("key")
        # Probes come every few seconds and say what the engine's own lines say better.
        log.log(
            logging.DEBUG if scope["path"] in OPEN else logging.INFO,
            "request",
            extra={
                "method": method,
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "key": key.name if key else None,
                "texts": state.get("texts", 0),
            },
        )


def _refuse_other_hosts(headers: dict[bytes, bytes]) -> None:
    """Without keys only this machine is served, and no web page that has led a browser here.

    A page of another site can point its own name at 127.0.0.1; but the browser then sends that
    name.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if not is_loopback(name):
        raise Problem(403, "wrong_host", "this server has no keys, so it serves localhost alone")
