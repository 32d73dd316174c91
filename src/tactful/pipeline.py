"""From a recipe and two piles to a rewriter: warm start, then the game, each in a run folder.

Training does not know evaluation and evaluation does not know training; this is where the dev
judge looks at a policy, and where the rewriting checks become a follower.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import transformers
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

import tactful
from tactful.config import Config, dump_recipe, load_recipe
from tactful.corpora.piles import Example, Pile, read_piles
from tactful.errors import ConfigError, DataError, InterruptedRunError, TactfulError
from tactful.evaluation.base import Judge
from tactful.evaluation.checks import drops_predicate
from tactful.evaluation.judges import load_judge
from tactful.evaluation.report import write_whole
from tactful.prompts import trained
from tactful.rewriting.candidates import Deletion
from tactful.rewriting.gates import text_gates
from tactful.rewriting.language import why_not_english
from tactful.rewriting.replace import Replacement
from tactful.rewriting.rewriter import Rewriter
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
from tactful.training.adaptive import Adaptive, AdaptiveScreener
from tactful.training.alarms import Alarm
from tactful.training.checkpoints import latest, to_resume
from tactful.training.game import Follower, Game, Gate, Play, as_follower, ask, budget
from tactful.training.policy import LoraSettings, Policy
from tactful.training.trainer import SROConfig, SROTrainer, StopOnSignal
from tactful.training.warm import WarmConfig, build_warm_start, statistics
from tactful.training.warm_found import DEMONSTRATIONS, Demonstration, read_demonstrations

_STATE = "trainer_state.json"
_TASTE = "taste"
_SEARCH_CHUNK = 256
# Below this share of toxic texts a pile is more likely the wrong one than a mild one.
_FEW = 0.1
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


class Followers(Config):
    """The gates of the game and what they let pass; none where there is no number."""

    style: Annotated[float | None, Field(ge=0, le=1)] = None
    """1 - toxicity; by default what the screener itself calls passing."""
    screener: Path | None = None
    """Whose toxicity: the folder of a linear screener, by default the one that is shipped."""
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


class TrainRecipe(Config):
    """Everything that makes a run of the game."""

    data: Piles
    base: str = "base"
    warm_start: Path | None = None
    lora: LoraSettings = LoraSettings()
    followers: Followers = Followers()
    play: Play = Play()
    train: SROConfig = SROConfig()
    look: Look = Look()


class WarmRecipe(Config):
    """Everything that makes a warm start."""

    data: Piles
    alike: dict[str, str] = {}  # noqa: RUF012  # pydantic copies defaults
    """Kinds of source that count as another kind when toxic is told from neutral."""
    size: Annotated[int, Field(ge=1)] = 9000
    seed: int = 0
    warm: WarmConfig = WarmConfig()
    search: bool = True
    """Show what the product's search over replacements makes of real toxic texts, too."""
    demonstrations: Path | None = None
    """The folder of `tactful back-translate`, whose demonstrations are shown instead of new ones."""
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
    """The product's own search, as a maker of pseudo-pairs: None where nothing passed."""

    def rewrite(texts: list[str]) -> list[str | None]:
        screener = LinearScreener.load()
        # Taste is learned from what this leads to, so likelihood has to do.
        rewriter = Rewriter(
            screener,
            MiniLMSimilarity.load(),
            [Replacement(screener), Deletion(screener)],
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
    rows = [{"text": text} for text in texts_of(examples, recipe.data, recipe.data.folds)]
    if not rows:
        raise DataError(
            f"no toxic texts of at most {recipe.data.longest} words in folds {recipe.data.folds}"
        )
    _require_toxic(
        [row["text"] for row in rows], LinearScreener.load(recipe.followers.screener), say
    )
    folder = RunFolder(out)
    look = _looker(recipe.look, examples, recipe.data, folder)
    # Before the policy: a follower that cannot be asked should be told in seconds.
    gates = gates_of(recipe.followers)
    policy = Policy.load(
        recipe.base, adapter=recipe.warm_start, lora=recipe.lora, seed=recipe.train.seed
    )
    game = Game(policy.backend(), gates, recipe.play, seed=recipe.train.seed)
    out.mkdir(parents=True, exist_ok=True)
    dump_recipe(recipe, out / RECIPE)

    def alarmed(alarm: Alarm) -> None:
        say(f"ALARM {alarm}")
        if trainer.is_world_process_zero():
            folder.alarm(trainer.state.global_step, alarm)

    trainer = SROTrainer(
        policy,
        recipe.train,
        rows,
        out,
        game=game,
        look=look,
        alarmed=alarmed,
        foreign=lambda text: bool(why_not_english(text)),
        callbacks=[_Metrics(folder, told)],
    )
    return _run(trainer, policy, look, folder, rows, resume)


def _require_same(recipe: WarmRecipe | TrainRecipe, out: Path, resume: str) -> None:
    """Half a run by one recipe and half by another would be a run by none."""
    if resume == "auto" and latest(out) is not None and (out / RECIPE).exists():
        require_recipe(recipe, out, "use another folder, or --resume never to start over")


def require_recipe(recipe: Config, out: Path, advice: str) -> None:
    """Refuse a folder whose work was done by another recipe; `advice` says what to do then."""
    before = load_recipe(out / RECIPE, type(recipe))
    if before == recipe:
        return
    old, new = (_flat(one.model_dump(mode="json")) for one in (before, recipe))
    changed = [
        f"{name}: {old.get(name)} before, {new.get(name)} now"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    more = ["..."] if len(changed) > 5 else []
    raise ConfigError(
        f"{out} holds a run by another recipe; {advice}:"
        + "".join(f"\n  {line}" for line in changed[:5] + more)
    )


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat


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
    if checkpoint is None or not _is_last(checkpoint, trainer):
        with stop:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    else:
        # Trainer would take one step more.
        trainer.state = transformers.TrainerState.load_from_json(str(checkpoint / _STATE))
        best = trainer.state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
        policy.load_weights(Path(best or checkpoint))
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
        folder.about(**about, result={"step": step, **found})
        report_run(out)
    return {"data": about["data"], **found}


def _step_of(checkpoint: Path) -> int:
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return int(state["global_step"])


def _is_last(checkpoint: Path, trainer: SROTrainer) -> bool:
    steps = trainer.args.max_steps
    if steps <= 0:
        steps = math.ceil(trainer.args.num_train_epochs * len(trainer.get_train_dataloader()))
    return _step_of(checkpoint) >= steps


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
    screener = LinearScreener.load(followers.screener)
    passing = 1 - screener.thresholds.passing if followers.style is None else followers.style
    taste = Taste.load(followers.taste_from) if _tastes(followers) else None
    style = as_follower(screener)
    if followers.adaptive is not None:
        auditor = _auditor(followers.adaptive, taste)
        style = AdaptiveScreener(screener, passing, auditor, followers.adaptive)
    gates = [Gate("style", style, passing)]
    if followers.similarity is not None:
        gates.append(Gate("similarity", MiniLMSimilarity.load(), followers.similarity))
    if followers.taste is not None and taste is not None:
        gates.append(Gate("taste", taste, followers.taste))
    if followers.likelihood is not None:
        likely = LikelihoodFluency(LocalBackend.load())
        gates.append(Gate("likelihood", likely, followers.likelihood))
    return [*gates, *([Gate("shape", _shape, 0.5)] if followers.shape else []), *own]


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
        screener = load_screener(Path(name))
        follower, threshold = as_follower(screener), 1 - screener.thresholds.passing
    chosen = threshold if adaptive.threshold is None else adaptive.threshold
    gate = Gate("auditor", follower, chosen)
    try:
        ask(gate, ["that is wrong"], ["that is wrong"])
    except TactfulError as error:
        raise ConfigError(f"followers.adaptive.auditor cannot be asked: {error}") from error
    return gate


def _own_gates(also: Sequence[Custom]) -> list[Gate]:
    """Each is asked once here, so that what is wrong with it is told before anything is trained."""
    gates, faults = [], []
    for custom in also:
        try:
            gate = Gate(custom.name, custom_scorer(custom.call), custom.threshold)
            ask(gate, ["that is wrong"], ["that is wrong"])
            gates.append(gate)
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
