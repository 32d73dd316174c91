"""Curves over steps as SVG inside a page: a few lines of our own, so that training needs no plotter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tactful.run_folder import Point

# Okabe and Ito, as in the evaluation's report: told apart by the colour-blind, by day and by night.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999", "#B8A800")
_WIDTH, _HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 26, 26
# More dots than this melt into a line.
_MOST_DOTS = 40


@dataclass(frozen=True, slots=True)
class Curve:
    """A name and its points, in order of steps."""

    label: str
    points: Sequence[Point]


def chart(
    title: str, curves: Sequence[Curve], *, last: int, unit: bool, along: str = "step"
) -> str:
    """Curves over the same steps, 0 to `last`; `unit` draws from 0 to 1 whatever comes."""
    values = [value for curve in curves for _, value in curve.points]
    marks = [0.0, 0.25, 0.5, 0.75, 1.0] if unit else ticks(min(values), max(values))
    low, high = min(marks[0], *values), max(marks[-1], *values)

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(1, last)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    parts = [f'<text x="{_LEFT}" y="14" class="title">{escape(title)}</text>']
    for mark in marks:
        parts.append(_line(_LEFT, y(mark), _WIDTH - _RIGHT, y(mark)))
        parts.append(_text(_LEFT - 6, y(mark) + 4, f"{mark:g}", "end"))
    for step in ticks(0, max(1, last), whole=True):
        if step <= max(1, last):
            parts.append(_text(x(step), _HEIGHT - 8, f"{step:,.0f}", "middle"))
    for number, curve in enumerate(curves):
        places = [(step, value, x(step), y(value)) for step, value in curve.points]
        dashed = number >= len(COLOURS)
        parts.append(_curve(curve.label, colour(number), dashed, places, along))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def colour(number: int) -> str:
    """The colour of a chart's curve; from the ninth on they come again, dashed."""
    return COLOURS[number % len(COLOURS)]


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Three to seven round numbers around a range; an empty range gets some room."""
    if high - low < 1e-9:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * f for f in (1, 2, 2.5, 5, 10) if size * f >= rough * 0.999)
    step = max(1.0, round(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * k, 12) for k in range(first, last + 1)]


def _curve(
    label: str,
    ink: str,
    dashed: bool,
    places: Sequence[tuple[int, float, float, float]],
    along: str,
) -> str:
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    path = " ".join(f"{px:.1f},{py:.1f}" for _, _, px, py in places)
    line = f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="1.6"{dash}/>'
    if len(places) > _MOST_DOTS:
        return line
    dots = (
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{ink}">'
        f"<title>{escape(label)}, {along} {step:,}: {value:.4g}</title></circle>"
        for step, value, px, py in places
    )
    return line + "".join(dots)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="grid"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
