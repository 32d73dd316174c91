"""What the server holds itself to, with real processes and sockets.

The full forms (`make reliability-server`) take half an hour and a machine of their own; the fast
ones share theirs, so their clocks are given slack, or none is read.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from benchmarks.load import Answer, closed_loop, open_loop, percentile

from tactful.screeners.linear import LinearScreener
from tests.serving.running import ROOT, Running, fast_or_full, running, until

pytestmark = pytest.mark.usefixtures("socket_enabled")

SLACK = fast_or_full(5, 1)
KEY = "the-key-of-the-fuzzer"


def ask_together(server: Running, texts: list[str]) -> list[Answer]:
    """One request for each text, all at a time."""
    host, port = server.host_port
    return asyncio.run(
        closed_loop(
            host, port, "/v1/rewrite", [{"text": text} for text in texts], concurrency=len(texts)
        )
    )


def collect(answers: list[Answer], server: Running, texts: list[str]) -> None:
    """The same, for a thread."""
    answers += ask_together(server, texts)


@pytest.mark.timeout(fast_or_full(400, 3000))
def test_no_request_makes_the_server_fail(tmp_path: Path) -> None:
    """R12: requests made up from the document find no 5xx, no answer the document does not know,
    nothing wrong accepted, and no way in without a key."""
    # Whether what is right by its form is accepted is not asked: a text may be in any language.
    checks = ("--checks", "all", "--exclude-checks", "positive_data_acceptance")
    seed = str(random.randrange(10**6)) if os.environ.get("TACTFUL_FULL") else "0"
    with running(
        "at_once", "--max-body", "9000000", env={"TACTFUL_KEYS": f"fuzzer {KEY}"}, ready=False
    ) as server:
        until(lambda: server.events("engine ready"))
        found = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("run", str(ROOT / "docs" / "openapi.json"), "--url", server.address),
                *("--header", f"Authorization: Bearer {KEY}", "--no-color", "--seed", seed),
                *("--max-examples", str(fast_or_full(50, 500)), *checks),
                *("--phases", "examples,coverage,fuzzing,stateful"),
                "--continue-on-failure",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert found.returncode == 0, found.stdout[-4000:]
        assert server.process.poll() is None
    assert not [line for line in server.events("request") if line["status"] >= 500]


@pytest.mark.timeout(fast_or_full(120, 600))
def test_overload_is_refused_and_the_admitted_are_served() -> None:
    """R13: at ten times what the engine can do, the admitted wait no longer than the queue is
    long, the others are told at once to come back, and nobody is cut off."""
    bound, service = 16, 0.05
    with running("a_text_50ms", "--queue", str(bound)) as server:
        host, port = server.host_port
        ask_together(server, ["idiot"] * 8)
        before = server.memory()
        answers = asyncio.run(
            open_loop(
                host,
                port,
                "/v1/rewrite",
                {"text": "idiot"},
                rate=10 / service,
                seconds=fast_or_full(20, 60),
            )
        )
        grown = server.memory() - before
    admitted = [a.seconds for a in answers if a.status == 200]
    refused = [a for a in answers if a.status in (429, 503)]
    assert len(admitted) + len(refused) == len(answers)
    assert admitted
    assert refused
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
    assert grown <= 20_000_000
    if fast_or_full(0, 1):
        assert percentile(admitted, 0.99) <= 1.5 * bound * service
        assert percentile([a.seconds for a in refused], 0.99) <= 0.1


@pytest.mark.slow
def test_the_server_adds_little_to_the_engine() -> None:
    """R14: over eight clients, what is neither waiting nor rewriting is a few milliseconds."""
    with running("a_batch_20ms") as server:
        host, port = server.host_port
        bodies = [{"text": "you idiot"}] * fast_or_full(160, 2000)
        asyncio.run(closed_loop(host, port, "/v1/rewrite", bodies[:40], concurrency=8))
        answers = asyncio.run(closed_loop(host, port, "/v1/rewrite", bodies, concurrency=8))
    assert {a.status for a in answers} == {200}
    over = [a.seconds - a.timing("queue") - a.timing("engine") for a in answers]
    assert percentile(over, 0.5) <= 0.005 * SLACK
    assert percentile(over, 0.99) <= 0.025 * SLACK


@pytest.mark.slow
def test_together_is_faster_than_one_by_one() -> None:
    """R14: where a batch costs what a text does, sixteen clients get three times as much done."""
    seconds = {}
    for batch in (1, 16):
        with running("a_batch_20ms", "--batch", str(batch)) as server:
            ask_together(server, ["idiot"] * 16)
            began = time.perf_counter()
            for _ in range(fast_or_full(4, 40)):
                assert {a.status for a in ask_together(server, ["idiot"] * 16)} == {200}
            seconds[batch] = time.perf_counter() - began
    assert seconds[1] / seconds[16] >= 3.0


def test_a_stopping_server_finishes_what_it_began() -> None:
    """R15: 32 requests in flight are all answered, readiness goes at once, and the end is clean."""
    for _ in range(fast_or_full(1, 20)):
        with running("a_batch_1s", "--queue", "32", "--engine-timeout", "5") as server:
            answers: list[Answer] = []
            asking = threading.Thread(target=collect, args=(answers, server, ["idiot"] * 32))
            asking.start()
            until(lambda: server.metric('tactful_queue_texts{lane="rewrite"}') == 32)
            told = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert until(lambda: not server.ready()) <= 0.2 * SLACK
            late = server.rewrite("idiot")
            assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
            assert late.headers["retry-after"]
            assert server.client.get("/livez").status_code == 200
            asking.join(30)
            assert server.process.wait(30) == 0
            assert time.monotonic() - told <= 5 + 2 * SLACK
            assert [a.status for a in answers] == [200] * 32
            engine = server.engine_pid()
        assert not Path(f"/proc/{engine}").exists()


def test_readiness_tells_the_truth() -> None:
    """R16: not ready before the warm-up and while there is no engine; ready when there is again;
    requests that a dead engine had get a clear 503."""
    with running("a_batch_1s", ready=False) as server:
        early = server.client.get("/readyz")
        assert (early.status_code, early.json()["status"]) == (503, "not ready")
        assert server.rewrite("idiot").json()["error"]["code"] == "engine_down"
        # Scoring needs no engine.
        assert server.post("/v1/score", {"text": "idiot"}).status_code == 200
        server.wait_ready()
        for _ in range(fast_or_full(1, 10)):
            answers: list[Answer] = []
            asking = threading.Thread(target=collect, args=(answers, server, ["idiot"] * 8))
            asking.start()
            until(lambda: server.metric('tactful_queue_texts{lane="rewrite"}') == 8)
            os.kill(server.engine_pid(), signal.SIGKILL)
            assert until(lambda: not server.ready()) <= 2.0 * SLACK
            asking.join(10)
            assert [a.status for a in answers] == [503] * 8
            assert all(b"replaced" in a.body and "retry-after" in a.headers for a in answers)
            assert until(server.ready) <= 10.0 * SLACK
            assert server.rewrite("idiot").status_code == 200
        assert server.metric('tactful_engine_restarts_total{reason="died"}') >= 1


def test_nobody_waits_past_the_deadline() -> None:
    """R16: over a hung engine every request, in work or in the queue, is answered in time; then
    the engine is replaced."""
    with running("at_once", "--deadline", "1", "--engine-timeout", "2") as server:
        first = server.engine_pid()
        answers = ask_together(server, [":hang"] + ["idiot"] * 4)
        assert all(a.seconds <= 1.5 * SLACK for a in answers)
        hung = [a for a in answers if a.status == 503]
        assert hung
        assert all(b'"deadline"' in a.body and "retry-after" in a.headers for a in hung)
        until(lambda: not server.ready())
        assert until(server.ready) <= 10.0 * SLACK
        assert server.rewrite("idiot").status_code == 200
        assert server.engine_pid() != first
        assert server.metric('tactful_engine_restarts_total{reason="hung"}') == 1


def test_a_server_that_is_killed_leaves_no_engine() -> None:
    """Even kill -9 of the server ends the engine, whatever that is doing."""
    with running("at_once") as server:
        engine = server.engine_pid()
        asking = threading.Thread(target=ask_together, args=(server, [":hang"]))
        asking.start()
        until(lambda: server.metric('tactful_queue_texts{lane="rewrite"}') == 1)
        server.process.kill()
        asking.join(10)
        until(lambda: not Path(f"/proc/{engine}").exists(), within=5)


INSULTS = ("you are an idiot", "what a moron", "shut up, you clown", "this is stupid garbage")
PRAISE = ("thank you for this", "have a nice day", "I agree with you", "that was a good idea")
ABOUT = (
    "the article",
    "my bike",
    "the new update",
    "chess",
    "your garden",
    "bread",
    "the 9 o'clock bus",
)


def test_nothing_toxic_leaves_as_clean() -> None:
    """R20: of an engine that proposes only insults, nothing comes out that the screener minds and
    the status does not tell; what is clean comes back byte for byte."""
    screener = LinearScreener.load()
    toxic = [f"{insult}, look at {thing}" for insult in INSULTS for thing in ABOUT]
    clean = [f"{praise}, about {thing}  \n" for praise in PRAISE for thing in ABOUT]
    with running("spiteful") as server:
        for texts in (toxic, clean):
            found = server.post("/v1/rewrite", {"text": texts}).json()["results"]
            after = screener.toxicity([one["text"] for one in found])
            for one, score in zip(found, after, strict=True):
                assert score < screener.thresholds.act or one["status"] == "unresolved"
            if texts is toxic:
                assert {one["status"] for one in found} == {"unresolved"}
            else:
                same = [one["text"] == text for one, text in zip(found, clean, strict=True)]
                assert sum(same) >= 0.97 * len(same)
        body = {"messages": [{"role": "user", "content": toxic[0]}], "stream": True}
        assert "idiot" not in server.post("/v1/chat/completions", body).text


@pytest.mark.timeout(fast_or_full(120, 1200))
def test_memory_and_files_stay_flat() -> None:
    """R26: under steady load neither memory nor open files grow; ten minutes in the full form."""
    seconds = fast_or_full(4, 600)
    with running("a_batch_20ms") as server:
        host, port = server.host_port
        body = {"text": "you idiot, read the article before you comment"}

        def load(rate: float, time: float) -> list[Answer]:
            return asyncio.run(open_loop(host, port, "/v1/rewrite", body, rate=rate, seconds=time))

        load(fast_or_full(50, 150), fast_or_full(2, 30))
        memory, files = server.memory(), server.files()
        # 70 % of what a processor that is shared with the clients serves.
        answers = load(fast_or_full(50, 150), seconds)
        assert {a.status for a in answers} == {200}
        assert server.memory() - memory <= max(3_000_000, 1_000_000 * seconds / 60)
        until(lambda: server.files() <= files, within=10)
