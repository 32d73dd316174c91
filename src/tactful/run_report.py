"""A run folder as one page that opens offline, and the card of the adapter in it.

The page loads nothing and runs nothing: curves are SVG inside it, and its content policy allows no
script. It looks like the evaluation's report, whose style it takes. What a run has not measured,
because it broke off or never looked, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from pathlib import Path

import yaml

from tactful.evaluation.evaluate import LABELS
from tactful.evaluation.report import word_diff, write_whole
from tactful.run_card import render_card
from tactful.run_curves import Curve, chart, colour
from tactful.run_folder import ADAPTER, Run, read_run
from tactful.screeners.linear import LinearScreener

PAGE = "report.html"
CARD = "README.md"
_MOST_LOOKS = 12

_LOOK = {f"eval_{name}": label for name, label in LABELS.items()}
_CHARTS: tuple[tuple[str, dict[str, str], bool, str], ...] = (
    ("The judge", _LOOK, True, "Greedy answers to dev texts: decent, same meaning, fluent, all."),
    (
        "Copies and empty answers",
        {"eval_copies": "copies", "eval_empty": "empty"},
        True,
        "The same answers.",
    ),
    ("Loss", {"loss": "loss"}, False, "Its mean over the steps since the last line."),
    ("Rewrites that pass", {"play/passed/": ""}, True, "Samples of training texts, by gate."),
    ("Value", {"play/value": "value"}, True, "The product of all followers' scores."),
    (
        "Rewards",
        {f"rewards/{name}": name for name in ("chosen", "rejected", "margins")},
        False,
        "Beta times how much likelier than by the reference.",
    ),
    ("Distance from the reference", {"kl": "kl"}, False, "Over what is preferred, in nats."),
    ("Length ratio", {"play/length_ratio": "rewrite / source"}, False, "In words."),
    (
        "Variety",
        {f"play/{name}": name for name in ("copies", "distinct", "empty", "unfinished")},
        True,
        "Shares of the samples.",
    ),
)
"""Title, metrics with their labels (a name that ends with / stands for all that begin so), whether
from 0 to 1, and what it shows."""

_STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1.2rem 1.5rem; }
.charts svg text { font-size: 11px; fill: var(--faint); }
.charts svg .title { font-size: 13px; font-weight: 600; fill: var(--text); }
.charts .grid { stroke: var(--line); }
.key { white-space: nowrap; margin-right: .8rem; color: var(--text); font-variant-numeric: tabular-nums; }
.key i { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .3rem; }
.samples { min-width: 44rem; width: 100%; table-layout: fixed; }
pre { overflow-x: auto; background: var(--card); padding: .6rem .8rem; border-radius: .4rem; font-size: .85rem; }
body:has(#show:checked) .blur { filter: none; }
@media print { body:has(#show:checked) .blur { color: inherit; background: none; } }
"""


def report_run(folder: Path) -> list[Path]:
    """Write the page of a run and, once it has an adapter, its card; returns what was written."""
    run = read_run(folder)
    written = [folder / PAGE]
    write_whole(written[0], render_page(run))
    # An adapter of an earlier run is not what an unfinished one made.
    if run.has_adapter and run.finished:
        written.append(folder / ADAPTER / CARD)
        write_whole(written[1], render_card(run))
    return written


def render_page(run: Run) -> str:
    """The whole page."""
    title = f"tactful {run.kind}: {run.name}"
    parts = [*_head(run, title), *_looks(run), *_alarms(run), *_curves(run), *_samples(run)]
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True)
    parts.append(
        f"<h2>Recipe</h2>\n<details><summary>Show it</summary><pre>{escape(recipe)}</pre></details>"
    )
    return page(title, "\n".join(parts))


def page(title: str, body: str, style: str = "") -> str:
    """A page that loads and runs nothing."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{_shared_style()}{_STYLE}{style}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _shared_style() -> str:
    template = resources.files("tactful").joinpath("evaluation/template.html.j2")
    text = template.read_text(encoding="utf-8")
    return text[text.index("<style>") + len("<style>") : text.index("</style>")]


def state(run: Run) -> str:
    """How far it came, in words."""
    if not run.metrics:
        return "finished" if run.finished else "nothing has been logged yet"
    of = f" of {run.steps:,}" if run.steps else ""
    if not run.finished:
        return f"not finished: the last line is of step {run.step:,}{of}"
    if run.step < run.steps:
        return f"ended early, after {run.step:,}{of} steps"
    return f"finished, {run.step:,} steps"


def _head(run: Run, title: str) -> Iterator[str]:
    told = [state(run)]
    about = run.about
    told += [f"{about['texts']:,} {_things(run)}"] if "texts" in about else []
    told += [f"data {about['data']}"] if "data" in about else []
    told += [f"made by tactful {about['version']}"] if "version" in about else []
    names = [
        f"{label} <code>{escape(about[name])}</code>"
        for name, label in (("policy", "trained from"), ("judge", "judge"))
        if name in about
    ]
    lines = [escape(" · ".join(told)), *names]
    yield f'<h1>{escape(title)}</h1>\n<p class="faint">{"<br>".join(lines)}</p>'


def _things(run: Run) -> str:
    return "demonstrations" if run.kind == "warmup" else "texts"


# --- looks and alarms -----------------------------------------------------------------------


def _looks(run: Run) -> Iterator[str]:
    labels = {**_LOOK, "eval_copies": "copies", "eval_empty": "empty"}
    names = [name for name in labels if run.points(name)]
    table = {name: dict(run.points(name)) for name in names}
    steps = sorted({step for points in table.values() for step in points})
    rows = [
        [f"{step:,}", *(_figure(table[name].get(step)) for name in names)]
        for step in _some(steps, _MOST_LOOKS)
    ]
    if run.finished and "result" in run.about:
        names = names or [name for name in labels if name[5:] in run.result]
        kept = f"the adapter (step {run.result['step']:,})" if "step" in run.result else "adapter"
        rows.append([kept, *(_figure(run.result.get(name[5:])) for name in names)])
    yield "<h2>Looks</h2>"
    if not rows:
        yield '<p class="faint">The policy was not looked at.</p>'
        return
    yield _table(["After step", *(labels[name] for name in names)], rows)
    if len(steps) > _MOST_LOOKS:
        yield f'<p class="faint">{_MOST_LOOKS} of {len(steps):,} looks, evenly spread.</p>'


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _alarms(run: Run) -> Iterator[str]:
    # Silence means something only where somebody listened: in a game, and not before alarms were kept.
    if not run.alarms and (not run.about or not run.names("play/")):
        return
    yield "<h2>Alarms</h2>"
    if not run.alarms:
        yield '<p class="faint">None rang.</p>'
        return
    rows = []
    for name in dict.fromkeys(str(alarm["name"]) for alarm in run.alarms):
        rang = [alarm for alarm in run.alarms if alarm["name"] == name]
        loudest = max(rang, key=lambda alarm: float(alarm["rate"]))
        first, last = rang[0]["step"], rang[-1]["step"]
        steps = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        rate = f"{loudest['rate']:.0%} (limit {loudest['limit']:.0%})"
        rows.append([name, f"{len(rang):,}", steps, rate, str(loudest["advice"])])
    yield _table(["Alarm", "Rang", "Steps", "At most", "What to do"], rows, texts=(4,))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> str:
    kinds = [' class="text"' if number in texts else "" for number in range(len(columns))]
    head = "".join(f"<th{k}>{escape(c)}</th>" for k, c in zip(kinds, columns, strict=True))
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>"
        + "".join(f"<td{k}>{escape(c)}</td>" for k, c in zip(kinds[1:], row[1:], strict=True))
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )


# --- curves ---------------------------------------------------------------------------------


def _curves(run: Run) -> Iterator[str]:
    figures = []
    for title, wanted, unit, caption in _CHARTS:
        curves = [Curve(label, p) for name, label in _named(run, wanted) if (p := run.points(name))]
        if not curves:
            continue
        keys = "".join(
            f'<span class="key"><i style="background:{colour(number)}"></i>'
            f"{escape(curve.label)} {curve.points[-1][1]:.3g}</span>"
            for number, curve in enumerate(curves)
        )
        svg = chart(title, curves, last=max(run.step, 1), unit=unit)
        figures.append(
            f"<figure>{svg}<figcaption>{keys}<br>{escape(caption)}</figcaption></figure>"
        )
    if figures:
        yield "<h2>Over the steps</h2>"
        yield '<p class="faint">Beside each name, its last value.</p>'
        yield '<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def _named(run: Run, wanted: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, label in wanted.items():
        if name.endswith("/"):
            yield from ((found, found.removeprefix(name)) for found in run.names(name))
        else:
            yield name, label


# --- samples --------------------------------------------------------------------------------


def _samples(run: Run) -> Iterator[str]:
    if not run.samples:
        return
    steps = _some(sorted(run.samples), 3)
    sources = list(dict.fromkeys(source for step in steps for source in run.samples[step]))
    rewrites = {text for step in steps for text in run.samples[step].values()}
    toxic = _toxic([*sources, *rewrites])
    yield "<h2>Samples</h2>"
    yield (
        '<div class="bar"><label><input type="checkbox" id="show"> Show toxic text</label>\n'
        '<span class="faint">Until then, what the screener calls toxic is blurred; '
        "point at a text to read it.</span></div>"
    )
    head = "".join(f'<th class="text">After step {step:,}</th>' for step in steps)
    yield '<div class="scroll"><table class="samples">'
    yield f'<thead><tr><th class="text">Source</th>{head}</tr></thead>\n<tbody>'
    for source in sources:
        cells = [_cell(source, run.samples[step].get(source), toxic) for step in steps]
        first = f'<td class="text">{_span("span", source, source in toxic)}</td>'
        yield f"<tr>{first}" + "".join(f'<td class="text">{c}</td>' for c in cells) + "</tr>"
    yield "</tbody>\n<caption>Crossed out: words of the source that are gone. Green: new ones.</caption>"
    yield "</table></div>"


def _toxic(texts: Sequence[str]) -> set[str]:
    """What would not pass as a rewrite; only decides what is blurred."""
    screener = LinearScreener.load()
    limit = screener.thresholds.passing
    return {t for t, p in zip(texts, screener.toxicity(texts), strict=True) if p >= limit}


def _cell(source: str, rewrite: str | None, toxic: set[str]) -> str:
    if rewrite is None:
        return "–"
    if not rewrite.strip():
        return '<small class="faint">(empty)</small>'
    tags = {"=": "span", "-": "del", "+": "ins"}
    # What went may have been the insult; what stayed is as bad as the whole.
    return " ".join(
        _span(tags[kind], words, rewrite in toxic or (kind == "-" and source in toxic))
        for kind, words in word_diff(source, rewrite)
    )


def _span(tag: str, text: str, blurred: bool) -> str:
    return f'<{tag} class="t{" blur" if blurred else ""}">{escape(text)}</{tag}>'


def _some(steps: Sequence[int], most: int) -> list[int]:
    """At most so many, evenly spread, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most)]
