"""A run folder as a page and a card, whole and broken off, and its lines cut back."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tactful.errors import DataError
from tactful.run_curves import Curve, chart, ticks
from tactful.run_folder import KEPT, RunFolder, read_run, shareable
from tactful.run_report import render_page, report_run, state
from tactful.training.alarms import Alarm

RECIPE: dict[str, Any] = {
    "data": {"dir": "/home/somebody/corpus", "toxic": [{"file": "toxic.jsonl"}]},
    "base": "base",
    "warm_start": "../runs/warm/adapter",
    "followers": {"also": [{"name": "kind", "call": "https://me:secret@score.test:81/v1?key=x"}]},
}
ABOUT = {
    "version": "0.1",
    "policy": "smollm2@1234+adapter@5678",
    "data": "abcdef012345",
    "texts": 1234,
    "judge": "judge:dev@42",
    "looked_at": 120,
}
RESULT = {"step": 40, "joint": 0.5, "style": 0.9, "meaning": 0.8, "fluency": 0.7, "copies": 0.1}
PAIRS = [
    ("you are an idiot & a <b>fool</b>", "you are wrong & a <b>man</b>"),
    ("only an idiot would read this", "only an idiot would read this"),
    ("this is a stupid plan", ""),
]


def a_run(folder: Path, *, steps: int = 40, looks: int = 4, about: Any = None) -> RunFolder:
    """A folder as `train` leaves it, with invented figures."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    run = RunFolder(folder)
    for step in range(5, steps + 1, 5):
        share = step / 40
        run.line(
            {
                "step": step,
                "of": 40,
                "loss": 0.7 - 0.2 * share,
                "kl": 3 * share,
                "play/passed/style": 0.4 + 0.5 * share,
                "play/passed/a<b": 0.5,
                "play/passed/all": 0.2 + 0.5 * share,
                "play/value": 0.3 + 0.2 * share,
                "play/copies": 0.3 - 0.2 * share,
                "play/distinct": 0.9,
                "play/length_ratio": 1.1 - 0.2 * share,
                "rewards/chosen": share,
                "rewards/rejected": -share,
                "rewards/margins": 2 * share,
            }
        )
    for number in range(1, looks + 1):
        at = number * steps // looks
        joint = 0.3 + 0.05 * number
        run.line({"step": at, "of": 40, "eval_joint": joint, "eval_style": 0.9, "eval_copies": 0.2})
        run.look(at, PAIRS)
    if about is not None:
        run.about(**about)
    return run


class Reader(HTMLParser):
    """Sees that tags close in order, and collects addresses that a page would load."""

    VOID = ("meta", "br", "input", "link", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(page: str) -> Reader:
    found = Reader(page)
    assert found.open == []
    return found


# --- the page -------------------------------------------------------------------------------


def test_a_finished_run_shows_curves_looks_and_samples(tmp_path: Path) -> None:
    """One curve for each metric that was logged; gates by their names; figures of the last look."""
    a_run(tmp_path / "sro", about={**ABOUT, "result": RESULT})
    assert report_run(tmp_path / "sro") == [tmp_path / "sro" / "report.html"]
    page = (tmp_path / "sro" / "report.html").read_text(encoding="utf-8")
    found = read(page)
    assert found.loads == []
    assert "script" not in found.tags
    for title in ("The judge", "Loss", "Rewrites that pass", "Value", "Rewards", "Length ratio"):
        assert f'aria-label="{title}"' in page
    assert "finished, 40 steps · 1,234 texts · data abcdef012345 · made by tactful 0.1" in page
    assert "judge <code>judge:dev@42</code>" in page
    assert "a&lt;b 0.5" in page
    # J after 10, 20, 30 and 40 steps, and of what was kept.
    for figure in ("0.350", "0.400", "0.450", "0.500", "the adapter (step 40)"):
        assert figure in page


def test_texts_are_data(tmp_path: Path) -> None:
    """Tags in a text are shown, not obeyed; words are compared; what insults is blurred."""
    a_run(tmp_path / "sro")
    page = render_page(read_run(tmp_path / "sro"))
    assert "<b>fool" not in page
    assert '<del class="t blur">idiot</del>' not in page  # "an idiot" went together
    assert '<del class="t blur">an idiot</del> <ins class="t">wrong</ins>' in page
    assert '<span class="t blur">only an idiot would read this</span>' in page
    assert "(empty)" in page


def test_first_middle_and_last_look_are_shown(tmp_path: Path) -> None:
    """Of five looks the first, the third and the fifth."""
    a_run(tmp_path / "sro", looks=5)
    page = render_page(read_run(tmp_path / "sro"))
    heads = [step for step in (8, 16, 24, 32, 40) if f"After step {step}</th>" in page]
    assert heads == [8, 24, 40]


@pytest.mark.parametrize("looks", [0, 1])
def test_a_run_with_no_look_or_one_is_a_page_too(tmp_path: Path, looks: int) -> None:
    """What was not measured is left out; a single look is a dot."""
    a_run(tmp_path / "sro", looks=looks)
    page = render_page(read_run(tmp_path / "sro"))
    read(page)
    assert ("The policy was not looked at." in page) is not looks
    assert ('aria-label="The judge"' in page) is bool(looks)
    assert ("<h2>Samples</h2>" in page) is bool(looks)
    assert "nan" not in page


def test_how_far_it_came_is_told(tmp_path: Path) -> None:
    """Nothing logged, broken off, ended early, ended: each in its own words."""
    a_run(tmp_path / "none", steps=0, looks=0, about=ABOUT)
    assert state(read_run(tmp_path / "none")) == "nothing has been logged yet"
    read(render_page(read_run(tmp_path / "none")))
    a_run(tmp_path / "broken", steps=20, about=ABOUT)
    broken = "not finished: the last line is of step 20 of 40"
    assert state(read_run(tmp_path / "broken")) == broken
    a_run(tmp_path / "early", steps=20, about={**ABOUT, "result": RESULT})
    assert state(read_run(tmp_path / "early")) == "ended early, after 20 of 40 steps"
    a_run(tmp_path / "whole", about={**ABOUT, "result": RESULT})
    assert state(read_run(tmp_path / "whole")) == "finished, 40 steps"


def test_alarms_are_told_by_name(tmp_path: Path) -> None:
    run = a_run(tmp_path / "sro")
    for step, rate in ((5, 0.5), (20, 0.75)):
        run.alarm(step, Alarm("copies", rate, 0.5, "It plays safe."))
    page = render_page(read_run(tmp_path / "sro"))
    assert (
        "<tr><th>copies</th><td>2</td><td>5 to 20</td><td>75% (limit 50%)</td>"
        '<td class="text">It plays safe.</td></tr>' in page
    )


def test_silence_is_told_only_where_somebody_listened(tmp_path: Path) -> None:
    """A run from before alarms were kept, and one without a game, say nothing of alarms."""
    a_run(tmp_path / "sro", about=ABOUT)
    assert "None rang." in render_page(read_run(tmp_path / "sro"))
    a_run(tmp_path / "older")
    assert "Alarms</h2>" not in render_page(read_run(tmp_path / "older"))
    a_run(tmp_path / "shown", steps=0, looks=0, about=ABOUT).line({"step": 1, "loss": 0.5})
    assert "Alarms</h2>" not in render_page(read_run(tmp_path / "shown"))


def test_an_unfinished_run_gives_no_card_to_an_earlier_adapter(tmp_path: Path) -> None:
    a_run(tmp_path / "sro", about=ABOUT)
    (tmp_path / "sro" / "adapter").mkdir()
    assert report_run(tmp_path / "sro") == [tmp_path / "sro" / "report.html"]


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no recipe\.yaml"):
        report_run(tmp_path)


# --- the card -------------------------------------------------------------------------------


def test_the_card_says_what_made_it_and_what_it_is_not_for(tmp_path: Path) -> None:
    """Base, licence, data, version, figures with the judge; no paths, no texts."""
    run = a_run(tmp_path / "sro", about={**ABOUT, "result": RESULT})
    run.alarm(5, Alarm("copies", 0.5, 0.5, "It plays safe."))
    (tmp_path / "sro" / "adapter").mkdir()
    written = report_run(tmp_path / "sro")
    assert written[1] == tmp_path / "sro" / "adapter" / "README.md"
    card = written[1].read_text(encoding="utf-8")
    for told in (
        "licence Apache-2.0",
        "data fingerprint `abcdef012345` over 1,234 rows",
        "tactful 0.1, `tactful train`",
        "| STA | SIM | FL | J | copies |",
        "| 0.900 | 0.800 | 0.700 | 0.500 | 10.0% |",
        "120 toxic dev texts after step 40",
        "Judge: `judge:dev@42`.",
        "and how often: copies (1)",
        "Moderation decisions",
        "English only",
    ):
        assert told in card
    for secret in ("somebody", "secret", "key=x", "idiot"):
        assert secret not in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_card_without_figures_says_so(tmp_path: Path) -> None:
    """Another base, an older run: what is not known is not told."""
    a_run(tmp_path / "sro", looks=0)
    recipe = tmp_path / "sro" / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "base": "org/name@1234"}))
    (tmp_path / "sro" / "adapter").mkdir()
    card = report_run(tmp_path / "sro")[1].read_text(encoding="utf-8")
    assert "Nobody has looked" in card
    assert "Base: `org/name@1234`. Its own licence holds" in card
    assert "Apache" not in card
    assert "fingerprint" not in card


def test_recipes_are_shown_without_places_and_passwords() -> None:
    assert shareable(RECIPE) == {
        "data": {"dir": "corpus", "toxic": [{"file": "toxic.jsonl"}]},
        "base": "base",
        "warm_start": "adapter",
        "followers": {"also": [{"name": "kind", "call": "https://score.test:81/v1"}]},
    }
    kept = ["org/name@12ab", "runs/warm", 0.5, None, True, "C:\\corpus\\mine"]
    assert shareable(kept) == ["org/name@12ab", "runs/warm", 0.5, None, True, "mine"]


# --- the folder -----------------------------------------------------------------------------


def test_lines_after_a_checkpoint_are_cut_back(tmp_path: Path) -> None:
    """A killed run writes them again; a torn line goes, and a file with nothing left."""
    run = a_run(tmp_path / "sro", steps=20, looks=2)
    run.alarm(15, Alarm("copies", 0.5, 0.5, "It plays safe."))
    with (tmp_path / "sro" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    run.cut_back(10)
    found = read_run(tmp_path / "sro")
    assert [line["step"] for line in found.metrics] == [5, 10, 10]
    assert list(found.samples) == [10]
    assert not (tmp_path / "sro" / "alarms.jsonl").exists()
    run.cut_back(0)
    assert sorted(p.name for p in (tmp_path / "sro").iterdir()) == ["recipe.yaml"]


def test_the_first_rewrites_of_a_look_are_kept_once(tmp_path: Path) -> None:
    pairs = [(f"source {k}", f"rewrite {k}") for k in range(KEPT + 5)]
    run = RunFolder(tmp_path)
    run.look(3, pairs)
    run.look(3, [("other", "other")])
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert lines == [{"step": 3, "source": s, "rewrite": r} for s, r in pairs[:KEPT]]


def test_a_metric_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    """Lines come in order of steps; the later of two about one step holds."""
    (tmp_path / "recipe.yaml").write_text("{}")
    run = RunFolder(tmp_path)
    for step, value in ((1, 0.5), (2, float("nan")), (3, None), (4, 0.25), (1, 0.75)):
        run.line({"step": step, "loss": value})
    assert read_run(tmp_path).points("loss") == [(1, 0.75), (4, 0.25)]


# --- curves ---------------------------------------------------------------------------------


def test_ticks_are_round_and_hold_the_range() -> None:
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(0.62, 0.71) == [0.6, 0.625, 0.65, 0.675, 0.7, 0.725]
    assert ticks(-3, 40) == [-20, 0, 20, 40]
    assert ticks(0, 3, whole=True) == [0, 1, 2, 3]
    # One value alone gets a tenth of itself on both sides.
    assert ticks(10, 10) == [9, 9.5, 10, 10.5, 11]
    assert ticks(0, 0) == [-1, -0.5, 0, 0.5, 1]


def test_a_point_lies_where_its_numbers_say() -> None:
    """420 by 210 with margins 46, 12, 26, 26: half of the steps, a quarter of the way down."""
    svg = chart("T & T", [Curve("a<b", [(0, 0.0), (50, 0.75)])], last=100, unit=True)
    assert 'points="46.0,184.0 227.0,65.5"' in svg
    assert "T &amp; T" in svg
    assert "<title>a&lt;b, step 50: 0.75</title>" in svg
