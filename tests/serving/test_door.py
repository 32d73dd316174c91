"""Who is let in, and that nothing of what they say is kept."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from googleapiclient import discovery

from tests.serving.running import Running, fast_or_full, running, until

KEY = "the-only-key-there-is"
SLOW_KEY = "a-key-with-a-small-limit"
OPEN = {"/livez", "/readyz"}


@pytest.fixture(scope="module")
def _locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"app {KEY}\nslow {SLOW_KEY} 4/hour\n")
    with running("at_once", "--keys", str(file)) as server:
        yield server


@pytest.fixture
def locked(socket_enabled: None, _locked: Running) -> Running:
    """A server with keys."""
    return _locked


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_route_but_health_needs_a_key(locked: Running) -> None:
    """All routes of the document and those beside it: 401 without a key and with a wrong one."""
    document = locked.client.get("/openapi.json", headers=bearer()).json()
    routes = [(m, path) for path, methods in document["paths"].items() for m in methods]
    routes += [("get", "/openapi.json"), ("get", "/docs"), ("get", "/nothing"), ("put", "/v1/x")]
    assert len(routes) >= 12
    for headers in ({}, bearer("wrong-key-wrong-key"), {"Authorization": "Bearer"}):
        for method, path in routes:
            answer = locked.client.request(method, path, headers=headers, json={})
            if path in OPEN:
                assert answer.status_code == 200
            else:
                assert (path, answer.status_code) == (path, 401)
                assert "www-authenticate" in answer.headers
    for method, path in routes:
        answer = locked.client.request(method, path, headers=bearer(), json={})
        assert answer.status_code != 401


def test_clients_find_their_way_in(locked: Running) -> None:
    """OpenAI's client with the key as api_key, Google's with it as developerKey."""
    with openai.OpenAI(base_url=f"{locked.address}/v1", api_key=KEY) as client:
        assert client.moderations.create(input="thanks").results[0].flagged is False
    url = f"{locked.address}/$discovery/rest?version=v1alpha1"
    with discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey=KEY,
        discoveryServiceUrl=url,
        static_discovery=False,
    ) as client:
        body = {"comment": {"text": "thanks"}, "requestedAttributes": {"TOXICITY": {}}}
        assert client.comments().analyze(body=body).execute()["languages"] == ["en"]


def test_a_browser_is_asked_for_the_key(locked: Running) -> None:
    """A person who opens a page can give the key as password."""
    answer = locked.client.get("/docs", headers={"Accept": "text/html"})
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert locked.client.get("/docs", auth=("me", KEY)).status_code == 200


def test_a_key_has_its_limit(locked: Running) -> None:
    """Texts count, not requests; what is over is a 429 with Retry-After, and only for that key."""
    answer = locked.post("/v1/score", {"text": ["a", "b", "c"]}, headers=bearer(SLOW_KEY))
    assert answer.status_code == 200
    answer = locked.post("/v1/score", {"text": ["a", "b"]}, headers=bearer(SLOW_KEY))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert locked.post("/v1/score", {"text": "a"}, headers=bearer()).status_code == 200


def test_nothing_that_is_sent_is_kept(locked: Running) -> None:
    """Texts, keys and addresses, 1,000 in the full form: none in logs, metrics or errors."""
    canaries = [secrets.token_hex(8) for _ in range(fast_or_full(240, 1000))]
    kinds = [
        lambda c: locked.post("/v1/score", {"text": f"you idiot {c}"}, headers=bearer()),
        lambda c: locked.post("/v1/rewrite", {"text": f"you idiot {c}"}, headers=bearer()),
        lambda c: locked.post("/v1/score", {"text": "x"}, headers=bearer(c * 2)),
        lambda c: locked.client.get(f"/v1/{c}?key={c}", headers=bearer()),
        lambda c: locked.post("/v1/score", {c: c}, headers=bearer()),
        lambda c: locked.post("/v1/score", {"text": {c: c}}, headers=bearer()),
        lambda c: locked.client.post(
            "/v1/score",
            content=f'{{"text": "{c}',
            headers={**bearer(), "Content-Type": "application/json"},
        ),
        lambda c: locked.post(f"/v1alpha1/comments:analyze?key={c}", {"comment": {"text": c}}),
        lambda c: locked.post(
            f"/v1alpha1/comments:analyze?key={KEY}", {"comment": {"text": 1, c: c}}
        ),
        lambda c: locked.client.request(c.upper(), "/v1/score", headers=bearer()),
        lambda c: locked.post(
            "/v1/chat/completions",
            {"messages": [{"role": c, "content": c}]},
            headers={**bearer(), "User-Agent": c, "X-Request-Id": c},
        ),
        lambda c: locked.post("/v1/rewrite", {"text": ":raise"}, headers={**bearer(), "X-Name": c}),
    ]
    errors, before, unread = "", len(locked.events("request")), 0
    for number, canary in enumerate(canaries):
        answer = kinds[number % len(kinds)](canary)
        # A method that is none is refused by what reads HTTP, before there is a request to note.
        unread += answer.text == "Invalid HTTP request received."
        if answer.status_code >= 400:
            errors += answer.text + str(answer.headers)
    # What is written last is not read at once.
    until(lambda: len(locked.events("request")) - before >= len(canaries) - unread)
    kept = locked.raw.decode() + locked.client.get("/metrics", headers=bearer()).text + errors
    assert [canary for canary in canaries if canary.lower() in kept.lower()] == []
    assert KEY not in kept


def test_a_line_cannot_be_forged(locked: Running) -> None:
    """Every line of the log is one JSON object, whatever was asked."""
    locked.client.get("/%0a{%22event%22:%22forged%22}", headers=bearer())
    locked.post("/v1/score", {"text": '\n{"event": "forged"}\n'}, headers=bearer())
    assert all(set(json.loads(line)) for line in locked.raw.splitlines())
    assert not locked.events("forged")


def test_without_keys_only_this_machine_is_served() -> None:
    """Another address is refused before anything is loaded, and the message says what to do."""
    found = subprocess.run(
        [sys.executable, "-m", "tactful", "serve", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TACTFUL_KEYS": ""},
    )
    assert found.returncode == 1
    assert "--keys" in found.stderr
    assert "Traceback" not in found.stderr


def test_without_keys_a_web_page_cannot_reach_in(server: Running) -> None:
    """A name that somebody points at 127.0.0.1 is not served."""
    body = {"text": "x"}
    answer = server.post("/v1/score", body, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_host")
    for host in ("localhost:80", "127.0.0.1", "[::1]:80"):
        assert server.post("/v1/score", body, headers={"Host": host}).status_code == 200


def test_with_keys_any_address_will_do(socket_enabled: None, tmp_path: Path) -> None:
    """With keys the server listens where it is told."""
    with running(
        "at_once", "--host", "0.0.0.0", env={"TACTFUL_KEYS": f"app {KEY}"}, ready=False
    ) as server:
        port = server.address.rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/livez").status_code == 200
            assert client.get("/metrics").status_code == 401
