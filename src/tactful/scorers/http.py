"""A scorer behind an address: sources and rewrites go there as JSON, scores come back.

For a follower that lives in another process, language or machine. It is asked

    POST {"sources": ["...", ...], "rewrites": ["...", ...]}

and answers `{"scores": [0.93, ...]}`, one for each rewrite, in [0, 1], higher is better.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError, DataError
from tactful.web import ask, cut, is_address


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
        return self._scores(
            ask(
                self.url,
                asked,
                timeout=self.timeout,
                retries=self.retries,
                wait=self.wait,
                advice=lambda _: (
                    'It must take a POST with JSON {"sources": [...], "rewrites": [...]}.'
                ),
            )
        )

    def _scores(self, body: bytes) -> NDArray[np.float64]:
        try:
            answer: Any = json.loads(body)
        except ValueError as error:
            raise DataError(
                f"{self.url} answered what is no JSON: {cut(body)}. {_WANTED}"
            ) from error
        scores = answer.get("scores") if isinstance(answer, dict) else None
        if not isinstance(scores, list):
            raise DataError(f"{self.url} answered without a list of scores: {cut(body)}. {_WANTED}")
        for number, score in enumerate(scores):
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise DataError(f"{self.url}: scores[{number}] is {score!r}, no number. {_WANTED}")
        return np.array(scores, dtype=np.float64)


_WANTED = 'It must answer {"scores": [...]}, a number in [0, 1] for each rewrite.'
