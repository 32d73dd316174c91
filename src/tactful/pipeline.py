"""From a recipe and two piles to a rewriter: warm start, then the game, each in a run folder.

Training does not know evaluation and evaluation does not know training; this is where the dev
judge looks at a policy, and where the rewriting checks become a follower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeGuard, TypeVar

import numpy as np
import transformers
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

import tactful
from tactful.config import Config, dump_recipe, load_recipe, require_recipe
from tactful.corpora.piles import Example, Pile, read_piles
from tactful.corpora.read import column_names, read_rows, require_columns
from tactful.errors import ConfigError, DataError, InterruptedRunError, TactfulError
from tactful.evaluation.base import Judge
from tactful.evaluation.checks import drops_predicate
from tactful.evaluation.judges import load_judge
from tactful.evaluation.report import write_whole
from tactful.prompts import trained
from tactful.rewriting.candidates import Deletion
from tactful.rewriting.gates import text_gates
from tactful.rewriting.idioms import Idioms
from tactful.rewriting.language import why_not_english
from tactful.rewriting.replace import Replacement
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.rewriting.words import Words
from tactful.rollouts.base import Request, Sampling
from tactful.rollouts.local import LocalBackend
from tactful.run_folder import ADAPTER, RECIPE, RunFolder
from tactful.run_report import report_run
from tactful.scorers.custom import custom_scorer, is_call
from tactful.scorers.fluency import LikelihoodFluency
from tactful.scorers.similarity import MiniLMSimilarity
from tactful.scorers.taste import Taste
from tactful.screeners.base import Screener
from tactful.screeners.linear import LinearScreener
from tactful.screeners.load import load_screener
from tactful.screeners.wrappers import FallbackScreener
from tactful.training.adaptive import Adaptive, AdaptiveScreener
from tactful.training.alarms import Alarm
from tactful.training.checkpoints import latest, to_resume
from tactful.training.game import (
    STYLE,
    Follower,
    Game,
    Gate,
    Play,
    answers,
    as_follower,
    ask,
    budget,
)
from tactful.training.noise import Noise, NoisyFollower, Panel, PanelFollower
from tactful.training.policy import LoraSettings, Policy
from tactful.training.preferences import read_accepted, read_preferences
from tactful.training.rates import Rates, from_followers, from_repeats, from_trusted
from tactful.training.trainer import Embed, SROConfig, SROTrainer, StopOnSignal, spent_by
from tactful.training.units import Objective
from tactful.training.warm import WarmConfig, build_warm_start, statistics
from tactful.training.warm_found import DEMONSTRATIONS, Demonstration, read_demonstrations

T = TypeVar("T")

_STATE = "trainer_state.json"
_TASTE = "taste"
_SEARCH_CHUNK = 256
# Below this share of toxic texts a pile is more likely the wrong one than a mild one.
_FEW = 0.1
_ASKED_FIRST = 256
Say = Callable[[str], None]
"""Takes a line for a person."""
Told = Callable[[Mapping[str, float]], None]
"""Takes every line that is logged."""
Keep = Callable[[int, list[tuple[str, str]]], None]
"""Takes the sources and rewrites of a look, and after which step it was."""


class Piles(Config):
    """The two piles, who may train on which fold, and who looks."""

    dir: Path
    toxic: tuple[Pile, ...]
    neutral: tuple[Pile, ...] = ()
    folds: tuple[int, ...]
    dev_folds: tuple[int, ...]
    dev_sources: tuple[str, ...] = ()
    """Toxic dev texts of these sources are looked at; all where none is named."""
    longest: Annotated[int, Field(ge=1)] = 30
    """Words; a long text is better rewritten sentence by sentence."""


class Custom(Config):
    """A follower of the user's own."""

    name: Annotated[str, Field(pattern=r"^\w[\w-]*$")]
    """As the log calls it."""
    call: str
    """`package.module:callable` that takes sources and rewrites and gives scores, or the address of
    a server that does (`tactful.scorers.http`)."""
    threshold: Annotated[float, Field(ge=0, le=1)]

    @field_validator("call")
    @classmethod
    def _can_be_called(cls, call: str) -> str:
        if not is_call(call):
            raise ValueError("write package.module:callable, or http://... or https://...")
        return call


class Estimate(Config):
    """How it becomes known how often the screener errs, before a run that corrects for it."""

    by: Literal["trusted", "repeats", "followers"]
    """`trusted`: by labelled texts. `repeats`: by asking twice, where errors are not repeated.
    `followers`: by the disagreement with `followers.voters`, of which there must be two."""
    trusted: tuple[Pile, ...] = ()
    """The labelled texts, of `data.folds`."""
    rows: Annotated[int, Field(ge=10)] = 200
    """How many texts it is asked about; of trusted ones half are toxic."""


class Followers(Config):
    """The gates of the game and what they let pass; none where there is no number."""

    style: Annotated[float | None, Field(ge=0, le=1)] = None
    """1 - toxicity; by default what the screener itself calls passing."""
    screener: Path | None = None
    """Whose toxicity: the folder of a screener or the file that describes one (`screeners.load`),
    by default the one that is shipped."""
    similarity: Annotated[float | None, Field(ge=0, le=1)] = 0.55
    taste: Annotated[float | None, Field(ge=0, le=1)] = None
    """Whether it reads as a person's rewrite, by what `tactful taste` left in `taste_from`."""
    taste_from: Path | None = None
    """By default the taste that is shipped."""
    likelihood: Annotated[float | None, Field(ge=0, le=1)] = None
    """Likelihood a token against the source's, by the bare base."""
    shape: bool = True
    """Length, repetition, chatter, and what must be kept (numbers, links, names of people)."""
    also: tuple[Custom, ...] = ()
    noise: Noise = Noise()
    """How the screener errs on purpose, for studies; by default not at all."""
    voters: tuple[Path, ...] = ()
    """Further screeners that vote with it; they do not err on purpose."""
    panel: Panel = Panel()
    """How votes become a verdict, and how often the screener itself is asked."""
    estimate: Estimate | None = None
    """Where the rates of a noise-corrected loss come from; without it from `train.objective`."""
    adaptive: Adaptive | None = None
    """Whether the screener learns from what the leader gets past it, and from whom; off by default."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        # The log has these names for what is not one gate's.
        taken = {"all", "unfinished", *type(self).model_fields}
        for custom in self.also:
            if custom.name in taken:
                raise ValueError(f"also: the name {custom.name!r} is taken; choose another one")
            taken.add(custom.name)
        return self


class Look(Config):
    """How a policy is judged while it trains: greedy answers to dev texts."""

    judge: str = "dev"
    rows: Annotated[int, Field(ge=1)] = 120


class Shown(Config):
    """A file of rewrites that people made."""

    file: Path
    """Looked for in `data.dir` first, then from here."""
    source: str = "source"
    rewrite: str = "completion"
    """The columns; a rewrite may be a list of them. Where a row has a `fold`, it must be one of
    `data.folds`."""


class TrainRecipe(Config):
    """Everything that makes a run of the game, or of what stands beside it."""

    data: Piles
    base: str = "base"
    warm_start: Path | None = None
    lora: LoraSettings = LoraSettings()
    followers: Followers = Followers()
    play: Play = Play()
    demonstrations: Shown | None = None
    """With `play.pairing: tone`, what samples are held against; else what is learned, unplayed."""
    preferences: Path | None = None
    """Pairs that people decided (`tactful.training.preferences`), learned instead of playing."""
    train: SROConfig = SROConfig()
    look: Look = Look()

    @model_validator(mode="after")
    def _one_kind_of_rows(self) -> Self:
        if self.demonstrations is not None and self.preferences is not None:
            raise ValueError("give demonstrations or preferences, not both")
        if self.play.pairing == "tone" and self.demonstrations is None:
            raise ValueError("play.pairing: tone needs demonstrations: rewrites of the house's own")
        return self

    @property
    def plays(self) -> bool:
        """Whether there are samples at all."""
        given = self.demonstrations is not None and self.play.pairing != "tone"
        return not given and self.preferences is None


class WarmRecipe(Config):
    """Everything that makes a warm start."""

    data: Piles
    alike: dict[str, str] = {}  # noqa: RUF012  # pydantic copies defaults
    """Kinds of source that count as another kind when toxic is told from neutral."""
    size: Annotated[int, Field(ge=1)] = 9000
    seed: int = 0
    warm: WarmConfig = WarmConfig()
    search: bool = True
    """Show what the product makes of real toxic texts without a model, too."""
    demonstrations: Path | None = None
    """The folder of `tactful back-translate`, whose demonstrations are shown instead of new ones; or
    a file of preferences (.jsonl), of which what people chose is shown."""
    start: Path | None = None
    """An adapter to go on from."""
    base: str = "base"
    lora: LoraSettings = LoraSettings()
    train: SROConfig = SROConfig(learning_rate=5e-4, batch=32)
    look: Look = Look()


def warm_up(
    recipe: WarmRecipe,
    out: Path,
    *,
    resume: str = "auto",
    told: Told = lambda line: None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Make demonstrations from two unpaired piles and learn them; leaves an adapter in `out`."""
    _require_same(recipe, out, resume)
    toxic = read_piles(recipe.data.dir, recipe.data.toxic)
    folder = RunFolder(out)
    look = _looker(recipe.look, toxic, recipe.data, folder)
    out.mkdir(parents=True, exist_ok=True)
    shown = _kept_demonstrations(recipe, out)
    if shown is None:
        say("making demonstrations")
        shown = _given(recipe.demonstrations) or _demonstrations(recipe, toxic, say)
        _keep_demonstrations(shown, recipe, out)
    kinds = statistics(shown)
    say(f"learning {len(shown):,} demonstrations of {len(kinds)} kinds")
    rows = [{"prompt": d.source, "completion": d.completion} for d in shown]
    policy = Policy.load(recipe.base, adapter=recipe.start, lora=recipe.lora, seed=recipe.seed)
    trainer = SROTrainer(
        policy, recipe.train, rows, out, look=look, callbacks=[_Metrics(folder, told)]
    )
    return _run(trainer, policy, look, folder, rows, resume)


def _given(folder: Path | None) -> list[Demonstration] | None:
    if folder is None:
        return None
    if folder.is_file():
        return read_accepted(folder)
    if not (folder / DEMONSTRATIONS).exists():
        raise DataError(
            f"{folder} holds no {DEMONSTRATIONS}; give what `tactful back-translate` left"
        )
    return read_demonstrations(folder / DEMONSTRATIONS)


def _demonstrations(recipe: WarmRecipe, toxic: Sequence[Example], say: Say) -> list[Demonstration]:
    screener = LinearScreener.load()
    shown = build_warm_start(
        _kinds(read_piles(recipe.data.dir, recipe.data.neutral), recipe),
        _kinds(toxic, recipe),
        screener,
        size=recipe.size,
        seed=recipe.seed,
        config=_sparing(recipe.warm, screener.config.silent),
        rewrite=_search(say) if recipe.search else None,
        sound=lambda source, rewrite: not drops_predicate(source, rewrite),
    )
    if not shown:
        raise DataError("the piles gave no demonstrations: is the neutral one decent and short?")
    return shown


def _keep_demonstrations(shown: Sequence[Demonstration], recipe: WarmRecipe, out: Path) -> None:
    """The search takes minutes, so a run that goes on does not search again."""
    kinds = {kind: asdict(found) for kind, found in statistics(shown).items()}
    (out / "demonstrations.json").write_text(json.dumps(kinds, indent=1) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(asdict(d)) + "\n" for d in shown)
    write_whole(out / DEMONSTRATIONS, lines)
    # Last, as it vouches for the others.
    dump_recipe(recipe, out / RECIPE)


def _kept_demonstrations(recipe: WarmRecipe, out: Path) -> list[Demonstration] | None:
    path = out / DEMONSTRATIONS
    if not path.exists() or not (out / RECIPE).exists():
        return None
    if load_recipe(out / RECIPE, WarmRecipe) != recipe:
        return None
    return read_demonstrations(path)


def _sparing(warm: WarmConfig, silent: Sequence[str]) -> WarmConfig:
    """What the screener holds against nobody (who somebody is, what is argued about) is no insult."""
    lexicon = warm.lexicon
    exclude = (*lexicon.exclude, *silent)
    return warm.model_copy(update={"lexicon": lexicon.model_copy(update={"exclude": exclude})})


def _kinds(examples: Sequence[Example], recipe: WarmRecipe) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for e in examples:
        if e.fold in recipe.data.folds:
            kinds.setdefault(recipe.alike.get(e.source, e.source), []).append(e.text)
    return kinds


def _search(say: Say) -> Callable[[list[str]], list[str | None]]:
    """What the product makes without a model, as pseudo-pairs: None where nothing passed."""

    def rewrite(texts: list[str]) -> list[str | None]:
        screener = LinearScreener.load()
        # Taste is learned from what this leads to, so likelihood has to do.
        rewriter = Rewriter(
            screener,
            MiniLMSimilarity.load(),
            [Idioms(), Words(screener), Replacement(screener), Deletion(screener)],
            # What only nearly passes may be printed, but is no example.
            RewriteConfig(lenient=0),
            fluency=LikelihoodFluency(LocalBackend.load()),
        )
        found: list[str | None] = []
        for start in range(0, len(texts), _SEARCH_CHUNK):
            answers = rewriter.rewrite_many(texts[start : start + _SEARCH_CHUNK])
            found += [a.text if a.status == "rewritten" else None for a in answers]
            say(f"searching: {len(found):,} of {len(texts):,}")
        return found

    return rewrite


def train(
    recipe: TrainRecipe,
    out: Path,
    *,
    resume: str = "auto",
    told: Told = lambda line: None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Play the game; leaves adapter, metrics and the resolved recipe in `out`."""
    _require_same(recipe, out, resume)
    examples = read_piles(recipe.data.dir, recipe.data.toxic)
    rows, shown = _rows_of(recipe, examples)
    if recipe.plays:
        screener = follower_of(recipe.followers.screener)
        texts = [row["text"] for row in rows]
        # Others than the linear one take their time, or somebody's money.
        few = texts if isinstance(screener, LinearScreener) else _some(texts, _ASKED_FIRST)
        _require_toxic(few, screener, say)
    folder = RunFolder(out)
    look = _looker(recipe.look, examples, recipe.data, folder)
    # Before the policy: a follower that cannot be asked should be told in seconds.
    gates = gates_of(recipe.followers) if recipe.plays else []
    settings = recipe.train
    if gates:
        told_texts = [row["text"] for row in rows]
        settings = settings.model_copy(
            update={"objective": estimated(recipe, gates[0], told_texts, say)}
        )
    policy = Policy.load(
        recipe.base, adapter=recipe.warm_start, lora=recipe.lora, seed=recipe.train.seed
    )
    seed = recipe.train.seed
    game = Game(policy.backend(), gates, recipe.play, seed=seed, demonstrations=shown)
    out.mkdir(parents=True, exist_ok=True)
    dump_recipe(recipe, out / RECIPE)

    def alarmed(alarm: Alarm) -> None:
        say(f"ALARM {alarm}")
        if trainer.is_world_process_zero():
            folder.alarm(trainer.state.global_step, alarm)

    trainer = SROTrainer(
        policy,
        settings,
        rows,
        out,
        game=game if recipe.plays else None,
        look=look,
        alarmed=alarmed,
        foreign=lambda text: bool(why_not_english(text)),
        embed=_embedder(recipe, gates),
        callbacks=[_Metrics(folder, told)],
    )
    return _run(trainer, policy, look, folder, rows, resume)


def _rows_of(
    recipe: TrainRecipe, examples: Sequence[Example]
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """What is trained on row by row, and a house's own rewrites by source where these play."""
    data = recipe.data
    if recipe.preferences is not None:
        pairs = read_preferences(recipe.preferences)
        return [{"text": p.source, "chosen": p.chosen, "rejected": p.rejected} for p in pairs], {}
    if recipe.demonstrations is not None:
        shown = _people_wrote(recipe.demonstrations, data)
        if recipe.play.pairing == "tone":
            own = dict(shown)
            return [{"text": source} for source in own], own
        return [{"prompt": source, "completion": rewrite} for source, rewrite in shown], {}
    rows = [{"text": text} for text in texts_of(examples, data, data.folds)]
    if not rows:
        raise DataError(f"no toxic texts of at most {data.longest} words in folds {data.folds}")
    return rows, {}


def _people_wrote(shown: Shown, data: Piles) -> list[tuple[str, str]]:
    """Sources with rewrites, in the order of the file."""
    path = data.dir / shown.file if (data.dir / shown.file).exists() else shown.file
    require_columns(path, column_names(path), [shown.source, shown.rewrite])
    found = []
    for row in read_rows(path):
        if "fold" in row.values and row.values["fold"] not in data.folds:
            continue
        source, rewrites = row.values.get(shown.source), row.values.get(shown.rewrite)
        for rewrite in rewrites if isinstance(rewrites, list) else [rewrites]:
            if not _is_text(source) or not _is_text(rewrite):
                raise DataError(f"{path} row {row.number}: a source or a rewrite is no text")
            found.append((" ".join(source.split()), " ".join(rewrite.split())))
    if not found:
        raise DataError(f"{path} holds no rewrites of folds {data.folds}")
    return found


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _embedder(recipe: TrainRecipe, gates: Sequence[Gate]) -> Embed | None:
    """Who compares texts, where a method does; the follower for similarity, if there is one."""
    if recipe.train.objective.loss != "rpo" and recipe.play.clear is None:
        return None
    found = [g.follower for g in gates if isinstance(g.follower, MiniLMSimilarity)]
    return (found[0] if found else MiniLMSimilarity.load()).embed


def _require_same(recipe: WarmRecipe | TrainRecipe, out: Path, resume: str) -> None:
    """Half a run by one recipe and half by another would be a run by none."""
    if resume != "auto" or latest(out) is None:
        return
    advice = "use another folder, or --resume never to start over"
    if not (out / RECIPE).exists():
        raise ConfigError(
            f"{out} holds checkpoints, but not the {RECIPE} that they were made by; {advice}"
        )
    require_recipe(recipe, out / RECIPE, advice)


def _require_toxic(texts: Sequence[str], screener: Screener, say: Say) -> None:
    """A pile of clean texts teaches nothing: every copy passes, and the run would look fine."""
    act = screener.thresholds.act
    toxic = int((screener.toxicity(texts) >= act).sum())
    if not toxic:
        raise DataError(
            f"none of the {len(texts):,} texts is toxic by the screener {screener.name} "
            f"({act:.2f} or above), so there is nothing to rewrite. Is data.toxic the toxic pile? "
            "If its insults are of another kind, fit a screener to them with `tactful screener "
            "fit` and name its folder in followers.screener."
        )
    if toxic < _FEW * len(texts):
        say(
            f"WARNING only {toxic:,} of {len(texts):,} texts ({toxic / len(texts):.1%}) are toxic by "
            f"the screener {screener.name}; the game learns little from the others"
        )


def texts_of(
    examples: Sequence[Example],
    piles: Piles,
    folds: Sequence[int],
    sources: Sequence[str] = (),
) -> list[str]:
    """The texts of some folds that are short enough, each once."""
    chosen = [
        e.text
        for e in examples
        if e.fold in folds
        and (not sources or e.source in sources)
        and 2 <= len(e.text.split()) <= piles.longest
    ]
    return list(dict.fromkeys(" ".join(text.split()) for text in chosen))


def fingerprint(rows: Sequence[Mapping[str, str]]) -> str:
    """The first hex digits of what was trained on."""
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()[:12]


def _looker(look: Look, toxic: Sequence[Example], piles: Piles, folder: RunFolder) -> Looker:
    dev = texts_of(toxic, piles, piles.dev_folds, piles.dev_sources)
    if not dev:
        raise DataError(f"no toxic texts to look at in folds {piles.dev_folds}")
    spread = dev[:: max(1, len(dev) // look.rows)][: look.rows]
    return Looker(load_judge(look.judge), spread, folder.look)


def _run(
    trainer: SROTrainer,
    policy: Policy,
    look: Looker,
    folder: RunFolder,
    rows: Sequence[Mapping[str, str]],
    resume: str,
) -> dict[str, Any]:
    """Train from the checkpoint that is asked for and leave adapter, last look and report.

    A signal ends it with a checkpoint, and a report of what there is.
    """
    out = folder.path
    checkpoint = to_resume(out, resume)
    about = {
        "version": tactful.__version__,
        "policy": policy.name,
        "data": fingerprint(rows),
        "texts": len(rows),
        "judge": look.judge.signature,
        "looked_at": len(look.sources),
    }
    first = trainer.is_world_process_zero()
    if first:
        folder.cut_back(_step_of(checkpoint) if checkpoint else 0)
        folder.about(**about)
    else:
        # Of several processes one writes what is read afterwards.
        look.keep = None
    stop = StopOnSignal()
    trainer.add_callback(stop)
    if checkpoint is None or not trainer.is_over(checkpoint):
        with stop:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    else:
        # Trainer would take one step more.
        trainer.state = transformers.TrainerState.load_from_json(str(checkpoint / _STATE))
        best = trainer.state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
        policy.load_weights(Path(best or checkpoint))
        trainer.spent = spent_by(checkpoint)
    if stop.signal is not None:
        if first:
            report_run(out)
        raise InterruptedRunError(
            f"stopped on request; run the same command again and it goes on from {latest(out)}"
        )
    policy.save(out / ADAPTER, write=first)
    step = _kept_step(trainer)
    with policy.whole():
        found = look(policy, step)
    if first:
        folder.about(**about, spent=asdict(trainer.spent), result={"step": step, **found})
        report_run(out)
    return {"data": about["data"], **found}


def _step_of(checkpoint: Path) -> int:
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return int(state["global_step"])


def _kept_step(trainer: SROTrainer) -> int:
    """After which step the weights were as they are now."""
    state = trainer.state
    best: int | None = None
    if trainer.args.load_best_model_at_end and state.best_model_checkpoint is not None:
        best = state.best_global_step
    return state.global_step if best is None else best


class _Metrics(transformers.TrainerCallback):
    """Every logged line goes into a file, which a plot or a person can read while it grows."""

    def __init__(self, folder: RunFolder, told: Told) -> None:
        self.folder = folder
        self.told = told

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        line = {"step": state.global_step, "of": state.max_steps, **(logs or {})}
        if state.is_world_process_zero:
            self.folder.line(line)
        self.told(line)


# --- followers ------------------------------------------------------------------------------


def gates_of(followers: Followers) -> list[Gate]:
    """Screener, similarity, taste, likelihood, rules of form, the user's own: those wanted."""
    own = _own_gates(followers.also)
    taste = Taste.load(followers.taste_from) if _tastes(followers) else None
    gates = [_style_gate(followers, taste)]
    if followers.similarity is not None:
        gates.append(Gate("similarity", MiniLMSimilarity.load(), followers.similarity))
    if followers.taste is not None and taste is not None:
        gates.append(Gate("taste", taste, followers.taste))
    if followers.likelihood is not None:
        likely = LikelihoodFluency(LocalBackend.load())
        gates.append(Gate("likelihood", likely, followers.likelihood))
    return [*gates, *([Gate("shape", _shape, 0.5)] if followers.shape else []), *own]


def _style_gate(followers: Followers, taste: Taste | None) -> Gate:
    """The screener with all that is wanted around it: learning, erring, voting."""
    screener = follower_of(followers.screener)
    passing = 1 - screener.thresholds.passing if followers.style is None else followers.style
    style = as_follower(screener)
    if followers.adaptive is not None:
        if not isinstance(screener, LinearScreener):
            raise ConfigError(f"followers.adaptive needs a linear screener, got {screener.name}")
        auditor = _auditor(followers.adaptive, taste)
        style = AdaptiveScreener(screener, passing, auditor, followers.adaptive)
    if followers.noise != Noise():
        style = NoisyFollower(style, passing, followers.noise)
    voters = [follower_of(path) for path in followers.voters]
    panel = followers.panel
    if voters or panel.times > 1:
        members = [(style, passing)]
        members += [(as_follower(voter), 1 - voter.thresholds.passing) for voter in voters]
        style = PanelFollower(members, passing, panel)
    # Who is asked over a network may be silent now and then, and a panel may disagree.
    steady = isinstance(screener, LinearScreener) and not isinstance(style, PanelFollower)
    return Gate(STYLE, style, passing, may_abstain=not steady)


def follower_of(path: Path | None) -> Screener:
    """A screener as a follower: without a fallback, as training must not take one for another."""
    screener = load_screener(path)
    return screener.screener if isinstance(screener, FallbackScreener) else screener


def estimated(recipe: TrainRecipe, gate: Gate, texts: Sequence[str], say: Say) -> Objective:
    """The objective with the rates at which the screener errs, as far as they can be known."""
    objective, wanted = recipe.train.objective, recipe.followers.estimate
    if wanted is None:
        return objective
    rates = _rates(recipe, wanted, gate, texts).usable()
    say(
        f"the screener is taken to pass {rates.false_pass:.1%} of what is bad and to fail "
        f"{rates.false_fail:.1%} of what is good (by {wanted.by})"
    )
    return objective.model_copy(
        update={
            "false_pass": rates.false_pass,
            "false_fail": rates.false_fail,
            # A pair is the wrong way round when either verdict of it was wrong, about.
            "flip_rate": min(0.45, rates.flip),
        }
    )


def _rates(recipe: TrainRecipe, wanted: Estimate, gate: Gate, texts: Sequence[str]) -> Rates:
    if wanted.by == "trusted":
        labelled = [
            e
            for e in read_piles(recipe.data.dir, wanted.trusted)
            if e.fold in recipe.data.folds and len(e.text.split()) <= recipe.data.longest
        ]
        half = wanted.rows // 2
        chosen = [*_some([e for e in labelled if e.toxic], half)]
        chosen += _some([e for e in labelled if not e.toxic], half)
        known = [e.text for e in chosen]
        passed = _passes(gate, known)
        heard = np.isfinite(passed)
        good = np.array([not e.toxic for e in chosen])
        return from_trusted(passed[heard] > 0.5, good[heard])
    asked = _some(list(texts), wanted.rows)
    if wanted.by == "repeats":
        first, second = _passes(gate, asked), _passes(gate, asked)
        heard = np.isfinite(first) & np.isfinite(second)
        return from_repeats(first[heard] > 0.5, second[heard] > 0.5)
    voters = [follower_of(path) for path in recipe.followers.voters]
    votes = [_passes(gate, asked)]
    votes += [(v.toxicity(asked) < v.thresholds.passing).astype(np.float64) for v in voters]
    said = np.stack(votes)
    everybody = np.flatnonzero(np.isfinite(said).all(axis=0))
    return from_followers(said[:, everybody] > 0.5)[0]


def _passes(gate: Gate, texts: Sequence[str]) -> NDArray[np.float64]:
    """1 where one asking of a gate's follower lets a text pass, 0 where not, NaN in silence."""
    follower = gate.follower
    if isinstance(follower, PanelFollower):
        # Who errs is a member; the panel is the remedy.
        follower = follower.members[0][0]
    scores = answers(replace(gate, follower=follower, may_abstain=True), texts, texts)
    return np.where(np.isnan(scores), np.nan, (scores >= gate.threshold).astype(np.float64))


def _some(items: Sequence[T], count: int) -> Sequence[T]:
    """Evenly spread."""
    return items[:: max(1, len(items) // max(1, count))][:count]


def _tastes(followers: Followers) -> bool:
    audits = followers.adaptive is not None and followers.adaptive.auditor == _TASTE
    return audits or followers.taste is not None


def _auditor(adaptive: Adaptive, taste: Taste | None) -> Gate:
    """Who reads what passed the screener; asked once, so that what is wrong is told before."""
    name, threshold = adaptive.auditor, 0.5
    if name == _TASTE and taste is not None:
        follower: Follower = taste
    elif is_call(name):
        follower = custom_scorer(name)
    else:
        screener = follower_of(Path(name))
        follower, threshold = as_follower(screener), 1 - screener.thresholds.passing
    chosen = threshold if adaptive.threshold is None else adaptive.threshold
    gate = Gate("auditor", follower, chosen)
    try:
        ask(gate, ["that is wrong"], ["that is wrong"])
    except TactfulError as error:
        raise ConfigError(f"followers.adaptive.auditor cannot be asked: {error}") from error
    return replace(gate, may_abstain=True)


def _own_gates(also: Sequence[Custom]) -> list[Gate]:
    """Each is asked once here, so that what is wrong with it is told before anything is trained."""
    gates, faults = [], []
    for custom in also:
        try:
            gate = Gate(custom.name, custom_scorer(custom.call), custom.threshold)
            ask(gate, ["that is wrong"], ["that is wrong"])
            gates.append(replace(gate, may_abstain=True))
        except TactfulError as error:
            faults.append(f"{custom.name}: {error}")
    if faults:
        raise ConfigError("\n  ".join(["followers.also cannot be asked:", *faults]))
    return gates


def _shape(sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
    found = [
        not text_gates(source, rewrite, shortest=0.5, longest=1.6)
        for source, rewrite in zip(sources, rewrites, strict=True)
    ]
    return np.array(found, dtype=np.float64)


# --- looking --------------------------------------------------------------------------------


class Looker:
    """Greedy answers to the same dev texts each time, judged."""

    def __init__(self, judge: Judge, sources: Sequence[str], keep: Keep | None = None) -> None:
        self.judge = judge
        self.sources = list(sources)
        self.keep = keep

    def __call__(self, policy: Policy, step: int) -> dict[str, float]:
        training = policy.training
        policy.eval()
        rewrites = answer(policy, self.sources)
        policy.train(training)
        if self.keep is not None:
            self.keep(step, list(zip(self.sources, rewrites, strict=True)))
        scores = self.judge.score(self.sources, rewrites)
        return {
            "joint": float(scores.joint.mean()),
            "style": float(scores.style.mean()),
            "meaning": float(scores.meaning.mean()),
            "fluency": float(scores.fluency.mean()),
            "copies": float(np.mean([s == r for s, r in zip(self.sources, rewrites, strict=True)])),
            "empty": float(np.mean([not r for r in rewrites])),
        }


def answer(policy: Policy, sources: Sequence[str]) -> list[str]:
    """What the policy writes when it does not gamble."""
    requests = [Request(trained(source), budget(source, 1.5)) for source in sources]
    answers = policy.backend().generate(requests, Sampling(num=1, temperature=0.0))
    return [" ".join(completions[0].text.split()) for completions in answers]
