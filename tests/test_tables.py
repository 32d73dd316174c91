"""The results tables, with systems and a judge that answer by rules one can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks import tables
from benchmarks.tables import System, render_readme, render_table, write_rewrites

from tactful.errors import CorruptFileError, DataError
from tactful.rewriting.candidates import PromptedModel
from tests.evaluation.fake_judge import RuleJudge
from tests.fakes import CannedBackend

SOURCES = [f"you fool, read page {number}" for number in range(100)]
EMPTY_README = "# x\n\n" + "".join(
    f"<!-- results:{name} -->\n\nNot measured yet.\n\n<!-- /results -->\nafter {name}\n"
    for name in tables.TABLES
)


class Upper:
    """Answers in capitals and remembers what it was asked; may be cut off in the middle."""

    def __init__(self, version: str = "1", calls: int = 99) -> None:
        self.asked: list[str] = []
        self.calls = calls
        self.system = System("upper", version, self.rewrite)

    def rewrite(self, texts: Sequence[str]) -> list[str]:
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        self.asked += texts
        return [text.upper() for text in texts]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- write ----------------------------------------------------------------------------------


def test_a_run_that_broke_off_goes_on(tmp_path: Path) -> None:
    """After an interruption and a torn line, no row is lost, doubled or asked for again."""
    path = tmp_path / "upper.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_rewrites(Upper(calls=2).system, SOURCES, path)
    assert len(_rows(path)) == 2 * tables.CHUNK
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    again = Upper()
    rewrites = write_rewrites(again.system, SOURCES, path)
    assert rewrites == [text.upper() for text in SOURCES]
    assert again.asked == SOURCES[2 * tables.CHUNK - 1 :]
    assert [row["row"] for row in _rows(path)] == list(range(100))
    assert [row["rewrite"] for row in _rows(path)] == rewrites


def test_a_complete_file_asks_for_nothing(tmp_path: Path) -> None:
    """Fewer rows are read from a file of more, and do not shorten it."""
    path = tmp_path / "upper.jsonl"
    write_rewrites(Upper().system, SOURCES, path)
    again = Upper(calls=0)
    assert write_rewrites(again.system, SOURCES, path, limit=3) == [t.upper() for t in SOURCES[:3]]
    assert len(_rows(path)) == 100


@pytest.mark.parametrize("torn", ["[]\n", '{"row": -1, "rewrite": "x"}\n', '{"row": 1}\n', "{\n"])
def test_a_line_that_is_no_row_is_passed_over(torn: str, tmp_path: Path) -> None:
    """What cannot be read is written again."""
    path = tmp_path / "upper.jsonl"
    path.write_text(torn, encoding="utf-8")
    assert write_rewrites(Upper().system, ["a", "b"], path) == ["A", "B"]
    assert [row["row"] for row in _rows(path)] == [0, 1]


def test_a_damaged_rewrite_is_written_again(tmp_path: Path) -> None:
    """A byte that is no text does not reach the judge as a question mark."""
    path = tmp_path / "upper.jsonl"
    write_rewrites(Upper().system, ["a", "b"], path)
    path.write_bytes(path.read_bytes().replace(b'"A"', b'"\xff"'))
    assert write_rewrites(Upper().system, ["a", "b"], path) == ["A", "B"]


def test_another_version_starts_anew(tmp_path: Path) -> None:
    """Outputs of a changed system are dropped, not mixed with new ones."""
    path = tmp_path / "upper.jsonl"
    write_rewrites(Upper("1").system, SOURCES[:5], path)
    changed = Upper("2")
    write_rewrites(changed.system, SOURCES[:5], path)
    assert changed.asked == SOURCES[:5]
    assert [row["system"] for row in _rows(path)] == ["2"] * 5


def test_a_changed_source_is_rewritten_again(tmp_path: Path) -> None:
    """A row counts only for the text that it was written for."""
    path = tmp_path / "upper.jsonl"
    write_rewrites(Upper().system, ["a", "b", "c"], path)
    again = Upper()
    assert write_rewrites(again.system, ["a", "x", "c"], path) == ["A", "X", "C"]
    assert again.asked == ["x"]


def test_a_system_must_answer_every_text(tmp_path: Path) -> None:
    """A rewrite too few would shift all that follow."""
    short = System("short", "1", lambda texts: texts[1:])
    with pytest.raises(ValueError, match="shorter"):
        write_rewrites(short, SOURCES, tmp_path / "short.jsonl")


def test_the_version_follows_the_code() -> None:
    """A system's version names the files that it depends on by what is in them."""
    one, other = tables._code("prompts.py"), tables._code("prompts.py", "segment.py")
    assert one == tables._code("prompts.py")
    assert one != other


def test_the_version_follows_the_prompt_and_the_model() -> None:
    """Another wording under the same name, or another model, is another version."""

    def version(wording: str, model: str) -> str:
        def prompt(text: str) -> str:
            return wording + text

        backend = CannedBackend({})
        backend.name = model
        return tables._prompted("mine", PromptedModel(backend, prompt=prompt)).version

    assert version("Politely: ", "one") == version("Politely: ", "one")
    assert len({version("Politely: ", "one"), version("Nicely: ", "one"), version("", "two")}) == 3


def test_no_answer_is_an_empty_rewrite() -> None:
    """An answer that was cut off is none, and stays in its place."""
    backend = CannedBackend({"wrong": ["you are wrong"], "idiot": ["and so on " * 99]})
    system = tables._prompted("mine", PromptedModel(backend))
    assert system.rewrite(["you idiot", "that is wrong"]) == ["", "you are wrong"]


# --- the command ----------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small data folder and an empty project, with a fake judge and two fake systems."""
    data = tmp_path / "data"
    data.mkdir()
    _write(
        data / "paradetox_test.jsonl",
        {"toxic": "you fool read it", "references": ["you read it", "read it"]},
        {"toxic": "he is no fool at 9", "references": ["he is no person at 9"]},
    )
    _write(
        data / "peers_test.jsonl",
        {"toxic": "be quiet fool", "condbert": "be", "paragedi": "be quiet", "paragedi_mined": ""},
    )
    (tmp_path / "README.md").write_text(EMPTY_README, encoding="utf-8")
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tables, "README", tmp_path / "README.md")
    monkeypatch.setattr(tables, "LOADERS", {"copy": tables._copy, "upper": lambda: Upper().system})
    monkeypatch.setattr(tables, "load_judge", lambda name: RuleJudge(0.5))
    # No git here: what made the figures is then not known.
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _write(path: Path, *rows: dict[str, object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _run(place: Path, *more: str) -> None:
    tables.main(["--data", str(place / "data"), "--work", str(place / "work"), *more])


def test_from_data_to_readme(place: Path) -> None:
    """One command writes, judges, keeps figures without texts, and fills both tables."""
    _run(place)
    readme = (place / "README.md").read_text(encoding="utf-8")
    # Style 1 and 1, meaning 3/4 and 5/6, fluency 1/2: the mean product is 0.396.
    assert "| human reference | 1.000 ± 0.000 | 0.79" in readme
    assert "| copy | 0.000 ± 0.000 | 1.000 ± 0.000 | 0.500 ± 0.000 | 0.000 ± 0.000 | −0.3" in readme
    # The best peer says 2 of 3 words; one says nothing.
    assert (
        "| ParaGeDi | 1.000 ± 0.000 | 0.667 ± 0.000 | 0.500 ± 0.000 | 0.333 ± 0.000 | – |" in readme
    )
    assert "Differences in J are from: ParaGeDi." in readme
    assert "after paradetox" in readme
    for table in tables.TABLES:
        kept = (place / "results" / f"{table}.dev.json").read_text(encoding="utf-8")
        assert "fool" not in kept
        assert "quiet" not in kept
        assert (place / "work" / table / "dev" / "report.html").exists()
    assert not (place / "results" / tables.FINAL_RUNS).exists()


def test_the_reference_is_not_compared_with_itself(place: Path) -> None:
    """The human row has no BLEU; others have, and peers have none at all."""
    _run(place)
    paradetox = json.loads((place / "results" / "paradetox.dev.json").read_text())
    overlaps = {system["name"]: system["overlap"] for system in paradetox["systems"]}
    assert overlaps["human"] is None
    assert overlaps["copy"]["chrf"] > 0
    assert "BLEU" in render_table(paradetox)
    assert "BLEU" not in render_table(
        json.loads((place / "results" / "peers.dev.json").read_text())
    )


def test_a_second_run_judges_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are kept in the work folder."""
    _run(place)
    judge = RuleJudge(0.5)
    monkeypatch.setattr(tables, "load_judge", lambda name: judge)
    _run(place)
    assert judge.asked == []


def test_every_final_run_is_counted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each table, for parts of a table as well; the README prefers these figures."""
    _run(place, "--judge", "dev")
    _run(place, "--judge", "final", "--tables", "paradetox", "--limit", "1")
    _run(place, "--judge", "final")
    first, *others = _rows(place / "results" / tables.FINAL_RUNS)
    assert (first["table"], first["rows"]) == ("paradetox", 1)
    assert first["systems"] == ["human", "copy", "upper"]
    assert "rule@test" in first["judge"]
    assert first["commit"] is None
    assert first["date"].endswith("+00:00")
    assert [entry["table"] for entry in others] == ["paradetox", "peers"]
    assert "runs of the final judge so far: 3" in capsys.readouterr().err
    figures = json.loads((place / "results" / "peers.final.json").read_text())
    assert render_table(figures) in (place / "README.md").read_text(encoding="utf-8")


def test_some_rows_are_only_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither figures nor README change, but the table is there to be looked at."""
    _run(place, "--tables", "paradetox", "--limit", "1")
    assert "| copy |" in capsys.readouterr().out
    assert not list((place / "results").glob("*.json"))
    assert (place / "README.md").read_text(encoding="utf-8") == EMPTY_README


def test_a_table_may_grow_but_no_system_is_lost(place: Path) -> None:
    """Systems can be judged in steps; a run without one that the table has is refused."""
    _run(place, "--tables", "paradetox", "--systems", "copy,human")
    path = place / "results" / "paradetox.dev.json"
    assert [s["name"] for s in json.loads(path.read_text())["systems"]] == ["human", "copy"]
    _run(place, "--tables", "paradetox")
    before = path.read_text()
    assert "upper" in before
    with pytest.raises(SystemExit, match="upper, which would be lost"):
        _run(place, "--tables", "paradetox", "--systems", "copy,human")
    assert path.read_text() == before


def test_one_row_is_judged_anew_and_the_others_are_kept(place: Path) -> None:
    """The table is the one that judging all of them makes, and only what was named is asked."""
    path = place / "results" / "paradetox.dev.json"
    _run(place, "--tables", "paradetox")
    whole = json.loads(path.read_text())
    changed = json.loads(path.read_text())
    for system in changed["systems"]:
        if system["name"] == "copy":
            system["soft"]["joint"]["mean"] = 9.0
    path.write_text(json.dumps(changed))
    (place / "work" / "paradetox" / "upper.jsonl").unlink()
    _run(place, "--tables", "paradetox", "--systems", "copy", "--keep")
    found = json.loads(path.read_text())
    assert found["systems"] == whole["systems"]
    assert sorted(found["comparisons"], key=str) == sorted(whole["comparisons"], key=str)
    assert found["versions"] == whole["versions"]
    assert not (place / "work" / "paradetox" / "upper.jsonl").exists()


def test_rows_by_another_judge_are_not_kept(place: Path) -> None:
    """Two judges' figures in one table would compare nothing."""
    path = place / "results" / "paradetox.dev.json"
    _run(place, "--tables", "paradetox")
    before = path.read_text().replace("rule@test", "rule@other")
    path.write_text(before)
    with pytest.raises(
        SystemExit, match=r"its signature was .*rule@other.* judge all systems anew"
    ):
        _run(place, "--tables", "paradetox", "--systems", "copy", "--keep")
    assert path.read_text() == before


def test_optional_systems_are_asked_by_name_and_then_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in no run that does not name them, but a table that has them does not lose them."""
    monkeypatch.setattr(
        tables,
        "OPTIONAL",
        {"lower": lambda: System("lower", "1", lambda ts: [t.lower() for t in ts])},
    )
    path = place / "results" / "paradetox.dev.json"

    def systems() -> list[str]:
        return [system["name"] for system in json.loads(path.read_text())["systems"]]

    _run(place, "--tables", "paradetox")
    assert systems() == ["human", "copy", "upper"]
    _run(place, "--tables", "paradetox", "--systems", "human,copy,upper,lower")
    assert systems() == ["human", "copy", "upper", "lower"]
    _run(place, "--tables", "paradetox")
    assert systems() == ["human", "copy", "upper", "lower"]


def test_an_edited_model_is_asked_as_the_few_shot_baseline(tmp_path: Path) -> None:
    """The same prompt and one greedy answer; its version names the weights."""
    from tests.tiny import tiny_causal_lm

    system = tables.load_system(
        "model-surgery", {"model-surgery": tiny_causal_lm(tmp_path / "cut")}
    )
    asked = tables._prompted("few-shot", PromptedModel(CannedBackend({}))).version
    assert system.version.startswith("cut@")
    assert system.version.split("|")[0].split("@")[-1] == asked.split("|")[0].split("@")[-1]


def test_write_alone_needs_no_judge(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewrites can be made before there is a judge."""
    monkeypatch.delattr(tables, "load_judge")
    _run(place, "--only", "write")
    assert len(_rows(place / "work" / "paradetox" / "upper.jsonl")) == 2
    assert not (place / "results").exists()


def test_systems_of_the_other_table_are_left_out(place: Path) -> None:
    """Naming a peer is no fault for the table that has none."""
    _run(place, "--systems", "condbert")
    assert not (place / "work" / "paradetox" / "dev").exists()
    assert (place / "work" / "peers" / "dev").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: (data / "peers_test.jsonl").unlink(), "peers_test.jsonl is not there"),
        (
            lambda data: _write(data / "paradetox_test.jsonl", {"toxic": "a", "reference": ["b"]}),
            'has no column "references". Did you mean "reference"?',
        ),
        (
            lambda data: _write(data / "peers_test.jsonl", {"toxic": "a", "condbert": "b"}),
            'has no column "paragedi"',
        ),
        (
            lambda data: _write(data / "paradetox_test.jsonl", {"toxic": "a", "references": []}),
            "the references, row 1: none",
        ),
    ],
)
def test_bad_data_is_one_message_and_exit_1(spoil: Any, message: str, place: Path) -> None:
    """What is missing is named; sys.exit with a text prints it and exits with 1."""
    spoil(place / "data")
    with pytest.raises(SystemExit) as exit_:
        _run(place)
    assert str(exit_.value.code).startswith("tactful: ")
    assert message in str(exit_.value.code)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--data FOLDER is missing"),
        (["--data", "x", "--systems", "upper,few"], "'few' is none of human"),
        (["--data", "x", "--systems", "supervised"], "needs --supervised"),
        (["--data", "x", "--systems", "model-surgery"], "needs --edited"),
        (["--data", "x", "--limit", "0"], "at least 1; got '0'"),
        (["--data", "x", "--limit", "some"], "at least 1; got 'some'"),
        (["--data", "x", "--judge", "me"], "--judge"),
    ],
)
def test_wrong_usage_is_exit_2(
    argv: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before any work."""
    with pytest.raises(SystemExit) as exit_:
        tables.main(argv)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_interrupted_is_exit_130(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the rest of the project."""
    monkeypatch.setattr(tables, "LOADERS", {"upper": lambda: Upper(calls=0).system})
    with pytest.raises(SystemExit) as exit_:
        _run(place)
    assert exit_.value.code == 130


# --- render ---------------------------------------------------------------------------------


def _figures() -> dict[str, Any]:
    """Figures of two systems, small enough to read."""

    def system(name: str, joint: float, kept: float | None) -> dict[str, Any]:
        spread = {"mean": joint, "low": joint - 0.01, "high": joint + 0.03}
        rate = {"rate": kept, "count": 0, "of": 0}
        checks = ("copy", "kept_negation", "kept_numbers", "kept_tags")
        return {
            "name": name,
            "empty": 2,
            "soft": dict.fromkeys(("style", "meaning", "fluency", "joint"), spread),
            "checks": dict.fromkeys(checks, rate),
            "overlap": None,
        }

    return {
        "signature": "[judge:rule@test|n:1234]",
        "sentences": 1234,
        "boot": 1000,
        "baseline": "human",
        "systems": [system("human", 0.5, None), system("mine", 0.25, 0.125)],
        "comparisons": [
            {"system": "mine", "metric": "joint", "hard": hard, **difference}
            for hard, difference in (
                (True, {"mean": 9.0, "low": 0.0, "high": 0.0, "p": 1.0}),
                (False, {"mean": -0.25, "low": -0.3, "high": -0.22, "p": 0.002}),
            )
        ],
    }


def test_a_table_by_hand() -> None:
    """Means with half an interval, the soft difference in J, percentages, a dash for none."""
    half = "0.500 ± 0.020"
    quarter = "0.250 ± 0.020"
    assert render_table(_figures()) == (
        "|  | STA | SIM | FL | J | J: difference | copied | empty "
        "| keeps negation | keeps numbers | keeps mentions |\n"
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        f"| human reference | {half} | {half} | {half} | {half} | – | – | 2 | – | – | – |\n"
        f"| mine | {quarter} | {quarter} | {quarter} | {quarter} "
        "| −0.250 ± 0.040, p < 0.01 | 12.5% | 2 | 12.5% | 12.5% | 12.5% |\n\n"
        "1,234 sentences; ± is half of the 95 % interval of 1,000 resamples. Differences in J are "
        "from: human reference. Signature:\n\n"
        "```text\n[judge:rule@test|n:1234]\n```\n"
    )


def test_rendering_changes_only_what_is_between_the_markers(tmp_path: Path) -> None:
    """Rendering twice is rendering once, and a table without figures says so."""
    (tmp_path / "paradetox.dev.json").write_text(json.dumps(_figures()))
    once = render_readme(EMPTY_README, tmp_path)
    assert render_readme(once, tmp_path) == once
    assert once.startswith("# x\n")
    assert once.count("Not measured yet.") == 1
    (tmp_path / "paradetox.dev.json").unlink()
    assert render_readme(once, tmp_path) == EMPTY_README


def test_the_final_judge_goes_before_the_other(tmp_path: Path) -> None:
    """With figures of both, those of the final judge are shown."""
    (tmp_path / "peers.dev.json").write_text(json.dumps(_figures() | {"sentences": 11}))
    (tmp_path / "peers.final.json").write_text(json.dumps(_figures() | {"sentences": 12}))
    readme = render_readme(EMPTY_README, tmp_path)
    assert "12 sentences" in readme
    assert "11 sentences" not in readme


def test_an_edit_on_either_side_shows(tmp_path: Path) -> None:
    """Rendering again gives something else, which is what the test of the README looks at."""
    (tmp_path / "peers.dev.json").write_text(json.dumps(_figures()))
    readme = render_readme(EMPTY_README, tmp_path)
    edited = readme.replace("0.250 ±", "0.950 ±")
    assert edited != readme
    assert render_readme(edited, tmp_path) != edited
    figures = _figures()
    figures["systems"][1]["soft"]["joint"] = {"mean": 0.95, "low": 0.9, "high": 1.0}
    (tmp_path / "peers.dev.json").write_text(json.dumps(figures))
    assert render_readme(readme, tmp_path) != readme


def test_render_alone_needs_no_data(place: Path) -> None:
    """`--only render` takes the figures as they are."""
    (place / "results").mkdir()
    (place / "results" / "peers.dev.json").write_text(json.dumps(_figures()))
    tables.main(["--only", "render"])
    assert render_table(_figures()) in (place / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("readme", ["", EMPTY_README * 2, "<!-- results:paradetox -->\n"])
def test_a_readme_without_its_markers_is_refused(readme: str, tmp_path: Path) -> None:
    """Rather than lose a table, or what stands behind it."""
    with pytest.raises(DataError, match="results:paradetox"):
        render_readme(readme, tmp_path)


def test_damaged_figures_are_named(tmp_path: Path) -> None:
    """A file that broke off is no table."""
    (tmp_path / "peers.final.json").write_text('{"systems": [')
    with pytest.raises(CorruptFileError, match=r"peers\.final\.json"):
        render_readme(EMPTY_README, tmp_path)


def test_the_readme_has_the_committed_figures() -> None:
    """README and docs/results agree; `python benchmarks/tables.py --only render` makes them."""
    readme = tables.README.read_text(encoding="utf-8")
    assert render_readme(readme, tables.RESULTS) == readme
