"""Files through every engine: a tiny random model writes, our rewriter chooses, and a server goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmarks.files_stub import Overlap

from tactful.corpora.read import read_rows
from tactful.engines import PACKAGES, load_engine
from tactful.errors import TactfulError
from tactful.prompts import trained
from tactful.rewriting import files
from tactful.rewriting.candidates import PromptedModel
from tactful.rewriting.files import FileReport, rewrite_file
from tactful.rewriting.journal import journal_of
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.rewriting.workers import Workers
from tactful.rollouts.base import Completion, Request, Sampling
from tactful.rollouts.openai import OpenAIBackend
from tests.fakes import KeywordScreener
from tests.openai_server import Running, openai_server
from tests.test_exporting import _write_gguf_base as write_gguf_base
from tests.tiny import tiny_causal_lm

TEXTS = [f"you {word}, read page {n}" for n in range(6) for word in ("idiot", "reader")]


def rewriter_on(backend: Any) -> Rewriter:
    """Ours, with followers that need no weights; a random model's rewrites seldom pass them."""
    source = PromptedModel(backend, prompt=trained, sampling=Sampling(2, 0.9, 0.95))
    screener = KeywordScreener({"idiot": 0.9})
    return Rewriter(screener, Overlap(), [source], RewriteConfig(samples=2))


def load(name: str, folder: Path) -> Rewriter:
    return rewriter_on(load_engine(name, folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_causal_lm(tmp_path_factory.mktemp("engines") / "tiny")
    write_gguf_base(folder)
    return folder


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "_TEXTS", 4)
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


def held(output: Path, report: FileReport) -> bool:
    """All rows in order; the insults were asked about and answered, the others left alone."""
    rows = [row.values for row in read_rows(output)]
    insults = [row for row in rows if "idiot" in row["text"]]
    return (
        [row["text"] for row in rows] == TEXTS
        and {row["_status"] for row in insults} <= {"unresolved", "rewritten"}
        and not any("failed" in row["_reason"] for row in rows)
        and all(row["_text"] == row["text"] for row in rows if row not in insults)
        and report.statuses["unchanged"] == len(TEXTS) - len(insults)
    )


@pytest.mark.parametrize(("name", "workers"), [("torch", 0), ("gguf", 1), ("ct2", 0)])
def test_a_file_through_an_engine(
    folder: Path, source: Path, tmp_path: Path, name: str, workers: int
) -> None:
    """In this process and in one of its own, and the result says which engine it was."""
    if find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    output = tmp_path / "out.jsonl"
    report = rewrite_file(source, output, "text", Workers(partial(load, name, folder), workers))
    assert held(output, report), output.read_text()
    assert name == "torch" or f"+{name}" in report.rewriter


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_that_is_killed_in_the_middle(
    folder: Path, source: Path, tmp_path: Path, workers: int
) -> None:
    """The run ends with a message and not with a file of errors; when it is back the rest is done."""
    with openai_server(folder) as server:
        plain = rewrite_file(
            source, tmp_path / "plain.csv", "text", Workers(partial(killing, server.url), 0)
        )
        output = tmp_path / "out.csv"
        run = partial(rewrite_file, source, output, "text")
        with pytest.raises(TactfulError, match=r"was not reached|broke off") as gone:
            run(Workers(partial(killing, server.url), workers), told=_kill_after(server, 4))
        assert "rows are done and kept" in str(gone.value)
        assert journal_of(output).exists()
        with openai_server(folder, server.port):
            report = run(Workers(partial(killing, server.url), workers))
    assert output.read_bytes() == (tmp_path / "plain.csv").read_bytes()
    assert report.resumed > 0
    assert held(output, report)
    assert report.statuses == plain.statuses


class OneAtATime(OpenAIBackend):
    """Slow enough to be caught in the middle."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        return [super(OneAtATime, self).generate([one], sampling)[0] for one in requests]


def killing(url: str) -> Rewriter:
    return rewriter_on(OneAtATime(url, "tiny", wait=0.01, retries=1))


def _kill_after(server: Running, rows: int) -> Any:
    def told(what: str, done: int, total: int | None) -> None:
        if what == "rewriting" and done >= rows:
            server.kill()

    return told
