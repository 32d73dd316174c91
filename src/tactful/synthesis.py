"""Silver pairs: any model writes, our own followers check, and what fails is kept with its reason.

The pipeline of ParaDeHate (arXiv 2506.01484), which put a language model where ParaDetox had
people: rewrite, then is it the same content, then is it still toxic. Here only the writer is a
language model; content is checked by rules one can read and by similarity, toxicity by the
screener and by how far it fell (as SynthDetoxM does, arXiv 2502.06394).

Still without pairs: nobody rewrote anything. What passes is read by `tactful warmup` as
demonstrations; what fails is kept, since a rewrite that failed beside one that passed is a
preference. Every source is written down as soon as it is answered, and not asked about twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tactful.config import Config, dump_recipe, require_recipe
from tactful.corpora.piles import Pile, read_piles
from tactful.engines import EngineName, load_engine
from tactful.errors import DataError
from tactful.evaluation.checks import drops_predicate, keeps_names, keeps_negation
from tactful.evaluation.report import write_whole
from tactful.prompts import few_shot, trained, zero_shot
from tactful.records import Prompt
from tactful.rewriting.candidates import CandidateSource, PromptedModel
from tactful.rewriting.gates import text_gates
from tactful.rewriting.language import why_not_english
from tactful.rollouts.base import Sampling
from tactful.run_folder import RECIPE, grown
from tactful.scorers.base import Scorer
from tactful.scorers.similarity import MiniLMSimilarity
from tactful.screeners.base import Screener
from tactful.screeners.linear import LinearScreener
from tactful.screeners.threats import find_threat
from tactful.training.warm_found import DEMONSTRATIONS, Demonstration

FOLDER, WRITTEN = "silver", "written.jsonl"
REJECTS, PREFERENCES = "rejects.jsonl", "preferences.jsonl"
SILVER = "found:silver"
"""The kind of these demonstrations: a machine wrote the answer, as with all that was found."""
_PROMPTS: dict[str, Callable[[str], Prompt]] = {
    "few-shot": few_shot,
    "zero-shot": zero_shot,
    "trained": trained,
}
# Numbers, links and mentions are a gate's.
_KEPT = {"a name": keeps_names, "negation": keeps_negation}


class SynthesisRecipe(Config):
    """Who writes, and what a rewrite must satisfy to be shown."""

    engine: EngineName = "torch"
    """What writes, as `tactful.engines` knows them; the address of a server is in OPENAI_BASE_URL."""
    model: str = "base"
    """What `tactful.models.resolve` understands."""
    adapter: Path | None = None
    prompt: Literal["few-shot", "zero-shot", "trained"] = "few-shot"
    """`trained` is for an adapter that tactful trained."""
    served: str = "rewriter"
    """What a server calls the model."""
    samples: Annotated[int, Field(ge=1)] = 4
    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least similarity to the source."""
    shortest: Annotated[float, Field(ge=0)] = 0.5
    longest: Annotated[float, Field(gt=0)] = 1.6
    """Words per word of the source."""
    reduction: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least part of the source's toxicity that must be gone."""
    words: Annotated[int, Field(ge=1)] = 30
    """Longer sources are left out; they are better rewritten sentence by sentence."""
    folds: tuple[int, ...] = ()
    """Sources of these folds; of all where none is named."""
    most: Annotated[int | None, Field(ge=1)] = None
    """How many sources, the first ones; all where there is no number."""
    seed: int = 0


class _Run(Config):
    """What made a folder: a run by another recipe or over other texts does not go on with it."""

    recipe: SynthesisRecipe
    writer: str
    screener: str
    similarity: str
    sources: str


def synthesize(
    recipe: SynthesisRecipe,
    corpus: Path,
    *,
    writer: CandidateSource | None = None,
    screener: Screener | None = None,
    similarity: Scorer | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Rewrite the toxic pile of a prepared corpus and check it; leaves in its folder `silver`:

    demonstrations.jsonl  what passed, for `tactful warmup`
    rejects.jsonl         what failed, with the check and the reason
    preferences.jsonl     what passed over what failed of the same source, for `tactful train`

    `writer`, `screener` and `similarity` are loaded as the recipe says, unless given.
    """
    screener = screener or LinearScreener.load()
    sources, left_out = _sources(recipe, corpus, screener)
    similarity = similarity or MiniLMSimilarity.load()
    writer = writer or _writer(recipe)
    out = corpus / FOLDER
    run = _Run(
        recipe=recipe,
        writer=writer.name,
        screener=screener.name,
        similarity=similarity.name,
        sources=hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:12],
    )
    if (out / RECIPE).exists():
        advice = f"move it away, or prepare into another folder than {corpus}"
        require_recipe(run, out / RECIPE, advice)
    out.mkdir(parents=True, exist_ok=True)
    dump_recipe(run, out / RECIPE)

    def made(texts: Sequence[str]) -> list[dict[str, Any]]:
        proposed = [distinct(those) for those in writer.propose(texts)]
        pairs = [(s, r) for s, those in zip(texts, proposed, strict=True) for r in those]
        answers = iter(check_pairs(pairs, recipe, screener, similarity))
        return [
            {"source": source, "answers": [next(answers) for _ in those]}
            for source, those in zip(texts, proposed, strict=True)
        ]

    lines = grown(out / WRITTEN, sources, made, lambda done: progress(done, len(sources)))
    shown, rejects = parted(lines)
    _write(out / DEMONSTRATIONS, [asdict(d) for d in shown])
    _write(out / REJECTS, [*left_out, *rejects])
    pairs = preferred(shown, rejects)
    _write(out / PREFERENCES, pairs)
    failed = Counter(reject["check"] for reject in rejects)
    return {
        "sources": len(sources),
        "left out": len(left_out),
        "shown": len(shown),
        "preferences": len(pairs),
        "failed content": failed["content"],
        "failed toxicity": failed["toxicity"],
        "no answer": failed["rewrite"],
    }


def _writer(recipe: SynthesisRecipe) -> CandidateSource:
    backend = load_engine(recipe.engine, recipe.model, adapter=recipe.adapter, served=recipe.served)
    return PromptedModel(
        backend,
        prompt=_PROMPTS[recipe.prompt],
        sampling=Sampling(recipe.samples, recipe.temperature, recipe.top_p),
        seed=recipe.seed,
    )


def distinct(rewrites: Sequence[str]) -> list[str]:
    """The different ones in order; some that say nothing are none."""
    return list(dict.fromkeys(text for text in rewrites if text.strip()))


def _sources(
    recipe: SynthesisRecipe, corpus: Path, screener: Screener
) -> tuple[list[str], list[dict[str, Any]]]:
    """The texts to rewrite, and those that are not for rewriting, with the reason."""
    examples = read_piles(corpus, [Pile(file="toxic.jsonl", toxic=True)])
    chosen = [e.text for e in examples if not recipe.folds or e.fold in recipe.folds]
    texts = list(dict.fromkeys(" ".join(text.split()) for text in chosen))[: recipe.most]
    scores = screener.toxicity(texts).tolist() if texts else []
    kept, left_out = [], []
    for text, score in zip(texts, scores, strict=True):
        reason = _unfit(text, score, recipe, screener.thresholds.act)
        if reason:
            left_out.append(_reject(text, "", "source", reason))
        else:
            kept.append(text)
    if not kept:
        where = f" in folds {recipe.folds}" if recipe.folds else ""
        why = f"{len(texts):,} texts{where}"
        if left_out:
            why += f", all left out, the first as {left_out[0]['reason']}"
        raise DataError(f"{corpus / 'toxic.jsonl'} has nothing to rewrite: {why}")
    return kept, left_out


def _unfit(text: str, toxicity: float, recipe: SynthesisRecipe, act: float) -> str:
    """Why a text is not for rewriting, or nothing."""
    if threat := find_threat(text):
        return f"{threat.kind}: for a person to see"
    if toxicity < act:
        return f"toxicity {toxicity:.2f}, below {act:.2f}"
    if (count := len(text.split())) > recipe.words:
        return f"{count} words, more than {recipe.words}"
    return why_not_english(text) or ""


# --- the two checks -------------------------------------------------------------------------


def check_pairs(
    pairs: Sequence[tuple[str, str]],
    recipe: SynthesisRecipe,
    screener: Screener,
    similarity: Scorer,
) -> list[dict[str, Any]]:
    """For each rewrite its scores, and the check that it failed, if any, with the reason.

    Content comes first: what says something else is not asked whether it is polite.
    """
    sources, rewrites = [s for s, _ in pairs], [r for _, r in pairs]
    alike = similarity(sources, rewrites).tolist() if pairs else []
    before = screener.toxicity(sources).tolist() if pairs else []
    after = screener.toxicity(rewrites).tolist() if pairs else []
    answers = []
    for (source, rewrite), same, old, new in zip(pairs, alike, before, after, strict=True):
        check, reason = "content", other_content(source, rewrite, same, recipe)
        if not reason:
            check = "toxicity"
            reason = still_toxic(old, new, screener.thresholds.passing, recipe.reduction)
        answers.append(
            {
                "rewrite": rewrite,
                "similarity": round(same, 4),
                "toxicity": round(new, 4),
                "check": check if reason else "",
                "reason": reason,
            }
        )
    return answers


def other_content(source: str, rewrite: str, similarity: float, recipe: SynthesisRecipe) -> str:
    """What of the source's content is not in the rewrite, or nothing."""
    gates = text_gates(source, rewrite, shortest=recipe.shortest, longest=recipe.longest)
    if gates:
        return gates[0].replace("_", " ").replace("protected", "a number, link or mention lost")
    if lost := [name for name, keeps in _KEPT.items() if keeps(source, rewrite) is False]:
        return f"{lost[0]} lost"
    if drops_predicate(source, rewrite):
        return "breaks off where the source goes on"
    if similarity < recipe.similarity:
        return f"similarity {similarity:.2f}, below {recipe.similarity:.2f}"
    return ""


def still_toxic(before: float, after: float, passing: float, reduction: float) -> str:
    """Why a rewrite is too toxic yet, or nothing."""
    if after >= passing:
        return f"toxicity {after:.2f}, not below {passing:.2f}"
    if after > (1 - reduction) * before:
        return f"toxicity {before:.2f} only fell to {after:.2f}"
    return ""


def parted(lines: Sequence[dict[str, Any]]) -> tuple[list[Demonstration], list[dict[str, Any]]]:
    """The best rewrite of each source that has one, and every rewrite that failed.

    The best keeps most and is least toxic: similarity x (1 - toxicity).
    """
    shown, rejects = [], []
    for line in lines:
        source, answers = line["source"], line["answers"]
        passed = [a for a in answers if not a["reason"]]
        if passed:
            best = max(passed, key=lambda a: a["similarity"] * (1 - a["toxicity"]))
            shown.append(Demonstration(source, best["rewrite"], SILVER))
        rejects += [
            _reject(source, a["rewrite"], a["check"], a["reason"]) for a in answers if a["reason"]
        ]
        if not answers:
            rejects.append(_reject(source, "", "rewrite", "no finished answer"))
    return shown, rejects


def preferred(
    shown: Sequence[Demonstration], rejects: Sequence[dict[str, Any]]
) -> list[dict[str, str]]:
    """What passed over what failed of the same source, as `tactful train` reads preferences."""
    best = {d.source: d.completion for d in shown}
    return [
        {"text": r["source"], "chosen": best[r["source"]], "rejected": r["rewrite"]}
        for r in rejects
        if r["source"] in best
    ]


def _reject(source: str, rewrite: str, check: str, reason: str) -> dict[str, Any]:
    return {"source": source, "rewrite": rewrite, "check": check, "reason": reason}


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
