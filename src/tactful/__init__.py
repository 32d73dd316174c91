"""tactful turns text that insults into text that says the same thing decently.

    from tactful import Rewriter
    Rewriter.load().rewrite("you are an idiot, read the article").text

Names are resolved on first use, so that importing the package stays cheap (no torch).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tactful.evaluation.evaluate import evaluate as evaluate
    from tactful.records import Rewrite as Rewrite
    from tactful.rewriting.rewriter import RewriteConfig as RewriteConfig
    from tactful.rewriting.rewriter import Rewriter as Rewriter
    from tactful.screeners.linear import LinearScreener as Screener
    from tactful.training.trainer import SROConfig as SROConfig
    from tactful.training.trainer import SROTrainer as SROTrainer

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "Rewrite": ("tactful.records", "Rewrite"),
    "RewriteConfig": ("tactful.rewriting.rewriter", "RewriteConfig"),
    "Rewriter": ("tactful.rewriting.rewriter", "Rewriter"),
    "SROConfig": ("tactful.training.trainer", "SROConfig"),
    "SROTrainer": ("tactful.training.trainer", "SROTrainer"),
    "Screener": ("tactful.screeners.linear", "LinearScreener"),
    "evaluate": ("tactful.evaluation.evaluate", "evaluate"),
}

__all__ = [
    "Rewrite",
    "RewriteConfig",
    "Rewriter",
    "SROConfig",
    "SROTrainer",
    "Screener",
    "__version__",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tactful' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
