from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tactful.cli import main
from tactful.corpora.read import read_rows
from tactful.rewriting.rewriter import RewriteConfig, Rewriter
from tactful.screeners.transformer import TransformerConfig, TransformerScreener
from tests.fakes import WordOverlap
from tests.rewriting.test_rewriter import SCREENER, Table
from tests.tiny import tiny_embedder


@dataclass
class Result:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run the command line in this process, as `main` would from a shell."""

    def call(*args: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["tactful", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsysbinary.readouterr()
        assert b"Traceback" not in err
        return Result(int(exit_.value.code or 0), out.decode(), err.decode())

    return call


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewriter that knows one sentence, in the place of the one with real weights."""
    table = Table({"you idiot": ["you there"], "=you idiot": ["=you there"]})

    def load(
        model: str,
        *,
        screener: object,
        config: RewriteConfig,
        method: str,
        adapter: Path | None,
        engine: str | None,
        purpose: str,
    ) -> Rewriter:
        loose = config.model_copy(update={"min_similarity": 0.1})
        return Rewriter(SCREENER, WordOverlap(), [table], loose)

    monkeypatch.setattr(Rewriter, "load", load)
    monkeypatch.setattr("tactful.models.resolve", lambda name: None)


# A process of its own would load the real models.
HERE = ("--workers", "0")


@pytest.mark.usefixtures("fake_models")
class TestRewrite:
    def test_argument(self, run: Run) -> None:
        """A text in, the rewrite alone on stdout, nothing on stderr."""
        assert run("rewrite", "you idiot") == Result(0, "you there\n", "")

    def test_stdin(self, run: Run) -> None:
        """One text a line; what is not rewritten is explained on stderr; no line is lost."""
        result = run("rewrite", stdin="you idiot\nfine, naïve\n\nwhat a clown".encode())
        assert result.out == "you there\nfine, naïve\n\nwhat a [removed]\n"
        assert "row 4: unresolved" in result.err
        assert "4 texts: 2 unchanged, 1 rewritten, 1 unresolved" in result.err

    def test_invalid_utf8_on_stdin(self, run: Run) -> None:
        """A line that is not UTF-8 gets a reason, the next one is processed; --strict exits 3."""
        result = run("rewrite", "--strict", "-", stdin=b"bad \xff idiot\nfine\n")
        assert result.out == "\nfine\n"
        assert "row 1: error: not UTF-8 at byte 4" in result.err
        assert result.code == 3

    def test_json(self, run: Run) -> None:
        """Everything known about a text, one object a line."""
        (answer,) = run("rewrite", "--json", "you idiot").json()
        assert answer["text"] == "you there"
        assert answer["status"] == "rewritten"
        assert answer["toxicity"] == [0.9, 0.0]
        assert answer["spans"] == [{"start": 4, "end": 9, "weight": 0.9}]

    def test_line_breaks_stay_inside_a_row(self, run: Run) -> None:
        """A text with a line break is one line of output, so that lines can be counted."""
        assert run("rewrite", "fine\nday").out == "fine\\nday\n"

    def test_csv_in_parquet_out(self, run: Run, tmp_path: Path) -> None:
        """Other columns and the order stay; a ragged row comes out with its reason."""
        source = tmp_path / "in.csv"
        source.write_text('id,comment\n1,"you idiot"\n2,fine,surplus\n3,ok\n')
        out = tmp_path / "out.jsonl"
        result = run("rewrite", source, "--column", "comment", "-o", out, *HERE)
        assert result.code == 0, result.err
        assert "3 texts: 1 rewritten, 1 error, 1 unchanged" in result.err
        assert "wrote out.jsonl in 0:00:0" in result.err
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["_status"] for row in rows] == ["rewritten", "error", "unchanged"]
        assert [row["id"] for row in rows] == ["1", "2", "3"]
        assert rows[0]["_text"] == "you there"
        assert "expected 2 cells" in rows[1]["_reason"]
        assert "surplus" in rows[1]["_reason"]  # the cell itself: nothing is lost
        assert result.out == ""

    def test_gz_and_formula_cells(self, run: Run, tmp_path: Path) -> None:
        """Compressed files work both ways; spreadsheet formulas are neutralised when asked."""
        source = tmp_path / "in.txt.gz"
        source.write_bytes(gzip.compress(b"=you idiot\n"))
        out = tmp_path / "out.csv"
        assert run("rewrite", source, "-o", out, "--neutralise-formulas", *HERE).code == 0
        (row,) = csv.DictReader(out.read_text().splitlines())
        assert row["_text"] == "'=you there"
        assert row["text"] == "'=you idiot"

    def test_text_file_out_holds_the_rewrites(self, run: Run, tmp_path: Path) -> None:
        """A text file gets the rewritten texts, never the sources."""
        (tmp_path / "my in.txt").write_text("you idiot\nfine\n")
        result = run("rewrite", tmp_path / "my in.txt", "-o", tmp_path / "out.txt", *HERE)
        assert result.code == 0, result.err
        assert (tmp_path / "out.txt").read_text() == "you there\nfine\n"

    def test_columns_of_the_user_are_not_written_over(self, run: Run, tmp_path: Path) -> None:
        """A column with a name of ours is refused before any work."""
        (tmp_path / "in.csv").write_text("text,_text\nyou idiot,keep me\n")
        result = run("rewrite", tmp_path / "in.csv", "-o", tmp_path / "out.csv", *HERE)
        assert result.code == 1
        assert "already has _text" in result.err

    def test_column_is_found_or_named(self, run: Run, tmp_path: Path) -> None:
        """A wrong column is answered with the nearest one and all there are."""
        source = tmp_path / "in.csv"
        source.write_text("id,comment\n1,fine\n")
        result = run("rewrite", source, "--column", "coment")
        assert result.code == 1
        assert "coment" in result.err
        assert "comment" in result.err

    def test_strict_and_report(self, run: Run, tmp_path: Path) -> None:
        """A file with a bad row exits 3 when asked; the page is written and loads nothing."""
        (tmp_path / "in.jsonl").write_text('{"text": "you idiot"}\n{"text": null}\n')
        page = tmp_path / "page.html"
        out = tmp_path / "out.tsv.zst"
        result = run(
            "rewrite", tmp_path / "in.jsonl", "-o", out, "--strict", "--report", page, *HERE
        )
        assert result.code == 3, result.err
        assert "mean toxicity: 0.900 before, 0.000 after" in result.err
        html = page.read_text()
        assert html.count("data:image/svg+xml;base64,") == 3
        assert not re.search(r"https?://|idiot", html)
        assert [row.values["_status"] for row in read_rows(out)] == ["rewritten", "error"]
        result = run("rewrite", tmp_path / "in.jsonl", "-o", out, "--report", tmp_path / "x.pdf")
        assert result.code == 1
        assert "ends with .html" in result.err

    def test_all(self, run: Run) -> None:
        """--all asks for a rewrite of clean texts as well, and says nothing when none is better."""
        assert run("rewrite", "--all", "fine").out == "fine\n"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["rewrite", "--colour", "x"], 2, "--colour"),
        (["rewrit"], 2, "rewrit"),
        (["rewrite", "--policy", "shout", "x"], 2, "keep, mask, block"),
        (["rewrite", "--method", "magic", "x"], 2, "model, replace, best-of-n, refine, "),
        (["rewrite", "nowhere.csv"], 1, "nowhere.csv"),
        (["rewrite", "a.csv", "b.csv"], 2, "one file at a time"),
        (["score", "--column", "x", "hello"], 2, "--column goes with a file"),
        (["score", "x", "-o", "/nowhere/out.csv"], 1, "/nowhere/out.csv"),
        (["score", "x", "--screener", "/nowhere"], 1, "/nowhere"),
        (["score", "x", "-o", "out.txt"], 1, "no place for scores"),
        (["rewrite", "a", "-"], 2, "reads stdin"),
        (["rewrite", "a", "--fresh"], 2, "go with a file and --output"),
        (["rewrite", "a", "--workers", "-1"], 2, "--workers"),
        (["fetch", "--from", "/nowhere"], 1, "/nowhere"),
        (["prepare"], 2, "labelled file"),
        (["screener", "fit", "nowhere.yaml", "-o", "x"], 1, "nowhere.yaml"),
        (["screener", "kinds", "nowhere.yaml", "-o", "x"], 1, "nowhere.yaml"),
        (["evaluate", "a.csv", "x=b.csv", "-o", "o", "--stack", "best"], 2, "s-nlp"),
        (["evaluate", "a.csv", "x=b.csv", "-o", "o", "--stack", "s-nlp"], 1, "style"),
        (
            ["evaluate", "a.csv", "x=b.csv", "-o", "o", "--stack", "s-nlp", "--part", "style"],
            2,
            "NAME=VALUE",
        ),
        (["evaluate", "a.csv", "x=b.csv", "-o", "o", "--judge", "best"], 1, "no judge 'best'"),
        (["evaluate", "a.csv", "x=b.csv", "-o", "o", "--part", "style=x"], 2, "give --stack too"),
        (
            ["evaluate", "a.csv", "x=b.csv", "-o", "o", "--judge", "dev", "--stack", "s-nlp"],
            2,
            "give one of them",
        ),
        (["judge", "fit", "nowhere.yaml", "-o", "x"], 1, "nowhere.yaml"),
        (["judge", "fit", "x.yaml", "-o", "x", "--part", "taste"], 2, "style, meaning, fluency"),
        (["judge", "check", "x.yaml", "--judge", "best"], 1, "no judge 'best'"),
        (["rewrite", "hello"], 1, "tactful fetch"),
        (["rewrite", "--model", "/nowhere/model", "hello"], 1, "/nowhere/model"),
    ],
)
def test_wrong_use_gets_one_message(run: Run, args: list[str], code: int, message: str) -> None:
    """Usage errors exit 2, what cannot be done exits 1; both say what was received."""
    result = run(*args)
    assert (result.code, result.out) == (code, "")
    flat = " ".join(result.err.replace("│", " ").split())
    assert message in flat


class TestScore:
    def test_text(self, run: Run) -> None:
        """A number and the text, tab between them; the default screener needs no weights."""
        toxic, clean = (
            float(line.split("\t")[0])
            for line in run("score", "you are an idiot", "have a nice day").out.splitlines()
        )
        assert toxic > 0.5 > clean

    def test_json_says_which_words(self, run: Run) -> None:
        """The spans point into the text that was given."""
        (answer,) = run("score", "--json", "well, you are an idiot").json()
        assert answer["toxic"] is True
        assert "idiot" in [answer["text"][s["start"] : s["end"]] for s in answer["spans"]]

    def test_a_word_is_silenced(self, run: Run, tmp_path: Path) -> None:
        """For whoever finds that a name is held against people."""
        out = tmp_path / "quiet"
        said = run("screener", "silence", "moron", "-o", out).err
        assert "without moron" in said
        loud = run("score", "--json", "you moron").json()[0]["toxicity"]
        quiet = run("score", "--json", "--screener", out, "you moron").json()[0]["toxicity"]
        assert quiet < 0.1 < 0.7 < loud

    def test_screener_of_ones_own(self, run: Run, tmp_path: Path) -> None:
        """A folder with a reading screener is told from one with a linear one."""
        config = TransformerConfig(base=str(tiny_embedder(tmp_path / "base")), epochs=1)
        screener = TransformerScreener.fit(["you idiot", "fine"], [True, False], config=config)
        screener.save(tmp_path / "own")
        (answer,) = run("score", "--json", "--screener", tmp_path / "own", "hello").json()
        assert answer["toxicity"] == pytest.approx(screener.toxicity(["hello"])[0], abs=1e-3)

    def test_other_languages_are_not_called_clean(self, run: Run) -> None:
        """What cannot be judged has no score, and keeps its line."""
        result = run("score", "Das Wetter ist heute wirklich schön in Berlin", "fine")
        assert result.out.splitlines()[0].startswith("-\tDas Wetter")
        assert "not screened" in result.err
        assert len(result.out.splitlines()) == 2

    def test_file(self, run: Run, tmp_path: Path) -> None:
        """Rows keep their columns and gain the score; a bad one gains its error."""
        source = tmp_path / "in.jsonl"
        source.write_text('{"text": "you idiot", "id": 1}\nnot json\n{"text": null}\n')
        out = tmp_path / "out.jsonl"
        assert run("score", source, "-o", out, "--strict").code == 3
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert rows[0]["id"] == 1
        assert rows[0]["_toxic"] is True
        assert "JSON" in rows[1]["_error"]
        assert "NoneType" in rows[2]["_error"]


def test_prepare_check_reports_rows(run: Run, tmp_path: Path) -> None:
    """--check names row and reason, writes nothing and exits 1."""
    source = tmp_path / "in.csv"
    source.write_text("text,toxic\nyou idiot,1\nfine,0\nodd,maybe\n")
    result = run("prepare", source, "--check")
    assert result.code == 1
    assert "maybe" in result.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


def test_prepare_writes_two_piles(run: Run, tmp_path: Path) -> None:
    """A labelled file becomes toxic.jsonl and neutral.jsonl."""
    source = tmp_path / "in.csv"
    source.write_text("text,toxic\nyou idiot,1\nwhat a clown,1\nfine day,0\n")
    result = run("prepare", source, "-o", tmp_path / "piles")
    assert result.code == 0, result.err
    toxic = (tmp_path / "piles" / "toxic.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in toxic] == ["you idiot", "what a clown"]


def test_doctor_says_what_is_missing(run: Run) -> None:
    """Without models, doctor names them, says what to do and exits 1."""
    result = run("doctor")
    assert result.code == 1
    assert "tactful fetch" in result.out
    findings = run("doctor", "--json").json()[0]
    assert len(findings["problems"]) == 3


def test_unexpected_error_is_a_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours is one message as well, and says how to report it."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("boom")

    monkeypatch.setattr("tactful.screeners.linear.LinearScreener.load", broken)
    result = run("score", "x")
    assert result.code == 1
    assert "boom" in result.err
    assert "TACTFUL_DEBUG" in result.err


@pytest.mark.parametrize("code", ["import tactful", "import tactful.cli"])
def test_import_brings_no_torch(code: str) -> None:
    """Neither the package nor its command line imports torch, transformers or sklearn."""
    check = "import sys; heavy = {'torch', 'transformers', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", f"{code}; {check}"], check=True)


def test_pipe_that_closes_early() -> None:
    """`tactful score ... | head -1` ends without a traceback."""
    command = f"yes fine | head -20000 | {sys.executable} -m tactful.cli score | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\tfine\n")
    statuses = f"yes fine | head -20000 | {sys.executable} -m tactful.cli score | head -1 > /dev/null; echo ${{PIPESTATUS[2]}}"
    done = subprocess.run(["bash", "-c", statuses], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert "Traceback" not in done.stderr
    assert "should not have happened" not in done.stderr


def test_full_standard_output_is_said_in_words() -> None:
    """What cannot be written is no success."""
    command = f"{sys.executable} -m tactful.cli score fine > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot write to standard output" in done.stderr
