"""Asking a web server with JSON: again where that may help, and in words where it does not."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tactful.errors import TactfulError, UnreachableError

# A server says so when it is busy, restarting, or has waited too long for its own engine.
_AGAIN = (408, 409, 425, 429)
# Of these no question is to blame: a gateway without a server, a wrong key or address.
_NOBODY = (401, 403, 404, 408, 429, 502, 503, 504)
_LONGEST_WAIT = 30.0
_SHOWN = 200
_PIECE = 1 << 16
_LONGEST_ANSWER = 1 << 28


def is_address(text: str) -> bool:
    """Whether it is an address of a web server."""
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        return False


def ask(
    where: str,
    question: Any,
    *,
    timeout: float,
    retries: int,
    wait: float,
    advice: Callable[[urllib.error.HTTPError], str],
    headers: Callable[[], Mapping[str, str]] = dict,
    within: float | None = None,
) -> bytes:
    """What a server answers to a POST.

    Args:
        where: The address.
        question: What is sent, as JSON.
        timeout: Seconds without a word from the server after which a try has failed.
        retries: Further tries after one that failed and may succeed.
        wait: Seconds before the second try; each further one waits twice as long.
        advice: What to do about an answer that will not change.
        headers: Further headers, asked for at each try, so that a new key is taken up.
        within: Seconds after which an answer must be whole: one that drips keeps no `timeout`.
    """
    body, fault, pause = json.dumps(question).encode(), "", 0.0
    kind: type[TactfulError] = TactfulError
    opener = urllib.request.build_opener(_Stay)
    for tried in range(retries + 1):
        if tried:
            # Not all at the same moment again, where many were refused together.
            time.sleep(max(pause, wait * 2 ** (tried - 1) * random.uniform(0.5, 1.0)))
        pause = 0.0
        known = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(where, body, {**known, **headers()})
        try:
            with opener.open(request, timeout=timeout) as answer:
                return _whole(answer, within)
        except urllib.error.HTTPError as error:
            with error:
                fault = f"answered {error.code} {error.reason}{_told(error)}"
            kind = UnreachableError if error.code in _NOBODY else TactfulError
            if error.code < 500 and error.code not in _AGAIN:
                raise kind(f"{where} {fault}. {_way(error) or advice(error)}") from error
            pause = _asked_to_wait(error)
        except urllib.error.URLError as error:
            fault, kind = f"was not reached ({error.reason})", UnreachableError
        except (OSError, http.client.HTTPException) as error:
            fault, kind = f"broke off ({type(error).__name__}: {error})", UnreachableError
    raise kind(
        f"{where} {fault}, {retries + 1} times in a row. Is the server running, is the address "
        f"right, and does it answer within {timeout:g} seconds?"
    )


def _whole(answer: Any, within: float | None) -> bytes:
    found: list[bytes] = []
    started, size = time.monotonic(), 0
    while piece := answer.read1(_PIECE):
        found.append(piece)
        size += len(piece)
        if within is not None and time.monotonic() - started > within:
            raise TimeoutError(f"the answer was not whole after {within:g} seconds")
        if size > _LONGEST_ANSWER:
            raise OSError(f"the answer is longer than {_LONGEST_ANSWER >> 20} MB")
    if answer.length:
        # `read1` says nothing of an answer that ends before it should.
        raise http.client.IncompleteRead(b"".join(found), answer.length)
    return b"".join(found)


def cut(body: bytes) -> str:
    """The beginning of an answer, for a message."""
    text = " ".join(body.decode("utf-8", errors="replace").split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


class _Stay(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere would become a GET, and would carry a key along."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing."""
        return None


def _way(error: urllib.error.HTTPError) -> str:
    if 300 <= error.code < 400:
        return f"Give the address it points to: {error.headers.get('Location', 'not told')}"
    return ""


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
    return f": {cut(body)}" if body.strip() else ""
