"""Bodies that are too large, too slow, too deep or not what they say they are."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from tests.serving.running import Running, running

LIMIT = 200_000


@pytest.fixture(scope="module")
def _small() -> Iterator[Running]:
    with running("at_once", "--max-body", str(LIMIT)) as server:
        yield server


@pytest.fixture
def small(socket_enabled: None, _small: Running) -> Running:
    """A server that takes small bodies only."""
    return _small


def raw(server: Running, head: str, body: Iterable[bytes] = (), timeout: float = 30.0) -> str:
    """What comes back when exactly these bytes are sent; stops sending when it is hung up on."""
    with socket.create_connection(server.host_port, timeout=timeout) as connection:
        connection.sendall(f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
        try:
            for chunk in body:
                connection.sendall(chunk)
        except OSError:
            pass
        found = b""
        while b"\r\n\r\n" not in found and (piece := connection.recv(65_536)):
            found += piece
    return found.decode().partition("\r\n")[0]


def chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


JSON = "Content-Type: application/json"


def test_a_promised_giant_is_refused_at_once(small: Running) -> None:
    """100 MB are refused by their header; nobody waits for them."""
    began = time.monotonic()
    assert "413" in raw(small, f"{JSON}\r\nContent-Length: 100000000", [b'{"text": "'])
    assert time.monotonic() - began < 5


def test_a_giant_without_a_promise_is_counted(small: Running) -> None:
    """A chunked body is refused as soon as it is too large, and memory stays where it was."""
    before = small.memory()
    pieces = (b"x" * 65_536 for _ in range(1600))
    assert "413" in raw(small, f"{JSON}\r\nTransfer-Encoding: chunked", chunked(pieces))
    assert small.memory() - before < 20_000_000


def test_a_client_that_is_sending_still_reads_the_answer(small: Running) -> None:
    """Two times too large, sent whole before anything is read, as most clients do: a 413."""
    answer = small.client.post(
        "/v1/score", content=b"x" * 2 * LIMIT, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_a_chunked_body_within_the_limit_is_read(small: Running) -> None:
    """Chunks are not what is refused."""
    answer = small.client.post(
        "/v1/score",
        content=iter([b'{"text": ', b'"thanks"}']),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200


def test_what_is_not_plain_json_is_refused(small: Running) -> None:
    """Compressed bodies, which may be bombs, and other kinds are a 415."""
    bomb = gzip.compress(b"0" * 10_000_000)
    for headers, body in (
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, bomb),
        ({"Content-Type": "text/plain"}, b'{"text": "x"}'),
        ({}, b'{"text": "x"}'),
    ):
        answer = small.client.post("/v1/score", content=body, headers=headers)
        assert answer.status_code == 415


def test_depth_and_breadth_are_refused(small: Running) -> None:
    """10,000 brackets and as many items as fit are 4xx, in little time and memory."""
    before = small.memory()
    for body in (
        b'{"text": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"text": [' + b"1," * (LIMIT // 2 - 20) + b"1]}",
        b'{"text": [' + b'"",' * (LIMIT // 3 - 20) + b'""]}',
    ):
        answer = small.client.post(
            "/v1/score", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422)
        assert len(answer.content) < 2_000
    assert small.memory() - before < 20_000_000


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("X-Many: " + "a" * 200_000, ()),
        ("\r\n".join(f"X-{i}: {'a' * 100}" for i in range(2_000)), ()),
        (f"{JSON}\r\nTransfer-Encoding: chunked", [b"0\r\n", b"X-Late: " + b"a" * 200_000]),
    ],
)
def test_what_is_around_a_body_is_bounded(head: str, body: Iterable[bytes], small: Running) -> None:
    """One giant header, many small ones, and trailers: refused, however they come."""
    # Being hung up on in the midst of sending is as good.
    with contextlib.suppress(ConnectionError):
        assert "400" in raw(small, head, body)
    assert small.post("/v1/score", {"text": "thanks"}).status_code == 200


def test_a_body_in_the_smallest_chunks_is_read(small: Running) -> None:
    """Their frames are five times what they hold, which is no fault."""
    text = b'{"text": "' + b"a" * 15_000 + b'"}'
    pieces = chunked(text[i : i + 1] for i in range(len(text)))
    assert "200" in raw(small, f"{JSON}\r\nTransfer-Encoding: chunked", [b"".join(pieces)])


def test_others_are_served_while_many_dawdle(small: Running) -> None:
    """A byte a second from twenty clients keeps nobody else waiting."""
    held = []
    try:
        for _ in range(20):
            connection = socket.create_connection(small.host_port)
            connection.sendall(
                f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n"
                "Content-Length: 100\r\n\r\n{".encode()
            )
            held.append(connection)
        began = time.monotonic()
        for _ in range(20):
            assert small.post("/v1/score", {"text": "thanks"}).status_code == 200
        assert time.monotonic() - began < 5
    finally:
        for connection in held:
            connection.close()


@pytest.mark.slow
def test_who_is_too_slow_is_told_so(small: Running) -> None:
    """A body that does not come is a 408 after ten seconds; headers that do not come, an end."""
    ends: dict[str, str] = {}

    def slow_body() -> None:
        trickle = (time.sleep(1) or b" " for _ in range(8))  # type: ignore[func-returns-value]
        ends["body"] = raw(small, f"{JSON}\r\nContent-Length: 100", trickle)

    def slow_head() -> None:
        with socket.create_connection(small.host_port, timeout=30) as connection:
            connection.sendall(b"POST /v1/score HTTP/1.1\r\n")
            ends["head"] = connection.recv(100).decode()

    threads = [threading.Thread(target=slow) for slow in (slow_body, slow_head)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert "408" in ends["body"]
    assert ends["head"] == ""
