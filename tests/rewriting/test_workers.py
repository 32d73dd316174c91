"""Real processes that die and hang. The engines are at the top level: a process imports them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tactful.errors import ModelsMissingError, TactfulError
from tactful.records import Rewrite
from tactful.rewriting import workers as module
from tactful.rewriting.workers import Engine, Workers


class Moody:
    """Answers with the text in capitals; some texts break it. Every text asked leaves a mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = "moody@1"

    def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]:
        answers = []
        for text in texts:
            with (self.folder / f"asked {text}").open("a") as marks:
                marks.write("x")
            if text == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "dies once" and len((self.folder / f"asked {text}").read_text()) == 1:
                os._exit(7)
            if text == "hangs":
                time.sleep(600)
            if text == "raises":
                raise ValueError("no such word")
            time.sleep(0.05 * (text == "slow"))
            answers.append(Rewrite(text, text.upper(), "rewritten"))
        return answers[1:] if "short" in texts and len(texts) > 1 else answers


def asked(folder: Path, text: str) -> int:
    return len((folder / f"asked {text}").read_text())


def missing(folder: Path) -> Engine:
    raise ModelsMissingError("no weights here; run tactful fetch")


def broken(folder: Path) -> Engine:
    raise ValueError("shapes differ")


def stillborn(folder: Path) -> Engine:
    os._exit(3)


def run(
    folder: Path, chunks: Sequence[Sequence[str]], count: int = 1, **options: Any
) -> tuple[list[list[Any]], int]:
    """Texts and statuses of every chunk, and how many processes were lost."""
    with Workers(partial(Moody, folder), count, **options) as workers:
        found = list(workers.map(chunks, lambda chunk: chunk))
        assert [item for item, _ in found] == list(chunks)
        return [[answer[:3] for answer in answers] for _, answers in found], workers.lost


def ok(*texts: str) -> list[list[Any]]:
    return [[text.upper(), "rewritten", ""] for text in texts]


@pytest.mark.parametrize("count", [0, 2])
def test_answers_come_in_order(tmp_path: Path, count: int) -> None:
    """Whoever is quicker, chunks come out as they went in, empty ones too."""
    chunks = [["slow", "a"], ["b"], [], ["c", "d", "e"], ["slow"], ["f"]]
    found, lost = run(tmp_path, chunks, count)
    assert found == [ok(*chunk) for chunk in chunks]
    assert lost == 0


@pytest.mark.parametrize("count", [0, 1])
def test_an_engine_that_raises_costs_one_text(tmp_path: Path, count: int) -> None:
    """The others of its chunk are answered, and so are those after a wrong number of answers."""
    found, lost = run(tmp_path, [["a", "raises", "b"], ["short", "c"]], count)
    error = ["", "error", "ValueError: no such word"]
    assert found == [[*ok("a"), error, *ok("b")], ok("short", "c")]
    assert lost == 0


def test_a_text_that_kills_costs_one_text(tmp_path: Path) -> None:
    """Its chunk is tried again, then its texts one by one; nothing comes twice."""
    found, lost = run(tmp_path, [["a"], ["b", "dies", "c"], ["d"]], 2)
    reason = "the process that rewrites was killed by signal 9 (SIGKILL)"
    assert found == [ok("a"), [*ok("b"), ["", "error", reason], *ok("c")], ok("d")]
    assert lost == 3
    assert asked(tmp_path, "dies") == 3


def test_a_process_that_died_once_is_replaced(tmp_path: Path) -> None:
    """A second try as a whole is enough, and no text gets an error."""
    found, lost = run(tmp_path, [["a", "dies once", "b"], ["c"]])
    assert found == [ok("a", "dies once", "b"), ok("c")]
    assert lost == 1
    assert asked(tmp_path, "c") == 1


def test_a_process_that_hangs_is_replaced(tmp_path: Path) -> None:
    """Its time is bounded, and the reason says so."""
    found, lost = run(tmp_path, [["hangs"], ["a"]], timeout=2.0)
    assert found == [
        [["", "error", "the process that rewrites took longer than 2 seconds"]],
        ok("a"),
    ]
    assert lost == 2


def test_an_engine_that_is_broken_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing is answered any more, the rest does not become a million errors."""
    monkeypatch.setattr(module, "_MOST_LOST", 4)
    with pytest.raises(TactfulError, match="4 processes in a row were lost without an answer"):
        run(tmp_path, [["dies", "dies"], ["dies"], ["dies"]])


@pytest.mark.parametrize(
    ("load", "kind", "message"),
    [
        (missing, ModelsMissingError, "no weights here; run tactful fetch"),
        (broken, TactfulError, "could not be loaded: ValueError: shapes differ"),
        (stillborn, TactfulError, "that loads the rewriter ended with exit code 3, 3 times"),
    ],
)
def test_an_engine_that_cannot_be_loaded(
    tmp_path: Path, load: Callable[[Path], Engine], kind: type[TactfulError], message: str
) -> None:
    """What its process said is said here."""
    with pytest.raises(kind, match=message), Workers(partial(load, tmp_path), 1) as workers:
        assert workers.name


def test_no_process_is_left(tmp_path: Path) -> None:
    """Whatever ends the work, hanging processes end with it."""
    with Workers(partial(Moody, tmp_path), 2) as workers:
        assert workers.name == "moody@1"
        stream = workers.map([["a"], ["hangs"], ["hangs"]], lambda chunk: chunk)
        next(stream)
        children = [
            child
            for child in psutil.Process().children()
            if any("spawn_main" in word for word in child.cmdline())
        ]
    assert len(children) == 2
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
