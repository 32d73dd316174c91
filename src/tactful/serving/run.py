"""A server from start to finish: what is refused before it starts, how it listens, how it stops."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tactful import __version__
from tactful.errors import ConfigError, TactfulError
from tactful.models import resolve
from tactful.screeners.load import load_screener
from tactful.serving.app import create_app, openapi_text
from tactful.serving.decisions import Decisions
from tactful.serving.keys import load_keys
from tactful.serving.logs import log_to_stderr
from tactful.serving.service import Service
from tactful.serving.settings import SHIPPED, ServeConfig, refuse_open_door

_HEADER_SECONDS = 10.0
_HEADER_BYTES = 64 * 1024
_BACKLOG = 512

log = logging.getLogger(__name__)


def make_app(config: ServeConfig, keys: Path | None = None) -> tuple[FastAPI, Service]:
    """The application and what is behind it; nothing is started yet."""
    loaded = load_keys(keys, os.environ, config.limit)
    refuse_open_door(config.host, keys=bool(loaded))
    decisions = Decisions(config.decisions) if config.decisions else None
    service = Service(config, load_screener(config.engine.screener), loaded, decisions)
    return create_app(service), service


def describe() -> str:
    """The OpenAPI document, as it stands in docs/openapi.json."""
    return openapi_text(create_app(Service(ServeConfig(), load_screener(None))))


def serve(config: ServeConfig, keys: Path | None = None) -> None:
    """Serve until told to stop, then until the last request is answered."""
    log_to_stderr()
    app, service = make_app(config, keys)
    if config.engine.factory == SHIPPED:
        # Missing weights should be told at once, not by a process that starts and ends.
        resolve(config.engine.model)
        resolve("embedder")
    listener = _listen(config.host, config.port)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    log.info("listening", extra={"address": address, "version": __version__})
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        ),
        service,
    )
    server.run(sockets=[listener])
    if service.engine.refused is not None:
        raise TactfulError(f"the engine cannot start: {service.engine.refused}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        # Accepted connections inherit it. asyncio sets it only on sockets that name their protocol,
        # and without it the second packet of an answer waits 40 ms for the first one's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror or error}. Another --port, or "
            "--port 0 for any free one?"
        ) from error


class _Server(uvicorn.Server):
    """Uvicorn, except that it goes on listening until what was admitted is answered.

    A load balancer must be able to see that `/readyz` has changed its mind, and a client that is
    told 503 can go elsewhere; one whose connection is refused may not.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._told = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._told = time.monotonic()
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if self._service.draining and self._drained():
            self.should_exit = True
        if self._service.engine.refused is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    def _drained(self) -> bool:
        config = self._service.config
        since = time.monotonic() - self._told
        if since < config.linger:
            return False
        if self._service.in_hand == 0:
            return True
        return since > config.deadline + 1.0


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on the time and the size of headers, which uvicorn's own does not have."""

    _deadline: asyncio.TimerHandle | None = None
    _around = 0
    """Bytes of a message that are not its body: headers, trailers, what frames chunks."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._around += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._around > _HEADER_BYTES:
            self.send_400_response("The headers are too large.")
        elif not self._idle():
            self._forget()
        elif self._deadline is None:
            self._expect_headers()

    def on_body(self, body: bytes) -> None:
        # Even chunks of one byte, with five that frame each, pay for what is around them.
        self._around -= 8 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._around = 0
        super().on_message_complete()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(_HEADER_SECONDS, self._too_slow)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._idle() and not self.transport.is_closing():
            self.transport.close()
