"""Who may ask, and how much.

Keys come from a file or from the environment variable TACTFUL_KEYS, one a line:

    # name        key                         limit, if not the server's
    comments-app  a-long-random-string-of-it
    moderators    another-long-random-string  600/minute

Names stand in logs and metrics, keys nowhere: they are kept as digests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from tactful.errors import ConfigError
from tactful.serving.problems import Problem, is_perspective

VARIABLE = "TACTFUL_KEYS"
_SHORTEST = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Key:
    """One who may ask."""

    name: str
    digest: bytes
    limit: RateLimitItem | None


class Keys:
    """The keys of a server; none at all means that whoever reaches it may ask."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, given: str) -> Key | None:
        """The key that was given; takes as long for a wrong one as for a right one."""
        digest = _digest(given)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def charge(self, key: Key, texts: int, *, paid: int = 0) -> None:
        """Count texts against a key's limit; raises the Problem when that is exceeded.

        `paid` are texts of the same request that were counted before.
        """
        if key.limit is not None and texts + paid > key.limit.amount:
            raise Problem(
                413,
                "too_many_texts",
                f"{texts + paid} texts, and this key may ask {key.limit}: send fewer at a time",
            )
        if key.limit is None or texts <= 0 or self._limiter.hit(key.limit, key.name, cost=texts):
            return
        again = self._limiter.get_window_stats(key.limit, key.name).reset_time - time.time()
        raise Problem(
            429, "rate_limit_exceeded", f"this key may ask {key.limit}", retry_after=max(0.0, again)
        )


def load_keys(file: Path | None, environment: Mapping[str, str], limit: str = "") -> Keys:
    """The keys of a file, or else of the environment; all that is wrong in one ConfigError."""
    where, lines = VARIABLE, environment.get(VARIABLE, "").splitlines()
    if file is not None:
        where = str(file)
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the keys in {file}: {error}") from error
    default = _limit(limit, "--limit")
    keys: list[Key] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        try:
            keys.append(_key(parts, default, keys))
        except ConfigError as error:
            faults.append(f"line {number}: {error}")
    if file is not None and not keys and not faults:
        faults.append("no key; write one a line: NAME KEY [LIMIT]")
    if faults:
        raise ConfigError(f"{where} is not usable\n  " + "\n  ".join(faults))
    return Keys(keys)


def given_key(headers: Mapping[bytes, bytes], path: str, query: bytes) -> str:
    """The key of a request, wherever its kind of client puts it; empty if there is none.

    `Authorization: Bearer` is ours and OpenAI's, `Basic` is what a browser asks a person for (the
    key is the password). Perspective's clients send `?key=` or `X-Goog-Api-Key`; keys in addresses
    end up in other people's logs, so only its routes take them.
    """
    kind, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    if is_perspective(path):
        header = headers.get(b"x-goog-api-key", b"").decode("latin-1")
        return header or parse_qs(query.decode("latin-1")).get("key", [""])[0]
    return ""


def _key(parts: list[str], default: RateLimitItem | None, known: list[Key]) -> Key:
    # What is wrong is told without the key: the message will be in a log.
    if len(parts) < 2:
        raise ConfigError("write NAME KEY [LIMIT], as in: comments-app a-long-random-string")
    name, key, *limit = parts
    if not _NAME.fullmatch(name):
        raise ConfigError("a name is made of letters, digits, '.', '_' and '-', 64 at most")
    if len(key) < _SHORTEST:
        raise ConfigError(
            f"the key of {name} has {len(key)} characters, fewer than {_SHORTEST}; make one with: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    digest = _digest(key)
    for other in known:
        if other.name == name:
            raise ConfigError(f"the name {name} stands twice")
        if other.digest == digest:
            raise ConfigError(f"{name} has the same key as {other.name}")
    return Key(name, digest, _limit(" ".join(limit), f"the limit of {name}") or default)


def _limit(text: str, what: str) -> RateLimitItem | None:
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{what}, {text!r}, is not of the form 600/minute") from error


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
