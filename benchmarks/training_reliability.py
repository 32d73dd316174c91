"""Whether training survives what happens to machines: killed at any time, killed while it saves.

    python benchmarks/training_reliability.py --kills 20 --tears 100 -o docs/results/training_reliability.json

Tiny models, causal and encoder-decoder in turn, each run in a process of its own. A run that was
killed, or whose newest checkpoint was damaged, is started again with the same command and must end
with the same adapter, byte for byte, and the same losses as one that nobody disturbed.

resume  SIGKILL at a random moment of a random step, the ends of epochs among them
torn    every other one: SIGKILL at a random one of all file operations of its saves; the others:
        a random file of the newest checkpoint is removed, cut short, changed in a byte, or emptied
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KINDS = ("causal", "seq2seq")
STEPS, SAVE_EVERY, EPOCH = 12, 2, 5
# Long enough to be killed in, behind each step.
PAUSE = 0.15
LONGEST = 300.0
DAMAGES = ("gone", "cut", "changed", "empty")


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed at any time")
    parser.add_argument("--tears", type=int, default=100, help="saves that are torn")
    parser.add_argument("--seed", type=int, default=0, help="draws what happens when")
    parser.add_argument("-o", "--output", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.child:
        kind, folder, pause, deadly = arguments.child
        child(kind, Path(folder), float(pause), int(deadly))
        return
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        found = measure(Path(work), arguments.kills, arguments.tears, arguments.seed)
    found["minutes"] = round((time.perf_counter() - began) / 60, 1)
    summary = {n: v for n, v in found.items() if n != "runs"}
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not found["all_well"]:
        sys.exit(1)


def measure(work: Path, kills: int, tears: int, seed: int) -> dict[str, Any]:
    """Disturb so many runs, and tell what became of each."""
    draw = random.Random(seed)
    make_bases(work)
    unbroken = {}
    for kind in KINDS[: max(kills, (tears + 1) // 2)]:
        unbroken[kind] = work / f"unbroken-{kind}"
        wait(start(kind, unbroken[kind]))
    resumed = [
        killed(kind, step, work / "run", unbroken[kind], draw)
        for kind, step in itertools.islice(_moments(draw), kills)
    ]
    torn = []
    for number in range(tears):
        kind = KINDS[number // 2 % len(KINDS)]
        how = killed_in_save if number % 2 == 0 else damaged
        torn.append(how(kind, work / "run", unbroken[kind], draw))
    well = [run["equal"] for run in (*resumed, *torn)]
    lost = [run["lost"] for run in torn]
    return {
        "resume": {"kills": kills, "equal": sum(run["equal"] for run in resumed)},
        "torn": {
            "tears": tears,
            "equal": sum(run["equal"] for run in torn),
            "most_steps_lost": max(lost, default=0),
            "save_every": SAVE_EVERY,
        },
        "all_well": all(well) and max(lost, default=0) <= SAVE_EVERY,
        "setting": {"steps": STEPS, "epoch": EPOCH, "seed": seed, "models": list(KINDS)},
        "runs": {"resume": resumed, "torn": torn},
    }


def _moments(draw: random.Random) -> Iterator[tuple[str, int]]:
    """Kinds in turn, and after which step: the ends of epochs and of the run first."""
    edges = [EPOCH, EPOCH, 2 * EPOCH, 2 * EPOCH, STEPS - 1, STEPS - 1]
    for number in itertools.count():
        step = edges[number] if number < len(edges) else draw.randint(1, STEPS - 1)
        yield KINDS[number % len(KINDS)], step


# --- what happens ---------------------------------------------------------------------------


def killed(kind: str, step: int, out: Path, unbroken: Path, draw: random.Random) -> dict[str, Any]:
    """SIGKILL somewhere in the pause behind a step, the save that follows, or the next step."""
    from tactful.training.checkpoints import latest

    _fresh(out)
    process = start(kind, out, pause=PAUSE)
    deadline = time.monotonic() + LONGEST
    while str(step) not in _steps(out):
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"step {step} of {out} never came")
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 2 * PAUSE))
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = latest(out)
    wait(start(kind, out))
    return {
        "kind": kind,
        "killed_after": step,
        "resumed_from": found.name if found else None,
        "equal": alike(out, unbroken),
    }


def killed_in_save(kind: str, out: Path, unbroken: Path, draw: random.Random) -> dict[str, Any]:
    """It ends itself before a random one of the file operations of all its saves."""
    _fresh(out)
    deadly = draw.randint(1, int((unbroken / "operations").read_text()))
    process = start(kind, out, deadly=deadly)
    if process.wait(LONGEST) != -signal.SIGKILL:
        raise RuntimeError(f"operation {deadly} of {out} never came")
    lost = _lost(out, int(_steps(out)[-1]))
    wait(start(kind, out))
    about = {"kind": kind, "how": f"killed before file operation {deadly}"}
    return about | {"lost": lost, "equal": alike(out, unbroken)}


def damaged(kind: str, out: Path, unbroken: Path, draw: random.Random) -> dict[str, Any]:
    """One file of the newest checkpoint is not what was written."""
    _fresh(out)
    shutil.copytree(unbroken, out)
    shutil.rmtree(out / "adapter")
    newest = out / f"checkpoint-{STEPS}"
    path = draw.choice(sorted(path for path in newest.rglob("*") if path.is_file()))
    how = draw.choice(DAMAGES)
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: draw.randrange(len(content))])
    elif how == "changed":
        place = draw.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        path.write_bytes(b"")
    lost = _lost(out, STEPS)
    wait(start(kind, out))
    about = {"kind": kind, "how": f"{path.name} {how}"}
    return about | {"lost": lost, "equal": alike(out, unbroken)}


def alike(out: Path, unbroken: Path) -> bool:
    """The same bytes of weights, the same losses."""
    names = ("adapter/adapter_model.safetensors", "losses.json")
    return all((out / name).read_bytes() == (unbroken / name).read_bytes() for name in names)


def _lost(out: Path, done: int) -> int:
    """Steps that have to be taken again."""
    from tactful.training.checkpoints import latest

    found = latest(out)
    return done - (int(found.name.rpartition("-")[2]) if found else 0)


def _fresh(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)


def _steps(out: Path) -> list[str]:
    path = out / "steps"
    return path.read_text().split() if path.exists() else []


# --- a run in a process of its own ----------------------------------------------------------


def make_bases(work: Path) -> None:
    """A tiny random model of each kind, where `child` looks for it."""
    sys.path.insert(0, str(ROOT))
    from tests.tiny import tiny_causal_lm, tiny_seq2seq

    tiny_causal_lm(work / "base-causal")
    tiny_seq2seq(work / "base-seq2seq")


def start(kind: str, out: Path, *, pause: float = 0.0, deadly: int = 0) -> subprocess.Popen[bytes]:
    """Start, or go on with, a run that dies before its `deadly`-th file operation while saving."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, str(Path(__file__)), "--child", kind, str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [*command, str(pause), str(deadly)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=(out / "errors").open("ab"),
    )


def wait(process: subprocess.Popen[bytes]) -> None:
    """Until it has ended well."""
    if process.wait(LONGEST) != 0:
        raise RuntimeError(f"a run ended with {process.returncode}: {process.args}")


def child(kind: str, out: Path, pause: float, deadly: int) -> None:
    """Play twelve steps into `out`, from its newest whole checkpoint on."""
    import numpy as np
    import torch
    from transformers import TrainerCallback

    from tactful.training import policy as policies
    from tactful.training.checkpoints import latest
    from tactful.training.game import Game, Gate, Play
    from tactful.training.policy import LoraSettings, Policy
    from tactful.training.trainer import SROConfig, SROTrainer

    torch.set_num_threads(1)
    policies.native_bfloat16 = lambda device: False  # type: ignore[attr-defined]  # for a test

    class Slowly(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            with (out / "steps").open("a") as file:
                file.write(f"{state.global_step}\n")
            time.sleep(pause)

    def vowels(sources: Sequence[str], rewrites: Sequence[str]) -> Any:
        return np.array([sum(c in "aeiou" for c in r) / max(1, len(r)) for r in rewrites])

    policy = Policy.load(out.parent / f"base-{kind}", lora=LoraSettings(rank=2, alpha=4))
    game = Game(policy.backend(), [Gate("vowels", vowels, 0.01)], Play(samples=2))
    rows = [{"text": f"you idiot number {i}"} for i in range(2 * EPOCH)]
    config = SROConfig(
        steps=STEPS, batch=2, learning_rate=1e-2, save_every=SAVE_EVERY, log_every=1, replay=0.5
    )
    trainer = SROTrainer(policy, config, rows, out, game=game, callbacks=[Slowly()])
    found = latest(out)
    if found == out / f"checkpoint-{STEPS}":
        policy.load_weights(found)
        losses = _losses(json.loads((found / "trainer_state.json").read_text())["log_history"])
    else:
        done = _count_operations(out, deadly)
        trainer.train(resume_from_checkpoint=str(found) if found else None)
        losses = _losses(trainer.state.log_history)
        (out / "operations").write_text(str(done()))
    policy.save(out / "adapter", half=False)
    (out / "losses.json").write_text(json.dumps(losses))


def _losses(history: Sequence[dict[str, float]]) -> list[float]:
    return [entry["loss"] for entry in history if "loss" in entry]


def _count_operations(out: Path, deadly: int) -> Callable[[], int]:
    """Count what is opened, renamed or removed in checkpoints; die before the `deadly`-th."""
    count = 0
    kinds = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in kinds or not given or f"{out}/checkpoint-" not in str(given[0]):
            return
        count += 1
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: count


if __name__ == "__main__":
    main()
