"""How fast training is and how much memory it takes: ours, the authors' loop and TRL side by side.

    python benchmarks/training_speed.py -o docs/results/training_speed.json
    python benchmarks/training_speed.py --quick          # does the script work? a tiny random model

Speed is measured in turns, everybody after everybody, and ratios are taken within a turn, so what
else the machine does hits all. Memory is the peak of a process of its own, less what it had after
its imports. TRL is no dependency; its rows need `pip install --no-deps trl datasets multiprocess
dill xxhash pandas`, and are left out without it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Only light imports up here: the process that starts others must itself be small, as a child
# inherits the peak of its parent.
if TYPE_CHECKING:
    from benchmarks.training_contestants import Contestant, Setup

PAPER = "ours, k = 1, the paper's form"
LOOP = "authors' loop, LoRA, bf16"
RELEASED = "authors' loop as released"
GROUP = "ours, k = 2"
TRL = "TRL online DPO, LoRA"
TRL_DEFAULT = "TRL, LoRA, checkpointing"
TRL_FULL = "TRL, full, two models"
FULL = "DPO, full, two models"
SPEED = (PAPER, LOOP, RELEASED, GROUP, TRL)
MEMORY = (PAPER, LOOP, RELEASED, GROUP, FULL, TRL, TRL_DEFAULT, TRL_FULL)
OPENINGS = ("", "honestly, ", "look, ", "no. ", "again: ", "well, ", "oh, ", "sorry, ", "and ")
SAMPLES = (1, 2, 4, 8)
MIB = 1 << 20
TINY = "tiny, random"


class Size(NamedTuple):
    """How much is measured."""

    repeats: int
    turn: int
    """Sources in a turn of a trainer that has batches; a loop of single sources gets half."""
    memory: int
    """Sources: two steps, as optimisers take their memory in the first; loops get a quarter."""
    grown: tuple[int, ...]
    """Lengths of a run, in sources."""


SIZE = Size(repeats=3, turn=16, memory=32, grown=(128, 512))
QUICK = Size(repeats=1, turn=4, memory=4, grown=(4, 8))


class Goal(NamedTuple):
    """A ratio and what it should be; without `goal` it is only reported."""

    what: str
    value: float
    goal: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def main(given: Sequence[str] | None = None) -> None:
    # Nobody is told what is measured here, and nothing is looked up.
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="base", help="a causal model that is on this machine")
    parser.add_argument("--quick", action="store_true", help="a tiny random model, a few steps")
    parser.add_argument("--full", action="store_true", help="also a run over 2,000 sources")
    parser.add_argument("--repeats", type=int, help="turns that count; more is steadier")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure"
    )
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="where the figures go, as JSON")
    arguments = parser.parse_args(given)
    size = QUICK if arguments.quick else SIZE
    if arguments.repeats:
        size = size._replace(repeats=arguments.repeats)
    if arguments.full:
        size = size._replace(grown=(*size.grown, 2_000))
    if arguments.memory_of:
        print(json.dumps(peak(arguments.memory_of, arguments.base, size)))  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as folder:
        base = tiny(Path(folder)) if arguments.quick else arguments.base
        found: dict[str, Any] = {}
        minutes: dict[str, float] = {}
        for part in PARTS:
            if part in arguments.only:
                began = time.perf_counter()
                found[part] = PARTS[part](base, size)
                minutes[part] = round((time.perf_counter() - began) / 60, 1)
        found["goals"] = [goal._asdict() | {"met": goal.met} for goal in goals(found)]
        found["setting"] = setting(base, size, quick=arguments.quick)
        found["minutes"] = minutes
    show(found)
    if arguments.output:
        text = json.dumps(found, indent=1) + "\n"
        arguments.output.write_text(text, encoding="utf-8")


def tiny(folder: Path) -> str:
    """A random model, made in a process of its own, as this one must stay small."""
    made = "import sys; from pathlib import Path; from tests.tiny import tiny_causal_lm; "
    made += "tiny_causal_lm(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", made, str(folder)], cwd=ROOT, check=True)
    return str(folder)


def sources(count: int, *, toxic: bool = True, seed: int = 0) -> list[str]:
    """Different texts of our own corpus in random order, with openings where they run out."""
    from tactful.corpora.piles import own_corpus

    texts = [example.text for example in own_corpus() if example.toxic == toxic]
    rounds = -(-count // len(texts))
    more = [f"{OPENINGS[i % len(OPENINGS)]}{'so ' * (i // len(OPENINGS))}" for i in range(rounds)]
    varied = [opening + text for opening in more for text in texts][:count]
    random.Random(seed).shuffle(varied)
    return varied


# --- speed ----------------------------------------------------------------------------------


def speed(base: str, size: Size) -> dict[str, Any]:
    """Sources a second, by contestant and turn, and what was done for it."""
    setup = _setup(base)
    contestants = {name: contestant(name, setup) for name in SPEED if _runs(name)}
    texts = sources(size.turn * (size.repeats + 1))
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(size.repeats + 1):
        these = texts[turn * size.turn : (turn + 1) * size.turn]
        for name, one in contestants.items():
            mine = these[: len(these) // 2] if name in (LOOP, RELEASED) else these
            _say(f"speed, turn {turn} of {size.repeats}: {name}")
            # The first turn warms up: memory is laid out, kernels are chosen.
            seconds = one.turn(mine)
            if turn:
                rates[name].append(len(mine) / seconds)
    from tactful.training.policy import Policy

    tokenizer = Policy.load(base).tokenizer
    return {
        name: {
            "sources_per_s": statistics.median(rates[name]),
            "turns": rates[name],
            "tokens_written": written(one, tokenizer),
            "rows_trained": one.work.rows / one.work.sources,
        }
        for name, one in contestants.items()
    }


def written(one: Contestant, tokenizer: Any) -> float:
    """Mean length of what was generated."""
    texts = one.work.texts
    return statistics.fmean(len(tokenizer.encode(text)) for text in texts)


def contestant(name: str, setup: Setup) -> Contestant:
    """By its name in the tables."""
    from benchmarks import training_contestants as those

    made: dict[str, Callable[[], Contestant]] = {
        PAPER: lambda: those.ours_as_paper(setup),
        LOOP: lambda: those.PaperLoop(setup, as_released=False),
        RELEASED: lambda: those.PaperLoop(setup, as_released=True),
        GROUP: lambda: those.ours_in_groups(setup, 2),
        FULL: lambda: those.PlainDPO(setup, lora=False, half=True),
        TRL: lambda: those.Trl(setup),
        TRL_DEFAULT: lambda: those.Trl(setup, checkpointing=True),
        TRL_FULL: lambda: those.Trl(setup, lora=False),
    }
    return made[name]()


def _runs(name: str) -> bool:
    from importlib.util import find_spec

    return not name.startswith("TRL") or bool(find_spec("trl") and find_spec("datasets"))


def _setup(base: str) -> Setup:
    from benchmarks.training_contestants import Setup

    return Setup(base)


# --- memory ---------------------------------------------------------------------------------


def memory(base: str, size: Size) -> dict[str, Any]:
    """Peaks, each in a process of its own; of our trainer also with each way to save off."""
    names = MEMORY if size.repeats > 1 else (GROUP, FULL)
    return {name: _in_a_process(name, base, size) for name in names if _runs(name)}


def lever_memory(base: str, size: Size) -> dict[str, Any]:
    """The same for the levers. Their names are not imported: this process must stay small."""
    names = _python("from benchmarks.training_levers import LEVERS; print(*LEVERS, sep='\\n')")
    chosen = names.splitlines()[: None if size.repeats > 1 else 2]
    return {name: _in_a_process(f"lever:{name}", base, size) for name in chosen}


def _in_a_process(name: str, base: str, size: Size) -> dict[str, float]:
    _say(f"memory: {name}")
    own = [str(Path(__file__).resolve()), "--memory-of", name, "--base", base]
    quick = ["--quick"] if size.memory == QUICK.memory else []
    command = [sys.executable, *own, *quick]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, float] = json.loads(answer.splitlines()[-1])
    return found


def _python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    ).stdout.strip()


def peak(name: str, base: str, size: Size) -> dict[str, float]:
    """MiB after loading and at the most, less what the interpreter has with its libraries."""
    import peft  # noqa: F401
    from benchmarks import training_levers as levers
    from benchmarks.training_contestants import gate, has_trl
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaForCausalLM  # noqa: F401

    gate()
    has_trl()
    setup, texts = _setup(base), sources(size.memory)
    before = _high_water()
    if name.startswith("lever:"):
        one = levers.trainee(setup, sources(186, toxic=False), sources(183, seed=1))
        with levers.LEVERS[name.removeprefix("lever:")](one.policy, setup):
            loaded = _high_water()
            one.turn(texts[: len(texts) // 2])
    else:
        other = contestant(name, setup)
        loaded = _high_water()
        other.turn(texts[: len(texts) // 4] if name in (LOOP, RELEASED) else texts)
    return {"loaded_mib": loaded - before, "peak_mib": _high_water() - before}


def _high_water() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


# --- growth and levers ----------------------------------------------------------------------


def growth(base: str, size: Size) -> dict[str, Any]:
    """Seconds a source: by samples a source, and by how many sources a run has."""
    from benchmarks.training_contestants import ours_in_groups

    setup = _setup(base)
    first = ours_in_groups(setup, 1)
    by_samples = {k: ours_in_groups(setup, k, first.policy) for k in SAMPLES}
    texts = sources(max(size.turn, *size.grown))
    seconds: dict[int, list[float]] = {k: [] for k in SAMPLES}
    few = texts[: size.turn // 2]
    first.turn(few)
    for turn in range(size.repeats):
        for k, one in by_samples.items():
            _say(f"growth, turn {turn + 1} of {size.repeats}: k = {k}")
            seconds[k].append(one.turn(few) / len(few))
    grown = {}
    for count in size.grown:
        _say(f"growth: {count:,} sources")
        # Everything counts here: what grows may also be outside of the steps.
        began = time.perf_counter()
        first.turn(texts[:count])
        grown[count] = (time.perf_counter() - began) / count
    return {
        "seconds_per_source_by_samples": {k: statistics.median(s) for k, s in seconds.items()},
        "seconds_per_source_by_sources": grown,
    }


def levers(base: str, size: Size) -> dict[str, Any]:
    """Seconds of training a source (nothing is generated), with each way to save switched off."""
    from benchmarks import training_levers as those

    setup = _setup(base)
    one = those.trainee(setup, sources(186, toxic=False), sources(183, seed=1))
    texts = sources(size.turn)
    seconds: dict[str, list[float]] = {name: [] for name in those.LEVERS}
    one.turn(texts)
    for turn in range(size.repeats):
        for name, switched in those.LEVERS.items():
            _say(f"levers, turn {turn + 1} of {size.repeats}: {name}")
            with switched(one.policy, setup):
                seconds[name].append(one.turn(texts) / len(texts))
    on = seconds["as it is"]
    return {
        name: {
            "seconds_per_source": statistics.median(spent),
            "times": statistics.median(s / o for s, o in zip(spent, on, strict=True)),
        }
        for name, spent in seconds.items()
    }


PARTS: dict[str, Callable[[str, Size], dict[str, Any]]] = {
    # Memory first: what comes after makes this process large.
    "memory": memory,
    "lever_memory": lever_memory,
    "speed": speed,
    "growth": growth,
    "levers": levers,
}


# --- what it comes to -----------------------------------------------------------------------


def goals(found: Mapping[str, Any]) -> list[Goal]:
    """Every ratio that was asked for, as far as its parts were measured."""
    return [*_speed_goals(found), *_memory_goals(found), *_growth_goals(found)]


def _speed_goals(found: Mapping[str, Any]) -> list[Goal]:
    rates = {name: one["turns"] for name, one in found.get("speed", {}).items()}

    def faster(ours: str, theirs: str, goal: float | None) -> list[Goal]:
        if not rates.get(ours) or not rates.get(theirs):
            return []
        pairs = zip(rates[ours], rates[theirs], strict=True)
        ratio = statistics.median(our / their for our, their in pairs)
        return [Goal(f"sources a second, {ours} / {theirs}", ratio, goal)]

    return faster(PAPER, LOOP, 5) + faster(PAPER, RELEASED, 15) + faster(GROUP, TRL, 1.5)


def _memory_goals(found: Mapping[str, Any]) -> list[Goal]:
    peaks = {name: one["peak_mib"] for name, one in found.get("memory", {}).items()}

    def smaller(theirs: str, goal: float | None) -> list[Goal]:
        if GROUP not in peaks or theirs not in peaks:
            return []
        return [Goal(f"peak, {GROUP} / {theirs}", peaks[GROUP] / peaks[theirs], goal, True)]

    rest = [one for name in (TRL_FULL, TRL, TRL_DEFAULT) for one in smaller(name, None)]
    return smaller(FULL, 0.65) + rest


def _growth_goals(found: Mapping[str, Any]) -> list[Goal]:
    grown = found.get("growth")
    if not grown:
        return []
    samples = grown["seconds_per_source_by_samples"]
    runs = grown["seconds_per_source_by_sources"]
    least, most = min(runs), max(runs)
    times = samples[SAMPLES[-1]] / samples[SAMPLES[0]]
    # A tenth is what two runs of the same thing may differ by.
    return [
        Goal(f"seconds a source, k = {SAMPLES[-1]} / k = 1", times, SAMPLES[-1], True),
        Goal(f"seconds a source, {most:,} / {least:,}", runs[most] / runs[least], 1.1, True),
    ]


def setting(base: str, size: Size, *, quick: bool) -> dict[str, Any]:
    """What the figures hang on."""
    from importlib.metadata import version

    import torch

    from tactful.models import native_bfloat16, resolve

    setup = _setup(base)
    libraries = ["torch", "transformers", "peft", *(["trl"] if _runs(TRL) else [])]
    return {
        "base": TINY if quick else resolve(base).name,
        "new_tokens": setup.new_tokens,
        "batch": setup.batch,
        "bfloat16": native_bfloat16(),
        "threads": torch.get_num_threads(),
        "repeats": size.repeats,
        "libraries": {name: version(name) for name in libraries},
    }


def show(found: Mapping[str, Any]) -> None:
    """The figures as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=110)

    def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        made = Table(title=title, title_justify="left", show_edge=False)
        for i, column in enumerate(columns):
            made.add_column(column, justify="right" if i else "left")
        for row in rows:
            made.add_row(*(f"{c:,.3f}" if isinstance(c, float) else str(c) for c in row))
        console.print(made, "")

    if "speed" in found:
        columns = ("speed", "sources / s", "tokens written", "rows trained / source")
        keys = ("sources_per_s", "tokens_written", "rows_trained")
        table("", columns, [(n, *(s[k] for k in keys)) for n, s in found["speed"].items()])
        if not _runs(TRL):
            console.print("TRL is not installed, so its rows are missing: see --help.", "")
    for part in ("memory", "lever_memory"):
        if part in found:
            rows = [(n, m["loaded_mib"], m["peak_mib"]) for n, m in found[part].items()]
            table("", (f"{part.replace('_', ' ')}, MiB", "loaded", "peak"), rows)
    for name, values in found.get("growth", {}).items():
        table("", (name, "seconds"), list(values.items()))
    if "levers" in found:
        rows = [(n, s["seconds_per_source"], s["times"]) for n, s in found["levers"].items()]
        table("", ("training alone, k = 4", "seconds / source", "times"), rows)
    if found["setting"]["base"] == TINY:
        console.print("A tiny random model: the script works, and the figures mean nothing.", "")
    table(
        "",
        ("ratio", "is", "goal", "met"),
        [
            (
                g["what"],
                g["value"],
                "" if g["goal"] is None else f"{'<=' if g['at_most'] else '>='} {g['goal']:g}",
                {True: "yes", False: "no", None: ""}[g["met"]],
            )
            for g in found["goals"]
        ],
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
