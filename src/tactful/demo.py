"""`make demo`: our own sentences through the default rewriter, then a rewriter's making in small.

The second part is a warm start and a game on the corpus that ships with the package, for a minute or
two, and what the model wrote to sentences it was not trained on: untrained, warm, and played.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from tactful.run_folder import Run

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
WARM_RECIPE, GAME_RECIPE = "smoke-warmup.yaml", "smoke.yaml"
_SHOWN = 6
_FIGURES = {"joint": "J", "style": "STA", "meaning": "SIM", "fluency": "FL"}


def main(recipes: Path | None = None, out: Path | None = None) -> None:
    """Rewrite the sentences; with a folder of recipes and one for the runs, also train."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from rich.console import Console

    console = Console(width=None if os.environ.get("COLUMNS") else max(100, Console().width))
    rewrite(console)
    if recipes is not None and out is not None:
        play(recipes, out, console)


def rewrite(console: Console) -> None:
    """What the rewriter that ships makes of the sentences."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from tactful import Rewriter

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


def play(recipes: Path, out: Path, console: Console) -> None:
    """Warm up and play by the smoke recipes into `out`, and show what became of it."""
    from tactful.config import load_recipe
    from tactful.pipeline import TrainRecipe, WarmRecipe, train, warm_up
    from tactful.run_folder import ADAPTER, read_run
    from tactful.run_report import PAGE

    warm, game = out / "warm", out / "game"
    warming = load_recipe(recipes / WARM_RECIPE, WarmRecipe)
    playing = load_recipe(recipes / GAME_RECIPE, TrainRecipe, [f"warm_start={warm / ADAPTER}"])
    console.print(
        "\nAnd how such a rewriter is made, in small: the base model, a few hundred sentences that "
        "ship\nwith the package, a warm start and a game. One or two minutes."
    )
    started = time.perf_counter()
    # Whoever asks for the demo again wants to see it run.
    with _steps(console, "warm start") as (told, say):
        warm_up(warming, warm, resume="never", told=told, say=say)
    with _steps(console, "game") as (told, say):
        train(playing, game, resume="never", told=told, say=say)
    seconds = time.perf_counter() - started
    show(read_run(warm), read_run(game), console)
    console.print(
        f"{seconds:.0f} s. What ships was trained for longer and on more; this shows the way. "
        "Curves, samples and alarms:"
    )
    for folder in (warm, game):
        console.print(f"  {folder / PAGE}", soft_wrap=True)


def show(warm: Run, game: Run, console: Console) -> None:
    """Held-out sentences and figures: of the untrained base, after the warm start and at the end."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    stages = {
        "untrained": (warm, 0),
        "after the warm start": (game, 0),
        "after the game": (game, -1),
    }
    samples = {name: _at(run.samples, place) for name, (run, place) in stages.items()}
    table = Table("held-out source", *stages, box=box.SIMPLE_HEAD)
    for source in list(samples["after the game"])[:_SHOWN]:
        texts = [escape(" ".join(written.get(source, "").split())) for written in samples.values()]
        table.add_row(escape(source), *(text or "(empty)" for text in texts))
    table.add_section()
    for name, label in _FIGURES.items():
        points = [run.points(f"eval_{name}")[place][1] for run, place in stages.values()]
        table.add_row(label, *(f"{value:.3f}" for value in points))
    console.print(table)
    console.print(
        f"J is the mean of STA (not toxic) · SIM (the same meaning) · FL (fluent) of "
        f"{game.about['looked_at']} held-out sentences, by the judge {game.about['judge']}."
    )


def _at(samples: Mapping[int, dict[str, str]], place: int) -> dict[str, str]:
    """What was written at the first or the last look."""
    return samples[sorted(samples)[place]]


@contextmanager
def _steps(
    console: Console, what: str
) -> Iterator[tuple[Callable[[Mapping[str, float]], None], Callable[[str], None]]]:
    """A line that tells how far it is; an alarm, which is worth keeping, gets one of its own."""
    with console.status(what) as status:

        def told(line: Mapping[str, float]) -> None:
            status.update(f"{what}: step {line['step']:.0f} of {line['of']:.0f}")

        def say(line: str) -> None:
            if line.startswith(("ALARM", "WARNING")):
                console.print(line, markup=False, highlight=False)
            else:
                status.update(f"{what}: {line}")

        yield told, say


if __name__ == "__main__":
    from tactful.errors import TactfulError

    try:
        main(*map(Path, sys.argv[1:3]))
    except TactfulError as error:
        sys.exit(f"error: {error}")
