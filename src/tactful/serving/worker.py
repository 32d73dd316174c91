"""What runs in the engine's own process: frames in, rewrites out, until nobody sends any more.

    python -m tactful.serving.worker      (the server starts it; see engine.py)

A frame is four bytes of length and as many bytes of JSON. The first one from the server holds an
`EngineConfig`; the first answer says that a warm-up rewrite has passed, or why it never will:

    {"ready": "name of the engine"}   {"failed": "message"}

then every request gets one answer, in order:

    {"texts": [...], "force": [...]}  ->  {"rewrites": [...], "seconds": 0.2}  |  {"error": "KeyError"}
    {"ping": true}                    ->  {"ping": true}

JSON rather than pickles, so that whatever a text makes of the engine, it cannot make the server
run anything.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, BinaryIO, Protocol

from tactful.errors import ConfigError, TactfulError
from tactful.memory import give_back
from tactful.records import Rewrite, Span
from tactful.serving.settings import EngineConfig

LENGTH = struct.Struct(">I")
_WARM_UP = "you are an idiot, read the article"


class Rewrites(Protocol):
    """What an engine is: `Rewriter`, or anything with these two."""

    @property
    def name(self) -> str: ...

    def rewrite_many(self, texts: Sequence[str], *, force: bool = False) -> list[Rewrite]: ...


def shipped(config: EngineConfig) -> Rewrites:
    """The rewriter of `tactful rewrite`."""
    from tactful.rewriting.rewriter import RewriteConfig, Rewriter
    from tactful.screeners.load import load_screener

    return Rewriter.load(
        config.model,
        screener=load_screener(config.screener),
        config=RewriteConfig(policy=config.policy),
        method=config.method,
        adapter=config.adapter,
        engine=config.engine,
    )


def pack(message: Any) -> bytes:
    """A message as a frame."""
    body = json.dumps(message).encode("ascii")
    return LENGTH.pack(len(body)) + body


def as_rewrite(fields: dict[str, Any]) -> Rewrite:
    """A rewrite as it was before it went through JSON."""
    before, after = fields["toxicity"]
    return Rewrite(
        **{
            **fields,
            "toxicity": (before, after),
            "alternatives": tuple(fields["alternatives"]),
            "spans": tuple(Span(**span) for span in fields["spans"]),
        }
    )


def main() -> None:
    # A terminal's Ctrl-C and a service manager's SIGTERM reach this process, too; but it is the
    # server that knows when the last request is answered. It then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the frames.
    os.dup2(2, 1)
    frames: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, frames), daemon=True).start()
    try:
        _serve(frames, answers)
    except BrokenPipeError:
        os._exit(0)


def _serve(frames: queue.Queue[Any], answers: BinaryIO) -> None:
    def answer(message: Any) -> None:
        answers.write(pack(message))
        answers.flush()

    try:
        engine = _start(EngineConfig.model_validate(frames.get()))
    except TactfulError as error:
        return answer({"failed": str(error)})
    if not os.environ.get("TACTFUL_DEBUG"):
        # From here on there are texts, and what a library prints may quote them.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    give_back()
    answer({"ready": engine.name})
    while True:
        frame = frames.get()
        if "ping" in frame:
            answer(frame)
            continue
        answer(_rewrite(engine, frame["texts"], frame["force"]))
        give_back()


def _start(config: EngineConfig) -> Rewrites:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    engine = find_factory(config.factory)(config)
    (warm,) = engine.rewrite_many([_WARM_UP])
    if warm.status == "error":
        raise TactfulError(f"the engine's first rewrite failed: {warm.reason}")
    return engine  # type: ignore[no-any-return]  # what a user's factory makes is known by use


def find_factory(path: str) -> Any:
    """What `package.module:callable` names."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--engine {path} cannot be used: {error}. Write package.module:callable, of a module "
            "that Python finds (PYTHONPATH)."
        ) from error


def _rewrite(engine: Rewrites, texts: list[str], force: list[bool]) -> dict[str, Any]:
    """The answer to a batch. Where the engine raises, its texts are tried one by one: those that
    came together with one that breaks it have done nothing.
    """
    began = time.perf_counter()
    answer = _together(engine, texts, force)
    if "error" in answer and len(texts) > 1:
        singly = [
            _together(engine, [text], [forced]) for text, forced in zip(texts, force, strict=True)
        ]
        answer = {
            "rewrites": [
                one["rewrites"][0] if "rewrites" in one else _broken(text, one["error"])
                for text, one in zip(texts, singly, strict=True)
            ]
        }
    return answer if "error" in answer else answer | {"seconds": time.perf_counter() - began}


def _broken(text: str, error: str) -> dict[str, Any]:
    return asdict(Rewrite(text, "", "error", reason=f"the engine failed on this text ({error})"))


def _together(engine: Rewrites, texts: list[str], force: list[bool]) -> dict[str, Any]:
    try:
        results: list[Any] = [None] * len(texts)
        for forced in (False, True):
            rows = [row for row, wanted in enumerate(force) if wanted is forced]
            if rows:
                found = engine.rewrite_many([texts[row] for row in rows], force=forced)
                for row, result in zip(rows, found, strict=True):
                    results[row] = asdict(result)
    except Exception as error:
        # The message may quote a text; the type cannot.
        return {"error": type(error).__name__}
    return {"rewrites": results}


def _read(stream: BinaryIO, frames: queue.Queue[Any]) -> None:
    """Frames as they come; the end of the pipe is the end of the process, whatever it is doing."""
    while len(head := stream.read(LENGTH.size)) == LENGTH.size:
        frames.put(json.loads(stream.read(LENGTH.unpack(head)[0])))
    os._exit(0)


if __name__ == "__main__":
    main()
