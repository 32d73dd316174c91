"""What `tactful evaluate` does: files in, a folder with the report out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from tactful.corpora.read import column_names
from tactful.corpora.write import json_line
from tactful.errors import ConfigError, DataError, MissingExtraError
from tactful.evaluation.base import Judge
from tactful.evaluation.checks import ToxicWords
from tactful.evaluation.evaluate import Progress, Report, ScoreCache, evaluate
from tactful.evaluation.files import ClefRow, read_aligned, read_ids, read_sources, write_clef
from tactful.evaluation.report import write_report, write_whole

CACHE_FILE = "scores.jsonl"
_CHUNK = 64
OWN = ":"
"""Begins the name of a method of ours, where a file would stand."""
System = Callable[[Sequence[str]], Sequence[str]]
"""Texts in, rewrites out."""


def run_evaluate(
    sources: Path,
    outputs: Sequence[str],
    judge: Judge,
    out: Path,
    *,
    column: str | None = None,
    references: str | None = None,
    baseline: str | None = None,
    boot: int = 1000,
    seed: int = 0,
    cache: Path | None = None,
    toxic: ToxicWords | None = None,
    rewriter: Callable[[str], System] | None = None,
    clef: bool = False,
    title: str = "tactful evaluation",
    progress: Progress | None = None,
) -> Report:
    """Evaluates files of outputs and writes report.html, .json, .md and sentences.jsonl.

    Args:
        sources: the texts that were rewritten, with references beside them where there are some.
        outputs: `name=path` for each system; `name=path#column` names the column. Without one, a
            column called `name` is taken, or else one with a usual name. `name=:method` lets
            one of our own rewriters write first, into `name.jsonl` in `out`.
        out: the folder for the report; made if need be.
        column: the column of the sources.
        references: the column of the references.
        baseline: the name of the system that all others are compared with.
        cache: where judged texts are remembered, so that a run that broke off resumes; by default
            a file in `out`.
        toxic: which words count as toxic when they are new.
        rewriter: gives the rewriter of a method; texts in, rewrites out.
        clef: also writes each system as a CLEF TextDetox submission, `name.clef.tsv`.
    """
    _require_extra()
    texts, found = read_sources(sources, column, references)
    ids = read_ids(sources)
    _make(out)
    systems = {}
    for name, (path, chosen) in parse_outputs(outputs).items():
        if str(path).startswith(OWN):
            path = _written(str(path).removeprefix(OWN), texts, out / f"{name}.jsonl", rewriter)
        systems[name] = read_aligned(path, texts, ids, _column(name, path, chosen))
    report = evaluate(
        systems,
        texts,
        judge,
        references=found,
        baseline=baseline,
        boot=boot,
        seed=seed,
        toxic=toxic,
        cache=ScoreCache(cache or out / CACHE_FILE),
        progress=progress,
    )
    write_report(report, out, title=title)
    if clef:
        for system in report.systems:
            rows = [
                ClefRow(text, source=source)
                for source, text in zip(texts, system.rewrites, strict=True)
            ]
            write_clef(out / f"{system.name}.clef.tsv", rows)
    return report


def _written(
    method: str, texts: Sequence[str], path: Path, rewriter: Callable[[str], System] | None
) -> Path:
    """One of our rewriters' answers, as `tactful rewrite` would write them.

    A run that broke off goes on after what it wrote of the same texts by the same method.
    """
    if rewriter is None:
        raise ConfigError(f"no rewriter was given for {OWN}{method}; give a file of outputs")
    kept = _kept(path, method, texts)
    write_whole(path, "".join(kept))
    if len(kept) == len(texts):
        return path
    write = rewriter(method)
    for start in range(len(kept), len(texts), _CHUNK):
        some = texts[start : start + _CHUNK]
        rows = zip(some, write(some), strict=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(
                json_line({"text": text, "_text": rewrite, "_method": method})
                for text, rewrite in rows
            )
    return path


def _kept(path: Path, method: str, texts: Sequence[str]) -> list[str]:
    """The lines of a file up to the first that is torn, of another text or by another method."""
    kept: list[str] = []
    if not path.exists():
        return kept
    # Not splitlines: a text may have separators of its own.
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        lines = list(file)
    for text, line in zip(texts, lines, strict=False):
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n") or (row.get("text"), row.get("_method")) != (text, method):
            break
        kept.append(line)
    return kept


def _require_extra() -> None:
    """Told before any work, not when the report is due."""
    if any(find_spec(name) is None for name in ("sacrebleu", "matplotlib", "jinja2")):
        raise MissingExtraError("tactful evaluate", "evaluate")


def parse_outputs(outputs: Sequence[str]) -> Mapping[str, tuple[Path, str | None]]:
    """Reads `name=path` and `name=path#column`; all faults in one ConfigError."""
    parsed: dict[str, tuple[Path, str | None]] = {}
    faults = []
    for given in outputs:
        name, equals, rest = given.partition("=")
        name = name.strip()
        if not (name and equals and rest):
            faults.append(
                f"outputs are given as name=path, for example ours=out.csv; got {given!r}"
            )
        elif name in parsed:
            faults.append(f'two outputs are called "{name}"; give each its own name')
        else:
            parsed[name] = _place(rest)
    if faults:
        raise ConfigError("\n".join(faults))
    return parsed


def _place(rest: str) -> tuple[Path, str | None]:
    path, hash_sign, column = rest.rpartition("#")
    # A file may have "#" in its name.
    if not hash_sign or Path(rest).exists():
        return Path(rest), None
    return Path(path), column or None


def _column(name: str, path: Path, chosen: str | None) -> str | None:
    """The column that was named, or one that has the system's name."""
    return chosen or (name if name in column_names(path) else None)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made: {error.strerror}") from error
