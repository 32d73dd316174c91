"""The command line with an engine that answers by a rule one can read, to be killed and measured.

    python -m benchmarks.files_stub rewrite in.csv -o out.csv

A module of its own, because worker processes import it again. The environment says how it behaves:
STUB_ENGINE is `words` (takes the word "idiot" out; some words break it), `delete` (our rewriter
without a model: the shipped screener, deletion) or `nothing`; STUB_SECONDS is how long each chunk
takes, STUB_LOG a file that gets a line for each text that is asked, STUB_LOAD=dies a start that
fails. A process that asks for the network is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import tactful.cli
import tactful.models
from tactful.records import Rewrite
from tactful.rewriting.candidates import Deletion
from tactful.rewriting.rewriter import Rewriter
from tactful.screeners.linear import LinearScreener


class Words:
    """Takes the word "idiot" out and breaks on some others."""

    def __init__(self) -> None:
        self.name = os.environ.get("STUB_NAME", "words@1")

    def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]:
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        if log := os.environ.get("STUB_LOG"):
            with Path(log).open("a", encoding="utf-8") as lines:
                lines.write("".join(f"{text!r}\n" for text in texts))
        return [_rewrite(text) for text in texts]


class Nothing:
    """Calls every text clean."""

    name = "nothing@1"

    def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]:
        return [Rewrite(text, text, "unchanged", toxicity=(0.0, 0.0)) for text in texts]


class Overlap:
    """Similarity as the share of the source's words that stay; stands for the model of vectors."""

    name = "overlap@1"

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> Any:
        pairs = [(set(s.split()), set(r.split())) for s, r in zip(sources, rewrites, strict=True)]
        return np.array([len(s & r) / max(1, len(s)) for s, r in pairs], dtype=np.float64)


def _rewrite(text: Any) -> Rewrite:
    if not isinstance(text, str):
        return Rewrite("", "", "error", reason=f"expected text, got {type(text).__name__}")
    if "word that raises" in text:
        raise ValueError("out of memory")
    if "word that kills" in text or ("word that once kills" in text and _first_time()):
        os.kill(os.getpid(), signal.SIGKILL)
    if "word that hangs" in text:
        time.sleep(3600)
    if "idiot" in text:
        return Rewrite(text, text.replace("idiot", "friend"), "rewritten", (0.9, 0.1), 0.8, 0.7)
    return Rewrite(text, text, "unchanged", toxicity=(0.01, 0.01))


def _first_time() -> bool:
    mark = Path(os.environ["STUB_LOG"] + ".once")
    if mark.exists():
        return False
    mark.touch()
    return True


def without_models() -> Rewriter:
    """Our rewriter with what ships: the screener, and deletion in place of a model."""
    screener = LinearScreener.load()
    return Rewriter(screener, Overlap(), [Deletion(screener)])


def _load(*_: Any, **__: Any) -> Any:
    if os.environ.get("STUB_LOAD") == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    match os.environ.get("STUB_ENGINE", "words"):
        case "delete":
            return without_models()
        case "nothing":
            return Nothing()
    return Words()


def _offline(event: str, args: tuple[Any, ...]) -> None:
    """Work on files needs no network: a process that asks for one ends with an exit code of its own."""
    asked = event == "socket.getaddrinfo" or (
        event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] != "127.0.0.1"
    )
    if asked:
        os.write(2, f"asked for the network: {event} {args!r}\n".encode())
        os._exit(97)


def _stub() -> None:
    sys.addaudithook(_offline)
    # The one of this module and not of __main__, as Ray sends it to processes that only import it.
    tactful.cli._load_rewriter = import_module("benchmarks.files_stub")._load
    # Before it loads anything the command line looks whether weights are there; none are needed.
    tactful.models.resolve = lambda *_: None  # type: ignore[assignment]


if __name__ in ("__main__", "__mp_main__"):
    _stub()

if __name__ == "__main__":
    from tactful.cli import main

    main()
