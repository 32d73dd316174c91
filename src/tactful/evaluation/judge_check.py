"""Is a judge good enough to steer by? Asked of labelled rows, of people, and of attackers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tactful.corpora.piles import read_piles
from tactful.errors import DataError
from tactful.evaluation.attacks import FRESH_WORDS, NEUTRAL_WORDS, Attacked, Toxicity, red_team
from tactful.evaluation.base import FloatArray, Judge
from tactful.evaluation.judge_fit import JudgeRecipe, Pair, Rated, read_pairs, read_rated
from tactful.evaluation.judges import OwnJudge
from tactful.evaluation.metrics import pearson, spearman
from tactful.screeners.transformer import Progress

Metric = Callable[[Sequence[str], Sequence[str]], FloatArray]
"""Sources and rewrites in, a number for each out, higher is better."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A mean that must not be above, or below, a number."""

    what: str
    score: str
    mean: float
    bound: float
    at_least: bool
    rows: int

    @property
    def holds(self) -> bool:
        return self.mean >= self.bound if self.at_least else self.mean <= self.bound


def check_rows(
    judge: Judge, pairs: Sequence[Pair], neutral: Sequence[str], *, seed: int = 0
) -> list[Bound]:
    """What no judge may get wrong: people's rewrites, copies, word salad, another subject.

    If one of these fails the judge is wrong, not people.
    """
    random = np.random.default_rng(seed)
    sources = [pair.source for pair in pairs]
    people = [pair.references[0] for pair in pairs]
    salad = [" ".join(random.permutation(text.split())) for text in people]
    others = [neutral[i] for i in random.integers(len(neutral), size=len(pairs))]
    asked = (
        ("references", people, "style", 0.93, True),
        ("references", people, "fluency", 0.85, True),
        ("copies", sources, "style", 0.08, False),
        ("shuffled words", salad, "fluency", 0.3, False),
        ("unrelated sentences", others, "meaning", 0.25, False),
    )
    scored = {what: judge.score(sources, texts) for what, texts, *_ in asked}
    return [
        Bound(what, score, float(getattr(scored[what], score).mean()), bound, least, len(pairs))
        for what, _, score, bound, least in asked
    ]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a metric orders single rewrites as people did."""

    metric: str
    people: str
    spearman: float
    pearson: float
    rows: int


def agree_with_people(
    metrics: Mapping[str, Mapping[str, Metric]], rated: Sequence[Rated]
) -> list[Agreement]:
    """Correlations sentence by sentence: for each of people's scores, every metric named for it."""
    sources, rewrites = [r.source for r in rated], [r.rewrite for r in rated]
    found = []
    for people, named in metrics.items():
        said = np.array([getattr(r, people) for r in rated])
        for name, metric in named.items():
            scores = metric(sources, rewrites)
            found.append(
                Agreement(name, people, spearman(scores, said), pearson(scores, said), len(rated))
            )
    return found


def score_attacks(
    judge: Judge, sources: Sequence[str], attacked: Sequence[Attacked]
) -> list[dict[str, Any]]:
    """What another judge says of rewrites that were made to please the first; people first."""
    scores = [judge.score(sources, row.rewrites) for row in attacked]
    people = float(scores[0].joint.mean())
    return [
        {
            "attack": row.name,
            "joint_where_made": row.joint,
            "style": float(said.style.mean()),
            "meaning": float(said.meaning.mean()),
            "fluency": float(said.fluency.mean()),
            "joint": float(said.joint.mean()),
            "ratio": float(said.joint.mean()) / people,
        }
        for row, said in zip(attacked, scores, strict=True)
    ]


def check_judge(
    judge: OwnJudge,
    recipe: JudgeRecipe,
    *,
    part: str = "tune",
    attacks: int = 0,
    budget: int = 300,
    against: Judge | None = None,
    toxicity: Toxicity,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """All there is to know about a judge, as plain figures.

    Args:
        judge: The judge.
        recipe: Names the data and the dev folds; no row of the judge's own folds is asked.
        part: The part of the rated rewrites.
        attacks: How many sources the attackers get.
        budget: How often the search may ask about one of them.
        against: The judge that the attackers may ask; the judge itself if left out.
        toxicity: The screener that shows the attackers which words to change.
        progress: Steps done, of three.
    """
    # The other half has set the scales.
    pairs = read_pairs(recipe.dir / recipe.pairs, recipe.dev_folds)[1::2]
    if not pairs:
        raise DataError(f"no pairs in folds {recipe.dev_folds} of {recipe.pairs}")
    neutral = [
        e.text
        for e in read_piles(recipe.dir, recipe.piles)
        if e.fold in recipe.dev_folds and not e.toxic and e.source not in ("cola",)
    ]
    rows = check_rows(judge, pairs, neutral)
    progress(1, 3)
    rated = read_rated(recipe.dir / recipe.people, part, recipe.people_skip)
    people = agree_with_people(_metrics(judge), rated)
    progress(2, 3)
    found: dict[str, Any] = {
        "judge": judge.signature,
        "rows": [asdict(bound) | {"holds": bound.holds} for bound in rows],
        "people_part": part,
        "people": [asdict(agreement) for agreement in people],
    }
    if attacks:
        chosen = pairs[:: max(1, len(pairs) // attacks)][:attacks]
        sources = [pair.source for pair in chosen]
        made = red_team(
            against or judge,
            sources,
            [pair.references for pair in chosen],
            toxicity=toxicity,
            vocabulary=NEUTRAL_WORDS + FRESH_WORDS,
            budget=budget,
        )
        found["attacks_please"] = (against or judge).signature
        found["attacked_sources"] = len(sources)
        found["attacks"] = score_attacks(judge, sources, made)
    progress(3, 3)
    return found


def _metrics(judge: OwnJudge) -> dict[str, dict[str, Metric]]:
    """The judge's parts, and the plain metrics that they have to beat."""
    from tactful.rollouts.local import LocalBackend
    from tactful.scorers.similarity import MiniLMSimilarity

    model = LocalBackend.load()
    return {
        "style": {"judge": lambda sources, rewrites: judge.style(rewrites)},
        "meaning": {
            "judge": judge.same_meaning,
            "reader alone": lambda s, r: judge.meaning_signals(s, r)[:, 0],
            "static vectors, cosine": lambda s, r: judge.meaning_signals(s, r)[:, 1],
            "MiniLM cosine": MiniLMSimilarity.load(),
        },
        "fluency": {
            "judge": lambda sources, rewrites: judge.fluency(rewrites),
            "perplexity": lambda sources, rewrites: model.mean_logp(rewrites),
            "perplexity against the source": lambda s, r: model.mean_logp(r) - model.mean_logp(s),
        },
    }


def render_judge_check(found: Mapping[str, Any]) -> str:
    """The figures as a page of Markdown."""
    lines = [
        f"`{found['judge']}`",
        "",
        "| rows of the dev folds | score | mean | must be | holds | rows |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        sign = ">=" if row["at_least"] else "<="
        lines.append(
            f"| {row['what']} | {row['score']} | {row['mean']:.3f} | {sign} {row['bound']} | "
            f"{'yes' if row['holds'] else '**no**'} | {row['rows']} |"
        )
    count = found["people"][0]["rows"]
    lines += [
        "",
        f"Against people, sentence by sentence, {count} rated rewrites, part {found['people_part']}:",
        "",
        "| people's | metric | Spearman | Pearson |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['people']} | {row['metric']} | {row['spearman']:.3f} | {row['pearson']:.3f} |"
        for row in found["people"]
    ]
    if "attacks" in found:
        lines += [
            "",
            f"{found['attacked_sources']} sources, attackers that please `{found['attacks_please']}`:",
            "",
            "| rewrite | J there | STA | SIM | FL | J | of people's |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['attack']} | {row['joint_where_made']:.3f} | {row['style']:.3f} | "
            f"{row['meaning']:.3f} | {row['fluency']:.3f} | {row['joint']:.3f} | {row['ratio']:.2f} |"
            for row in found["attacks"]
        ]
    return "\n".join(lines) + "\n"
