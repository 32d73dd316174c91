"""Back-translation: a first rewriter shows where people put their insults, a second learns from it.

The warm start's insults were put by rules, noun for noun, and some stand where nobody would say
them. What the warm start makes of real toxic sentences, read backwards, teaches a model to insult
as people do. Asked about decent sentences that people wrote, it gives sources that sound real for
answers that are real: the next rewriter's lessons, with the best of what the first one wrote.

Still without pairs: nobody rewrote anything. Every step leaves a file and is not taken twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from tactful.config import Config, dump_recipe, require_recipe
from tactful.corpora.piles import read_piles
from tactful.engines import load_engine
from tactful.errors import DataError
from tactful.evaluation.checks import drops_predicate
from tactful.evaluation.report import write_whole
from tactful.models import ADAPTER_FILE
from tactful.pipeline import Piles, Say, texts_of
from tactful.prompts import insulting, trained
from tactful.rewriting.candidates import CandidateSource, PromptedModel
from tactful.rewriting.gates import text_gates
from tactful.rewriting.idioms import Idioms, PastIdioms
from tactful.rewriting.replace import Replacement
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.rewriting.words import Words
from tactful.rollouts.base import Request, Sampling
from tactful.run_folder import ADAPTER, RECIPE, grown
from tactful.scorers.similarity import MiniLMSimilarity
from tactful.scorers.taste import Taste
from tactful.screeners.base import Screener
from tactful.screeners.linear import LinearScreener
from tactful.tasting import demonstrations
from tactful.training.checkpoints import to_resume
from tactful.training.game import budget, seed_of
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer
from tactful.training.warm_found import DEMONSTRATIONS, Demonstration

REWRITES, INSULTS, TOXIFIER = "rewrites.jsonl", "insults.jsonl", "toxifier"
BACK, FOUND = "back", "found:model"
"""Demonstrations by who wrote what: a person the answer, or a person the source."""


class BackRecipe(Config):
    """Everything that makes demonstrations by back-translation."""

    data: Piles
    warm_start: Path
    """The folder of a run: its adapter rewrites."""
    demonstrations: Path | None = None
    """The folder of a warm start, by default the same, whose answers are insulted."""
    sources: tuple[str, ...] = ()
    """Toxic texts of these sources are rewritten; all where none is named."""
    rewrites: Annotated[int, Field(ge=1)] = 4000
    """How many toxic texts are rewritten."""
    samples: Annotated[int, Field(ge=1)] = 4
    """From how many samples the best is taken."""
    toxifier: SROConfig = SROConfig(learning_rate=5e-4, batch=32, epochs=2)
    base: str = "base"
    lora: LoraSettings = LoraSettings()
    insults: Annotated[int, Field(ge=1)] = 6000
    """How many decent sentences are insulted."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least similarity of an insulted sentence to what it was made of."""
    taste: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least taste of a rewrite that is shown as an answer."""
    found: Annotated[float, Field(ge=0, le=1)] = 0.3
    """The largest part of what is shown that the first rewriter wrote."""
    old: Annotated[float, Field(ge=0, le=1)] = 0.15
    """The largest part that the warm start was shown before: its insults by rule."""
    seed: int = 0


def back_translate(
    recipe: BackRecipe,
    out: Path,
    *,
    say: Say = lambda line: None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[str, float]:
    """Rewrite, learn the way back, insult; leaves demonstrations for `tactful warmup` in `out`."""
    if (out / RECIPE).exists():
        require_recipe(recipe, out / RECIPE, "use another folder")
    out.mkdir(parents=True, exist_ok=True)
    dump_recipe(recipe, out / RECIPE)
    screener = LinearScreener.load()
    rng = np.random.default_rng(recipe.seed)
    toxic = _toxic(recipe, screener, rng)
    rewrites = _rewrites(recipe, screener, toxic, out, progress)
    way_back = [d for d in rewrites if d["completion"]]
    say(f"{len(way_back):,} of {len(toxic):,} toxic texts were rewritten; learning the way back")
    _learn_back(recipe, way_back, out / TOXIFIER)
    old = demonstrations(recipe.demonstrations or recipe.warm_start)
    order = rng.permutation(len(old))
    decent = list(dict.fromkeys(old[i].completion for i in order))[: recipe.insults]
    insulted = _insults(recipe, decent, out, progress)
    shown = mix(
        sound_insults(insulted, screener, MiniLMSimilarity.load(), recipe.similarity),
        [
            Demonstration(d["source"], d["completion"], FOUND)
            for d in way_back
            if d["taste"] >= recipe.taste
        ],
        old,
        recipe,
        rng,
    )
    lines = "".join(json.dumps(asdict(d)) + "\n" for d in shown)
    write_whole(out / DEMONSTRATIONS, lines)
    kinds = [d.kind for d in shown]
    return {
        "rewritten": len(way_back) / max(1, len(toxic)),
        "insulted": len(insulted),
        "shown": len(shown),
        "back": kinds.count(BACK),
        "found": kinds.count(FOUND),
    }


def _toxic(recipe: BackRecipe, screener: Screener, rng: np.random.Generator) -> list[str]:
    examples = read_piles(recipe.data.dir, recipe.data.toxic)
    texts = texts_of(examples, recipe.data, recipe.data.folds, recipe.sources)
    if texts:
        acted_on = screener.toxicity(texts) >= screener.thresholds.act
        texts = [text for text, bad in zip(texts, acted_on, strict=True) if bad]
    if not texts:
        raise DataError(f"no toxic texts to rewrite in folds {recipe.data.folds}")
    return [texts[i] for i in rng.permutation(len(texts))][: recipe.rewrites]


def _rewrites(
    recipe: BackRecipe,
    screener: Screener,
    toxic: Sequence[str],
    out: Path,
    progress: Callable[[int, int, str], None],
) -> list[dict[str, Any]]:
    """What the first rewriter makes of each, and how it reads; no completion where none passed."""
    sampling = Sampling(recipe.samples, RewriteConfig().temperature, RewriteConfig().top_p)
    backend = load_engine("torch", recipe.base, adapter=recipe.warm_start / ADAPTER)
    model = PromptedModel(backend, prompt=trained, sampling=sampling)
    # As the product writes, but what no sample solves is no lesson: the table's words are no model's.
    words = Words(screener)
    past = PastIdioms(model, Replacement(screener), words.plainly)
    sources: list[CandidateSource] = [Idioms(), words, past]
    # What only nearly passes may be printed, but is no example.
    strict = RewriteConfig(lenient=0)
    rewriter = Rewriter(screener, MiniLMSimilarity.load(), sources, strict, fluency=Taste.load())

    def made(texts: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "source": r.source,
                "completion": r.text if r.status == "rewritten" else "",
                "taste": r.fluency or 0.0,
            }
            for r in rewriter.rewrite_many(texts, force=True)
        ]

    return grown(out / REWRITES, toxic, made, lambda done: progress(done, len(toxic), "rewriting"))


def _learn_back(recipe: BackRecipe, way_back: Sequence[dict[str, Any]], out: Path) -> None:
    if (out / ADAPTER_FILE).exists():
        return
    rows = [{"prompt": d["completion"], "completion": d["source"]} for d in way_back]
    policy = Policy.load(recipe.base, lora=recipe.lora, seed=recipe.seed)
    trainer = SROTrainer(policy, recipe.toxifier, rows, out, prompt=insulting)
    checkpoint = to_resume(out, "auto")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    policy.save(out)


def _insults(
    recipe: BackRecipe,
    decent: Sequence[str],
    out: Path,
    progress: Callable[[int, int, str], None],
) -> list[Demonstration]:
    """Each decent sentence as somebody would say it who insults."""
    backend = load_engine("torch", recipe.base, adapter=out / TOXIFIER)

    def made(texts: Sequence[str]) -> list[dict[str, Any]]:
        requests = [
            Request(insulting(t), budget(t, 1.8), seed_of(t, recipe.seed, 0)) for t in texts
        ]
        answers = backend.generate(requests, Sampling(1, recipe.temperature, recipe.top_p))
        return [
            {"source": " ".join(a[0].text.split()) if a[0].finished else "", "completion": text}
            for text, a in zip(texts, answers, strict=True)
        ]

    lines = grown(
        out / INSULTS, decent, made, lambda done: progress(done, len(decent), "insulting")
    )
    return [Demonstration(d["source"], d["completion"], BACK) for d in lines if d["source"]]


def sound_insults(
    shown: Sequence[Demonstration],
    screener: Screener,
    similarity: Callable[[Sequence[str], Sequence[str]], Any],
    least: float,
) -> list[Demonstration]:
    """Those whose source is toxic and says what the answer says: nothing is to be dropped or added."""
    shaped = [
        d
        for d in shown
        if not text_gates(d.source, d.completion, shortest=0.5, longest=1.6)
        and not drops_predicate(d.source, d.completion)
    ]
    if not shaped:
        return []
    sources = [d.source for d in shaped]
    toxic = screener.toxicity(sources) >= screener.thresholds.act
    alike = similarity(sources, [d.completion for d in shaped]) >= least
    return [d for d, one, other in zip(shaped, toxic, alike, strict=True) if one and other]


def mix(
    back: Sequence[Demonstration],
    found: Sequence[Demonstration],
    old: Sequence[Demonstration],
    recipe: BackRecipe,
    rng: np.random.Generator,
) -> list[Demonstration]:
    """In random order, no source twice, and no more of a kind than the recipe allows."""
    rest = 1 - recipe.found - recipe.old
    if rest <= 0:
        raise DataError("found and old together must leave room for what is back-translated")
    answered = {d.completion for d in back}
    before = [d for d in old if d.completion not in answered]
    size = len(back) / rest
    chosen = [
        *back,
        *(found[i] for i in rng.permutation(len(found))[: int(recipe.found * size)]),
        *(before[i] for i in rng.permutation(len(before))[: int(recipe.old * size)]),
    ]
    together = list({d.source: d for d in chosen}.values())
    return [together[i] for i in rng.permutation(len(together))]
