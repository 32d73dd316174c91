"""Screeners behind an address, against a real server that answers, lies, hangs, drips and dies."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful.errors import ConfigError, TactfulError
from tactful.screeners.base import Thresholds
from tactful.screeners.load import load_screener
from tactful.screeners.remote import Breaker, RemoteScreener
from tactful.screeners.wrappers import FallbackScreener
from tests.scorers.test_http import Server, server

__all__ = ["server"]
HALF = Thresholds(0.5, 0.5)


def rude(text: str) -> float:
    return 0.9 if "idiot" in text.lower() else 0.1


def moderation(asked: dict[str, Any]) -> tuple[int, Any]:
    """OpenAI's shape, of which our own server's is one."""
    scores = [{"harassment": rude(text), "violence": 0.2} for text in asked["input"]]
    return 200, {"results": [{"flagged": False, "category_scores": one} for one in scores]}


def perspective(asked: dict[str, Any]) -> tuple[int, Any]:
    value = {"value": rude(asked["comment"]["text"]), "type": "PROBABILITY"}
    scores = {name: {"summaryScore": value} for name in asked["requestedAttributes"]}
    return 200, {"attributeScores": scores}


def own(asked: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"toxicity": [rude(text) for text in asked["texts"]]}


SHAPES = {"tactful": own, "openai": moderation, "perspective": perspective}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_spoken(server: Server, shape: str) -> None:
    """In order, more texts than fit into one question, and with the words that did it."""
    server.reply = SHAPES[shape]
    screener = RemoteScreener(server.url, HALF, shape=shape, batch=2)
    assert screener.toxicity(["hi", "you idiot", "", "x", "IDIOT"]).tolist()[1::3] == [0.9, 0.9]
    assert screener.toxicity([]).shape == (0,)
    (span,) = screener.explain("Well, you idiot!")
    assert (span.start, span.end) == (10, 15)
    assert screener.explain("good morning") == []


def test_perspective_is_asked_as_it_wants(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key in the address, nothing stored, one comment a question, no empty comment."""
    monkeypatch.setenv("MY_KEY", "secret")
    server.reply = perspective
    screener = RemoteScreener(server.url, HALF, shape="perspective", key_from="MY_KEY")
    assert screener.toxicity(["  ", "hi"]).tolist() == [0.0, 0.1]
    assert server.asked == [
        {
            "comment": {"text": "hi"},
            "languages": ["en"],
            "requestedAttributes": {"TOXICITY": {}},
            "doNotStore": True,
        }
    ]
    assert "secret" not in screener.name
    assert "Authorization" not in server.headers[0]


def test_openai_is_asked_as_it_wants(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key in a header, the model named, and only the categories that are wanted count."""
    monkeypatch.setenv("MY_KEY", "secret")
    server.reply = moderation
    screener = RemoteScreener(
        server.url, HALF, shape="openai", key_from="MY_KEY", model="m", categories=["violence"]
    )
    assert screener.toxicity(["idiot"]).tolist() == [0.2]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.asked[0]["model"] == "m"
    with pytest.raises(TactfulError, match="no category 'spam'; it has harassment, violence"):
        RemoteScreener(server.url, HALF, shape="openai", categories=["spam"]).toxicity(["x"])


@pytest.mark.parametrize(
    "lie",
    [
        {"toxicity": [float("nan")]},
        {"toxicity": [float("inf")]},
        {"toxicity": [1.2]},
        {"toxicity": [-0.1]},
        {"toxicity": [0.5, 0.5]},
        {"toxicity": []},
        {"toxicity": [None]},
        {"toxicity": [True]},
        {"toxicity": ["0.5"]},
        {"toxicity": 0.5},
        [0.5],
        b"<html>",
        b"",
    ],
    ids=str,
)
def test_a_lie_is_an_error_and_never_a_score(server: Server, lie: Any) -> None:
    server.reply = lambda asked: (200, lie)
    with pytest.raises(TactfulError):
        RemoteScreener(server.url, HALF).toxicity(["x"])


def test_who_hangs_is_waited_for_so_long_and_no_longer(server: Server) -> None:
    """Silence ends with `timeout`, after which nobody waits at all until the rest is over."""
    let_go = threading.Event()

    def hang(asked: dict[str, Any]) -> tuple[int, Any]:
        let_go.wait(10)
        return 0, b""

    server.reply = hang
    breaker = Breaker(failures=2, rest=60)
    screener = RemoteScreener(server.url, HALF, timeout=0.2, retries=0, breaker=breaker)
    started = time.monotonic()
    for _ in range(30):
        with pytest.raises(TactfulError):
            screener.toxicity(["x"])
    assert time.monotonic() - started < 2
    assert len(server.asked) == 2
    let_go.set()


def test_who_drips_is_not_waited_for(server: Server) -> None:
    """A byte now and then is no answer, though the line is never silent."""

    class Drip(server.http.RequestHandlerClass):  # type: ignore[name-defined]
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(100):
                try:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(0.05)

    server.http.RequestHandlerClass = Drip
    screener = RemoteScreener(server.url, HALF, timeout=0.3, retries=0)
    started = time.monotonic()
    with pytest.raises(TactfulError, match="not whole after"):
        screener.toxicity(["x"])
    assert time.monotonic() - started < 2


def test_an_answer_that_breaks_off_is_an_error(server: Server) -> None:
    """What is cut short would otherwise be read as it is."""

    class Short(server.http.RequestHandlerClass):  # type: ignore[name-defined]
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"toxicity": [0.5]}')

    server.http.RequestHandlerClass = Short
    with pytest.raises(TactfulError, match=r"broke off \(IncompleteRead"):
        RemoteScreener(server.url, HALF, retries=0).toxicity(["x"])


def test_a_breaker_by_hand() -> None:
    """Two failures close it; after the rest one may try, and a success opens it for all."""
    now = [0.0]
    breaker = Breaker(failures=2, rest=10, clock=lambda: now[0])
    breaker.failed()
    assert breaker.waits() == 0
    breaker.failed()
    now[0] = 4.0
    assert breaker.waits() == 6
    now[0] = 10.0
    assert breaker.waits() == 0
    assert breaker.waits() == 10  # somebody else, while the first one tries
    breaker.succeeded()
    assert breaker.waits() == 0
    breaker.failed()
    assert breaker.waits() == 0


@pytest.fixture
def described(tmp_path: Path) -> Path:
    return tmp_path / "remote.yaml"


def test_a_dead_server_falls_back_and_recovers(server: Server, described: Path) -> None:
    """Serving goes on; what the fallback said is forgotten when the server is back."""
    described.write_text(
        f"{{kind: remote, address: '{server.url}', act: 0.5, passing: 0.3, retries: 0, "
        "failures: 1, rest: 0.0}"
    )
    screener = load_screener(described)
    assert isinstance(screener, FallbackScreener)
    server.reply = lambda asked: (500, b"")
    insult, greeting = screener.toxicity(["you stupid idiot", "good morning"])
    assert insult >= 0.5 > 0.3 > greeting
    server.reply = lambda asked: (200, {"toxicity": [0.77 for _ in asked["texts"]]})
    assert screener.toxicity(["you stupid idiot"]).tolist() == [0.77]


def test_files_describe_screeners(tmp_path: Path) -> None:
    """Members beside the file, the shipped one by name; what is wrong is told."""
    path = tmp_path / "both.yaml"
    path.write_text("{kind: ensemble, how: vote, members: [shipped, shipped]}")
    found = load_screener(path)
    assert found.toxicity(["you stupid idiot"])[0] >= found.thresholds.act
    np.testing.assert_allclose(
        found.toxicity(["good morning"]), load_screener(None).toxicity(["good morning"])
    )
    for text, told in (
        ("{kind: ensamble}", "ensemble"),
        ("{kind: remote, address: 'http://x', act: 0.5}", "passing"),
        ("{kind: ensemble, members: [both.yaml]}", "names itself"),
        ("[", "not readable"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            load_screener(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_screener(tmp_path / "none.yaml")


def test_a_missing_key_is_told_at_once(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback would hide it."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    described.write_text(
        json.dumps(
            {
                "kind": "remote",
                "address": "http://127.0.0.1:9",
                "act": 0.5,
                "passing": 0.5,
                "key_from": "NO_SUCH_KEY",
            }
        )
    )
    with pytest.raises(ConfigError, match="set the environment variable NO_SUCH_KEY"):
        load_screener(described)
