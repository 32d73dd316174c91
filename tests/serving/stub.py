"""Engines that answer by a rule one can read, for `tactful serve --engine tests.serving.stub:...`.

They make "idiot" a "person", and do as they are told by a text that begins with a colon.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from tactful.errors import TactfulError
from tactful.records import Rewrite, Span
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.screeners.linear import LinearScreener
from tactful.serving.settings import EngineConfig
from tests.fakes import WordOverlap


class Stub:
    """Takes `a_batch` seconds for a batch and `a_text` for each of its texts."""

    name = "stub@test"

    def __init__(self, a_batch: float = 0.0, a_text: float = 0.0) -> None:
        self.a_batch = a_batch
        self.a_text = a_text

    def rewrite_many(self, texts: Sequence[str], *, force: bool = False) -> list[Rewrite]:
        time.sleep(self.a_batch + self.a_text * len(texts))
        return [self._rewrite(text, force) for text in texts]

    def _rewrite(self, text: str, force: bool) -> Rewrite:
        match text:
            case ":die":
                os.kill(os.getpid(), signal.SIGKILL)
            case ":hang":
                time.sleep(3600)
            case ":raise":
                raise ValueError(text)
            case ":print":
                # What libraries print must not get between the frames.
                sys.stdout.write("chatter\n")
                sys.stdout.flush()
            case ":unresolved":
                return Rewrite(
                    text, "[removed]", "unresolved", (0.9, 0.0), reason="no", model=self.name
                )
            case ":foreign":
                return Rewrite(text, text, "not_screened", reason="not English", model=self.name)
        if "idiot" not in text and not force:
            return Rewrite(text, text, "unchanged", (0.0, 0.0), model=self.name)
        start = text.find("idiot")
        return Rewrite(
            text,
            text.replace("idiot", "person"),
            "rewritten",
            (0.9, 0.1),
            similarity=0.8,
            fluency=0.7,
            alternatives=(text.replace("idiot", "human"),),
            spans=(Span(start, start + 5, 2.0),) if start >= 0 else (),
            model=self.name,
        )


def at_once(config: EngineConfig) -> Stub:
    """Answers without delay."""
    return Stub()


def a_batch_20ms(config: EngineConfig) -> Stub:
    """A batch costs as much as a single text."""
    return Stub(a_batch=0.02)


def a_text_50ms(config: EngineConfig) -> Stub:
    """Twenty texts a second, together or alone."""
    return Stub(a_text=0.05)


def a_batch_1s(config: EngineConfig) -> Stub:
    """Slow enough to do something meanwhile."""
    return Stub(a_batch=1.0)


def refuses(config: EngineConfig) -> Stub:
    """Cannot start."""
    raise TactfulError("no weights for the stub")


class Spiteful:
    """Proposes what no rewriter should: worse insults, copies, and insults disguised."""

    name = "spiteful@test"

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        return [[f"{s} you idiot", s, "y0u 1d10t", f"i d i o t {s}", ""] for s in sources]


def spiteful(config: EngineConfig) -> Rewriter:
    """A real rewriter that is given nothing good to choose from."""
    return Rewriter(
        LinearScreener.load(), WordOverlap(), [Spiteful()], RewriteConfig(policy=config.policy)
    )
