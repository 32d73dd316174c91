"""Scorers from elsewhere, against a real server on this machine: what goes over, and every fault in words."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful.errors import ConfigError, DataError, TactfulError
from tactful.scorers.custom import custom_scorer, is_call
from tactful.scorers.http import HTTPScorer

Reply = tuple[int, Any]
"""A status, and what is sent as JSON, or as it is where it is bytes."""


class Server:
    """Answers each POST by `reply`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.reply: Callable[[dict[str, Any]], Reply] = lambda asked: (
            200,
            {"scores": [len(r) / 10 for r in asked["rewrites"]]},
        )
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(asked)
                server.headers.append(dict(self.headers))
                status, body = server.reply(asked)
                if status == 0:  # hang up
                    self.close_connection = True
                    return
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/moved")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Nothing into the tests' output."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/score"


@pytest.fixture
def server(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that is up, and no proxy between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Server()
    # Looks for its end often: else each test would wait half a second for it.
    thread = threading.Thread(target=found.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    thread.join()


def test_texts_go_over_and_scores_come_back_in_order(server: Server) -> None:
    scores = HTTPScorer(server.url)(["you idiot", "naïve"], ["you", "“ünïcode”"])
    assert scores.tolist() == [0.3, 0.9]
    assert scores.dtype == np.float64
    assert server.asked == [{"sources": ["you idiot", "naïve"], "rewrites": ["you", "“ünïcode”"]}]
    assert server.headers[0]["Content-Type"] == "application/json"


def test_nothing_to_ask_is_not_asked(server: Server) -> None:
    assert HTTPScorer(server.url)([], []).shape == (0,)
    assert server.asked == []


@pytest.mark.parametrize("fault", [500, 503, 0])
def test_a_passing_fault_of_the_server_is_forgiven_twice(server: Server, fault: int) -> None:
    """Two refusals, or two hang-ups, and then an answer."""
    replies = iter([(fault, b"busy"), (fault, b"busy"), (200, {"scores": [0.5]})])
    server.reply = lambda asked: next(replies)
    assert HTTPScorer(server.url, wait=0)(["a"], ["b"]).tolist() == [0.5]
    assert len(server.asked) == 3


def test_it_waits_longer_each_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.reply = lambda asked: (500, b"")
    with pytest.raises(TactfulError):
        HTTPScorer(server.url, wait=0.5)(["a"], ["b"])
    first, second = waited
    assert 0.25 <= first <= 0.5 <= second <= 1.0


def test_a_lasting_fault_is_told_with_what_was_said(server: Server) -> None:
    server.reply = lambda asked: (503, b"the model is loading")
    with pytest.raises(
        TactfulError, match=r"answered 503 .*'the model is loading', 3 times in a row\. Is the"
    ):
        HTTPScorer(server.url, wait=0)(["a"], ["b"])


def test_a_refusal_is_told_at_once(server: Server) -> None:
    """Asking again would not help: nothing is retried."""
    server.reply = lambda asked: (404, b"no such page")
    with pytest.raises(
        TactfulError, match=r"answered 404 Not Found: 'no such page'\. It must take"
    ):
        HTTPScorer(server.url, wait=0)(["a"], ["b"])
    assert len(server.asked) == 1


def test_it_is_not_sent_elsewhere(server: Server) -> None:
    server.reply = lambda asked: (302, b"")
    with pytest.raises(
        TactfulError, match=r"Give the address it points to: http://127.0.0.1:1/mov"
    ):
        HTTPScorer(server.url, wait=0)(["a"], ["b"])
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    server.http.server_close()
    with pytest.raises(TactfulError, match=r"was not reached \(.*refused.*\), 3 times in a row"):
        HTTPScorer(server.url, wait=0)(["a"], ["b"])


def test_a_server_that_does_not_answer_is_told(server: Server) -> None:
    going_on = threading.Event()

    def slow(asked: dict[str, Any]) -> Reply:
        going_on.wait(5)
        return (0, b"")

    server.reply = slow
    with pytest.raises(TactfulError, match=r"timed out.* does it answer within 0\.05 seconds\?"):
        HTTPScorer(server.url, timeout=0.05, retries=0)(["a"], ["b"])
    going_on.set()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>hello</html>", "no JSON: '<html>hello</html>'"),
        (b"x" * 500, "no JSON: 'x{200}...'"),
        ([0.5], r"without a list of scores: '\[0.5\]'"),
        ({"score": [0.5]}, "without a list of scores"),
        ({"scores": [0.5, None]}, r"scores\[1\] is None, no number"),
        ({"scores": ["0.5"]}, r"scores\[0\] is '0.5', no number"),
        ({"scores": [True]}, r"scores\[0\] is True, no number"),
    ],
)
def test_an_answer_of_another_form_is_shown(server: Server, body: Any, told: str) -> None:
    server.reply = lambda asked: (200, body)
    with pytest.raises(DataError, match=told):
        HTTPScorer(server.url)(["a"], ["b"])


def test_its_name_keeps_secrets() -> None:
    assert HTTPScorer("https://me:word@score.test/v1?key=x").name == "score.test/v1"


@pytest.mark.parametrize("url", ["score.test/v1", "ftp://score.test", "http://", "file:///etc/x"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        HTTPScorer(url)


# --- by a dotted path -----------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of a user's own."""
    (tmp_path / "my_scores.py").write_text(
        "class Scorer:\n"
        "    def __call__(self, sources, rewrites):\n"
        "        return [s == r for s, r in zip(sources, rewrites)]\n"
        "scorer = Scorer()\n"
        "class kept:\n"
        "    @staticmethod\n"
        "    def half(sources, rewrites):\n"
        "        return [0.5 for _ in rewrites]\n"
        "number = 3\n"
        "def breaks(sources, rewrites):\n"
        "    raise KeyError('oops')\n"
        "def talks(sources, rewrites):\n"
        "    return ['good' for _ in rewrites]\n"
    )
    (tmp_path / "my_broken.py").write_text("1 / 0\n")
    (tmp_path / "my_needy.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_scores", "my_broken", "my_needy"):
        sys.modules.pop(name, None)


def test_a_callable_is_called(mine: None) -> None:
    """An object or a function, at the top of a module or deeper."""
    scorer = custom_scorer("my_scores:scorer")
    assert scorer.name == "my_scores:scorer"
    assert scorer(["a", "b"], ["a", "c"]).tolist() == [1.0, 0.0]
    assert custom_scorer("my_scores:kept.half")(["a"], ["b"]).tolist() == [0.5]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_module:score", r"there is no module 'no_such_module' .*PYTHONPATH="),
        ("my_scores.deeper:score", r"my_scores\.deeper"),
        ("my_needy:score", "my_needy cannot be imported: it needs 'no_such_library'"),
        ("my_broken:score", "my_broken cannot be imported: ZeroDivisionError"),
        ("my_scores:score", r"my_scores \(.*my_scores\.py\) has no 'score'"),
        ("my_scores:kept.full", "has no 'kept.full'"),
        ("my_scores:number", "is not callable; name a function of"),
        ("my_scores:Scorer", "is a class, so calling it scores nothing"),
        ("my_scores", "is no dotted path; write package.module:callable"),
    ],
)
def test_what_cannot_be_called_is_told_at_once(mine: None, path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        custom_scorer(path)


@pytest.mark.parametrize(
    ("path", "told"),
    [("my_scores:breaks", "KeyError: 'oops'"), ("my_scores:talks", "ValueError: could not")],
)
def test_what_fails_when_called_is_told_with_its_name(mine: None, path: str, told: str) -> None:
    with pytest.raises(
        TactfulError, match=f"{path} failed when it was asked about 1 rewrites: {told}"
    ):
        custom_scorer(path)(["a"], ["b"])


def test_the_form_of_a_call_can_be_seen() -> None:
    right = ["a:b", "a.b:c.d", "https://a.test/x", "http://127.0.0.1:8000"]
    wrong = ["", "a", "a.b.c", "a:", ":b", "a:b:c", "a b:c", "ftp://a.test", "http://", "1a:b"]
    assert [is_call(text) for text in right] == [True] * len(right)
    assert [is_call(text) for text in wrong] == [False] * len(wrong)
