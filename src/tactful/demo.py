"""`make demo`: a few of our own sentences through the default rewriter, as a table."""

from __future__ import annotations

import os
import time

SENTENCES = (
    "you are an idiot, read the article before you comment",
    "what kind of moron parks across 2 spaces?",
    "@sam this patch is garbage and you should be ashamed https://example.org/pr/17",
    "Shut up. The match starts at 19:30. Nobody asked you, clown.",
    "I disagree: the second chapter is slow, but the ending works.",
    "The idiot box in my living room finally died.",
    "i will find you and break your legs",
    "Das Wetter ist heute wirklich schön in Berlin",
)


def main() -> None:
    """Rewrite the sentences and print what became of each."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tactful import Rewriter

    console = Console(width=None if os.environ.get("COLUMNS") else max(100, Console().width))
    with console.status("loading the model"):
        rewriter = Rewriter.load()
    started = time.perf_counter()
    with console.status("rewriting"):
        results = rewriter.rewrite_many(SENTENCES)
    table = Table("source", "text", "status", "toxicity", box=box.SIMPLE_HEAD)
    for result in results:
        before, after = result.toxicity
        scores = "" if before is None or after is None else f"{before:.2f} → {after:.2f}"
        table.add_row(escape(result.source), escape(result.text), result.status, scores)
    console.print(table)
    console.print(
        f"{len(results)} texts in {time.perf_counter() - started:.1f} s with {rewriter.name}"
    )


if __name__ == "__main__":
    main()
