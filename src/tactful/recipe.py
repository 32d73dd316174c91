"""From a recipe and a corpus to a shipped model: the glue, one page for each kind of model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import Field

from tactful.config import Config, dump_recipe
from tactful.corpora.piles import Example, Pile, read_piles
from tactful.errors import ConfigError, DataError
from tactful.models import home
from tactful.screeners import metrics
from tactful.screeners.base import FloatArray, Screener, Thresholds
from tactful.screeners.linear import LinearConfig, LinearScreener
from tactful.screeners.threats import KINDS, find_threat
from tactful.screeners.transformer import Progress, TransformerConfig, TransformerScreener
from tactful.segment import split

TEMPLATE_SOURCE = "templates"
# The last two frames of each list are held out.
_HELD_OUT_FRAMES = 2


class Corpus(Config):
    """Where the texts are; `dir` has no default, since nobody's disk is like another's."""

    dir: Path
    piles: tuple[Pile, ...]


class ThresholdRule(Config):
    """How `act` and `passing` follow from the dev folds: shares of neutral texts left alone."""

    act_below: float
    act_sources: tuple[str, ...]
    passing_below: float
    passing_sources: tuple[str, ...]


class Contrast(Config):
    """Toxic and neutral sources of one style, to be told apart by content alone."""

    name: str
    toxic: tuple[str, ...]
    neutral: tuple[str, ...]


class Teacher(TransformerConfig):
    """A slower, better screener that says how toxic each training sentence is."""

    share: float = Field(0.9, ge=0, le=1)
    """How much of a target is the teacher's probability; the rest is the label."""
    other_sentences: float = Field(0.3, ge=0)
    """How much those sentences of a toxic text count that are not its worst."""


class ScreenerRecipe(Config):
    """Everything that makes the default screener."""

    data: Corpus
    train_folds: tuple[int, ...]
    dev_folds: tuple[int, ...]
    templates: bool = True
    weights: dict[str, float] = {}  # noqa: RUF012  # pydantic copies defaults
    thresholds: ThresholdRule
    contrasts: tuple[Contrast, ...] = ()
    threats: Pile | None = None
    """Texts known to be threats, for the recall of the threat rules."""
    model: LinearConfig = LinearConfig()
    teacher: Teacher | None = None
    reader: TransformerConfig | None = None
    """An encoder that is fine-tuned in place of the linear model, which then only finds the sentence
    of a long text that its label is about."""


def fit_screener(
    recipe: ScreenerRecipe, out: Path, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Fit, calibrate and measure a screener; write it, with its recipe and card, into a folder.

    With a teacher the linear model is fitted twice: first on the labels, to find the sentence of
    a long text that its label is about; then on what the teacher says of every sentence.
    """
    if set(recipe.train_folds) & set(recipe.dev_folds):
        raise ConfigError("train_folds and dev_folds must have no fold in common")
    train, dev = read_folds(recipe)
    if not train or not dev:
        raise DataError(f"no rows in folds {recipe.train_folds} or no rows in {recipe.dev_folds}")
    weights = [recipe.weights.get(e.source, 1.0) for e in train]
    linear = LinearScreener(config=recipe.model)
    screener: LinearScreener | TransformerScreener = linear
    if recipe.reader:
        screener = _reader(recipe, train, weights, progress)
    elif recipe.teacher:
        # At default settings, so that tuning the model does not call for new teachers.
        first = LinearScreener(config=LinearConfig(silent=recipe.model.silent))
        first.fit([e.text for e in train], [e.toxic for e in train], weights)
        lessons = taught(train, weights, first, recipe.teacher, progress)
        linear.fit(*zip(*lessons, strict=True))
    else:
        linear.fit([e.text for e in train], [e.toxic for e in train], weights)
    screener.calibrate([e.text for e in dev], [e.toxic for e in dev])
    screener.thresholds = choose_thresholds(screener, dev, recipe)
    measured = measure(screener, dev, recipe)
    # The folder of one machine is nobody else's business.
    shown = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"dir": Path("CORPUS")})}
    )
    screener.save(out)
    dump_recipe(shown, out / "recipe.yaml")
    (out / "metrics.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    card = (
        render_model_card(screener, measured, recipe, len(train))
        if isinstance(screener, LinearScreener)
        else render_reader_card(screener, measured, recipe, len(train))
    )
    (out / "README.md").write_text(card, "utf-8")
    return measured


def _reader(
    recipe: ScreenerRecipe, train: Sequence[Example], weights: Sequence[float], progress: Progress
) -> TransformerScreener:
    labels = [e.toxic for e in train]
    first = LinearScreener(config=LinearConfig(silent=recipe.model.silent))
    first.fit([e.text for e in train], labels, weights)
    worst = [worst_sentence(first, e.text) for e in train]
    return TransformerScreener.fit(worst, labels, weights, config=recipe.reader, progress=progress)


def read_folds(recipe: ScreenerRecipe) -> tuple[list[Example], list[Example]]:
    """The training and the dev examples of a recipe, our own harmless templates among them."""
    examples = read_piles(recipe.data.dir, recipe.data.piles)
    if recipe.templates:
        examples += template_examples(recipe.train_folds[0], recipe.dev_folds[0])
    train = [e for e in examples if e.fold in recipe.train_folds]
    dev = [e for e in examples if e.fold in recipe.dev_folds]
    return train, dev


Lesson = tuple[str, float, float]
"""A sentence, the probability to learn for it, and how much it counts."""


def taught(
    train: Sequence[Example],
    weights: Sequence[float],
    first: LinearScreener,
    teacher: Teacher,
    progress: Progress,
) -> list[Lesson]:
    """What two teachers say of each other's half of the training texts, sentence by sentence.

    What they say takes a quarter of an hour to find out, so it is kept in the cache folder: the
    same texts, labels and settings are not taught twice, and other settings of the linear model
    can be tried in seconds.
    """
    cut = [split(e.text) for e in train]
    labels = [e.toxic for e in train]
    config = TransformerConfig(**teacher.model_dump(include=set(TransformerConfig.model_fields)))
    key = hashlib.blake2b(
        json.dumps([cut, labels, list(weights), config.model_dump()]).encode(), digest_size=8
    ).hexdigest()
    file = home() / "teachers" / f"{key}.npy"
    if file.is_file():
        said = np.load(file, allow_pickle=False)
    else:
        worst = [worst_sentence(first, e.text) for e in train]
        said = _ask_teachers(cut, worst, labels, weights, config, progress)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npy")
        np.save(part, said)
        # Whole or not at all: a run that is stopped here must not leave half an answer.
        part.replace(file)
    told = iter(said.tolist())
    return [
        lesson
        for pieces, toxic, weight in zip(cut, labels, weights, strict=True)
        for lesson in _lessons([(p, next(told)) for p in pieces], toxic, weight, teacher)
    ]


def _ask_teachers(
    cut: Sequence[Sequence[str]],
    worst: Sequence[str],
    labels: Sequence[bool],
    weights: Sequence[float],
    config: TransformerConfig,
    progress: Progress,
) -> FloatArray:
    """One probability for every sentence, text by text.

    A teacher asked about texts it has learned by heart would only repeat their labels, noise
    included; so each is taught on every other text and asked about the rest.
    """
    said: list[FloatArray] = [np.empty(0)] * len(cut)
    for half in (0, 1):
        own, others = range(half, len(cut), 2), range(1 - half, len(cut), 2)
        teacher = TransformerScreener.fit(
            [worst[i] for i in own],
            [labels[i] for i in own],
            [weights[i] for i in own],
            config=config,
            progress=lambda done, total, half=half: progress(half * total + done, 2 * total),  # type: ignore[misc]  # mypy has no type for the default
        )
        # All at once: sentences of one length share a batch.
        answers = teacher.toxicity([piece for i in others for piece in cut[i]])
        ends = np.cumsum([len(cut[i]) for i in others])
        for i, part in zip(others, np.split(answers, ends[:-1]), strict=True):
            said[i] = part
    return np.concatenate(said)


def worst_sentence(screener: Screener, text: str) -> str:
    """The sentence of a text that a screener minds most."""
    pieces = split(text)
    if len(pieces) < 2:
        return text
    return pieces[int(np.argmax(screener.toxicity(pieces)))]


def _lessons(
    told: Sequence[tuple[str, float]], toxic: bool, weight: float, teacher: Teacher
) -> list[Lesson]:
    """One text's lessons: its label speaks for all sentences if neutral, for the worst if toxic."""
    worst = max((p for _, p in told), default=0.0)
    share = teacher.share
    return [
        (piece, share * p + (1 - share) * toxic, weight)
        if not toxic or p == worst
        else (piece, p, weight * teacher.other_sentences)
        for piece, p in told
    ]


def choose_thresholds(
    screener: Screener, dev: Sequence[Example], recipe: ScreenerRecipe
) -> Thresholds:
    """The lowest thresholds that leave the required shares of neutral dev texts alone."""
    rule = recipe.thresholds

    def of(sources: Sequence[str], below: float) -> float:
        texts = [e.text for e in dev if not e.toxic and e.source in sources]
        if not texts:
            raise ConfigError(f"no neutral dev texts of the sources {', '.join(sources)}")
        return metrics.lowest_threshold(screener.toxicity(texts), below)

    act = min(1.0, of(rule.act_sources, rule.act_below))
    passing = min(act, of(rule.passing_sources, rule.passing_below))
    folds = ", ".join(map(str, recipe.dev_folds))
    return Thresholds(
        act,
        passing,
        f"fold {folds}: act leaves {rule.act_below:.1%} of neutral {'+'.join(rule.act_sources)} "
        f"alone, passing {rule.passing_below:.1%} of neutral {'+'.join(rule.passing_sources)}",
    )


def template_examples(train_fold: int, dev_fold: int) -> list[Example]:
    """Our own harmless sentences, most frames for training and the last ones held out."""
    file = resources.files("tactful") / "assets" / "screener_extra.yaml"
    extra = yaml.safe_load(file.read_text(encoding="utf-8"))
    examples = []
    for fillers, frames in (("identities", "identity_frames"), ("phrases", "phrase_frames")):
        for i, frame in enumerate(extra[frames]):
            held_out = i >= len(extra[frames]) - _HELD_OUT_FRAMES
            fold = dev_fold if held_out else train_fold
            examples += [
                Example(frame.format(filler), False, TEMPLATE_SOURCE, fold)
                for filler in extra[fillers]
            ]
    return examples


# --- measuring ------------------------------------------------------------------------------


def measure(screener: Screener, dev: Sequence[Example], recipe: ScreenerRecipe) -> dict[str, Any]:
    """Everything a recipe asks to be measured, for a screener just fitted or any other."""
    measured = evaluate_screener(screener, dev, recipe.contrasts)
    if recipe.threats:
        labelled = read_piles(recipe.data.dir, [recipe.threats])
        texts = [e.text for e in labelled if e.fold in recipe.dev_folds]
        measured["threats"]["labelled_texts"] = len(texts)
        measured["threats"]["labelled_found"] = sum(find_threat(text) is not None for text in texts)
    return measured


def evaluate_screener(
    screener: Screener, examples: Sequence[Example], contrasts: Sequence[Contrast] = ()
) -> dict[str, Any]:
    """Measure a screener at its own thresholds, by source and within contrasts, with the threat rules."""
    scores = screener.toxicity([e.text for e in examples])
    toxic = np.array([e.toxic for e in examples])
    source = np.array([e.source for e in examples])
    act, passing = screener.thresholds.act, screener.thresholds.passing
    by_source = []
    for name in sorted(set(source.tolist())):
        for label in (True, False):
            chosen = scores[(source == name) & (toxic == label)]
            if len(chosen):
                by_source.append(
                    {
                        "source": name,
                        "toxic": label,
                        "texts": len(chosen),
                        "at_act": metrics.flagged(chosen, act),
                        "at_passing": metrics.flagged(chosen, passing),
                    }
                )
    return {
        "screener": screener.name,
        "act": act,
        "passing": passing,
        "calibrated_on": screener.thresholds.calibrated_on,
        "texts": len(examples),
        "auroc": metrics.auroc(toxic, scores),
        "ece": metrics.expected_calibration_error(toxic, scores),
        "sources": by_source,
        "contrasts": [_contrast(c, toxic, source, scores, (act, passing)) for c in contrasts],
        "threats": _threat_rates(examples),
    }


def _contrast(
    contrast: Contrast,
    toxic: np.ndarray[Any, Any],
    source: np.ndarray[Any, Any],
    scores: FloatArray,
    thresholds: tuple[float, float],
) -> dict[str, Any]:
    rows = (toxic & np.isin(source, contrast.toxic)) | (~toxic & np.isin(source, contrast.neutral))
    labels, chosen = toxic[rows], scores[rows]
    candidates = np.unique(chosen)[:: max(1, len(chosen) // 1000)]
    accuracies = [metrics.balanced_accuracy(labels, chosen, t) for t in candidates]
    best = int(np.argmax(accuracies))
    act, passing = thresholds
    return {
        "name": contrast.name,
        "texts": len(chosen),
        "auroc": metrics.auroc(labels, chosen),
        "balanced_accuracy_act": metrics.balanced_accuracy(labels, chosen, act),
        "balanced_accuracy_passing": metrics.balanced_accuracy(labels, chosen, passing),
        "balanced_accuracy_best": accuracies[best],
        "best_threshold": float(candidates[best]),
    }


def _threat_rates(examples: Sequence[Example]) -> dict[str, Any]:
    """How often the threat rules fire on neutral and on toxic texts, and as what."""
    kinds = dict.fromkeys(KINDS, 0)
    fired = {True: 0, False: 0}
    for example in examples:
        threat = find_threat(example.text)
        if threat:
            fired[example.toxic] += 1
            kinds[threat.kind] += 1
    neutral = sum(not e.toxic for e in examples)
    return {
        "neutral_texts": neutral,
        "neutral_found": fired[False],
        "toxic_texts": len(examples) - neutral,
        "toxic_found": fired[True],
        "kinds": kinds,
    }


def render_screener_report(measured: Mapping[str, Any]) -> str:
    """The metrics as a page of Markdown."""
    lines = [
        "# The screener, measured",
        "",
        f"`{measured['screener']}`, act {measured['act']:.4f}, passing {measured['passing']:.4f} "
        f"({measured['calibrated_on']}). {measured['texts']:,} texts, AUROC {measured['auroc']:.4f}, "
        f"ECE (15 bins) {measured['ece']:.4f}.",
        "",
        "Calibration and thresholds were fitted on the same folds that are reported here, so the "
        "shares of neutral text follow from the rule and the ECE is slightly flattering.",
        "",
        "## By source",
        "",
        "Share of texts at or above each threshold: for toxic text a hit, for neutral text a false alarm.",
        "",
        "| source | texts are | texts | at act | at passing |",
        "|---|---|--:|--:|--:|",
    ]
    for row in measured["sources"]:
        kind = "toxic" if row["toxic"] else "neutral"
        lines.append(
            f"| {row['source']} | {kind} | {row['texts']:,} | {row['at_act']:.3f} "
            f"| {row['at_passing']:.3f} |"
        )
    lines += [
        "",
        "## Toxic against neutral within a source",
        "",
        "Balanced accuracy at the two thresholds, and at the best threshold for this contrast alone.",
        "",
        "| contrast | texts | AUROC | at act | at passing | best | best threshold |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {c['name']} | {c['texts']:,} | {c['auroc']:.4f} | {c['balanced_accuracy_act']:.3f} "
        f"| {c['balanced_accuracy_passing']:.3f} | {c['balanced_accuracy_best']:.3f} "
        f"| {c['best_threshold']:.4f} |"
        for c in measured["contrasts"]
    ]
    threats = measured["threats"]
    kinds = ", ".join(f"{kind} {n}" for kind, n in threats["kinds"].items())
    recall = ""
    if threats.get("labelled_texts"):
        share = threats["labelled_found"] / threats["labelled_texts"]
        recall = (
            f" Of {threats['labelled_texts']} texts labelled as threats, {threats['labelled_found']} "
            f"({share:.0%}) are found: the rules are no reason to feel safe."
        )
    lines += [
        "",
        "## Threat rules",
        "",
        f"Found in {threats['toxic_found']} of {threats['toxic_texts']:,} toxic and "
        f"{threats['neutral_found']} of {threats['neutral_texts']:,} neutral texts ({kinds}).{recall}",
        "",
    ]
    return "\n".join(lines)


def render_reader_card(
    screener: TransformerScreener, measured: Mapping[str, Any], recipe: ScreenerRecipe, texts: int
) -> str:
    """What the weights of a reading screener are, and what is not known of them."""
    rows = "\n".join(
        f"| {c['name']} | {c['balanced_accuracy_act']:.3f} | {c['balanced_accuracy_passing']:.3f} "
        f"| {c['balanced_accuracy_best']:.3f} | {c['auroc']:.4f} |"
        for c in measured["contrasts"]
    )
    base = recipe.reader.base if recipe.reader else ""
    return f"""# Model card: a screener that reads

`{screener.name}`: `{base}`, fine-tuned on {texts:,} texts of the training folds with tactful
{metadata.version("tactful")}; the resolved recipe is in `recipe.yaml`, all figures in `metrics.json`. English only.

AUROC {measured["auroc"]:.4f}, ECE {measured["ece"]:.4f}; thresholds: {measured["calibrated_on"]}.

| contrast | balanced accuracy at act | at passing | best | AUROC |
|---|--:|--:|--:|--:|
{rows}

No word is silent by decree here, so ask `tactful screener suite --screener FOLDER` how even-handed
it is before it screens anybody. It takes milliseconds a text where the linear one takes microseconds.
"""


def render_model_card(
    screener: LinearScreener, measured: Mapping[str, Any], recipe: ScreenerRecipe, texts: int
) -> str:
    """What the weights are, what they were made from, and where they fail."""
    config = screener.config
    taught = (
        "Two fine-tuned MiniLM encoders, each on half of the texts, said how toxic the sentences of\n"
        "the other half are; the linear model learned that (docs/decisions/0005).\n"
        if recipe.teacher
        else ""
    )
    rows = "\n".join(
        f"| {c['name']} | {c['balanced_accuracy_act']:.3f} | {c['balanced_accuracy_passing']:.3f} "
        f"| {c['balanced_accuracy_best']:.3f} | {c['auroc']:.4f} |"
        for c in measured["contrasts"]
    )
    held_out = [r["at_act"] for r in measured["sources"] if r["source"] == TEMPLATE_SOURCE]
    idioms = (
        f" ({held_out[0]:.0%} of our held-out sentences with identities and idioms)"
        if held_out
        else ""
    )
    return f"""# Model card: the default screener

`{screener.name}`: a linear model over normalised words, word pairs and letter groups. English only.
Made by tactful {metadata.version("tactful")} with `tactful screener fit recipes/screener.yaml`; the resolved recipe is in
`recipe.yaml`, all figures in `metrics.json`.

## Data

{texts:,} texts of the training folds: ParaDetox (CC0) with its references as unpaired neutral text;
Jigsaw toxic comments (Wikipedia talk pages, text CC BY-SA, annotations CC0); the s-nlp/detox and
SRO piles built from them; Davidson et al. 2017 tweets (MIT); CoLA sentences; our own templates.
{taught}The weights hold single words and pairs of neighbouring words that stand in at least two
sentences, slurs among them, and names if people were called by them; no sentence.

## Figures on the dev folds

AUROC {measured["auroc"]:.4f}, ECE {measured["ece"]:.4f}; thresholds: {measured["calibrated_on"]}.

| contrast | balanced accuracy at act | at passing | best | AUROC |
|---|--:|--:|--:|--:|
{rows}

## Known failures

- Insults without an ugly word, sarcasm and insinuation pass: a sum of words does not read.
- {len(config.silent)} words (identities, topics, jargon of one source) are silent by decree. An identity used *as*
  an insult goes unseen; so does contempt whose only sign is its target.
- Reported speech and denial ("nobody called you stupid") count like the insult itself.
- Everything was chosen on the dev folds, some fifty settings in all: expect a point less elsewhere.
- The labels are noisy: texts that people would call rude stand in the neutral piles.
- Harmless idioms with an ugly word in them are often flagged{idioms}.
- Other languages and images of text are out of scope.
"""
