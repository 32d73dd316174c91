"""Every engine on the same sentences in one run: how fast alone, how fast in a batch, how good.

    python benchmarks/engines.py -o docs/results/engines.json
    python benchmarks/engines.py --data CORPUS --texts 400 -o docs/results/engines.json

Held against transformers' own `generate` in bfloat16 with the adapter merged, alone and in batches of
32. The engines take turns, as a machine is not equally busy all the time. Where other work runs on it,
the seconds that the processor spent on us (`cpu`) are to be trusted more than those of the clock.

With -o a run that was stopped goes on: what an engine gave in a turn is kept in OUTPUT.part.

Quality: greedy rewrites of our own mild sentences, or of fold 9 with --data, by the dev judge and the
shipped screener, against torch with the adapter beside the model.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tactful.config import load_recipe
from tactful.corpora.piles import own_corpus, read_piles
from tactful.evaluation.judges import load_judge
from tactful.models import resolve, shipped
from tactful.parity import TorchEngine, questions
from tactful.pipeline import TrainRecipe, texts_of
from tactful.prompts import trained
from tactful.rollouts.base import Backend, Completion, Request, Sampling
from tactful.rollouts.ct2 import CT2Backend
from tactful.rollouts.gguf import GGUFBackend
from tactful.rollouts.llama import FusedLlama
from tactful.rollouts.local import LocalBackend
from tactful.screeners.linear import LinearScreener

HF, REFERENCE = "HF generate, merged", "torch, adapter beside"
GREEDY = Sampling(temperature=0)
ADAPTER = shipped("rewriter")


class HFGenerate:
    """What one would write without us: `generate` over batches as they come, padded on the left."""

    def __init__(self, *, merge: bool) -> None:
        kind = "float32" if merge else "bfloat16"
        local = LocalBackend.load("base", dtype=kind, adapter=ADAPTER, device="cpu")
        self.model = local.model.merge_and_unload().to(torch.bfloat16) if merge else local.model
        self.tokenizer, self.name = local.tokenizer, "transformers"
        self.tokenizer.padding_side = "left"

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        found: list[list[Completion]] = []
        for start in range(0, len(requests), 32):
            batch = requests[start : start + 32]
            given = self.tokenizer(
                [str(request.prompt) for request in batch], return_tensors="pt", padding=True
            )
            longest = max(request.max_new_tokens for request in batch)
            with torch.inference_mode():
                out = self.model.generate(
                    **given,
                    max_new_tokens=longest,
                    do_sample=False,
                    pad_token_id=self.tokenizer.eos_token_id,
                )
            for request, row in zip(batch, out[:, given["input_ids"].shape[1] :], strict=True):
                tokens = row.tolist()[: request.max_new_tokens]
                text = self.tokenizer.decode(tokens, skip_special_tokens=True)
                found.append([Completion(text.strip(), self.tokenizer.eos_token_id in tokens)])
        return found


ENGINES: dict[str, Callable[[], Backend]] = {
    HF: lambda: HFGenerate(merge=True),
    "HF generate, adapter beside": lambda: HFGenerate(merge=False),
    REFERENCE: lambda: LocalBackend.load("base", adapter=ADAPTER, device="cpu"),
    "torch, fused, 32 rows": lambda: LocalBackend.load(
        "base", adapter=ADAPTER, device="cpu", fuse=True
    ),
    "torch, fused, 64 rows": lambda: LocalBackend.load(
        "base", adapter=ADAPTER, device="cpu", fuse=True, batch_size=64
    ),
    "gguf Q4_1": lambda: GGUFBackend.load("base", adapter=ADAPTER, precision="as it is"),
    "gguf Q8_0": lambda: GGUFBackend.load("base", adapter=ADAPTER, precision="q8_0"),
    "gguf F16": lambda: GGUFBackend.load("base", adapter=ADAPTER, precision="f16"),
    "ct2 int8": lambda: CT2Backend.load("base", adapter=ADAPTER),
    "ct2 float32": lambda: CT2Backend.load("base", adapter=ADAPTER, stored="float32"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--data", type=Path, help="a folder of piles; fold 9 is judged")
    parser.add_argument("--texts", type=int, default=200, help="texts that are judged")
    parser.add_argument("--alone", type=int, default=24, help="texts that are asked one by one")
    parser.add_argument("--batch", type=int, default=192, help="texts that are asked together")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    console = Console()
    requests = [_request(example.text) for example in own_corpus() if example.toxic]
    judged = _judged(given.data)[: given.texts]
    tokenizer = LocalBackend.load("base", device="cpu").tokenizer
    kept = _Kept(given.output, [given.alone, given.batch, str(given.data), given.texts])
    rows, texts = kept.rows, kept.texts
    for turn in range(given.turns):
        for name in given.only:
            if len(rows.setdefault(name, [])) > turn:
                continue
            backend = ENGINES[name]()
            backend.generate(requests[:2], GREEDY)
            alone = _alone(backend, requests[: given.alone])
            together = _together(backend, (requests * 99)[: given.batch], tokenizer)
            rows[name].append({**alone, **together})
            if turn == 0:
                texts[name] = _texts(backend.generate([_request(t) for t in judged], GREEDY))
            kept.save()
            console.print(f"turn {turn + 1}, {name}: {_short(rows[name][-1])}")
            del backend
            gc.collect()
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "alone": given.alone,
        "batch": given.batch,
        "judged": len(judged),
        "of": "fold 9" if given.data else "our own sentences",
        "engines": {
            name: {key: float(np.median([row[key] for row in turns])) for key in turns[0]}
            | {"turns": turns}
            for name, turns in rows.items()
        },
        "quality": _quality(texts, judged),
        "limit_tokens_per_s": _limit(),
        "merged_logits_max_difference": _merged_difference(),
    }
    found["targets"] = _targets(found)
    _print(found, console)
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        kept.remove()


class _Kept:
    """What is measured so far, beside the output, for a run with the same settings."""

    def __init__(self, output: Path | None, settings: list[Any]) -> None:
        self._path = output.with_name(output.name + ".part") if output else None
        self._settings = settings
        self.rows: dict[str, list[dict[str, float]]] = {}
        self.texts: dict[str, list[str]] = {}
        if self._path is not None and self._path.exists():
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if found["settings"] == settings:
                self.rows, self.texts = found["rows"], found["texts"]

    def save(self) -> None:
        if self._path is not None:
            told = {"settings": self._settings, "rows": self.rows, "texts": self.texts}
            self._path.write_text(json.dumps(told), encoding="utf-8")

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _targets(found: dict[str, Any]) -> dict[str, Any]:
    """What we hold ourselves to, where the engines for it were measured."""
    engines, quality = found["engines"], found["quality"]
    told: dict[str, Any] = {"merged logits within 1e-4": found["merged_logits_max_difference"]}
    base, reference = engines.get(HF), quality.get(REFERENCE)
    if base:
        for name, row in engines.items():
            if name.startswith("gguf"):
                told[f"alone, {name}, of HF (Q4_1 <= 0.35)"] = (
                    row["alone_p50_s"] / base["alone_p50_s"]
                )
        best = max(engines, key=lambda name: engines[name]["tokens_per_s"])
        told[f"batch, {best}, times HF (>= 2)"] = (
            engines[best]["tokens_per_s"] / base["tokens_per_s"]
        )
    if reference:
        ours = {name: q for name, q in quality.items() if not name.startswith("HF")}
        told["largest |dJ| (<= 0.01)"] = max(
            abs(q["joint"] - reference["joint"]) for q in ours.values()
        )
        told["largest pass rate difference (<= 0.01)"] = max(
            abs(q["pass_rate"] - reference["pass_rate"]) for q in ours.values()
        )
    return told


def _request(text: str) -> Request:
    return Request(trained(text), int(1.2 * len(text) / 3) + 12)


def _judged(data: Path | None) -> list[str]:
    if data is None:
        return [example.text for example in own_corpus() if example.toxic]
    settings = [f"data.dir={data}", f"warm_start={ADAPTER}"]
    recipe = load_recipe(Path("recipes/sro.yaml"), TrainRecipe, settings)
    found = texts_of(read_piles(data, recipe.data.toxic), recipe.data, [9])
    # Spread over the whole fold, which stands ordered by where a text came from.
    return [str(text) for text in np.random.default_rng(0).permutation(found)]


def _alone(backend: Backend, requests: Sequence[Request]) -> dict[str, float]:
    clock, cpu = [], []
    for request in requests:
        started, spent = time.perf_counter(), time.process_time()
        backend.generate([request], GREEDY)
        clock.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return {
        "alone_p50_s": float(np.median(clock)),
        "alone_p95_s": float(np.quantile(clock, 0.95)),
        "alone_p50_cpu_s": float(np.median(cpu)),
    }


def _together(backend: Backend, requests: Sequence[Request], tokenizer: Any) -> dict[str, float]:
    started, spent = time.perf_counter(), time.process_time()
    answers = backend.generate(requests, GREEDY)
    clock, cpu = time.perf_counter() - started, time.process_time() - spent
    # Counted alike for all, with the end token that each of them wrote.
    tokens = sum(len(tokenizer.encode(text)) + 1 for text in _texts(answers))
    return {
        "tokens_per_s": tokens / clock,
        "tokens_per_cpu_s": tokens / cpu,
        "rewrites_per_s": len(requests) / clock,
    }


def _texts(answers: Sequence[Sequence[Completion]]) -> list[str]:
    return [completions[0].text for completions in answers]


def _quality(texts: dict[str, list[str]], judged: list[str]) -> dict[str, dict[str, float]]:
    judge, screener = load_judge("dev"), LinearScreener.load()
    found = {}
    reference = texts.get(REFERENCE)
    for name, rewrites in texts.items():
        passed = screener.toxicity(rewrites) < screener.thresholds.passing
        found[name] = {
            "joint": float(judge.score(judged, rewrites).joint.mean()),
            "pass_rate": float(passed.mean()),
        }
        if reference is not None:
            same = [a == b for a, b in zip(rewrites, reference, strict=True)]
            found[name]["identical"] = float(np.mean(same))
    return found


def _limit() -> float:
    """Tokens a second of the multiplications alone, many rows at a time: what nothing exceeds.

    By the processor's time on all threads, so that other work does not lower it.
    """
    model = FusedLlama(LocalBackend.load("base", dtype="bfloat16", device="cpu").model)
    width = model.norm.shape[0]
    states = torch.randn(1, 512, width, dtype=torch.bfloat16)
    with torch.inference_mode():
        best = 0.0
        for _ in range(3):
            started = time.process_time()
            for layer in model.layers:
                layer.out(layer.qkv(states)[..., :width])
                layer.down(layer.gate_up(states).chunk(2, dim=-1)[0])
            model.output(states)
            spent = (time.process_time() - started) / torch.get_num_threads()
            best = max(best, states.shape[1] / spent)
    return best


def _merged_difference() -> float:
    """The largest difference of any logit between float32 merged and with the adapter beside."""
    local = LocalBackend.load("base", dtype="float32", adapter=ADAPTER, device="cpu")
    asked = questions(local.tokenizer)

    def logits(model: Any) -> list[torch.Tensor]:
        engine = TorchEngine(model, local.tokenizer)
        with torch.inference_mode():
            return [
                engine.model(input_ids=torch.tensor([q.prompt + q.completion])).logits
                for q in asked
            ]

    beside = logits(local.model)
    merged = logits(local.model.merge_and_unload(safe_merge=True))
    return max(float((a - b).abs().max()) for a, b in zip(beside, merged, strict=True))


def _short(row: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.3g}" for key, value in row.items())


def _print(found: dict[str, Any], console: Console) -> None:
    engines, quality = found["engines"], found["quality"]
    base = engines.get(HF)
    table = Table(
        "engine", "p50 s", "p95 s", "p50 / HF", "(cpu)", "tokens/s", "/ HF", "(cpu)", "rewrites/s",
        "same", "dJ", "pass",
    )  # fmt: skip
    for name, row in engines.items():
        q, ref = quality[name], quality.get(REFERENCE)
        ratios = (
            [
                f"{row['alone_p50_s'] / base['alone_p50_s']:.2f}",
                f"{row['alone_p50_cpu_s'] / base['alone_p50_cpu_s']:.2f}",
                f"{row['tokens_per_s'] / base['tokens_per_s']:.2f}",
                f"{row['tokens_per_cpu_s'] / base['tokens_per_cpu_s']:.2f}",
            ]
            if base
            else [""] * 4
        )
        table.add_row(
            name,
            f"{row['alone_p50_s']:.3f}",
            f"{row['alone_p95_s']:.3f}",
            *ratios[:2],
            f"{row['tokens_per_s']:.0f}",
            *ratios[2:],
            f"{row['rewrites_per_s']:.1f}",
            f"{q['identical']:.1%}" if "identical" in q else "",
            f"{q['joint'] - ref['joint']:+.4f}" if ref else "",
            f"{q['pass_rate']:.1%}",
        )
    console.print(table)
    limit = found["limit_tokens_per_s"]
    best = max(row["tokens_per_s"] for row in engines.values())
    console.print(
        f"multiplications alone {limit:.0f} tokens/s; the best batch reaches {best / limit:.0%}"
    )
    console.print(f"merged float32 logits differ by {found['merged_logits_max_difference']:.2g}")
    console.print(f"base {resolve('base').name}")
    for target, value in found["targets"].items():
        console.print(f"{target}: {value:.3g}")


if __name__ == "__main__":
    main()
