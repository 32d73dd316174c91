"""The figures of a comparison as one page that opens offline: curves, triangles, and what noise does.

It loads and runs nothing, and looks like the page of a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from tactful.run_curves import Curve, chart, colour
from tactful.run_report import page

_CORNERS = ("style", "meaning", "fluency")
_SIZE, _LOWEST = 150, 0.5
_STYLE = """
.triangles { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; }
.triangles text { font-size: 9px; fill: var(--faint); }
.triangles .warm { fill: none; stroke: var(--faint); stroke-dasharray: 3 2; }
.triangles .own { fill: #0072B2; fill-opacity: .22; stroke: #0072B2; stroke-width: 1.4; }
.triangles .edge { fill: none; stroke: var(--line); }
"""


def render_page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    warm, *methods = found["methods"]
    told = (
        f"judge {found['judge']}, {found['texts']['rows']} texts, warm start {found['warm']}, "
        f"{found['budget']:,} tokens a run"
    )
    parts = [f'<h1>Methods side by side</h1>\n<p class="faint">{escape(told)}</p>']
    if methods:
        parts += [*_curves(methods), *_triangles(warm, methods)]
    if found["flipped"]:
        parts += _flipped(found["flipped"], found["flips"])
    return page("tactful compare", "\n".join(parts), _STYLE)


def _curves(methods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """J at the looks, of each method's first run, eight in a figure."""
    drawn = [
        Curve(
            row["name"], [(int(look["tokens"]), look["joint"]) for look in row["runs"][0]["curve"]]
        )
        for row in methods
    ]
    drawn = [curve for curve in drawn if curve.points]
    if not drawn:
        return
    last = max(tokens for curve in drawn for tokens, _ in curve.points)
    figures = [
        _figure("J against tokens", drawn[start : start + 7], last, "token")
        for start in range(0, len(drawn), 7)
    ]
    yield "<h2>J against tokens</h2>"
    yield (
        '<p class="faint">Looks of the first seed at fewer texts than the table has; beside each '
        "name, its last value.</p>"
    )
    yield '<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def _flipped(flipped: Sequence[Mapping[str, Any]], flips: float) -> Iterator[str]:
    """J of the leaders without and with flips: the flatter a line, the less they matter."""
    share = round(100 * flips)
    drawn = [Curve(row["name"], [(0, row["clean"]), (share, row["joint"])]) for row in flipped]
    yield f"<h2>When {share} % of the verdicts are wrong</h2>"
    yield '<p class="faint">The same seeds with and without; intervals are in the table.</p>'
    figure = _figure("J against verdicts turned around, %", drawn, share, "%")
    yield f'<div class="charts">\n{figure}\n</div>'


def _figure(title: str, drawn: Sequence[Curve], last: int, along: str) -> str:
    keys = "".join(
        f'<span class="key"><i style="background:{colour(number)}"></i>{escape(curve.label)} '
        f"{curve.points[-1][1]:.3f}</span>"
        for number, curve in enumerate(drawn)
    )
    svg = chart(title, drawn, last=last, unit=False, along=along)
    return f"<figure>{svg}<figcaption>{keys}</figcaption></figure>"


def _triangles(warm: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<h2>Style, meaning, fluency</h2>"
    yield (
        f'<p class="faint">From {_LOWEST} in the middle to 1 at the corners; dashed, the warm start.</p>'
    )
    yield '<div class="triangles">\n' + "\n".join(_triangle(warm, m) for m in methods) + "\n</div>"


def _triangle(warm: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    told = ", ".join(f"{part} {row[part]:.3f}" for part in _CORNERS)
    shapes = "".join(
        f'<polygon class="{kind}" points="{_points(values)}"/>'
        for kind, values in (
            ("edge", [1.0] * 3),
            ("warm", [warm[part] for part in _CORNERS]),
            ("own", [row[part] for part in _CORNERS]),
        )
    )
    names = "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{part}</text>'
        for part, (x, y) in zip(_CORNERS, _places([1.17] * 3), strict=True)
    )
    return (
        f'<figure><svg viewBox="-20 -8 {_SIZE + 40} {_SIZE - 10}" role="img" '
        f'aria-label="{escape(row["name"])}: {told}"><title>{told}</title>{shapes}{names}</svg>'
        f"<figcaption>{escape(row['name'])} {row['joint']:.3f}</figcaption></figure>"
    )


def _places(values: Sequence[float]) -> list[tuple[float, float]]:
    """Where values lie on the three axes, which begin at the middle with `_LOWEST`."""
    middle, reach = (_SIZE / 2, _SIZE * 0.57), _SIZE * 0.4
    places = []
    for number, value in enumerate(values):
        angle = math.pi / 2 + number * 2 * math.pi / 3
        far = reach * max(0.0, (value - _LOWEST) / (1 - _LOWEST))
        places.append((middle[0] - far * math.cos(angle), middle[1] - far * math.sin(angle)))
    return places


def _points(values: Sequence[float]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in _places(values))
