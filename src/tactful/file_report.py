"""What became of a file as one HTML page that opens offline. It holds figures and no text."""

from __future__ import annotations

import base64
import io
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tactful.errors import DataError, MissingExtraError
from tactful.evaluation.report import write_whole
from tactful.rewriting.files import BINS, FileReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Readable on white and on black; blue and orange are told apart by the colour-blind.
_INK, _BEFORE, _AFTER = "#808080", "#E69F00", "#0072B2"


def require_report(path: Path) -> None:
    """Raises, before any work, when no report could be written to this path."""
    if any(find_spec(name) is None for name in ("matplotlib", "jinja2")):
        raise MissingExtraError("tactful rewrite --report", "evaluate")
    if path.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{path}: the report is a page; give a name that ends with .html")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written: there is no folder {path.parent}; make it")


def write_file_report(report: FileReport, path: Path) -> None:
    """Writes the page."""
    write_whole(path, render_file_report(report))


def render_file_report(report: FileReport) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files("tactful").joinpath("file_report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        report=report,
        statuses=[
            (status, count, count / report.rows) for status, count in report.statuses.most_common()
        ],
        figures=[
            (_picture(_statuses(report)), "Rows by status."),
            (
                _picture(_toxicity(report)),
                "Screened rows by toxicity, the source's and the output's.",
            ),
            (
                _picture(_pace(report)),
                "Rows done over the time worked; pauses between runs left out.",
            ),
        ],
    )


def _statuses(report: FileReport) -> Figure:
    figure, axes = _empty()
    names = [status for status, _ in report.statuses.most_common()]
    bars = axes.barh(names, [report.statuses[name] for name in names], color=_AFTER)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, color=_INK)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    return figure


def _toxicity(report: FileReport) -> Figure:
    figure, axes = _empty()
    edges = [place / BINS for place in range(BINS + 1)]
    for name, counts, colour in (
        ("before", report.before, _BEFORE),
        ("after", report.after, _AFTER),
    ):
        axes.stairs(counts, edges, label=name, color=colour, fill=True, alpha=0.45)
    # Most texts are clean, and the few others are what one wants to see.
    axes.set_yscale("symlog")
    axes.set(xlim=(0, 1), xlabel="toxicity", ylabel="rows")
    axes.legend(frameon=False, labelcolor=_INK)
    return figure


def _pace(report: FileReport) -> Figure:
    figure, axes = _empty()
    longest = report.pace[-1][0]
    unit, size = next(
        (unit, size) for unit, size in (("hours", 3600), ("minutes", 60), ("seconds", 1))
        if longest >= 2 * size or size == 1
    )  # fmt: skip
    axes.plot(
        [seconds / size for seconds, _ in report.pace],
        [rows for _, rows in report.pace],
        color=_AFTER,
    )
    axes.set(xlabel=unit, ylabel="rows done")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return figure


def _empty() -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    return figure, axes


def _picture(figure: Figure) -> str:
    """A figure as the address of an image that is in the page itself."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()
