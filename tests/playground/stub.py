"""The engine of tests/serving, which also does every status, and is slow or lost when told to."""

from __future__ import annotations

import time
from typing import get_args

from tactful.records import Rewrite, Status
from tactful.rewriting.candidates import Deletion
from tactful.rewriting.replace import Replacement
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.screeners.linear import LinearScreener
from tactful.serving.settings import EngineConfig
from tests.fakes import WordOverlap
from tests.serving.stub import Stub


class Told(Stub):
    """Does as a text says that begins with a colon and the name of a status."""

    def _rewrite(self, text: str, force: bool) -> Rewrite:
        name, _, rest = text.removeprefix(":").partition(" ")
        if text.startswith(":") and name in get_args(Status) and name != "rewritten":
            shown = {"unresolved": "[removed]", "escalated": rest, "error": ""}.get(name, rest)
            scores = (0.9, 0.9 if name == "escalated" else 0.0)
            return Rewrite(text, shown, name, scores, reason="so told", model=self.name)
        if text.startswith(":rewritten"):
            scores = (0.9, 0.4)
            return Rewrite(text, rest, "rewritten", scores, 0.8, 0.9, reason="nearly passed (x)")
        if "slowly" in text:
            time.sleep(0.4)
        return super()._rewrite(text, force)


def told(config: EngineConfig) -> Told:
    """Answers at once, but for a text with "slowly" in it."""
    return Told()


def table(config: EngineConfig) -> Rewriter:
    """The real screener and the table of replacements, without a language model: for pictures."""
    screener = LinearScreener.load()
    sources = [Replacement(screener), Deletion(screener)]
    return Rewriter(screener, WordOverlap(), sources, RewriteConfig(policy=config.policy))
