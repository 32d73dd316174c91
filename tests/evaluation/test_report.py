from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tactful.errors import DataError
from tactful.evaluation import report as module
from tactful.evaluation.evaluate import Report, evaluate
from tactful.evaluation.report import render_html, render_markdown, word_diff, write_report
from tests.evaluation.fake_judge import RuleJudge

ATTACK = '</script><img src=x onerror=alert(1)><!-- " onload="alert(1)'
NAME = "<script>a|$x^$</script>"


def _report(*, hostile: bool = False) -> Report:
    """Three sentences, two systems, one of them empty once; `hostile` puts markup everywhere."""
    extra = f" {ATTACK}" if hostile else ""
    sources = ["you fool" + extra, "read it fool now" + extra, "donald is a fool" + extra]
    systems = {
        NAME if hostile else "delete": ["you" + extra, "read it now" + extra, ""],
        "copy": sources,
    }
    references = [["you there" + extra], ["read it now"], ["donald is wrong", "donald errs"]]
    return evaluate(systems, sources, RuleJudge(), references=references, baseline="copy", boot=99)


class _Tags(HTMLParser):
    """Collects tags, attributes and the contents of scripts as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def test_hostile_texts_stay_texts() -> None:
    """Markup in texts and names makes no tag, no attribute and no second script."""
    seen = _Tags(render_html(_report(hostile=True)))
    assert "img" not in [tag for tag, _ in seen.tags]
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert len(seen.scripts) == 2
    assert ATTACK in seen.text
    assert NAME in seen.text
    assert json.loads(seen.scripts[0])["rows"][0]["source"] == f"you fool {ATTACK}"


def test_the_page_asks_the_network_for_nothing() -> None:
    """No address anywhere, and nothing but places inside the page in href and src."""
    page = render_html(_report())
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page.replace("url(#", "")
    for _, attrs in _Tags(page).tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")


def test_only_the_pages_own_script_may_run() -> None:
    """The content policy forbids loading and allows the one script by its hash."""
    seen = _Tags(render_html(_report()))
    digest = base64.b64encode(hashlib.sha256(seen.scripts[1].encode()).digest()).decode()
    policy = next(a["content"] for t, a in seen.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")


def test_ids_on_the_page_are_unique() -> None:
    """Two figures in one page do not share clips and markers."""
    ids = [attrs["id"] for _, attrs in _Tags(render_html(_report())).tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_figure_is_met() -> None:
    """What a figure uses by id is defined in the page."""
    page = render_html(_report())
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page))
    defined = {attrs.get("id") for _, attrs in _Tags(page).tags}
    assert used
    assert {a or b for a, b in used} <= defined


def test_figures_take_the_colour_of_the_page() -> None:
    """Axes and labels are drawn in the colour of the text, by day and by night."""
    page = render_html(_report())
    assert "currentColor" in page
    assert module._INK not in page


def test_the_page_repeats() -> None:
    """The same report gives the same bytes, so that a change in a kept report means something."""
    assert render_html(_report()) == render_html(_report())


def test_what_is_toxic_is_blurred() -> None:
    """Sources always, rewrites when the judge says so."""
    page = render_html(_report())
    assert '<span class="t blur">you fool</span>' in page
    assert '<span class="t">you</span>' in page
    assert '<span class="t">you fool</span>' not in page


def test_worst_sentences_come_first() -> None:
    """The empty rewrite heads every list of its system."""
    worst = list(module._worst(_report(), "meaning"))
    assert worst[0]["name"] == "delete"
    assert [(item["row"], item["value"]) for item in worst[0]["sentences"]] == [
        (3, "0.000"),
        (1, "0.500"),
        (2, "0.750"),
    ]


def test_browser_data() -> None:
    """A sentence carries its differences, scores and faults by number."""
    data = module._browser_data(_report())
    first, _, third = (row["outputs"][0] for row in data["rows"])
    assert first["diff"] == [("=", "you"), ("-", "fool")]
    assert first["scores"] == [1.0, 0.5, 1.0, 0.5]
    assert [data["flags"][n] for n in first["flags"]] == ["pure deletion"]
    assert [data["flags"][n] for n in third["flags"]] == ["empty", "name lost"]


def test_long_reports_are_cut_in_the_page_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says that it shows the first rows, and where the others are."""
    monkeypatch.setattr(module, "MOST_SENTENCES", 2)
    report = _report()
    assert "The first 2 of 3" in render_html(report)
    assert len(module._browser_data(report)["rows"]) == 2


def test_word_diff_by_hand() -> None:
    """Kept, gone and new words in reading order."""
    assert word_diff("you are a fool , bob", "you are a person , bob !") == [
        ("=", "you are a"),
        ("-", "fool"),
        ("+", "person"),
        ("=", ", bob"),
        ("+", "!"),
    ]
    assert word_diff("fool", "") == [("-", "fool")]


def test_markdown_has_figures_and_no_texts() -> None:
    """The summary can be published: tables, signatures, and nothing that was judged."""
    text = render_markdown(_report(), title="Results")
    lines = text.splitlines()
    assert lines[0] == "# Results"
    assert "[judge:rule@test|thr:0.5/0.5/0.5|n:3|boot:99|seed:0|" in lines[2]
    assert lines[4] == "| system | STA | SIM | FL | J | hard J | BLEU | chrF | empty |"
    # SIM: 1/2, 3/4 and nothing.
    assert "| delete | 0.667 (" in text
    assert " | 0.417 (" in text
    assert "## Against copy" in text
    assert "| names kept | 0.0% (0 of 1) | 100.0% (1 of 1) |" in text
    assert "fool" not in text


def test_markdown_survives_odd_names() -> None:
    """A name with a bar or a tag in it breaks no table."""
    text = render_markdown(_report(hostile=True))
    assert "| &lt;script>a\\|$x^$&lt;/script> |" in text


def test_rounded_differences_have_no_negative_zero() -> None:
    """Less than half a thousandth behind is printed as level."""
    assert module._signed(-0.0004) == "+0.000"
    assert module._signed(-0.25) == "−0.250"


def test_all_files_are_written(tmp_path: Path) -> None:
    """Page, JSON, Markdown and the table behind them; no half-written file stays."""
    report = _report()
    written = write_report(report, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    kept = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert kept == report.to_dict()
    rows = (tmp_path / "sentences.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 6
    assert json.loads(rows[0])["rewrite"] == "you"


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A folder in the way of a file is named."""
    (tmp_path / "report.html").mkdir()
    (tmp_path / "report.html" / "file").touch()
    with pytest.raises(DataError, match=r"report\.html cannot be written"):
        write_report(_report(), tmp_path)
