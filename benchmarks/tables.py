"""The two tables of the README: every system on ParaDetox, and beside the published peers.

    python benchmarks/tables.py --data FOLDER [--judge dev|final] [--supervised ADAPTER] [--edited MODEL]

The act gate is off: every text is rewritten. Four steps, each of which goes on where it was:

    write   each system's rewrites      WORK/<table>/<system>.jsonl
    judge   all of them by one judge    WORK/<table>/<judge>/report.html, docs/results/final_runs.jsonl
    keep    the figures, never a text   docs/results/<table>.<judge>.json
    render  tables from these figures   README.md, between its markers

Some neighbours that need no training are only asked when `--systems` names them, or when the figures
have them already: replacement, best-of-n, refine. `--only write` stops before the judge, `--only render`
does the last step alone. With `--limit` the table is only printed: a part of a table is no result.
`--systems tactful --keep` judges that row and what the file brings, and keeps the others as the same
judge had them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import tactful
from tactful.corpora.read import read_rows
from tactful.corpora.write import json_line, open_writer
from tactful.errors import CorruptFileError, DataError, TactfulError
from tactful.evaluation.base import Judge
from tactful.evaluation.checks import minded_by
from tactful.evaluation.evaluate import LABELS, METRICS, Report, ScoreCache, evaluate
from tactful.evaluation.files import read_outputs, read_sources
from tactful.evaluation.report import write_report
from tactful.prompts import few_shot, trained, zero_shot
from tactful.rewriting.baselines import ContrastivePrompt, MaskAndRefill
from tactful.rewriting.candidates import CandidateSource, Copy, Deletion, PromptedModel
from tactful.rewriting.methods import Method
from tactful.rewriting.rewriter import Rewriter
from tactful.rollouts.base import Sampling
from tactful.rollouts.local import LocalBackend
from tactful.screeners.linear import LinearScreener

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
README = ROOT / "README.md"
FINAL_RUNS = "final_runs.jsonl"
JUDGES = ("final", "dev")

CHUNK = 32
# One answer, the likeliest: a baseline gets no second try that a gate would choose from.
_GREEDY = Sampling(num=1, temperature=0.0)


@dataclass(frozen=True, slots=True)
class System:
    """What rewrites a list of texts; outputs of another `version` are never taken for its own."""

    name: str
    version: str
    rewrite: Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A test file: its published outputs by system, or references of which the first is a system.

    The best of what stands in the file is the baseline that all are compared with.
    """

    file: str
    columns: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[str, ...]:
        return self.columns or ("human",)


TABLES = {
    "paradetox": Table("paradetox_test.jsonl"),
    "peers": Table("peers_test.jsonl", ("condbert", "paragedi", "paragedi_mined")),
}
TITLES = {
    "human": "human reference",
    "condbert": "CondBERT",
    "paragedi": "ParaGeDi",
    "paragedi_mined": "ParaGeDi, mined",
    "deletion": "lexicon deletion",
    "zero-shot": "base model, zero-shot",
    "few-shot": "base model, few-shot",
    "contrastive": "base model, contrastive prompt",
    "tactful": "**tactful**, as shipped",
    "replacement": "search over replacements",
    "best-of-n": "base model, best of 8",
    "refine": "base model, refined with feedback",
    "model-surgery": "base model, edited (model surgery)",
    "supervised": "base model, fine-tuned on pairs",
}


# --- the systems ----------------------------------------------------------------------------


def _proposing(name: str, source: CandidateSource, version: str) -> System:
    """The first thing a source proposes; nothing proposed is an empty rewrite, which scores 0."""

    def rewrite(texts: Sequence[str]) -> list[str]:
        return [found[0] if found else "" for found in source.propose(texts)]

    return System(name, version, rewrite)


def _copy() -> System:
    return _proposing("copy", Copy(), _code("rewriting/candidates.py"))


def _deletion() -> System:
    screener = LinearScreener.load()
    code = _code("rewriting/candidates.py", "rewriting/edits.py", "rewriting/lexicon.py")
    return _proposing("deletion", Deletion(screener), f"{screener.name}|{code}")


def _mask_and_refill() -> System:
    source = MaskAndRefill(_base(), LinearScreener.load())
    version = f"{_base().name}|{source.screener.name}|{source.sampling}"
    code = _code("rewriting/baselines.py", "rewriting/edits.py", "rewriting/lexicon.py")
    return _proposing(source.name, source, f"{version}|{code}")


def _zero_shot() -> System:
    return _prompted("zero-shot", PromptedModel(_base(), prompt=zero_shot, sampling=_GREEDY))


def _few_shot() -> System:
    return _prompted("few-shot", PromptedModel(_base(), prompt=few_shot, sampling=_GREEDY))


def _contrastive() -> System:
    return _prompted("contrastive", ContrastivePrompt(_base(), sampling=_GREEDY))


def _prompted(name: str, source: PromptedModel) -> System:
    # The prompt as it is asked, not its file: a prompt added there changes nothing here.
    asked = hashlib.sha256(json.dumps(source.prompt("text")).encode()).hexdigest()[:8]
    code = _code("rewriting/candidates.py")
    if isinstance(source, ContrastivePrompt):
        code += "+" + _code("rewriting/baselines.py")
    return _proposing(name, source, f"{source.name}@{asked}|{source.sampling}|{code}")


def _tactful() -> System:
    return _rewriting("tactful", "model")


def _replacement() -> System:
    return _rewriting("replacement", "replace")


def _best_of_n() -> System:
    return _rewriting("best-of-n", "best-of-n", "prompts.py")


def _refine() -> System:
    return _rewriting("refine", "refine", "prompts.py", "rewriting/refine.py")


def _rewriting(name: str, method: Method, *more: str) -> System:
    """A whole rewriter, with gates, ranking and policy, by where its candidates come from."""
    rewriter = Rewriter.load(method=method)
    # All that decides a rewrite, and nothing that only reads and writes files.
    parts = "rewriter methods candidates idioms words replace edits lexicon gates protect language rerank"
    code = _code(
        *(f"rewriting/{part}.py" for part in parts.split()),
        *("screeners/threats.py", "segment.py", "scorers/consensus.py", "assets/*.*"),
        *more,
    )
    version = f"{rewriter.name}|{rewriter.config.model_dump_json()}|{code}"

    def rewrite(texts: Sequence[str]) -> list[str]:
        # `force` is the act gate off. What is unresolved or escalated counts as policy `mask`
        # prints it.
        results = rewriter.rewrite_many(texts, force=True)
        # An engine that failed would pass for a rewriter that masks.
        if reason := next((r.reason for r in results if r.status == "error"), None):
            raise DataError(f"a text could not be rewritten: {reason}")
        return [result.text for result in results]

    return System(name, version, rewrite)


def _supervised(adapter: Path) -> System:
    """A LoRA adapter on the embedded base, asked by the prompt that it was trained with."""
    backend = LocalBackend.load("base", adapter=adapter)
    return _prompted("supervised", PromptedModel(backend, prompt=trained, sampling=_GREEDY))


def _model_surgery(folder: Path) -> System:
    """What `tactful surgery` left, asked as the few-shot baseline is."""
    backend = LocalBackend.load(folder)
    return _prompted("model-surgery", PromptedModel(backend, prompt=few_shot, sampling=_GREEDY))


LOADERS: dict[str, Callable[[], System]] = {
    "copy": _copy,
    "deletion": _deletion,
    "mask-and-refill": _mask_and_refill,
    "zero-shot": _zero_shot,
    "few-shot": _few_shot,
    "contrastive": _contrastive,
    "tactful": _tactful,
}
OPTIONAL: dict[str, Callable[[], System]] = {
    "replacement": _replacement,
    "best-of-n": _best_of_n,
    "refine": _refine,
}
"""Asked only when they are named, as they take their time."""
GIVEN: dict[str, Callable[[Path], System]] = {
    "model-surgery": _model_surgery,
    "supervised": _supervised,
}
"""Made of a folder that an option gives."""


def load_system(name: str, given: Mapping[str, Path]) -> System:
    """One system with its weights, which must be on this machine."""
    if name in given:
        return GIVEN[name](given[name])
    return (LOADERS | OPTIONAL)[name]()


@cache
def _base() -> LocalBackend:
    return LocalBackend.load()


def _code(*patterns: str) -> str:
    """A hash of the package's own files that a system's outputs depend on, beside its models."""
    package = Path(tactful.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in package.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return f"code@{digest.hexdigest()[:8]}"


# --- write: rewrites, once each -------------------------------------------------------------


def write_rewrites(
    system: System, sources: Sequence[str], path: Path, limit: int | None = None
) -> list[str]:
    """The rewrites of the first `limit` sources; only those not in the file are asked for."""
    done = _kept(path, system, sources)
    # Written anew without what is torn, doubled or of another version: all else goes to its end.
    with open_writer(path) as writer:
        for row in sorted(done):
            writer.write(_line(system, row, sources[row], done[row]))
    count = len(sources[:limit])
    missing = [row for row in range(count) if row not in done]
    started = time.perf_counter()
    with path.open("ab") as handle:
        for at in range(0, len(missing), CHUNK):
            rows = missing[at : at + CHUNK]
            rewrites = system.rewrite([sources[row] for row in rows])
            for row, rewrite in zip(rows, rewrites, strict=True):
                handle.write(json_line(_line(system, row, sources[row], rewrite)).encode())
                done[row] = rewrite
            handle.flush()
            rate = (at + len(rows)) / (time.perf_counter() - started)
            left = len(missing) - at - len(rows)
            _say(f"{system.name}: {count - left:,} of {count:,}, {rate:.2f} a second")
    return [done[row] for row in range(count)]


def _kept(path: Path, system: System, sources: Sequence[str]) -> dict[int, str]:
    """What a file holds of this version of the system, for sources that are still the same."""
    kept: dict[int, str] = {}
    for found in read_rows(path) if path.exists() else ():
        row, rewrite = found.values.get("row"), found.values.get("rewrite")
        if found.error or not isinstance(row, int) or not isinstance(rewrite, str):
            continue  # a line torn when a run was broken off
        if 0 <= row < len(sources) and found.values == _line(system, row, sources[row], rewrite):
            kept[row] = rewrite
    return kept


def _line(system: System, row: int, source: str, rewrite: str) -> dict[str, Any]:
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    return {"row": row, "source": sha256, "system": system.version, "rewrite": rewrite}


# --- judge ----------------------------------------------------------------------------------


def load_judge(name: str) -> Judge:
    """The development judge or the final one."""
    from tactful.evaluation.judges import load_judge as load

    return load(name, purpose="tables")


def judged(
    table: Table,
    rewrites: Mapping[str, Sequence[str]],
    sources: Sequence[str],
    references: Sequence[Sequence[str]] | None,
    judge: Judge,
    scores: ScoreCache,
) -> Report:
    """All systems by one judge, compared with the best of those that the test file brings."""

    def by(names: Sequence[str], baseline: str | None, boot: int) -> Report:
        return evaluate(
            {name: rewrites[name] for name in names},
            sources,
            judge,
            references=references,
            baseline=baseline,
            boot=boot,
            toxic=minded_by(LinearScreener.load()),
            cache=scores,
            progress=lambda done, total: _say(f"judging: {done:,} of {total:,}"),
        )

    best = None
    if published := [name for name in table.published if name in rewrites]:
        # Taking the strongest by the judge itself is to the disadvantage of all others.
        alone = by(published, None, boot=1).systems
        best = max(alone, key=lambda system: system.soft["joint"].mean).name
    return by(list(rewrites), best, boot=1000)


def figures_of(report: Report, versions: Mapping[str, str]) -> dict[str, Any]:
    """What is kept of a report: figures, signatures and versions, no text."""
    figures = report.to_dict() | {"versions": dict(versions)}
    for system in figures["systems"]:
        if system["name"] == "human":
            # It is one of the references, so it would be compared with itself.
            system["overlap"] = system["reference_meaning"] = None
    return figures


def with_kept(
    figures: dict[str, Any], old: Mapping[str, Any], order: Sequence[str]
) -> dict[str, Any]:
    """New figures, with those of an earlier run for the systems that were not judged again.

    A row is judged by itself, and differences are to the baseline alone, so both runs make one
    table where the same judge saw as many sentences and the baseline is the same.
    """
    for same in ("signature", "baseline"):
        if figures[same] != old[same]:
            raise DataError(
                f"rows of an earlier run cannot be kept: its {same} was {old[same]}, "
                f"now it is {figures[same]}; judge all systems anew"
            )
    new = {system["name"] for system in figures["systems"]}
    kept = [system for system in old["systems"] if system["name"] not in new]
    names = {system["name"] for system in kept}
    return figures | {
        "systems": sorted([*figures["systems"], *kept], key=lambda s: order.index(s["name"])),
        "comparisons": [
            *figures["comparisons"],
            *(one for one in old["comparisons"] if one["system"] in names),
        ],
        "versions": {n: v for n, v in old["versions"].items() if n in names} | figures["versions"],
    }


def log_final_run(table: str, judge: Judge, systems: Sequence[str], rows: int, folder: Path) -> int:
    """Adds one line to the log of the final judge, and says how many there are now."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FINAL_RUNS
    entry = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "table": table,
        "rows": rows,
        "systems": list(systems),
        "judge": judge.signature,
        "commit": _commit(),
    }
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json_line(entry))
    return len(path.read_text(encoding="utf-8").splitlines())


@cache  # asked before the first table is kept, which makes the working tree differ
def _commit() -> str | None:
    """The commit of the working tree, marked when files differ from it; None outside of git."""
    command = ["git", "--no-optional-locks", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


# --- render: the README's tables, from figures alone ----------------------------------------

_REGION = "<!-- results:{} -->\n"
_END = "<!-- /results -->"
_NOT_YET = "Not measured yet.\n"


def render_readme(readme: str, folder: Path) -> str:
    """The README with each table as the figures in a folder have it, by the final judge if any."""
    for table in TABLES:
        start = _REGION.format(table)
        before, _, rest = readme.partition(start)
        _, end, after = rest.partition(_END)
        if readme.count(start) != 1 or not end:
            raise DataError(f"the README must hold {start.strip()} once, and {_END} behind it")
        files = [folder / f"{table}.{judge}.json" for judge in JUDGES]
        found = next((path for path in files if path.exists()), None)
        text = render_table(_read_figures(found)) if found else _NOT_YET
        readme = f"{before}{start}\n{text}\n{end}{after}"
    return readme


def _read_figures(path: Path) -> dict[str, Any]:
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptFileError(f"{path} is no JSON ({error}); run the judge step again") from error
    return figures


def render_table(figures: Mapping[str, Any]) -> str:
    """One table as Markdown, with the signature of its judge below."""
    systems, baseline = figures["systems"], figures["baseline"]
    overlaps = any(system["overlap"] for system in systems)
    columns = ["", *(LABELS[metric] for metric in METRICS)]
    columns += ["J: difference"] if baseline else []
    columns += ["copied", "empty", *(["BLEU", "chrF", "SIM to references"] if overlaps else [])]
    columns += ["keeps negation", "keeps numbers", "keeps mentions"]
    rows = [columns, ["---", *["--:"] * (len(columns) - 1)]]
    for system in systems:
        cells = [_title(system["name"]), *(_interval(system["soft"][m]) for m in METRICS)]
        cells += [_difference(figures, system["name"])] if baseline else []
        cells += [_percent(system["checks"]["copy"]), str(system["empty"])]
        if overlaps:
            near = system["reference_meaning"]
            cells += [_overlap(system, "bleu"), _overlap(system, "chrf")]
            cells.append(f"{near['mean']:.3f}" if near else "–")
        kept = ("kept_negation", "kept_numbers", "kept_tags")
        rows.append([*cells, *(_percent(system["checks"][name]) for name in kept)])
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    compared = f" Differences in J are from: {_title(baseline)}." if baseline else ""
    return (
        "\n".join(lines)
        + f"\n\n{figures['sentences']:,} sentences; ± is half of the 95 % interval of "
        + f"{figures['boot']:,} resamples.{compared} Signature:\n\n"
        + f"```text\n{figures['signature']}\n```\n"
    )


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} ± {(found['high'] - found['low']) / 2:.3f}"


def _difference(figures: Mapping[str, Any], name: str) -> str:
    for found in figures["comparisons"]:
        if found["system"] == name and found["metric"] == "joint" and not found["hard"]:
            p = "p < 0.01" if found["p"] < 0.01 else f"p = {found['p']:.2f}"
            # Adding 0.0 makes -0.0 of a rounded hair below zero plain 0.0.
            mean = f"{round(found['mean'], 3) + 0.0:+.3f}".replace("-", "−")
            return f"{mean} ± {(found['high'] - found['low']) / 2:.3f}, {p}"
    return "–"


def _percent(found: Mapping[str, Any]) -> str:
    return "–" if found["rate"] is None else f"{100 * found['rate']:.1f}%"


def _overlap(system: Mapping[str, Any], name: str) -> str:
    return f"{system['overlap'][name]:.1f}" if system["overlap"] else "–"


# --- the command ----------------------------------------------------------------------------


def run_table(name: str, args: argparse.Namespace) -> None:
    """Writes, judges and keeps one table; README is not touched."""
    table, folder = TABLES[name], args.work / name
    sources, references, rewrites = read_table(args.data / table.file, table)
    # What is missing should be told before the long work, not after it.
    judge = None if args.only == "write" else load_judge(args.judge)
    folder.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, Sequence[str]] = {}
    versions: dict[str, str] = {}
    for wanted in _names(args, name):
        if wanted in rewrites:
            chosen[wanted] = rewrites[wanted][: args.limit]
            continue
        system = load_system(wanted, _given(args))
        versions[wanted] = system.version
        path = folder / f"{wanted}.jsonl"
        chosen[wanted] = write_rewrites(system, sources, path, args.limit)
    if judge is None or not chosen:
        return
    seen = None if references is None else references[: args.limit]
    before = _judged_before(name, args)
    lost = [system for system in before if system not in chosen]
    if lost and not args.keep:
        raise DataError(
            f"the {name} table has {', '.join(lost)}, which would be lost; "
            "judge them too, keep them as they are (--keep), or delete the file of figures"
        )
    scores = ScoreCache(args.work / "scores.jsonl")
    if args.judge == "final":
        # Before anybody can see a figure.
        runs = log_final_run(name, judge, list(chosen), len(sources[: args.limit]), RESULTS)
        _say(f"runs of the final judge so far: {runs}")
    report = judged(table, chosen, sources[: args.limit], seen, judge, scores)
    figures = figures_of(report, versions)
    if lost:
        old = _read_figures(RESULTS / f"{name}.{args.judge}.json")
        figures = with_kept(figures, old, _in_order(name))
    _keep(report, figures, name, args)


def read_table(
    path: Path, table: Table
) -> tuple[list[str], list[list[str]] | None, dict[str, list[str]]]:
    """Sources, references where there are some, and the rewrites that the file itself brings."""
    if table.columns:
        sources, _ = read_sources(path, "toxic")
        return sources, None, {column: read_outputs(path, column) for column in table.columns}
    sources, references = read_sources(path, "toxic", "references")
    firsts = [listed[0] if listed else "" for listed in references or ()]
    return sources, references, {"human": firsts}


def _keep(report: Report, figures: dict[str, Any], table: str, args: argparse.Namespace) -> None:
    """The report into the work folder, the figures of a whole table into the results."""
    folder = args.work / table / args.judge
    folder.mkdir(exist_ok=True)
    write_report(report, folder, title=f"{table}, {args.judge} judge")
    _say(f"wrote {folder / 'report.html'}: it holds texts of the data, so do not commit it")
    sys.stdout.write(render_table(figures))
    if args.limit is None:
        path = RESULTS / f"{table}.{args.judge}.json"
        RESULTS.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _in_order(table: str) -> list[str]:
    """All that could stand in a table, in the order of its rows."""
    return [*TABLES[table].published, *LOADERS, *OPTIONAL, *GIVEN]


def _names(args: argparse.Namespace, table: str) -> list[str]:
    """The systems of a table that are wanted, in the order of its rows."""
    published = TABLES[table].published
    kept = [name for name in _judged_before(table, args) if name in OPTIONAL]
    named = [*args.systems, *(published if args.keep else ())] if args.systems else None
    wanted = named or [*published, *LOADERS, *kept, *_given(args)]
    return [name for name in _in_order(table) if name in wanted]


def _given(args: argparse.Namespace) -> dict[str, Path]:
    """The folders that options gave, by system."""
    folders = {"model-surgery": args.edited, "supervised": args.supervised}
    return {name: folder for name, folder in folders.items() if folder is not None}


def _judged_before(table: str, args: argparse.Namespace) -> list[str]:
    """The systems that the figures have already; a run that would lose some is a mistake."""
    path = RESULTS / f"{table}.{args.judge}.json"
    if args.limit is not None or not path.exists():
        return []
    return [system["name"] for system in _read_figures(path)["systems"]]


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with 1 and one message when it could not be done, with 2 on wrong usage."""
    args = _arguments(argv)
    try:
        for name in args.tables if args.only != "render" else ():
            run_table(name, args)
        if args.only == "render" or not (args.only == "write" or args.limit):
            text = render_readme(README.read_text(encoding="utf-8"), RESULTS)
            README.write_text(text, encoding="utf-8")
    except (TactfulError, OSError) as error:
        sys.exit(f"tactful: {error}")
    except KeyboardInterrupt:
        _say("interrupted; run it again to go on")
        sys.exit(130)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder of the test files")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "tables")
    parser.add_argument("--judge", choices=JUDGES, default="dev")
    parser.add_argument("--supervised", type=Path, help="a LoRA adapter trained on pairs")
    parser.add_argument("--edited", type=Path, help="a model that tactful surgery left")
    parser.add_argument("--tables", type=_listed, default=list(TABLES))
    parser.add_argument(
        "--systems",
        type=_listed,
        help="some of them, as a,b; none that the table has may be missing",
    )
    parser.add_argument(
        "--keep", action="store_true", help="systems not named keep the figures they have"
    )
    parser.add_argument("--limit", type=_positive, help="the first rows only; nothing is kept")
    parser.add_argument("--only", choices=("write", "render"))
    args = parser.parse_args(argv)
    if args.only != "render" and args.data is None:
        parser.error("--data FOLDER is missing")
    published = [name for table in TABLES.values() for name in table.published]
    for option, given, known in (
        ("--tables", args.tables, list(TABLES)),
        ("--systems", args.systems or [], [*published, *LOADERS, *OPTIONAL, *GIVEN]),
    ):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{option}: {unknown[0]!r} is none of {', '.join(known)}")
    for name, option in (
        ("supervised", "--supervised ADAPTER"),
        ("model-surgery", "--edited MODEL"),
    ):
        if name in (args.systems or []) and name not in _given(args):
            parser.error(f"--systems {name} needs {option}")
    return args


def _listed(given: str) -> list[str]:
    return [name for name in given.split(",") if name]


def _positive(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of rows, at least 1; got {given!r}")
    return int(given)


def _say(message: str) -> None:
    """To stderr: for the person, not for the pipe."""
    sys.stderr.write(message + "\n")


if __name__ == "__main__":
    main()
