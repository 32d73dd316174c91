"""Lessons in taste: what people wrote against what machines make of the same source.

A demonstration's answer is a sentence a person wrote; its source was made from it. What the table
of replacements, deletion, a damaged copy and the warm start's own samples make of that source is
what taste has to learn to turn down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from tactful.config import Config, dump_recipe
from tactful.engines import load_engine
from tactful.errors import DataError
from tactful.evaluation import damage
from tactful.prompts import trained
from tactful.rewriting.candidates import Deletion, PromptedModel
from tactful.rewriting.replace import Replacement
from tactful.rollouts.base import Backend, Sampling
from tactful.run_folder import ADAPTER, RECIPE
from tactful.scorers.taste import Lesson, Taste, TasteConfig
from tactful.screeners.linear import LinearScreener
from tactful.training.warm_found import DEMONSTRATIONS, Demonstration, read_demonstrations

_CHUNK = 512
Say = Callable[[str], None]


class TasteRecipe(Config):
    """Everything that makes a taste."""

    warm_start: Path
    """The folder of a warm start's run: its demonstrations teach, its adapter writes samples."""
    demonstrations: Path | None = None
    """The folder of `tactful back-translate`, whose demonstrations teach instead."""
    lessons: Annotated[int, Field(ge=1)] = 2400
    kept_back: Annotated[int, Field(ge=0)] = 100
    """Lessons that are not learned but asked afterwards."""
    table: Annotated[int, Field(ge=0)] = 1
    samples: Annotated[int, Field(ge=0)] = 2
    damaged: Annotated[int, Field(ge=0)] = 1
    seed: int = 0
    taste: TasteConfig = TasteConfig()


def teach_taste(
    recipe: TasteRecipe,
    out: Path,
    *,
    say: Say = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Make lessons, learn them, ask those kept back; leaves the taste in `out`."""
    shown = demonstrations(recipe.demonstrations or recipe.warm_start)
    adapter = recipe.warm_start / ADAPTER
    rng = np.random.default_rng(recipe.seed)
    chosen = [shown[i] for i in rng.permutation(len(shown))]
    chosen = chosen[: recipe.lessons + recipe.kept_back]
    lessons = make_lessons(
        chosen, recipe, load_engine("torch", recipe.taste.base, adapter=adapter), say
    )
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps([x.source, x.good, x.bad]) for x in lessons]
    (out / "lessons.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked, learned = lessons[: recipe.kept_back], lessons[recipe.kept_back :]
    taste = Taste.fit(learned, recipe.taste, start=adapter, progress=progress)
    taste.save(out)
    dump_recipe(recipe, out / RECIPE)
    return preferences(taste, asked)


def demonstrations(folder: Path) -> list[Demonstration]:
    """What a warm start was shown whose answers people wrote."""
    path = folder / DEMONSTRATIONS
    if not path.exists():
        raise DataError(f"{folder} holds no {DEMONSTRATIONS}; give the folder of a warmup")
    shown = read_demonstrations(path)
    return [d for d in shown if not d.kind.startswith("found") and d.source != d.completion]


def make_lessons(
    shown: Sequence[Demonstration], recipe: TasteRecipe, backend: Backend, say: Say
) -> list[Lesson]:
    """A lesson for each demonstration for which there is something bad to show."""
    rng = np.random.default_rng(recipe.seed)
    screener = LinearScreener.load()
    table, deletion = Replacement(screener), Deletion(screener)
    model = PromptedModel(
        backend, prompt=trained, sampling=Sampling(max(1, recipe.samples), 1.0, 0.95)
    )
    # A small pile has no word three times.
    vocabulary = damage.content_words([d.completion for d in shown]) or damage.FILLERS
    damages = (
        damage.drop_word,
        damage.thin,
        damage.hang,
        damage.shorten,
        damage.swap_neighbours,
        damage.repeat,
        damage.flip,
        damage.misplace(vocabulary),
        damage.misplace(damage.FILLERS),
        damage.insert(vocabulary),
        damage.insert(damage.PRAISE),
    )
    lessons: list[Lesson] = []
    for start in range(0, len(shown), _CHUNK):
        part = shown[start : start + _CHUNK]
        sources = [d.source for d in part]
        said = model.propose(sources) if recipe.samples else [[] for _ in part]
        listed, struck = table.propose(sources), deletion.propose(sources)
        for d, samples, choices, left in zip(part, said, listed, struck, strict=True):
            picked = [choices[i] for i in rng.permutation(len(choices))[: recipe.table]]
            made = [damages[int(rng.integers(len(damages)))] for _ in range(recipe.damaged)]
            broken = [words for f in made if (words := f(d.completion.split(), rng))]
            texts = [*samples, *picked, *left, *(" ".join(words) for words in broken)]
            bad = dict.fromkeys(" ".join(text.split()) for text in texts)
            kept = tuple(text for text in bad if text and not _same(text, d.completion))
            if kept:
                lessons.append(Lesson(d.source, (d.completion,), kept))
        say(f"lessons: {start + len(part):,} of {len(shown):,}")
    return lessons


def preferences(taste: Taste, lessons: Sequence[Lesson]) -> dict[str, float]:
    """How often the person's sentence is liked better than what a machine made, and by itself."""
    pairs = [(x.source, x.good[0], bad) for x in lessons for bad in x.bad]
    if not pairs:
        return {}
    sources = [source for source, _, _ in pairs]
    good = taste(sources, [text for _, text, _ in pairs])
    bad = taste(sources, [text for _, _, text in pairs])
    return {
        "preferred": float(np.mean(good > bad)),
        "good": float(np.mean(good > 0.5)),
        "bad": float(np.mean(bad > 0.5)),
    }


def _same(one: str, other: str) -> bool:
    """Signs and case are nothing to learn taste from."""
    return "".join(filter(str.isalnum, one.lower())) == "".join(filter(str.isalnum, other.lower()))
