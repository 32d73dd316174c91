"""Rollouts by any server that speaks OpenAI's protocol: vLLM, llama.cpp's, a cloud's.

A plain prompt goes to `/completions`, messages go to `/chat/completions`. Each completion is a
request of its own, with a seed of its own: `n` completions of one request would share a seed, and
servers differ in what they then make of it.

What a user wrote is sent as text. That it does not become a control token is then the server's to
see to; give `tokenizer`, and plain prompts are sent as tokens, as the engines in this process do.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tactful.errors import ConfigError, DataError, TactfulError
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.rollouts.local import encode_prompt

_SHOWN = 200
# A server says so when it is busy, restarting, or has waited too long for its own engine.
_AGAIN = (408, 409, 425, 429)
_LONGEST_WAIT = 30.0


class OpenAIBackend:
    """Asks a server for completions, some at a time, and again where it does not answer."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        retries: int = 4,
        wait: float = 0.5,
        concurrency: int = 16,
        tokenizer: Any = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: The address before `/completions`, as `http://localhost:8000/v1`.
            model: What the server calls the model.
            key_variable: The environment variable that holds the key; without it none is sent.
            timeout: Seconds without a word from the server after which a try has failed.
            retries: Further tries after one that failed.
            wait: Seconds before the second try; each further one waits twice as long.
            concurrency: Requests that are under way at a time.
            tokenizer: The model's own, to send plain prompts as tokens.
        """
        if not _is_address(url):
            raise ConfigError(f"{url!r} is no address; it must begin with http:// or https://")
        if concurrency < 1:
            raise ConfigError(f"concurrency = {concurrency} must be at least 1")
        self.url = url.rstrip("/")
        self.model = model
        self.key_variable = key_variable
        self.timeout = timeout
        self.retries = retries
        self.wait = wait
        self.concurrency = concurrency
        self.tokenizer = tokenizer
        self._opener = urllib.request.build_opener(_Stay)

    @property
    def name(self) -> str:
        """The model and the server, without what may be secret in the address."""
        address = urlsplit(self.url)
        port = f":{address.port}" if address.port else ""
        return f"{self.model}@{address.hostname}{port}"

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Answer every request with `sampling.num` completions, in the order of the requests."""
        # Greedy completions of one prompt are all the same, so one is enough.
        num = sampling.num if sampling.temperature > 0 else 1
        rows = [(request, sample) for request in requests for sample in range(num)]
        if not rows:
            return []
        with ThreadPoolExecutor(min(self.concurrency, len(rows))) as pool:
            futures = [pool.submit(self._complete, *row, sampling) for row in rows]
            try:
                answers = [future.result() for future in futures]
            except BaseException:
                # What is not asked yet would only be asked in vain.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [
            answers[start : start + num] * (sampling.num // num)
            for start in range(0, len(answers), num)
        ]

    def _complete(self, request: Request, sample: int, sampling: Sampling) -> Completion:
        asked: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sample_seed(request.seed, sample),
        }
        if isinstance(request.prompt, str):
            prompt: Any = request.prompt
            if self.tokenizer is not None:
                prompt = encode_prompt(self.tokenizer, request.prompt, name=self.model)
            return _completion(self._post("/completions", {**asked, "prompt": prompt}), _plain)
        return _completion(
            self._post("/chat/completions", {**asked, "messages": request.prompt}), _said
        )

    def _post(self, path: str, asked: dict[str, Any]) -> Any:
        """The server's answer, read; what is worth another try gets one."""
        where, fault = self.url + path, ""
        body = json.dumps(asked).encode()
        pause = 0.0
        for tried in range(self.retries + 1):
            if tried:
                # Not all at the same moment again, where many were refused together.
                time.sleep(max(pause, self.wait * 2 ** (tried - 1) * random.uniform(0.5, 1.0)))
            pause = 0.0
            try:
                with self._opener.open(self._request(where, body), timeout=self.timeout) as answer:
                    return _read(where, answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    fault = f"answered {error.code} {error.reason}{_told(error)}"
                if error.code < 500 and error.code not in _AGAIN:
                    raise TactfulError(f"{where} {fault}. {self._advice(error)}") from error
                pause = _asked_to_wait(error)
            except urllib.error.URLError as error:
                fault = f"was not reached ({error.reason})"
            except (OSError, http.client.HTTPException) as error:
                fault = f"broke off ({type(error).__name__}: {error})"
        raise TactfulError(
            f"{where} {fault}, {self.retries + 1} times in a row. Is the server running, is the "
            f"address right, and does it answer within {self.timeout:g} seconds?"
        )

    def _request(self, where: str, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        # Read anew each time, so that it is held nowhere and a new one is taken up.
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(where, body, headers)

    def _advice(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            held = "is set" if os.environ.get(self.key_variable) else "is not set"
            return f"The key is read from {self.key_variable}, which {held}."
        if error.code == 404:
            return f"Does the address end as the server's does (/v1), and is {self.model!r} there?"
        if 300 <= error.code < 400:
            return f"Give the address it points to: {error.headers.get('Location', 'not told')}"
        return "The server does not take what is asked of it."


def sample_seed(seed: int, sample: int) -> int:
    """A seed of 31 bits for one sample of a request, for engines that take one number."""
    return zlib.crc32(f"{abs(seed)} {sample}".encode()) & 0x7FFFFFFF


def _completion(answer: Any, text_of: Callable[[Any], Any]) -> Completion:
    try:
        choice = answer["choices"][0]
        text, reason = text_of(choice), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(
            f"the server answered without a choice: {_cut(json.dumps(answer).encode())}"
        ) from error
    # A chat model that said nothing, or called a tool, has no text.
    return Completion((text or "").strip(), finished=reason == "stop")


def _plain(choice: Any) -> Any:
    return choice["text"]


def _said(choice: Any) -> Any:
    return choice["message"]["content"]


def _read(where: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise DataError(f"{where} answered what is no JSON: {_cut(body)}") from error


def _asked_to_wait(error: urllib.error.HTTPError) -> float:
    try:
        return min(max(0.0, float(error.headers.get("Retry-After", ""))), _LONGEST_WAIT)
    except ValueError:
        return 0.0


def _told(error: urllib.error.HTTPError) -> str:
    try:
        body = error.read(4 * _SHOWN)
    except (OSError, http.client.HTTPException):
        return ""
    return f": {_cut(body)}" if body.strip() else ""


def _cut(body: bytes) -> str:
    text = " ".join(body.decode("utf-8", errors="replace").split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _is_address(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        return False


class _Stay(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere would become a GET, and would carry the key along."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing."""
        return None
