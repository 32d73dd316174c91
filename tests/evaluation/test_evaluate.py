from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tactful.errors import DataError
from tactful.evaluation import evaluate as module
from tactful.evaluation.base import Scores
from tactful.evaluation.evaluate import ScoreCache, evaluate, score_key
from tests.evaluation.fake_judge import RuleJudge

SOURCES = ["you fool", "read it fool now"]
COPY = list(SOURCES)
DELETE = ["you", "read it now"]


def test_means_by_hand() -> None:
    """Deletion keeps 1 of 2 and 3 of 4 words: SIM 0.625, J = 0.625 * 0.8 with STA 1, FL 0.8."""
    report = evaluate({"delete": DELETE, "copy": COPY}, SOURCES, RuleJudge(fluency=0.8))
    delete, copy = report.systems
    assert delete.soft["style"].mean == 1
    assert delete.soft["meaning"].mean == 0.625
    assert delete.soft["fluency"].mean == pytest.approx(0.8)
    assert delete.soft["joint"].mean == pytest.approx(0.5)
    assert copy.soft["style"].mean == 0
    assert copy.soft["joint"].mean == 0


def test_hard_forms_by_hand() -> None:
    """With meaning from 0.6 on, one of two deletions is good in all three."""
    thresholds = module.HardThresholds(meaning=0.6)
    report = evaluate({"delete": DELETE}, SOURCES, RuleJudge(), thresholds=thresholds)
    assert report.systems[0].hard["meaning"].mean == 0.5
    assert report.systems[0].hard["joint"].mean == 0.5
    assert "|thr:0.5/0.6/0.5|n:2|boot:1000|seed:0|" in report.signature


def test_empty_outputs_score_nothing_and_are_counted() -> None:
    """A missing or blank rewrite is a row like any other, with 0 in all three, and not judged."""
    judge = RuleJudge()
    report = evaluate({"half": ["you", None], "none": ["", "  "]}, SOURCES, judge)
    half, none = report.systems
    assert half.empty == 1
    assert half.soft["style"].mean == 0.5
    assert half.sentence_scores("fluency").tolist() == [1, 0]
    assert none.empty == 2
    assert none.soft["joint"].mean == 0
    assert [rewrite for _, rewrite, _ in judge.asked] == ["you"]


def test_comparison_with_the_baseline() -> None:
    """J of deletion is ahead of a copy's on both sentences, by 0.5 and 0.75."""
    report = evaluate(
        {"delete": DELETE, "copy": COPY}, SOURCES, RuleJudge(), baseline="copy", boot=99
    )
    assert {c.system for c in report.comparisons} == {"delete"}
    joint = next(c for c in report.comparisons if c.metric == "joint" and not c.hard)
    assert joint.difference.mean == 0.625
    assert joint.difference.p == 0.02
    assert len(report.comparisons) == 8
    assert evaluate({"copy": COPY}, SOURCES, RuleJudge()).comparisons == ()


def test_every_text_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pair twice in a file, or in two files, costs one judgement."""
    monkeypatch.setattr(module, "_CHUNK", 2)
    judge = RuleJudge()
    sources = ["you fool"] * 5
    report = evaluate({"a": ["you"] * 5, "b": ["you", "you", "he", "he", "you"]}, sources, judge)
    assert [rewrite for _, rewrite, _ in judge.asked] == ["you", "he"]
    assert report.system("b").sentence_scores("meaning").tolist() == [0.5, 0.5, 0, 0, 0.5]


def test_interrupted_evaluation_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged before a crash is on disk, chunk by chunk, and is not judged again."""
    monkeypatch.setattr(module, "_CHUNK", 1)
    path = tmp_path / "scores.jsonl"

    def stop(done: int, _: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate({"a": DELETE}, SOURCES, RuleJudge(), cache=ScoreCache(path), progress=stop)
    judge = RuleJudge()
    resumed = evaluate({"a": DELETE}, SOURCES, judge, cache=ScoreCache(path))
    assert [rewrite for _, rewrite, _ in judge.asked] == DELETE[1:]
    assert resumed.to_dict() == evaluate({"a": DELETE}, SOURCES, RuleJudge()).to_dict()


def test_a_torn_line_is_judged_again(tmp_path: Path) -> None:
    """A line cut off by a crash is ignored, and does not spoil what is written after it."""
    path = tmp_path / "scores.jsonl"
    evaluate({"a": DELETE}, SOURCES, RuleJudge(), cache=ScoreCache(path))
    path.write_bytes(path.read_bytes()[:-9])
    cache = ScoreCache(path)
    assert len(cache) == 1
    judge = RuleJudge()
    evaluate({"a": DELETE}, SOURCES, judge, cache=cache)
    assert len(judge.asked) == 1
    assert len(ScoreCache(path)) == 2


def test_a_line_without_its_end_is_whole_or_not(tmp_path: Path) -> None:
    """Only the line break is missing: the score counts, and the next begins a new line."""
    path = tmp_path / "scores.jsonl"
    path.write_text('{"key": "a", "scores": [1, 0.5, 0]}')
    cache = ScoreCache(path)
    cache.add("j", {"b": (0.1, 0.2, 0.3)})
    again = ScoreCache(path)
    assert (again["a"], again["b"]) == ((1, 0.5, 0), (0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    "line",
    [
        '{"key": "a", "scores": [1, 2, 0]}',
        '{"key": "a", "scores": [1, 0]}',
        '{"key": 5, "scores": [1, 1, 1]}',
        '{"key": "a", "scores": [NaN, 1, 1]}',
        "[]",
        "\ufffd",
    ],
)
def test_what_is_no_score_is_not_read(tmp_path: Path, line: str) -> None:
    """Lines that do not hold three numbers in [0, 1] are passed over."""
    path = tmp_path / "scores.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    assert len(ScoreCache(path)) == 0


def test_keys_depend_on_everything_shown() -> None:
    """Another judge, source, rewrite or reference is another question."""
    keys = {
        score_key("j", "a", "b", None),
        score_key("k", "a", "b", None),
        score_key("j", "ab", "", None),
        score_key("j", "a", "b", []),
        score_key("j", "a", "b", ["c", "d"]),
        score_key("j", "a", "b", ["cd"]),
    }
    assert len(keys) == 6
    assert score_key("j", "a", "b", ("c",)) == score_key("j", "a", "b", ["c"])


def test_judges_share_a_cache_and_no_scores() -> None:
    """Another signature is another judge, though the texts are the same."""
    cache = ScoreCache()
    evaluate({"a": DELETE}, SOURCES, RuleJudge(), cache=cache)
    other = RuleJudge(fluency=0.5)
    other.signature = "rule@other"
    report = evaluate({"a": DELETE}, SOURCES, other, cache=cache)
    assert len(other.asked) == 2
    assert report.systems[0].soft["fluency"].mean == 0.5


def test_progress_counts_rewrites_of_all_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two systems of two rows in chunks of one are four steps."""
    monkeypatch.setattr(module, "_CHUNK", 1)
    seen: list[tuple[int, int]] = []
    evaluate(
        {"a": DELETE, "b": COPY}, SOURCES, RuleJudge(), progress=lambda *step: seen.append(step)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_references_reach_judge_and_overlap() -> None:
    """With references there are BLEU and chrF, and the judge is shown them."""
    references = [["you"], ["read it now", "please read it"]]
    judge = RuleJudge(needs_references=True)
    report = evaluate({"delete": DELETE}, SOURCES, judge, references=references)
    assert report.systems[0].overlap is not None
    assert report.systems[0].overlap.chrf == pytest.approx(100)
    assert judge.asked[1] == (SOURCES[1], DELETE[1], ("read it now", "please read it"))
    with pytest.raises(DataError, match="compares with references"):
        evaluate({"delete": DELETE}, SOURCES, judge)


def test_all_faults_at_once() -> None:
    """One message names row, column and reason of everything that is wrong."""
    with pytest.raises(DataError) as caught:
        evaluate(
            {"ours": ["you", 5], "short": ["you"], "text": "you"},  # type: ignore[list-item]
            ["you fool", " "],
            RuleJudge(),
            references=[["you"], []],
            baseline="our",
        )
    assert str(caught.value).splitlines() == [
        "the texts cannot be evaluated: 6 faults",
        "  the sources, row 2: empty",
        "  the references, row 2: none",
        '  the baseline "our" is none of the systems. Did you mean "ours"?  (ours, short, text)',
        '  system "ours", row 2: expected text, got int (5)',
        '  system "short": 1 rows, but 2 sources; row n must belong to source n',
        '  system "text": expected a list of texts, got one text',
    ]


def test_the_list_of_faults_is_capped() -> None:
    """A column of numbers does not fill the screen."""
    with pytest.raises(DataError) as caught:
        evaluate({"ours": [1.5] * 50}, ["you fool"] * 50, RuleJudge())  # type: ignore[dict-item]
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("50 faults")
    assert len(lines) == 22
    assert lines[-1] == "  ... and 30 more"


@pytest.mark.parametrize("references", [["you"], [[""]], [[3]], [["a"], ["b"]]])
def test_references_that_are_none(references: list[list[str]]) -> None:
    """A text instead of a list, an empty or non-text reference, and one row too many are faults."""
    with pytest.raises(DataError, match="the references"):
        evaluate({"a": ["you"]}, ["you fool"], RuleJudge(), references=references)


def test_nothing_to_evaluate() -> None:
    """No system or no row is a mistake of the caller's."""
    for systems, sources in (({}, ["a"]), ({"a": []}, [])):
        with pytest.raises(DataError, match="nothing to evaluate"):
            evaluate(systems, sources, RuleJudge())


class _Broken(RuleJudge):
    """Gives one score too few, or one that is no probability."""

    def __init__(self, style: list[float]) -> None:
        super().__init__()
        self.style = np.array(style)

    def score(self, *_: object) -> Scores:
        return Scores(self.style, self.style, self.style)


@pytest.mark.parametrize("style", [[0.5], [0.5, 1.5], [0.5, float("nan")]])
def test_a_broken_judge_is_named(style: list[float]) -> None:
    """Scores that cannot be right stop the evaluation and are not kept."""
    cache = ScoreCache()
    with pytest.raises(DataError, match="the judge rule should give 2 scores"):
        evaluate({"a": DELETE}, SOURCES, _Broken(style), cache=cache)
    assert len(cache) == 0


def test_rounding_at_the_edge_is_no_fault() -> None:
    """A hair above 1 is 1."""
    report = evaluate({"a": DELETE}, SOURCES, _Broken([1 + 1e-9, 1.0]))
    assert report.systems[0].scores.style.tolist() == [1.0, 1.0]


def test_report_as_plain_data() -> None:
    """The summary holds figures and no text; the rows hold both."""
    report = evaluate({"delete": DELETE, "copy": COPY}, SOURCES, RuleJudge(), baseline="copy")
    plain = json.dumps(report.to_dict())
    assert "read it" not in plain
    assert json.loads(plain)["systems"][0]["soft"]["meaning"]["mean"] == 0.625
    rows = list(report.rows())
    assert [(row["row"], row["system"]) for row in rows] == [
        (1, "delete"),
        (1, "copy"),
        (2, "delete"),
        (2, "copy"),
    ]
    assert rows[0]["rewrite"] == "you"
    assert rows[0]["joint"] == 0.5
    assert rows[1]["copy"] is True


class _ComparesMeaning(RuleJudge):
    """A judge that can be asked about meaning alone."""

    def same_meaning(self, sources, rewrites):
        return self.score(sources, rewrites).meaning


def test_meaning_is_also_compared_with_references() -> None:
    """Each row counts its closest reference, an empty rewrite nothing; by hand: (1 + 1/2 + 0) / 3."""
    report = evaluate(
        {"ours": ["read it", "go home", None]},
        ["fool, read it", "fool, go home", "fool"],
        _ComparesMeaning(),
        references=[["read it", "see you"], ["home we go then"], ["you"]],
        boot=50,
    )
    found = report.system("ours").reference_meaning
    assert found is not None
    assert found.mean == pytest.approx(1.5 / 3)
    assert report.system("ours").to_dict()["reference_meaning"]["mean"] == found.mean


def test_without_references_or_such_a_judge_nothing_is_compared() -> None:
    plain = evaluate({"ours": ["read it"]}, ["fool, read it"], _ComparesMeaning(), boot=50)
    assert plain.system("ours").reference_meaning is None
    other = evaluate(
        {"ours": ["read it"]}, ["fool, read it"], RuleJudge(), references=[["read it"]], boot=50
    )
    assert other.system("ours").reference_meaning is None
