"""A report as one HTML page that opens offline, as JSON without texts, and as Markdown.

The page asks the network for nothing: figures are SVG inside it, and its content policy allows
only its own script. Texts under evaluation are hostile input; they are escaped by the template, or
become text nodes in the browser.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tactful.corpora.write import open_writer
from tactful.errors import DataError
from tactful.evaluation.checks import RATES, Checks
from tactful.evaluation.evaluate import LABELS, METRICS, Comparison, Metric, Report, SystemResult
from tactful.evaluation.metrics import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST = 20
# A page with more sentences is slow to open; the whole table is in sentences.jsonl.
MOST_SENTENCES = 2000

# Okabe and Ito: told apart by the colour-blind, readable on white and on black.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999", "#B8A800")
_MARKERS = "osD^vPX*"
# Stands for the colour of the page's text, which is another one by night.
_INK = "#010203"
_LONGEST = 2.0

_CHECK_LABELS = {
    "empty": "empty",
    "copy": "copy of the source",
    "length_ratio": "length ratio",
    "deletion_rate": "deletion rate",
    "pure_deletion": "pure deletion",
    "dropped_predicate": "dropped predicate",
    "kept_negation": "negation kept",
    "kept_numbers": "numbers kept",
    "kept_names": "names kept",
    "kept_tags": "links, mentions, tags kept",
    "kept_question": "question kept",
    "became_question": "became a question",
    "new_toxicity": "new toxic word",
}
_FAULTS = {
    "kept_negation": "negation lost",
    "kept_numbers": "number lost",
    "kept_names": "name lost",
    "kept_tags": "tag lost",
    "kept_question": "question lost",
}
_FLAGS = tuple(_FAULTS.get(name, _CHECK_LABELS[name]) for name in RATES)


def write_report(report: Report, folder: Path, *, title: str = "tactful evaluation") -> list[Path]:
    """Writes report.html, report.json, report.md and sentences.jsonl into a folder.

    Only report.html and sentences.jsonl hold texts.
    """
    texts = {
        "report.html": render_html(report, title=title),
        "report.json": json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n",
        "report.md": render_markdown(report, title=title),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    with open_writer(folder / "sentences.jsonl") as writer:
        for row in report.rows():
            writer.write(row)
    return [*(folder / name for name in texts), folder / "sentences.jsonl"]


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all: a file that broke off must not be taken for one."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(text.encode("utf-8", errors="replace"))
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


# --- tables ---------------------------------------------------------------------------------

Cell = dict[str, str]
"""A figure as it is printed, and below it its range or what it is over; "" for none."""
TableRow = dict[str, Any]
"""A `name` and its `cells`."""


def score_table(report: Report) -> tuple[list[str], list[TableRow]]:
    """Headings and rows of the main table."""
    columns = [*(LABELS[m] for m in METRICS), "hard J"]
    overlaps = [system.overlap for system in report.systems if system.overlap is not None]
    columns += ["BLEU", "chrF"] if overlaps else []
    compared = any(system.reference_meaning for system in report.systems)
    columns += ["SIM to references"] if compared else []
    rows = []
    for system in report.systems:
        cells = [_interval_cell(system.soft[m]) for m in METRICS]
        cells.append(_interval_cell(system.hard["joint"]))
        if system.overlap is not None:
            cells += [_cell(f"{system.overlap.bleu:.1f}"), _cell(f"{system.overlap.chrf:.1f}")]
        if system.reference_meaning is not None:
            cells.append(_interval_cell(system.reference_meaning))
        rows.append({"name": system.name, "cells": [*cells, _cell(str(system.empty))]})
    return [*columns, "empty"], rows


def comparison_table(report: Report) -> tuple[list[str], list[TableRow]]:
    """Headings and rows of the differences from the baseline; no rows without one."""
    columns = [*(LABELS[m] for m in METRICS), "hard J"]
    rows = []
    for system in report.systems:
        wanted = [
            c
            for c in report.comparisons
            if c.system == system.name and (not c.hard or c.metric == "joint")
        ]
        if wanted:
            rows.append({"name": system.name, "cells": [_difference_cell(c) for c in wanted]})
    return columns, rows


def check_table(report: Report) -> list[TableRow]:
    """A row for each check with a cell for each system."""
    return [
        {"name": label, "cells": [_check_cell(system.checks[name]) for system in report.systems]}
        for name, label in _CHECK_LABELS.items()
    ]


def _cell(value: str, range_: str = "") -> Cell:
    return {"value": value, "range": range_}


def _interval_cell(interval: Interval) -> Cell:
    return _cell(f"{interval.mean:.3f}", f"{interval.low:.3f}–{interval.high:.3f}")


def _difference_cell(comparison: Comparison) -> Cell:
    found = comparison.difference
    p = "p < 0.01" if found.p < 0.01 else f"p = {found.p:.2f}"
    return _cell(_signed(found.mean), f"{_signed(found.low)} to {_signed(found.high)}, {p}")


def _signed(value: float) -> str:
    # Adding 0.0 makes -0.0 of a rounded hair below zero plain 0.0.
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def _check_cell(entry: dict[str, Any]) -> Cell:
    if "rate" in entry:
        if entry["rate"] is None:
            return _cell("–")
        return _cell(f"{entry['rate']:.1%}", f"{entry['count']:,} of {entry['of']:,}")
    if entry["mean"] is None:
        return _cell("–")
    return _cell(f"{entry['mean']:.2f}", f"median {entry['median']:.2f}")


def render_markdown(report: Report, *, title: str = "tactful evaluation") -> str:
    """The tables as Markdown, without any text that was judged."""
    columns, rows = score_table(report)
    parts = [f"# {title}", f"`{report.signature}`", _markdown_table("system", columns, rows)]
    parts += [f"`{line}`" for line in _overlap_signatures(report)]
    columns, rows = comparison_table(report)
    if rows:
        parts += [f"## Against {report.baseline}", _markdown_table("system", columns, rows)]
    names = [system.name for system in report.systems]
    parts += ["## Checks", _markdown_table("check", names, check_table(report))]
    return "\n\n".join(parts) + "\n"


def _markdown_table(first: str, columns: Sequence[str], rows: Sequence[TableRow]) -> str:
    lines = [[first, *columns], ["---", *("---:" for _ in columns)]]
    for row in rows:
        lines.append([row["name"], *(_beside(cell) for cell in row["cells"])])
    return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines)


def _beside(cell: Cell) -> str:
    return f"{cell['value']} ({cell['range']})" if cell["range"] else cell["value"]


def _markdown_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _overlap_signatures(report: Report) -> list[str]:
    found = next((s.overlap for s in report.systems if s.overlap is not None), None)
    if found is None:
        return []
    return [f"BLEU {found.bleu_signature}", f"chrF {found.chrf_signature}"]


# --- the page -------------------------------------------------------------------------------


def render_html(report: Report, *, title: str = "tactful evaluation") -> str:
    """The whole report as one page that needs nothing else."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files("tactful")
        .joinpath("evaluation/template.html.j2")
        .read_text(encoding="utf-8")
    )
    script = "".join(template.blocks["script"](template.new_context({})))
    score_columns, score_rows = score_table(report)
    comparison_columns, comparison_rows = comparison_table(report)
    return template.render(
        title=title,
        policy=_content_policy(script),
        signature=report.signature,
        judge=report.judge,
        count=len(report.sources),
        shown=min(len(report.sources), MOST_SENTENCES),
        systems=[system.name for system in report.systems],
        thresholds=str(report.thresholds),
        baseline=report.baseline,
        score_columns=score_columns,
        score_rows=score_rows,
        overlap_signatures=_overlap_signatures(report),
        comparison_columns=comparison_columns,
        comparison_rows=comparison_rows,
        check_rows=check_table(report),
        worst_count=WORST,
        worst=[{"label": LABELS[m], "systems": list(_worst(report, m))} for m in METRICS],
        data=_browser_data(report),
        # matplotlib escapes what it writes; no text that was judged gets there but system names.
        scatter=Markup(_svg(report, _scatter, "scatter")),
        histograms=Markup(_svg(report, _histograms, "histograms")),
    )


def _content_policy(script: str) -> str:
    """Nothing may be loaded, and no script may run but the one whose hash this is."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _worst(report: Report, metric: Metric) -> Iterator[dict[str, Any]]:
    for system in report.systems:
        scores = system.sentence_scores(metric)
        yield {
            "name": system.name,
            "sentences": [
                {
                    "row": index + 1,
                    "value": f"{scores[index]:.3f}",
                    "source": report.sources[index],
                    "rewrite": system.rewrites[index],
                    "toxic": _is_toxic(report, system, index),
                }
                for index in np.argsort(scores, kind="stable")[:WORST].tolist()
            ],
        }


def _is_toxic(report: Report, system: SystemResult, index: int) -> bool:
    return bool(system.scores.style[index] < report.thresholds.style)


def _browser_data(report: Report) -> dict[str, Any]:
    """What the script in the page shows: texts, differences, scores, flags."""
    low = report.thresholds
    return {
        "systems": [system.name for system in report.systems],
        "metrics": [LABELS[m] for m in METRICS],
        "low": [low.style, low.meaning, low.fluency, low.style * low.meaning * low.fluency],
        "flags": _FLAGS,
        "rows": [
            {
                "row": index + 1,
                "source": source,
                "references": [] if report.references is None else report.references[index],
                "outputs": [_browser_output(report, s, index) for s in report.systems],
            }
            for index, source in enumerate(report.sources[:MOST_SENTENCES])
        ],
    }


def _browser_output(report: Report, system: SystemResult, index: int) -> dict[str, Any]:
    return {
        "text": system.rewrites[index],
        "diff": word_diff(report.sources[index], system.rewrites[index]),
        "scores": [round(float(system.sentence_scores(m)[index]), 4) for m in METRICS],
        "flags": _flags(system.sentence_checks[index]),
        "toxic": _is_toxic(report, system, index),
    }


def _flags(checks: Checks) -> list[int]:
    """Which faults a rewrite has, as positions in the list of flags."""
    return [
        number
        for number, name in enumerate(RATES)
        if getattr(checks, name) is (not name.startswith("kept_"))
    ]


def word_diff(source: str, rewrite: str) -> list[tuple[str, str]]:
    """What became of the words: ("=", kept), ("-", gone), ("+", new), in reading order."""
    ours, theirs = source.split(), rewrite.split()
    diff: list[tuple[str, str]] = []
    for tag, i, end, j, stop in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if tag == "equal":
            diff.append(("=", " ".join(ours[i:end])))
            continue
        diff += [("-", " ".join(ours[i:end]))] if end > i else []
        diff += [("+", " ".join(theirs[j:stop]))] if stop > j else []
    return diff


# --- figures --------------------------------------------------------------------------------


def _scatter(report: Report) -> Figure:
    """Style against meaning: a system up and to the right is better in both."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(0.02, 1, 200)
    for product in (0.2, 0.4, 0.6, 0.8):
        axes.plot(grid, product / grid, ":", color=_INK, alpha=0.5, linewidth=0.8)
    for number, system in enumerate(report.systems):
        style, meaning = system.soft["style"], system.soft["meaning"]
        axes.errorbar(
            style.mean,
            meaning.mean,
            xerr=_arms(style),
            yerr=_arms(meaning),
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            label=system.name,
            linestyle="none",
            markersize=6,
            linewidth=1.2,
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="STA", ylabel="SIM")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _arms(interval: Interval) -> list[list[float]]:
    # Rounding may put a mean a hair outside its interval, and arms cannot be negative.
    lengths = interval.mean - interval.low, interval.high - interval.mean
    return [[max(0.0, length)] for length in lengths]


def _histograms(report: Report) -> Figure:
    """Length ratio and style score, a row of two for each system."""
    from matplotlib.figure import Figure

    count = len(report.systems)
    figure = Figure(figsize=(5.4, 0.9 + 0.95 * count), layout="constrained")
    grid = figure.subplots(count, 2, sharex="col", squeeze=False)
    for number, (system, (left, right)) in enumerate(zip(report.systems, grid, strict=True)):
        written = np.array([not found.empty for found in system.sentence_checks])
        ratios = np.array([found.length_ratio for found in system.sentence_checks])[written]
        colour = _COLOURS[number % len(_COLOURS)]
        left.hist(np.minimum(ratios, _LONGEST), bins=20, range=(0, _LONGEST), color=colour)
        right.hist(system.scores.style[written], bins=20, range=(0, 1), color=colour)
        left.set_title(system.name, loc="left", fontsize=8, pad=2)
    grid[-1][0].set_xlabel("length ratio")
    grid[-1][1].set_xlabel("style score")
    return figure


def _svg(report: Report, draw: Callable[[Report], Figure], name: str) -> str:
    """A figure as SVG to put inside a page: no links, ids of its own, the page's text colour."""
    import matplotlib as mpl

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(inked, _INK) | {
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        # A "$" in a system's name is no formula.
        "text.parse_math": False,
    }
    out = io.StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A name in letters that the font lacks is drawn with one of the browser's.
        warnings.filterwarnings("ignore", message="Glyph")
        draw(report).savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _embeddable(out.getvalue(), name)


def _embeddable(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Meant for a file of its own, this rule would reach every element of the page.
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\b(id|href)="(#?)', rf'\1="\2{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    return svg.replace(_INK, "currentColor").strip()
