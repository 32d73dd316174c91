"""What a run leaves beside its checkpoints: lines that grow while it trains, and what made them.

A killed run goes on from a checkpoint and writes again what it had written after it. So before it
goes on, its lines are cut back to that checkpoint: whoever reads them later reads one run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from tactful.errors import DataError
from tactful.evaluation.report import write_whole
from tactful.training.alarms import Alarm

ADAPTER = "adapter"
RECIPE = "recipe.yaml"
METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
ALARMS = "alarms.jsonl"
ABOUT = "run.json"
KEPT = 12
"""How many rewrites of each look are kept."""
_CHUNK = 64

Point = tuple[int, float]
"""A step and a value."""


class RunFolder:
    """Writes what a run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, values: dict[str, Any]) -> None:
        """A line of metrics."""
        self._append(METRICS, [values])

    def alarm(self, step: int, alarm: Alarm) -> None:
        """An alarm that rang."""
        self._append(ALARMS, [{"step": step, **asdict(alarm)}])

    def look(self, step: int, pairs: Sequence[tuple[str, str]]) -> None:
        """The first rewrites of a look; a second look after the same step adds nothing."""
        if any(row["step"] == step for row in _rows(self.path / SAMPLES)):
            return
        rows = [{"step": step, "source": s, "rewrite": r} for s, r in pairs[:KEPT]]
        self._append(SAMPLES, rows)

    def about(self, **values: Any) -> None:
        """What made the run and, once it has ended, what came out."""
        write_whole(self.path / ABOUT, json.dumps(values, indent=1) + "\n")

    def cut_back(self, step: int) -> None:
        """Forget what was written after a step, and a line that was torn."""
        for name in (METRICS, SAMPLES, ALARMS):
            path = self.path / name
            if not path.exists():
                continue
            kept = [row for row in _rows(path) if row["step"] <= step]
            write_whole(path, "".join(map(_as_line, kept))) if kept else path.unlink()

    def _append(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write("".join(map(_as_line, rows)))


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run, from its folder alone."""

    name: str
    about: dict[str, Any]
    recipe: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: dict[int, dict[str, str]]
    """The rewrite of each source after so many steps."""
    alarms: list[dict[str, Any]]
    has_adapter: bool

    @property
    def kind(self) -> str:
        """`warmup` or `train`."""
        return "warmup" if "warm" in self.recipe else "train"

    @property
    def step(self) -> int:
        """The last step of which anything is known."""
        return max((int(line["step"]) for line in self.metrics), default=0)

    @property
    def steps(self) -> int:
        """How many there were to be; 0 where no line tells."""
        return int(self.metrics[-1].get("of", 0)) if self.metrics else 0

    @property
    def finished(self) -> bool:
        """Whether it came to its end, be it an early one."""
        return "result" in self.about if self.about else self.has_adapter

    @property
    def result(self) -> dict[str, float]:
        """The look at the adapter that was kept, else the last look, else nothing."""
        if self.finished and "result" in self.about:
            return dict(self.about["result"])
        looks = [line for line in self.metrics if "eval_joint" in line]
        if not looks:
            return {}
        found = {n.removeprefix("eval_"): v for n, v in looks[-1].items() if n.startswith("eval_")}
        return {"step": looks[-1]["step"], **found}

    def names(self, prefix: str) -> list[str]:
        """Metrics that begin so, in the order in which they first came."""
        found = dict.fromkeys(name for line in self.metrics for name in line)
        return [name for name in found if name.startswith(prefix)]

    def points(self, name: str) -> list[Point]:
        """A metric over steps; what is no number is left out."""
        found = {int(line["step"]): float(line[name]) for line in self.metrics if _has(line, name)}
        return sorted(found.items())


def read_run(folder: Path) -> Run:
    """Read a run folder, whole or broken off."""
    path = folder / RECIPE
    if not path.is_file():
        raise DataError(f"{folder} holds no {RECIPE}; give the folder of a warmup or a train run")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        about_file = folder / ABOUT
        about = json.loads(about_file.read_text("utf-8")) if about_file.is_file() else {}
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{folder}: its {RECIPE} or {ABOUT} cannot be read: {error}") from error
    if not isinstance(recipe, dict) or not isinstance(about, dict):
        raise DataError(f"{folder}: its {RECIPE} or {ABOUT} holds no mapping")
    samples: dict[int, dict[str, str]] = {}
    for row in _rows(folder / SAMPLES):
        samples.setdefault(int(row["step"]), {})[str(row["source"])] = str(row["rewrite"])
    return Run(
        folder.resolve().name,
        about,
        shareable(recipe),
        list(_rows(folder / METRICS)),
        samples,
        list(_rows(folder / ALARMS)),
        (folder / ADAPTER).is_dir(),
    )


def shareable(value: Any) -> Any:
    """A recipe without what is nobody else's business: where things lie, and passwords in addresses."""
    if isinstance(value, dict):
        return {key: shareable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shareable(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        address = urlsplit(value)
        port = f":{address.port}" if address.port else ""
        return f"{address.scheme}://{address.hostname}{port}{address.path}"
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute() or value.startswith(("~", "..")):
            return kind(value).name
    return value


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file with a step; the last of a killed run may be torn."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            yield row


def _as_line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _has(line: dict[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and math.isfinite(value)


def grown(
    path: Path,
    items: Sequence[str],
    made: Callable[[Sequence[str]], list[dict[str, Any]]],
    told: Callable[[int], None],
) -> list[dict[str, Any]]:
    """A line for each item, in order; those that an earlier run wrote whole are not made again."""
    lines: list[str] = []
    if path.exists():
        # A killed run may have left half a line.
        lines = [
            x for x in path.read_text(encoding="utf-8").splitlines(keepends=True) if x[-1:] == "\n"
        ]
        write_whole(path, "".join(lines))
    with path.open("a", encoding="utf-8") as file:
        for start in range(len(lines), len(items), _CHUNK):
            new = [json.dumps(row) + "\n" for row in made(items[start : start + _CHUNK])]
            file.write("".join(new))
            file.flush()
            lines += new
            told(len(lines))
    return [json.loads(line) for line in lines[: len(items)]]
