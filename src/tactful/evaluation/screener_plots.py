"""A screener's curves as SVG: hits against false alarms, calibration, the cost of its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tactful.errors import MissingExtraError
from tactful.screeners import metrics
from tactful.screeners.base import FloatArray, Thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALARMS = (0.005, 0.01, 0.02, 0.05, 0.10)
"""The shares of false alarms at which hits are told."""
FILES = ("roc.svg", "calibration.svg", "cost.svg")


def curves(labels: Sequence[bool], scores: FloatArray, thresholds: Thresholds) -> dict[str, Any]:
    """What is drawn, as numbers; the whole ROC is left to the figure."""
    shares = np.linspace(0, 1, 11)
    return {
        "hits_at_alarms": {f"{a:g}": metrics.hits_at(labels, scores, a) for a in ALARMS},
        "calibration": [list(row) for row in metrics.reliability(labels, scores)],
        "cost": {
            "share_of_misses": shares.tolist(),
            "best": metrics.cost_curve(labels, scores, shares).tolist(),
            "act": metrics.cost_curve(labels, scores, shares, thresholds.act).tolist(),
            "passing": metrics.cost_curve(labels, scores, shares, thresholds.passing).tolist(),
        },
    }


def render_curves(found: Mapping[str, Any], drawn: bool) -> str:
    """Curves as Markdown, with the figures where there are some."""
    cost = found["cost"]
    lines = [
        "## Hits by false alarms",
        "",
        f"| false alarms at most | {' | '.join(f'{float(a):.1%}' for a in found['hits_at_alarms'])} |",
        f"|---|{'|'.join('--:' for _ in found['hits_at_alarms'])}|",
        f"| hits | {' | '.join(f'{hit:.3f}' for hit in found['hits_at_alarms'].values())} |",
        "",
        "## Calibration",
        "",
        "| mean probability | share of toxic texts | texts |",
        "|--:|--:|--:|",
        *(f"| {p:.3f} | {share:.3f} | {n:,} |" for p, share, n in found["calibration"]),
        "",
        "## Cost of errors",
        "",
        "By how much of the cost is due to misses: at 0 only false alarms cost, at 1 only misses.",
        "",
        f"| misses' share | {' | '.join(f'{s:.1f}' for s in cost['share_of_misses'])} |",
        f"|---|{'|'.join('--:' for _ in cost['share_of_misses'])}|",
        *(
            f"| {name} | {' | '.join(f'{value:.3f}' for value in cost[name])} |"
            for name in ("best", "act", "passing")
        ),
        "",
    ]
    if drawn:
        lines += [*(f"![{name.removesuffix('.svg')}]({name})" for name in FILES), ""]
    return "\n".join(lines)


def draw(labels: Sequence[bool], scores: FloatArray, thresholds: Thresholds, folder: Path) -> None:
    """The three figures into a folder."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Figures", "evaluate") from error
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in zip(FILES, (_roc, _calibration, _cost), strict=True):
        settings: Any = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": name}
        with mpl.rc_context(settings):
            figure = Figure(figsize=(4, 3.4), layout="constrained")
            axes = figure.add_subplot()
            plot(axes, np.asarray(labels, dtype=bool), scores, thresholds)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            out = StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None})
        (folder / name).write_text(out.getvalue(), encoding="utf-8")


def _roc(axes: Axes, labels: Any, scores: FloatArray, thresholds: Thresholds) -> None:
    alarms, hits = metrics.roc(labels, scores)
    axes.plot(alarms, hits)
    for name in ("act", "passing"):
        at = getattr(thresholds, name)
        place = metrics.flagged(scores[~labels], at), metrics.flagged(scores[labels], at)
        axes.plot(*place, "o", label=name)
    axes.set(xlabel="false alarms", ylabel="hits", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(frameon=False)


def _calibration(axes: Axes, labels: Any, scores: FloatArray, thresholds: Thresholds) -> None:
    rows = metrics.reliability(labels, scores)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.plot([p for p, _, _ in rows], [share for _, share, _ in rows], marker="o")
    axes.set(xlabel="probability", ylabel="share of toxic texts", xlim=(0, 1), ylim=(0, 1.01))


def _cost(axes: Axes, labels: Any, scores: FloatArray, thresholds: Thresholds) -> None:
    shares = np.linspace(0, 1, 101)
    axes.plot(shares, metrics.cost_curve(labels, scores, shares), label="best threshold")
    for name in ("act", "passing"):
        cost = metrics.cost_curve(labels, scores, shares, getattr(thresholds, name))
        axes.plot(shares, cost, linestyle="--", label=name)
    axes.set(xlabel="share of the cost that is misses", ylabel="cost", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
