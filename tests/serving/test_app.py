"""What can be asked of the application without a process of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tactful.serving.access import FREE
from tactful.serving.app import create_app
from tactful.serving.engine import Task
from tactful.serving.keys import load_keys
from tactful.serving.problems import Problem
from tactful.serving.service import Service
from tactful.serving.settings import ServeConfig
from tests.fakes import KeywordScreener

KEY = "0123456789abcdef-key"


def service(keys: str = "", **config: Any) -> Service:
    loaded = load_keys(None, {"TACTFUL_KEYS": keys})
    return Service(ServeConfig(**config), KeywordScreener({"idiot": 0.9}), loaded)


@pytest.mark.parametrize("path", sorted(FREE))
def test_who_has_no_key_takes_nobodys_place(path: str) -> None:
    """A request for what is free is answered before its body has come, and is not in hand."""
    inside = service(f"app {KEY}", requests=1)
    app = create_app(inside)
    counted: list[int] = []

    async def ask() -> int:
        sent: list[Any] = []

        async def never() -> Any:
            await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            counted.append(inside.in_hand)
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-length", b"100")],
            "http_version": "1.1",
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        async with asyncio.timeout(10):
            await app(scope, never, send)
        return int(sent[0]["status"])

    assert asyncio.run(ask()) in (200, 503)
    assert set(counted) == {0}


def test_a_browser_may_ask_from_where_it_was_told() -> None:
    """Its question beforehand needs no key; other origins get no leave, nor does any by default."""
    body = {"text": "you idiot"}
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    app = create_app(service(f"app {KEY}", allow_origin=("https://example.org",)))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    before = client.options("/v1/score", headers={"Origin": "https://example.org", **asked})
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == "https://example.org"
    with_key = {"Authorization": f"Bearer {KEY}", "Origin": "https://example.org"}
    answer = client.post("/v1/score", json=body, headers=with_key)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    other = client.options("/v1/score", headers={"Origin": "https://example.com", **asked})
    assert "access-control-allow-origin" not in other.headers
    closed = TestClient(create_app(service(f"app {KEY}")), base_url="http://127.0.0.1:8000")
    told = closed.options("/v1/score", headers={"Origin": "https://example.org", **asked})
    assert told.status_code == 401
    assert "access-control-allow-origin" not in told.headers


def test_more_texts_than_fit_are_told_so_and_not_to_come_again() -> None:
    """No later time would be better."""
    inside = service(queue=2)
    inside.engine.state = "ready"
    with pytest.raises(Problem, match="3 texts; this server rewrites 2 at a time") as refused:
        asyncio.run(inside.rewrite([Task("a")] * 3))
    assert refused.value.status == 413
    assert "Retry-After" not in refused.value.headers
