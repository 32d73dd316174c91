"""What a server may be told, with the bounds it keeps whatever it is told."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tactful.config import Config
from tactful.errors import ConfigError
from tactful.records import Policy

MAX_SCORED = 20_000
"""Characters of a text that is scored."""
MAX_REWRITTEN = 5_000
"""Characters of a text that is rewritten: what an engine on two cores does within a deadline."""
MAX_SCORED_TEXTS = 128
MAX_REWRITTEN_TEXTS = 32
"""Texts of one request."""
BATCH_CHARS = MAX_REWRITTEN
"""Characters that an engine is given at a time, so that no batch takes longer than one long text."""

SHIPPED = "tactful.serving.worker:shipped"
"""The factory of the rewriter that ships."""


class EngineConfig(Config):
    """What the engine's process is told when it starts."""

    factory: str = SHIPPED
    """`package.module:callable`; called with this config, it makes a `worker.Rewrites`."""
    engine: Literal["torch", "gguf", "ct2", "openai", "auto"] = "torch"
    """What writes: torch, gguf, ct2, openai or auto, as for `tactful rewrite`."""
    model: str = "base"
    method: Literal["model", "replace"] = "model"
    adapter: Path | None = None
    screener: Path | None = None
    policy: Policy = "mask"


class ServeConfig(Config):
    """How a server listens, and how much it takes on."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0 is any free one."""
    allow_origin: tuple[str, ...] = ()
    """Origins whose pages may ask from a browser, as https://example.org; `*` is all of them."""
    public_url: Annotated[str, Field(pattern=r"^(https?://[^/?#\s]+/?)?$")] = ""
    """How clients reach it, where that is not what they ask for: behind a proxy."""
    limit: str = ""
    """What each key may ask, as `600/minute`, unless its own line says else; empty is no limit."""
    deadline: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a request is answered, with a rewrite or without."""
    engine_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which an engine that works on one batch is taken to hang, and replaced."""
    start_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds an engine may take to load and to pass its warm-up."""
    queue: Annotated[int, Field(ge=1)] = 64
    """Texts to be rewritten that are admitted at a time, waiting or in work; more are refused."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Texts that an engine is given at a time."""
    max_body: Annotated[int, Field(ge=1_000)] = 1_000_000
    """Bytes of a request's body."""
    body_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds in which a request's body must have come."""
    requests: Annotated[int, Field(ge=1)] = 256
    """Requests in hand at a time, of whatever kind; more are refused before their body is read."""
    linger: Annotated[float, Field(ge=0)] = 1.0
    """Seconds in which a server that was told to stop still says that it is not ready."""
    decisions: Path | None = None
    """Where what people decide in the playground is kept; left out, it is nowhere."""
    engine: EngineConfig = EngineConfig()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_open_door(host: str, *, keys: bool) -> None:
    """Without keys only this machine is served."""
    if not keys and not is_loopback(host):
        raise ConfigError(
            f"--host {host} would let others in, and no keys are configured. Give --keys FILE (or "
            "set TACTFUL_KEYS), or leave out --host to serve this machine alone."
        )
