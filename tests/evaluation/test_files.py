from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tactful.corpora.write import open_writer
from tactful.errors import DataError
from tactful.evaluation.files import (
    ClefRow,
    read_aligned,
    read_clef,
    read_ids,
    read_outputs,
    read_sources,
    write_clef,
)


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with open_writer(path) as writer:
        for row in rows:
            writer.write(row)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet", "jsonl.gz"])
def test_sources_with_references_in_any_format(tmp_path: Path, ending: str) -> None:
    """The same rows read the same from every kind of file."""
    rows = [
        {"toxic": "you fool", "references": ["you", "you are wrong"]},
        {"toxic": "read it, fool", "references": ["read it"]},
    ]
    sources, references = read_sources(_write(tmp_path / f"test.{ending}", rows))
    assert sources == ["you fool", "read it, fool"]
    assert references == [["you", "you are wrong"], ["read it"]]


def test_references_in_columns(tmp_path: Path) -> None:
    """ParaDetox keeps one reference a column; cells may be empty."""
    rows = [
        {"en_toxic_comment": "you fool", "en_neutral_comment": "you", "en_neutral_comment2": ""},
        {"en_toxic_comment": "a fool", "en_neutral_comment": "[a] man", "en_neutral_comment2": "b"},
    ]
    sources, references = read_sources(_write(tmp_path / "paradetox.tsv", rows))
    assert sources == ["you fool", "a fool"]
    assert references == [["you"], ["[a] man", "b"]]


@pytest.mark.parametrize("name", ["text", "original", "toxic", "comment_text", "anything"])
def test_sources_alone(tmp_path: Path, name: str) -> None:
    """Usual names are known, a single column needs no name, and references are optional."""
    assert read_sources(_write(tmp_path / "a.csv", [{name: "you fool"}])) == (["you fool"], None)


def test_named_columns(tmp_path: Path) -> None:
    """What is named counts, and a wrong name gets the nearest one."""
    path = _write(tmp_path / "a.jsonl", [{"a": "you fool", "b": "you", "c": 3}])
    assert read_sources(path, "a", "b") == (["you fool"], [["you"]])
    with pytest.raises(DataError, match="name the column that holds the sources"):
        read_sources(path)
    with pytest.raises(DataError, match=r'no column "aa"\. Did you mean "a"'):
        read_sources(path, "aa")


def test_text_file_keeps_its_blank_lines(tmp_path: Path) -> None:
    """In a text file a blank line is an empty output, and the next line stays in its row."""
    path = tmp_path / "out.txt"
    path.write_text("you\n\nread it\n", encoding="utf-8")
    assert read_outputs(path) == ["you", "", "read it"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "you fool", "_text": "you"}, "you"),
        ({"original": "you fool", "rewritten": "you"}, "you"),
        ({"id": "1", "text": "you"}, "you"),
        ({"anything": "you"}, "you"),
    ],
)
def test_output_columns(tmp_path: Path, row: dict[str, str], expected: str) -> None:
    """Our own files, those of others and CLEF's are read without naming a column."""
    assert read_outputs(_write(tmp_path / "out.jsonl", [row])) == [expected]


def test_a_source_is_not_taken_for_an_output(tmp_path: Path) -> None:
    """Beside an unknown column, "text" may well be the source: ask."""
    path = _write(tmp_path / "out.csv", [{"text": "you fool", "mine": "you"}])
    with pytest.raises(DataError, match="name the column that holds the outputs"):
        read_outputs(path)
    assert read_outputs(path, "mine") == ["you"]


def test_missing_outputs_are_empty(tmp_path: Path) -> None:
    """null is no rewrite; it stays a row."""
    path = _write(tmp_path / "out.jsonl", [{"rewrite": "you"}, {"rewrite": None}])
    assert read_outputs(path) == ["you", ""]


def test_all_bad_rows_at_once(tmp_path: Path) -> None:
    """Numbers and broken lines are named with their row and reason, and nothing is read."""
    path = tmp_path / "out.jsonl"
    path.write_text('{"rewrite": "you"}\n{"rewrite": 5}\n{"rewri\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_outputs(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 2 faults"
    assert lines[1] == '  row 2: "rewrite": expected text, got int (5)'
    assert lines[2].startswith("  row 3: invalid JSON")


def test_alignment_by_id(tmp_path: Path) -> None:
    """Order does not matter with ids; one that is missing is a missing output."""
    sources = _write(tmp_path / "in.jsonl", [{"id": n, "text": f"fool {n}"} for n in (1, 2, 3)])
    out = _write(tmp_path / "out.jsonl", [{"id": "3", "text": "c"}, {"id": "1", "text": "a"}])
    ids = read_ids(sources)
    assert ids == ["1", "2", "3"]
    assert read_aligned(out, ["fool 1", "fool 2", "fool 3"], ids) == ["a", None, "c"]
    assert read_aligned(out, ["fool 1", "fool 2"]) == ["c", "a"]


def test_wrong_ids_are_named(tmp_path: Path) -> None:
    """Ids that come twice or belong to nothing mean that the wrong file was given."""
    rows = [{"id": n, "text": "a"} for n in ("1", "1", "9")]
    out = _write(tmp_path / "out.jsonl", rows)
    with pytest.raises(DataError) as caught:
        read_aligned(out, ["fool"], ["1"])
    assert str(caught.value).splitlines()[1:] == [
        "  id '1' comes more than once",
        "  id '9' is none of the sources'",
    ]


def test_alignment_by_toxic_sentence(tmp_path: Path) -> None:
    """A CLEF table is matched by its source; other languages in it are passed over."""
    out = tmp_path / "out.tsv"
    write_clef(
        out,
        [
            ClefRow("gut", source="du Trottel", lang="de"),
            ClefRow("second", source="two fools"),
            ClefRow("first", source="one fool"),
            ClefRow("again", source="one fool"),
        ],
    )
    sources = ["one fool", "two fools", "three fools", "one fool", "one fool"]
    assert read_aligned(out, sources) == ["first", "second", None, "again", "again"]
    with pytest.raises(DataError, match="is one of the sources"):
        read_aligned(out, ["nothing of the kind"])


def test_no_ids(tmp_path: Path) -> None:
    """Without a column of ids there are none, and odd ids are faults."""
    assert read_ids(_write(tmp_path / "a.csv", [{"text": "a"}])) is None
    with pytest.raises(DataError, match=r"expected text or a whole number, got 1\.5"):
        read_ids(_write(tmp_path / "b.jsonl", [{"id": 1.5}]))


def test_clef_lines_round_trip(tmp_path: Path) -> None:
    """JSON Lines with id and text, nothing else."""
    rows = [ClefRow('say "you"', id="en_1"), ClefRow("", id="en_2"), ClefRow("ünïcode", id="en_3")]
    path = tmp_path / "submission.jsonl"
    write_clef(path, rows)
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first == {"id": "en_1", "text": 'say "you"'}
    assert read_clef(path) == rows


def test_clef_table_round_trip(tmp_path: Path) -> None:
    """Tabs, quotes and line breaks inside a cell survive."""
    rows = [
        ClefRow('you\tare "wrong"', source="you\nfool", lang="en"),
        ClefRow("", source="fool", lang="de"),
    ]
    path = tmp_path / "submission.tsv"
    write_clef(path, rows)
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert header == "lang\ttoxic_sentence\tneutral_sentence"
    assert read_clef(path) == rows


def test_clef_needs_what_its_format_needs(tmp_path: Path) -> None:
    """Lines need ids, tables need sources, and nothing is written without."""
    for name, fault in (("a.jsonl", "row 1 has no id"), ("a.tsv", "row 1 has no source")):
        with pytest.raises(DataError, match=fault):
            write_clef(tmp_path / name, [ClefRow("text")])
        assert not (tmp_path / name).exists()


def test_outputs_beside_other_sources_are_refused(tmp_path: Path) -> None:
    """A file that shows its own sources in another order is not judged row n against row n."""
    path = tmp_path / "out.jsonl"
    rows = [{"text": "you fool", "_text": "you"}, {"text": "read it", "_text": "read"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_aligned(path, ["you fool", "read  it"]) == ["you", "read"]
    with pytest.raises(DataError, match=r'row 1: its "text" is not the source of that row'):
        read_aligned(path, ["read it", "you fool"])


def test_a_sources_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sources.jsonl"
    path.write_text('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="id '1' comes more than once"):
        read_ids(path)
