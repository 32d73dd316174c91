"""A real server that speaks OpenAI's protocol, with a model of tests/tiny.py behind it.

    python -m tests.openai_server FOLDER PORT

Prints its port when it can be asked, and ends with its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Running:
    """The server in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "tests.openai_server", str(folder), str(port)]
        root = Path(__file__).resolve().parents[1]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def kill(self) -> None:
        """kill -9, from one moment to the next; a second time does nothing."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def openai_server(folder: Path, port: int = 0) -> Iterator[Running]:
    """A server that is gone afterwards."""
    running = Running(folder, port)
    try:
        yield running
    finally:
        running.kill()


def serve(folder: Path, port: int) -> None:
    """Answer until somebody ends us."""
    from tactful.rollouts.base import Request, Sampling
    from tactful.rollouts.local import LocalBackend

    backend = LocalBackend.load(folder, dtype="float32", device="cpu")
    one_at_a_time = threading.Lock()

    def complete(asked: dict[str, Any]) -> dict[str, Any]:
        prompt = asked.get("prompt", asked.get("messages"))
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
            prompt = backend.tokenizer.decode(prompt)
        with one_at_a_time:
            [[found]] = backend.generate(
                [Request(prompt, asked["max_tokens"], seed=asked["seed"])],
                Sampling(1, asked["temperature"], asked["top_p"]),
            )
        said = {"text": found.text} if "prompt" in asked else {"message": {"content": found.text}}
        reason = "stop" if found.finished else "length"
        return {"choices": [{"index": 0, "finish_reason": reason, **said}]}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(complete(asked)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever(0.01)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
