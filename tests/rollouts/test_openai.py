"""Any OpenAI-compatible server, against a real one on this machine."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tactful.errors import ConfigError, DataError, TactfulError
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.rollouts.openai import OpenAIBackend
from tests.tiny import tiny_tokenizer

pytestmark = pytest.mark.usefixtures("socket_enabled")

Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Echoes what it is asked, or answers as `script` says; keeps what it was sent."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        self.script: Callable[[int], Answer | None] = lambda number: None
        self.busy = self.most = 0
        self.delay = 0.0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.asked.append((self.path, self.headers.get("Authorization"), body))
                    number = len(outer.asked)
                    outer.busy += 1
                    outer.most = max(outer.most, outer.busy)
                time.sleep(outer.delay)
                status, headers, answer = outer.script(number) or (200, {}, outer.echo(body))
                with outer.lock:
                    outer.busy -= 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # whoever asked has given up
                    self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Tests print nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @staticmethod
    def echo(body: dict[str, Any]) -> bytes:
        """The prompt and the seed, cut at the limit, a word being a token."""
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        words = f"{prompt} {body['seed']}".split()
        text = " ".join(words[: body["max_tokens"]])
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop" if len(words) <= body["max_tokens"] else "length",
        }
        choice |= {"text": text} if "prompt" in body else {"message": {"content": text}}
        return json.dumps({"choices": [choice]}).encode()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def backend(server: Server, **options: Any) -> OpenAIBackend:
    return OpenAIBackend(server.url, "polite", **{"wait": 0.01, **options})


def test_plain_prompts_and_messages_go_where_they_belong(server: Server) -> None:
    """Each to its own route, with the limit and the sampling that was asked for."""
    messages = [{"role": "user", "content": "you idiot"}]
    requests = [Request("read it", 9), Request(messages, 9)]
    [[plain], [chat]] = backend(server).generate(requests, Sampling(1, 0.8, 0.9))
    assert plain.text.startswith("read it ")
    assert chat.text.startswith("you idiot ")
    asked = {path: body for path, _, body in server.asked}
    assert asked["/v1/chat/completions"]["messages"] == messages
    body = asked["/v1/completions"]
    assert (body["model"], body["max_tokens"]) == ("polite", 9)
    assert (body["temperature"], body["top_p"]) == (0.8, 0.9)


def test_each_sample_has_a_seed_of_its_own(server: Server) -> None:
    """The same ones each time, other ones for another request; order is kept."""
    requests = [Request("a", 9, seed=1), Request("b", 9, seed=2)]
    answers = backend(server).generate(requests, Sampling(num=3))
    assert [[c.text[0] for c in row] for row in answers] == [["a"] * 3, ["b"] * 3]
    assert len({c.text[2:] for row in answers for c in row}) == 6
    assert backend(server).generate(requests, Sampling(num=3)) == answers
    assert backend(server).generate(requests[1:], Sampling(num=1)) == [answers[1][:1]]


def test_what_the_limit_cut_is_not_finished(server: Server) -> None:
    """`length` is no end."""
    [[cut]] = backend(server).generate([Request("one two three", 2)], Sampling())
    assert cut == Completion("one two", finished=False)


def test_greedy_is_asked_once(server: Server) -> None:
    """All its completions are the same."""
    [answers] = backend(server).generate([Request("a", 9)], Sampling(num=4, temperature=0))
    assert len(answers) == 4
    assert len(server.asked) == 1


def test_control_tokens_in_a_users_text_stay_text(server: Server) -> None:
    """With the tokenizer, a prompt is sent as tokens, none of which ends a turn."""
    tokenizer = tiny_tokenizer()
    backend(server, tokenizer=tokenizer).generate([Request("a<|im_end|>", 90)], Sampling())
    ((_, _, body),) = server.asked
    assert tokenizer.eos_token_id not in body["prompt"]
    assert tokenizer.decode(body["prompt"]) == "a<|im_end|>"


def test_the_key_comes_from_the_variable_that_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent where there is one, and what is refused says where it was looked for."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    backend(server).generate([Request("a", 9)], Sampling())
    monkeypatch.setenv("OUR_KEY", "secret")
    named = backend(server, key_variable="OUR_KEY")
    named.generate([Request("a", 9)], Sampling())
    assert [key for _, key, _ in server.asked] == [None, "Bearer secret"]
    server.script = lambda number: (401, {}, b"no")
    with pytest.raises(TactfulError, match="read from OUR_KEY, which is set") as refused:
        named.generate([Request("a", 9)], Sampling())
    assert "secret" not in str(refused.value) + named.name
    assert len(server.asked) == 3


def test_a_busy_server_is_asked_again(server: Server) -> None:
    """After as long as it says; a broken one at most so often."""
    server.script = lambda number: (429, {"Retry-After": "0.2"}, b"busy") if number == 1 else None
    started = time.perf_counter()
    [[answer]] = backend(server).generate([Request("a", 9)], Sampling())
    assert answer.finished
    assert time.perf_counter() - started > 0.2
    server.script = lambda number: (503, {}, b"loading")
    with pytest.raises(TactfulError, match=r"503 .*loading.* 3 times in a row"):
        backend(server, retries=2).generate([Request("a", 9)], Sampling())
    assert len(server.asked) == 2 + 3


def test_no_more_are_under_way_than_allowed(server: Server) -> None:
    """As many as are allowed, however many there are."""
    server.delay = 0.05
    backend(server, concurrency=3).generate([Request("a", 9)] * 9, Sampling())
    assert server.most == 3


def test_a_server_that_hangs_or_is_gone_is_told(server: Server) -> None:
    """After the timeout, and with what to look at."""
    server.delay = 0.5
    with pytest.raises(TactfulError, match=r"within 0\.1 seconds"):
        backend(server, timeout=0.1, retries=1).generate([Request("a", 9)], Sampling())
    away = OpenAIBackend("http://127.0.0.1:9", "polite", wait=0.01, retries=1)
    with pytest.raises(TactfulError, match="was not reached"):
        away.generate([Request("a", 9)], Sampling())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {}, b"<html>"), "no JSON"),
        ((200, {}, b'{"choices": []}'), "without a choice"),
        ((404, {}, b"no such model"), "is 'polite' there"),
        ((400, {}, b"bad"), "does not take what is asked"),
        ((307, {"Location": "http://else.where"}, b""), "else.where"),
    ],
)
def test_what_is_no_answer_is_an_error(server: Server, answer: Answer, words: str) -> None:
    """At once: asked again, it would say the same."""
    server.script = lambda number: answer
    with pytest.raises((TactfulError, DataError), match=words):
        backend(server).generate([Request("a", 9)], Sampling())
    assert len(server.asked) == 1


def test_what_is_no_address_is_refused() -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError, match="must begin with http"):
        OpenAIBackend("localhost:8000", "polite")
