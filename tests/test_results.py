"""What the pages of results show is what the committed figures say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tactful.evaluation.bias import render_bias
from tactful.evaluation.judge_check import render_judge_check
from tactful.study import render

RESULTS = Path(__file__).parent.parent / "docs" / "results"
CHECKS = sorted(RESULTS.glob("judge.*.json"))


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.name)
def test_the_judges_page_shows_each_check(path: Path) -> None:
    """Every figure of every check, as `tactful judge check` prints it."""
    page = (RESULTS / "judges.md").read_text(encoding="utf-8")
    assert render_judge_check(json.loads(path.read_text(encoding="utf-8"))).strip() in page


def test_there_are_checks_of_both_judges() -> None:
    assert {path.name.split(".")[1] for path in CHECKS} == {"dev", "final"}


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.name)
def test_checks_are_of_the_judges_that_ship(path: Path) -> None:
    """A judge that was fitted again has to be checked again."""
    figures = json.loads(path.read_text(encoding="utf-8"))
    name = path.name.split(".")[1]
    package = RESULTS.parent.parent / "src" / "tactful" / "assets" / "judges"
    settings = json.loads((package / name / "judge.json").read_text(encoding="utf-8"))
    assert figures["judge"].startswith(f"{name}@{settings['digest']}|")


def test_the_page_of_the_noise_study_is_of_its_figures() -> None:
    found = json.loads((RESULTS / "noise.json").read_text(encoding="utf-8"))
    assert render(found) == (RESULTS / "noise.md").read_text(encoding="utf-8")


def test_the_page_of_judge_bias_is_of_its_figures() -> None:
    """And both are of the dev judge that ships."""
    found = json.loads((RESULTS / "judge_bias.json").read_text(encoding="utf-8"))
    assert (RESULTS / "judge_bias.md").read_text(encoding="utf-8") == render_bias(found)
    checked = json.loads((RESULTS / "judge.dev.json").read_text(encoding="utf-8"))
    assert found["judge"] == checked["judge"]
