"""What wrong verdicts cost: the game under a screener that errs, in the paper's form and in ours.

The paper warns that slight noise in the screener ruins it. Here that is measured: verdicts are
flipped at known rates, every run starts from the same warm start with the same budget of tokens,
and the dev judge says what was gained over the warm start, paired by sentence. `kept` is what is
left of the gain that the same form has without noise; where that gain is not above nothing there is
nothing to keep, and no number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

from tactful.config import load_recipe
from tactful.contest import (
    PARTS,
    WARM,
    Entrant,
    Outcome,
    Say,
    by_sentence,
    compete,
    dev_texts,
    find_adapter,
    gains,
    kept,
    lost,
    of_seeds,
    share,
    signed,
)
from tactful.errors import ConfigError
from tactful.evaluation.report import write_whole
from tactful.pipeline import TrainRecipe
from tactful.recipe import ScreenerRecipe, choose_thresholds, read_folds
from tactful.screeners.linear import LinearScreener

Part = Literal["symmetric", "sided", "biased", "weak", "defences"]
"""`symmetric`: flips both ways at 0, 10 and 20 %, with all seeds. `sided`: false passes and false
fails by themselves, at 5 and 30 %. `biased`: fails whatever names a topic. `weak`: a screener that
saw a hundredth of the texts. `defences`: each by itself and all together, at 10 %, in full also at 20 %;
votes only help where flips are drawn anew, which is easier, so there is one with that and no defence."""
PARTS_OF_STUDY: tuple[Part, ...] = get_args(Part)

TABLE, PAGE, FIGURE = "noise.json", "noise.md", "noise.svg"
LEVELS = (0.0, 0.1, 0.2)
SIDED = (0.05, 0.3)
BIASED = ("woman", "women", "black", "gay", "muslim", "trump", "government", "school")
_WEAK_SHARE = 100

# Both forms are those of the comparison, which share their texts and a budget in tokens. Only the end
# counts here, but the looks on the way stay: a run of the one study is a run of the other.
FULL = {
    "paper": ("train.tokens=null", "train.steps=320", "train.look_every=80", "train.save_every=40"),
    "ours": ("train.tokens=null", "train.steps=40", "play.samples=8"),
}
_TRUSTED = (
    "followers.estimate={by: trusted, trusted: ["
    "{file: toxic.jsonl, toxic: true, keep: {source: [paradetox, emnlp2021_dev]}},"
    "{file: paradetox_train.jsonl, column: references, toxic: false, source: paradetox}]}"
)
OURS = (_TRUSTED, "train.objective.loss=rdpo")
"""Our form plays in groups and corrects its loss by rates that it estimates from 200 labelled texts."""
_RESPONSES = ("play.pairing=responses", "train.objective.anchor=0.1")
DEFENCES: dict[str, tuple[str, ...]] = {
    "group play alone": (),
    "corrected loss": (*_RESPONSES, "train.objective.loss=corrected", _TRUSTED),
    "graded": (*_RESPONSES, "train.objective.loss=graded"),
    "drawn anew, none": ("followers.noise.repeats=anew",),
    "votes": ("followers.noise.repeats=anew", "followers.panel={times: 3, quorum: 0.6}"),
    "votes, abstaining": ("followers.noise.repeats=anew", "followers.panel={times: 3, quorum: 1}"),
    "weighted pairs": ("play.weighted=true",),
    "clear-cut pairs": ("play.clear=0.5",),
    "adaptive refit": ("followers.adaptive={auditor: taste, threshold: 0.3, every: 6}",),
    "all together": (
        *OURS,
        "play.weighted=true",
        "followers.noise.repeats=anew",
        "followers.panel={times: 3, quorum: 0.6}",
    ),
}
_FILES = {"paper": "compare/sro-paper.yaml", "ours": "compare/sro.yaml"}


@dataclass(frozen=True)
class Arm:
    """One cell of the study: a form under a kind of noise."""

    form: str
    noise: str
    level: float
    overrides: tuple[str, ...]
    seeds: int

    @property
    def name(self) -> str:
        """As its runs' folders are called."""
        return f"{self.form} {self.noise} {self.level:g}".replace(",", "").replace(" ", "-")


def arms(parts: Sequence[Part], weak: Path, seeds: int, *, full: bool = False) -> Iterator[Arm]:
    """Every cell of these parts; those that are compared with nothing else have one seed."""
    forms: dict[str, tuple[str, ...]] = {"paper": (), "ours": OURS}
    for form, own in forms.items():
        if "symmetric" in parts:
            for level in LEVELS:
                yield Arm(form, "symmetric", level, (*own, *_flips(level, level)), seeds)
        if "sided" in parts:
            for level in SIDED:
                yield Arm(form, "false pass", level, (*own, *_flips(level, 0.0)), 1)
                yield Arm(form, "false fail", level, (*own, *_flips(0.0, level)), 1)
        if "biased" in parts:
            said = f"followers.noise.biased=[{', '.join(BIASED)}]"
            yield Arm(form, "biased", 0.0, (*own, said), 1)
        if "weak" in parts:
            yield Arm(form, "weak", 0.0, (*own, f"followers.screener={weak}"), 1)
    if "defences" in parts:
        for level in LEVELS[1 : 3 if full else 2]:
            for name, defence in DEFENCES.items():
                yield Arm(name, "symmetric", level, (*_flips(level, level), *defence), 1)


def _flips(false_pass: float, false_fail: float) -> tuple[str, ...]:
    return (
        f"followers.noise.false_pass={false_pass:g}",
        f"followers.noise.false_fail={false_fail:g}",
    )


def noise_study(
    data: Path,
    warm: Path,
    out: Path,
    *,
    recipes: Path = Path("recipes"),
    parts: Sequence[Part] = ("symmetric",),
    seeds: int = 3,
    rows: int = 240,
    full: bool = False,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Run what is missing, and write table, page and figure into `out`; gives the table.

    Args:
        data: The folder of the corpus.
        warm: The adapter that all start from, or the folder of the run that left it.
        out: A folder, with `runs` in it.
        recipes: The folder of screener.yaml, with compare/sro.yaml and compare/sro-paper.yaml.
        parts: Of the study.
        seeds: How many for the symmetric part.
        rows: How many dev texts are judged; all with `full`.
        full: Steps and samples of a whole training, not the short runs of the comparison.
        jobs: How many runs go on side by side.
        overrides: As of `--set`, for every recipe.
        say: Takes lines for a person.
    """
    if unknown := [part for part in parts if part not in PARTS_OF_STUDY]:
        raise ConfigError(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS_OF_STUDY)}")
    adapter = find_adapter(warm)
    out.mkdir(parents=True, exist_ok=True)
    weak = out / "weak-screener"
    if "weak" in parts:
        fit_weak(recipes / "screener.yaml", data, weak)
    chosen = list(arms(parts, weak, seeds, full=full))
    entrants: list[Entrant] = []
    texts: list[str] = []
    judge = ""
    for arm in chosen:
        form = arm.form if arm.form in _FILES else "ours"
        size = FULL[form] if full else ()
        common = [f"data.dir={data}", f"warm_start={adapter}", *size]
        for seed in range(arm.seeds):
            given = [*common, *arm.overrides, f"train.seed={seed}"]
            if arm.noise != "symmetric" or arm.level:
                given.append(f"followers.noise.seed={seed}")
            recipe = load_recipe(recipes / _FILES[form], TrainRecipe, [*given, *overrides])
            judge = recipe.look.judge
            if not entrants:
                texts = dev_texts(recipe, None if full else rows)
                entrants.append(Entrant(WARM, 0, adapter, recipe.base, None))
            entrants.append(Entrant(arm.name, seed, adapter, recipe.base, recipe))
    outcomes = compete(
        entrants,
        texts,
        out / "runs",
        judge=judge,
        jobs=jobs,
        say=say,
    )
    found = table(chosen, outcomes, full=full)
    write_whole(out / TABLE, json.dumps(found, indent=1) + "\n")
    write_whole(out / PAGE, render(found))
    write_whole(out / FIGURE, figure(found))
    return found


def fit_weak(recipe: Path, data: Path, folder: Path) -> None:
    """A screener from every hundredth training text and its labels; what is there stays."""
    if (folder / "screener.json").exists():
        return
    chosen = load_recipe(recipe, ScreenerRecipe, [f"data.dir={data}"])
    train, dev = read_folds(chosen)
    some = train[::_WEAK_SHARE]
    screener = LinearScreener(config=chosen.model).fit(
        [e.text for e in some], [e.toxic for e in some]
    )
    screener.calibrate([e.text for e in dev], [e.toxic for e in dev])
    screener.thresholds = choose_thresholds(screener, dev, chosen)
    screener.save(folder)


# --- the table ------------------------------------------------------------------------------


def table(chosen: Sequence[Arm], outcomes: Sequence[Outcome], *, full: bool) -> dict[str, Any]:
    """What every cell gained over the warm start, and what is left of the gain without noise."""
    warm, *others = outcomes
    by_name: dict[str, list[Outcome]] = {}
    for outcome in others:
        by_name.setdefault(outcome.name, []).append(outcome)
    clean = {
        arm.form: by_name[arm.name]
        for arm in chosen
        if arm.noise == "symmetric" and arm.level == 0 and arm.name in by_name
    }
    rows = []
    for arm in chosen:
        those = by_name[arm.name]
        # Our defences are held against our form without noise.
        base = of_seeds(clean.get(arm.form) or clean.get("ours") or [], those)
        rows.append(
            {
                "form": arm.form,
                "noise": arm.noise,
                "level": arm.level,
                **{part: float(by_sentence(those, part).mean()) for part in PARTS},
                "gain": {part: asdict(gain) for part, gain in gains(those, warm).items()},
                "gain_by_seed": [
                    float((one.values["joint"] - warm.values["joint"]).mean()) for one in those
                ],
                "cost": lost(those, base) if base and arm.level else None,
                "kept": kept(those, base, warm) if base and arm.level else None,
                "minutes": [round(one.seconds / 60, 1) for one in those],
                "generated": those[0].generated,
            }
        )
    return {
        "judge": warm.judge,
        "warm_start": warm.warm,
        "rows": len(warm.values["joint"]),
        "full": full,
        "warm": {part: float(warm.values[part].mean()) for part in PARTS},
        "arms": rows,
    }


COLUMNS = (
    "form",
    "noise",
    "rate",
    "J",
    "style",
    "meaning",
    "gain [95 %]",
    "seeds",
    "by the noise [95 %]",
    "kept [95 %]",
)


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table, as a person reads it."""
    gain, cost, part = row["gain"]["joint"], row["cost"], row["kept"]
    return [
        row["form"],
        row["noise"],
        f"{row['level']:.0%}" if row["noise"] not in ("biased", "weak") else "",
        *(f"{row[name]:.3f}" for name in ("joint", "style", "meaning")),
        signed(gain),
        " ".join(f"{value:+.3f}" for value in row["gain_by_seed"]),
        signed(cost) if cost else "",
        share(part),
    ]


def render(found: Mapping[str, Any]) -> str:
    """The table as a page of Markdown."""
    size = "the recipes' own size" if found["full"] else "short runs"
    lines = [
        "# What wrong verdicts cost",
        "",
        f"Judge `{found['judge']}`, warm start `{found['warm_start']}` (J {found['warm']['joint']:.3f}), "
        f"{found['rows']} texts, {size}. A gain is over the warm start, paired by sentence and "
        "averaged over seeds, whose own gains stand beside it; brackets are 95 % of resamples of the "
        "sentences. *By the noise* is the difference from the same form without noise and with the same "
        "seeds (from ours, for a defence), `kept` the gain by the gain of that; it is empty where that one is "
        "not clearly above nothing.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'|'.join('---' for _ in COLUMNS)}|",
        *(f"| {' | '.join(cells(row))} |" for row in found["arms"]),
        "",
    ]
    return "\n".join(lines)


def figure(found: Mapping[str, Any]) -> str:
    """Gains by the rate of flips, with intervals, one line a form; dots are seeds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "noise"}
    with mpl.rc_context(settings):
        drawn = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = drawn.add_subplot()
        forms = dict.fromkeys(r["form"] for r in found["arms"] if r["noise"] == "symmetric")
        for number, form in enumerate(forms):
            rows = [r for r in found["arms"] if r["form"] == form and r["noise"] == "symmetric"]
            levels = [100 * r["level"] for r in rows]
            means = [r["gain"]["joint"]["mean"] for r in rows]
            reach = [
                [m - r["gain"]["joint"]["low"] for m, r in zip(means, rows, strict=True)],
                [r["gain"]["joint"]["high"] - m for m, r in zip(means, rows, strict=True)],
            ]
            at = [level + 0.35 * (number - (len(forms) - 1) / 2) for level in levels]
            line = axes.errorbar(at, means, yerr=reach, marker="o", capsize=3, label=form)
            for place, row in zip(at, rows, strict=True):
                axes.scatter(
                    [place] * len(row["gain_by_seed"]),
                    row["gain_by_seed"],
                    s=9,
                    color=line.lines[0].get_color(),
                    alpha=0.5,
                )
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_xlabel("verdicts flipped, %")
        axes.set_ylabel("gain in J over the warm start")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if forms:
            axes.legend(frameon=False, fontsize=8)
        out = StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
