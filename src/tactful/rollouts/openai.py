"""Rollouts by any server that speaks OpenAI's protocol: vLLM, llama.cpp's, a cloud's.

A plain prompt goes to `/completions`, messages go to `/chat/completions`. Each completion is a
request of its own, with a seed of its own: `n` completions of one request would share a seed, and
servers differ in what they then make of it.

What a user wrote is sent as text. That it does not become a control token is then the server's to
see to; give `tokenizer`, and plain prompts are sent as tokens, as the engines in this process do.
"""

from __future__ import annotations

import json
import os
import urllib.error
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tactful.errors import ConfigError, DataError
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.rollouts.local import encode_prompt
from tactful.web import ask, cut, is_address


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
        if not is_address(url):
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
        where = self.url + path
        body = ask(
            where,
            asked,
            timeout=self.timeout,
            retries=self.retries,
            wait=self.wait,
            advice=self._advice,
            headers=self._key,
        )
        try:
            return json.loads(body)
        except ValueError as error:
            raise DataError(f"{where} answered what is no JSON: {cut(body)}") from error

    def _key(self) -> dict[str, str]:
        # Held nowhere.
        key = os.environ.get(self.key_variable)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _advice(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            held = "is set" if os.environ.get(self.key_variable) else "is not set"
            return f"The key is read from {self.key_variable}, which {held}."
        if error.code == 404:
            return f"Does the address end as the server's does (/v1), and is {self.model!r} there?"
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
            f"the server answered without a choice: {cut(json.dumps(answer).encode())}"
        ) from error
    # A chat model that said nothing, or called a tool, has no text.
    return Completion((text or "").strip(), finished=reason == "stop")


def _plain(choice: Any) -> Any:
    return choice["text"]


def _said(choice: Any) -> Any:
    return choice["message"]["content"]
