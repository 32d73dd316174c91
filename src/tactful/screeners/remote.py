"""A screener behind an address: one of our own shape, OpenAI's moderations, or Perspective's.

A network can fail in every way: no answer, a late one, a wrong one. What is not one sound
probability for each text is an error, never a score. After some errors in a row nobody is asked for
a while (a circuit breaker), so that a dead server costs no time; `FallbackScreener` answers meanwhile
where that is wanted.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np

from tactful.errors import ConfigError, DataError, TactfulError
from tactful.records import Span
from tactful.screeners.base import FloatArray, Thresholds
from tactful.web import ask, cut, is_address

Shape = Literal["tactful", "openai", "perspective"]
"""`tactful`: {"texts": [...]} is answered by {"toxicity": [...]}."""

_WORD = re.compile(r"[^\s.,!?;:\"“”()]+")
# Leaving words out asks once for each; in a longer text nobody reads so many marks.
_MOST_WORDS = 64
_NOTICEABLE = 0.02


class Breaker:
    """Says whether it makes sense to ask: not for `rest` seconds after some failures in a row."""

    def __init__(
        self, failures: int = 3, rest: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.failures = failures
        self.rest = rest
        self.clock = clock
        self._failed = 0
        self._until = 0.0
        self._lock = threading.Lock()

    def waits(self) -> float:
        """Seconds until somebody may be asked again; 0 where that is now.

        When the rest is over one asks, and whoever comes while it does still waits.
        """
        with self._lock:
            left = self._until - self.clock()
            if self._failed >= self.failures and left <= 0:
                self._until = self.clock() + self.rest
            return max(0.0, left) if self._failed >= self.failures else 0.0

    def succeeded(self) -> None:
        """All is well again."""
        with self._lock:
            self._failed = 0

    def failed(self) -> None:
        """One more in a row."""
        with self._lock:
            self._failed += 1
            if self._failed >= self.failures:
                self._until = self.clock() + self.rest


class RemoteScreener:
    """Asks a server how toxic texts are."""

    def __init__(
        self,
        address: str,
        thresholds: Thresholds,
        *,
        shape: Shape = "tactful",
        key_from: str | None = None,
        model: str | None = None,
        categories: Sequence[str] = (),
        timeout: float = 10.0,
        retries: int = 2,
        wait: float = 0.5,
        batch: int = 64,
        breaker: Breaker | None = None,
    ) -> None:
        """Make a screener of a server.

        Args:
            address: Where it is asked.
            thresholds: Of this server's scores: nobody else's mean the same.
            shape: How it is spoken to.
            key_from: The environment variable that holds its key.
            model: A name that some servers want (OpenAI's shape).
            categories: Of OpenAI's, the worst of which counts, all by default; of Perspective's the
                attributes, TOXICITY by default.
            timeout: Seconds for a try, whole answer included.
            retries: Further tries.
            wait: Seconds before the second try; each further one waits twice as long.
            batch: Texts in one question, where the shape allows several; else how many are asked at
                a time.
            breaker: When it is left alone.
        """
        if not is_address(address):
            raise ConfigError(f"{address!r} is no address; it must begin with http:// or https://")
        self.address = address
        self.thresholds = thresholds
        self.shape = shape
        self.key_from = key_from
        self.model = model
        self.categories = tuple(categories)
        self.timeout = timeout
        self.retries = retries
        self.wait = wait
        self.batch = batch
        self.breaker = breaker or Breaker()

    @property
    def name(self) -> str:
        """The server, without what may be secret in the address."""
        address = urlsplit(self.address)
        return f"{self.shape}:{address.hostname}{address.path}"

    def toxicity(self, texts: Sequence[str]) -> FloatArray:
        """One sound probability for each text, or an error."""
        if not texts:
            return np.zeros(0)
        if (waits := self.breaker.waits()) > 0:
            raise TactfulError(
                f"{self.name} has failed {self.breaker.failures} times in a row or more; it is asked "
                f"again in {waits:.0f} seconds"
            )
        # Half a surrogate pair is no text that could be sent.
        plain = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        try:
            scores = self._perspective(plain) if self.shape == "perspective" else self._many(plain)
        except TactfulError:
            self.breaker.failed()
            raise
        self.breaker.succeeded()
        return np.array(scores, dtype=np.float64)

    def explain(self, text: str) -> list[Span]:
        """The words without which the text would score lower, each left out in turn."""
        spans = [(m.start(), m.end()) for m in _WORD.finditer(text)][:_MOST_WORDS]
        if not spans:
            return []
        asked = [text, *(text[:a] + text[b:] for a, b in spans)]
        whole, *without = self.toxicity(asked).tolist()
        if whole < self.thresholds.passing:
            return []
        found = [
            Span(start, end, _odds(whole) - _odds(score))
            for (start, end), score in zip(spans, without, strict=True)
            if whole - score > _NOTICEABLE
        ]
        return sorted(found, key=lambda span: -span.weight)

    # --- asking -----------------------------------------------------------------------------

    def _many(self, texts: Sequence[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), self.batch):
            some = texts[start : start + self.batch]
            if self.shape == "openai":
                model = {"model": self.model} if self.model else {}
                answer = self._ask({"input": list(some), **model})
                scores = [self._worst(one) for one in _list(answer, "results", self.name)]
            else:
                scores = _list(self._ask({"texts": list(some)}), "toxicity", self.name)
            if len(scores) != len(some):
                raise DataError(
                    f"{self.name} was asked about {len(some)} texts and answered about {len(scores)}"
                )
            found += [_probability(score, self.name) for score in scores]
        return found

    def _worst(self, result: Any) -> Any:
        scores = result.get("category_scores") if isinstance(result, dict) else None
        if not isinstance(scores, dict) or not scores:
            raise DataError(f"{self.name} answered without category_scores")
        unknown = [name for name in self.categories if name not in scores]
        if unknown:
            raise DataError(
                f"{self.name} knows no category {unknown[0]!r}; it has {', '.join(map(str, scores))}"
            )
        return max(
            _probability(scores[name], self.name) for name in (self.categories or list(scores))
        )

    def _perspective(self, texts: Sequence[str]) -> list[float]:
        """One question for each text, some at a time; that service takes no more."""
        wanted = self.categories or ("TOXICITY",)

        def one(text: str) -> float:
            if not text.strip():
                # It refuses a comment of nothing, and nothing is not toxic.
                return 0.0
            answer = self._ask(
                {
                    "comment": {"text": text},
                    "languages": ["en"],
                    "requestedAttributes": {name: {} for name in wanted},
                    "doNotStore": True,
                }
            )
            try:
                found = [
                    answer["attributeScores"][name]["summaryScore"]["value"] for name in wanted
                ]
            except (KeyError, TypeError) as error:
                raise DataError(
                    f"{self.name} answered without a summaryScore of {', '.join(wanted)}"
                ) from error
            return max(_probability(value, self.name) for value in found)

        with ThreadPoolExecutor(min(8, self.batch)) as pool:
            return list(pool.map(one, texts))

    def _ask(self, question: Mapping[str, Any]) -> Any:
        body = ask(
            self._where(),
            question,
            timeout=self.timeout,
            retries=self.retries,
            wait=self.wait,
            advice=lambda _: f"Is it of the shape {self.shape!r}, and is its key right?",
            headers=self._headers,
            within=self.timeout,
        )
        try:
            return json.loads(body)
        except ValueError as error:
            raise DataError(f"{self.name} answered what is no JSON: {cut(body)}") from error

    def _where(self) -> str:
        if self.shape != "perspective" or self.key_from is None:
            return self.address
        address = urlsplit(self.address)
        query = urlencode([*parse_qsl(address.query), ("key", self.key())])
        return urlunsplit(address._replace(query=query))

    def _headers(self) -> dict[str, str]:
        if self.key_from is None or self.shape == "perspective":
            return {}
        return {"Authorization": f"Bearer {self.key()}"}

    def key(self) -> str:
        """What the environment says its key is."""
        key = os.environ.get(self.key_from or "")
        if not key:
            raise ConfigError(
                f"{self.name} wants a key: set the environment variable {self.key_from}"
            )
        return key


def _list(answer: Any, name: str, who: str) -> list[Any]:
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{who} answered without a list of {name}: {str(answer)[:200]!r}")
    return found


def _probability(score: Any, who: str) -> float:
    """A number in [0, 1]; a lie is not rounded into one."""
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DataError(f"{who} answered {score!r}, which is no number")
    if not math.isfinite(score) or not 0 <= score <= 1:
        raise DataError(f"{who} answered {score!r}; scores must lie between 0 and 1")
    return float(score)


def _odds(probability: float) -> float:
    held = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(held / (1 - held))
