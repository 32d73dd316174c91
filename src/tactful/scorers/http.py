"""A scorer behind an address: sources and rewrites go there as JSON, scores come back.

For a follower that lives in another process, language or machine. It is asked

    POST {"sources": ["...", ...], "rewrites": ["...", ...]}

and answers `{"scores": [0.93, ...]}`, one for each rewrite, in [0, 1], higher is better.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError, DataError, TactfulError

_SHOWN = 200


class HTTPScorer:
    """Asks a server, and asks again where it is not reached or has a fault of its own."""

    def __init__(
        self, url: str, *, timeout: float = 60.0, retries: int = 2, wait: float = 0.5
    ) -> None:
        """`wait` are the seconds before the second try; each further one waits twice as long."""
        if not is_address(url):
            raise ConfigError(f"{url!r} is no address; it must begin with http:// or https://")
        self.url = url
        self.timeout = timeout
        self.retries = retries
        self.wait = wait
        self._opener = urllib.request.build_opener(_Stay)

    @property
    def name(self) -> str:
        """The server, without what may be secret in the address."""
        address = urlsplit(self.url)
        return f"{address.hostname}{address.path}"

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        """The server's scores, as they came: whoever asks checks their count and range."""
        if not rewrites:
            return np.zeros(0)
        asked = {"sources": list(sources), "rewrites": list(rewrites)}
        return self._scores(self._post(json.dumps(asked).encode()))

    def _post(self, body: bytes) -> bytes:
        fault = ""
        for tried in range(self.retries + 1):
            if tried:
                time.sleep(self.wait * 2 ** (tried - 1))
            request = urllib.request.Request(
                self.url,
                body,
                {"Content-Type": "application/json", "Accept": "application/json"},
            )
            try:
                with self._opener.open(request, timeout=self.timeout) as answer:
                    found: bytes = answer.read()
                    return found
            except urllib.error.HTTPError as error:
                with error:
                    fault = f"answered {error.code} {error.reason}{_said(error)}"
                if error.code < 500:
                    raise TactfulError(f"{self.url} {fault}. {_advice(error)}") from error
            except urllib.error.URLError as error:
                fault = f"was not reached ({error.reason})"
            except (OSError, http.client.HTTPException) as error:
                fault = f"broke off ({type(error).__name__}: {error})"
        raise TactfulError(
            f"{self.url} {fault}, {self.retries + 1} times in a row. Is the server running, is the "
            f"address right, and does it answer within {self.timeout:g} seconds?"
        )

    def _scores(self, body: bytes) -> NDArray[np.float64]:
        try:
            answer: Any = json.loads(body)
        except ValueError as error:
            raise DataError(
                f"{self.url} answered what is no JSON: {_cut(body)}. {_WANTED}"
            ) from error
        scores = answer.get("scores") if isinstance(answer, dict) else None
        if not isinstance(scores, list):
            raise DataError(
                f"{self.url} answered without a list of scores: {_cut(body)}. {_WANTED}"
            )
        for number, score in enumerate(scores):
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise DataError(f"{self.url}: scores[{number}] is {score!r}, no number. {_WANTED}")
        return np.array(scores, dtype=np.float64)


_WANTED = 'It must answer {"scores": [...]}, a number in [0, 1] for each rewrite.'


def is_address(text: str) -> bool:
    """Whether it is an address of a web server."""
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        return False


class _Stay(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere would become a GET: the user must know, and give that address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing."""
        return None


def _advice(error: urllib.error.HTTPError) -> str:
    if 300 <= error.code < 400:
        return f"Give the address it points to: {error.headers.get('Location', 'not told')}"
    return 'It must take a POST with JSON {"sources": [...], "rewrites": [...]}.'


def _said(error: urllib.error.HTTPError) -> str:
    try:
        body = error.read(4 * _SHOWN)
    except (OSError, http.client.HTTPException):
        return ""
    return f": {_cut(body)}" if body.strip() else ""


def _cut(body: bytes) -> str:
    text = " ".join(body.decode("utf-8", errors="replace").split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
