from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tactful.training.pairs import Pair, PushDown
from tactful.training.preferences import read_preferences, read_rejections
from tests.playground.conftest import TOLD
from tests.playground.page import Page
from tests.serving.running import ROOT, Running, running

AXE = Path(__file__).with_name("axe.min.js")
KEY = "the-key-of-the-moderator"


def table(path: Path, *texts: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "comment"], *enumerate(texts, 1)])
    return path


def test_a_text_is_rewritten_and_explained(page: Page) -> None:
    """Original with its toxic words marked, rewrite, changes, scores; by mouse and by keyboard."""
    page.rewrite("read it, you idiot 😀, now")
    assert page.text("status") == "Rewritten"
    assert page.at("candidate-0").is_selected()
    assert page.text("choices").startswith("read it, you person 😀, now")
    assert [mark.get_property("textContent") for mark in page.all("#original mark")] == ["idiot"]
    assert [e.get_property("textContent") for e in page.all("#diff del")] == ["idiot"]
    assert [e.get_property("textContent") for e in page.all("#diff ins")] == ["person"]
    meters = {m.get_attribute("aria-label"): m for m in page.all("[role=meter]")}
    assert meters["Toxicity before"].get_attribute("aria-valuenow") == "0.900"
    assert set(meters) == {"Toxicity before", "Toxicity after", "Meaning kept", "Reads well"}
    assert "read it, you person" in page.text("said")
    page.type("stop it, idiot")
    page.at("text").send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: "stop it, person" in page.text("said"))


def test_every_status_is_told_in_words(page: Page) -> None:
    """What is no rewrite says so, shows what the policy made of it, and offers what makes sense."""
    words = {
        "unchanged": ("Left as it is", True),
        "unresolved": ("No good rewrite", True),
        "escalated": ("For a person", False),
        "not_screened": ("Not judged", False),
        "error": ("Could not be processed", False),
    }
    for status, (name, may_write) in words.items():
        page.rewrite(f":{status} some words")
        assert page.text("status") == name
        assert page.text("reason") == "Reason: so told."
        assert (page.seen("accept"), page.seen("start-edit")) == (False, may_write)
        assert page.seen("candidates") == (status != "unchanged")
    page.rewrite(":escalated some words")
    assert "some words" not in page.text("said")
    assert page.all("#choices .toxic[aria-hidden]")


def test_a_rewrite_that_nearly_passed_is_told_from_one_that_did(page: Page) -> None:
    """Whoever moderates should look at it twice."""
    page.rewrite("what kind of idiot parks here?")
    assert "passed every check" in page.text("meaning")
    page.rewrite(":rewritten some words")
    assert page.text("meaning").startswith("No rewrite passed every check")
    assert page.text("reason") == "Reason: nearly passed (x)."


def test_toxic_text_is_hidden_until_asked_for(page: Page) -> None:
    """Blurred, unsaid by a screen reader; the wish to see it is remembered."""
    page.rewrite("you idiot")
    original = page.all("#original .toxic")[0]
    assert "blur" in original.value_of_css_property("filter")
    assert original.get_attribute("aria-hidden") == "true"
    assert all("blur" in e.value_of_css_property("filter") for e in page.all("#diff del"))
    page.click("show")
    assert original.value_of_css_property("filter") == "none"
    assert original.get_attribute("aria-hidden") is None
    page.open(clean=False)
    assert page.at("show").get_attribute("aria-pressed") == "true"


def test_the_theme_follows_the_system_until_it_is_chosen(page: Page) -> None:
    """Light and dark by the system's wish, by a switch that is remembered."""
    back = "return getComputedStyle(document.documentElement).backgroundColor"
    light = page.run(back)
    page.look(dark=True)
    dark = page.run(back)
    assert light != dark
    page.click("theme")
    assert (page.text("theme"), page.run(back)) == ("Theme: light", light)
    page.open(clean=False)
    page.look(dark=True)
    assert page.run(back) == light


def test_decisions_are_kept_and_exported(page: Page, tmp_path: Path) -> None:
    """Accept, choose another and accept, edit, reject, undo: the files hold what was meant."""
    page.rewrite("read it, idiot")
    page.click("accept")
    page.rewrite("try it, idiot")
    page.click("candidate-1")
    page.wait(lambda: page.all("#bars .new [role=meter]"))
    page.click("accept")
    page.rewrite("go home, idiot")
    page.click("start-edit")
    page.type("please go home", "own")
    page.all("#edit .primary")[0].click()
    page.wait(lambda: "toxicity is" in page.text("decided-words"))
    page.rewrite("sit down, idiot")
    page.click("reject")
    page.rewrite("a mistake, idiot")
    page.click("accept")
    page.click("undo")
    assert page.text("tally") == "4"
    pairs = page.downloaded("save-pairs", "preferences.jsonl")
    assert read_preferences(pairs) == [
        Pair("read it, idiot", chosen="read it, person", rejected="read it, idiot"),
        Pair("try it, idiot", chosen="try it, human", rejected="try it, person"),
        Pair("go home, idiot", chosen="please go home", rejected="go home, person"),
    ]
    rejected = page.downloaded("save-rejected", "rejected.jsonl")
    assert read_rejections(rejected) == [PushDown("sit down, idiot", "sit down, person")]
    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    assert rows[0]["prompt"] == "Toxic: read it, idiot\nPolite:\n"
    assert [row["decision"] for row in rows] == ["accepted", "accepted", "edited"]
    # Only as long as the tab, unless asked otherwise.
    assert page.run("return localStorage.getItem('tactful.decisions')") is None
    page.click("keep")
    assert len(json.loads(page.run("return localStorage.getItem('tactful.decisions')"))) == 4
    page.click("forget")
    assert page.text("tally") == "0"


def test_an_edit_that_says_nothing_new_is_not_kept(page: Page) -> None:
    """The original, the rewrite, or nothing: none of them is a preference."""
    page.rewrite("read it, idiot")
    page.click("start-edit")
    for words, told in (
        ("", "Write something"),
        ("read it, idiot", "That is the original"),
        ("read it, person ", "changed nothing"),
    ):
        page.type(words, "own")
        page.all("#edit .primary")[0].click()
        assert told in page.text("ask-fault")
    page.click("cancel-edit")
    assert page.seen("accept")
    assert page.text("tally") == "0"


def test_a_server_can_keep_decisions(browser: Any, tmp_path: Path) -> None:
    """Where the operator wants it, each decision is on the server's disk as it is made."""
    file = tmp_path / "people.jsonl"
    with running("", *TOLD, "--decisions", str(file), stub=False) as server:
        page = Page(browser, server.address)
        page.open()
        page.rewrite("read it, idiot")
        page.click("accept")
        page.wait(lambda: "kept it, too" in page.text("decided-words"))
        page.rewrite("sit down, idiot")
        page.click("reject")
        page.wait(lambda: "kept it, too" in page.text("decided-words"))
    assert read_preferences(file) == [Pair("read it, idiot", "read it, person", "read it, idiot")]
    assert read_rejections(file.with_suffix(".rejected.jsonl")) == [
        PushDown("sit down, idiot", "sit down, person")
    ]


def test_a_file_is_rewritten(page: Page, tmp_path: Path) -> None:
    """Progress, filters, plots and a download with every row and column, safe for spreadsheets."""
    texts = ["you idiot", "thank you", "=cmd|idiot", ":escalated x", 'say "no", idiot\nor not', ""]
    page.open("file")
    page.rewrite_file(table(tmp_path / "in.csv", *texts, *["fine"] * 24, "x" * 5001))
    assert page.text("count-all") == "31"
    assert (page.text("count-rewritten"), page.text("count-not_screened")) == ("3", "1")
    assert len(page.all("#rows [role=row]")) == 26
    page.click("next")
    assert page.text("place") == "26\u201331 of 31"
    page.all("label[for=only-rewritten]")[0].click()
    assert len(page.all("#rows [role=row]")) == 4
    plots = [plot.get_attribute("aria-label") for plot in page.all("#plots [role=img]")]
    assert plots[0].startswith("Toxicity before: 4 of 30 toxic")
    assert plots[1].startswith("Toxicity after: 1 of 30 toxic")
    with page.downloaded("save-csv", "in.rewritten.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["_text"] for row in rows[:3]] == ["you person", "thank you", "'=cmd|person"]
    assert rows[2]["comment"] == "'=cmd|idiot"
    assert rows[4]["comment"] == texts[4]
    assert (rows[3]["_status"], rows[30]["_status"]) == ("escalated", "not_screened")
    assert (rows[0]["_toxicity_before"], rows[0]["_similarity"]) == ("0.9", "0.8")
    assert len(rows) == 31


def test_a_file_can_be_stopped_and_gone_on_with(page: Page, tmp_path: Path) -> None:
    """What is done stays; the rest can be done later, and every row is there once."""
    page.open("file")
    page.give("csv", table(tmp_path / "in.csv", *[f"slowly {n} idiot" for n in range(20)]))
    page.wait(lambda: page.seen("start"))
    page.click("start")
    page.wait(lambda: page.text("count-all") != "0")
    page.click("stop")
    page.wait(lambda: page.text("pace").startswith("Stopped"))
    assert page.text("start").startswith("Go on with ")
    page.click("start")
    page.wait(lambda: page.text("pace").startswith("Done"))
    with page.downloaded("save-csv", "in.rewritten.csv").open(newline="", encoding="utf-8") as file:
        assert [row["_text"] for row in csv.DictReader(file)] == [
            f"slowly {n} person" for n in range(20)
        ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"comment\n", "no rows"),
        (b"comment\n\xff\xfe\n", "not UTF-8"),
        (b'comment\n"open', "never closed"),
        (b"comment,_status\na,b\n", "a column _status already"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(
    page: Page, tmp_path: Path, content: bytes, told: str
) -> None:
    """Words on what is wrong and what to do."""
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    page.open("file")
    page.give("csv", path)
    page.wait(lambda: told in page.text("file-fault"))
    assert not page.seen("plan")


def test_faults_of_the_text_are_told_before_it_is_sent(page: Page) -> None:
    """Nothing, or too much."""
    page.rewrite("  ")
    assert page.text("ask-fault") == "Type or paste a comment first."
    page.rewrite("x" * 5001)
    assert "5,001 characters; 5,000 can be rewritten" in page.text("ask-fault")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, {}, "The server made a mistake (500)"),
        (502, "<html>", "The server made a mistake (502)"),
        (413, {"message": "1,000 bytes at most"}, "1,000 bytes at most"),
        (422, {"message": "text: no"}, "could not use this"),
        (503, {"code": "queue_full"}, "More texts are waiting"),
        (503, {"code": "deadline"}, "not done in time"),
        (503, {"code": "engine_down"}, "engine is starting"),
    ],
)
def test_what_a_server_refuses_is_told_in_words(
    page: Page, status: int, body: Any, told: str
) -> None:
    """Every kind of refusal, as a server or a proxy before it would send it."""
    text = body if isinstance(body, str) else json.dumps({"error": body})
    page.run(
        "const [status, body] = arguments; window.fetch = () => "
        "Promise.resolve(new Response(body, {status, headers: {'Retry-After': '7'}}))",
        status,
        text,
    )
    page.rewrite("you idiot")
    assert told in page.text("ask-fault")
    assert ("in 7 seconds" in page.text("ask-fault")) == (status == 503)


def test_a_server_that_does_not_answer_is_given_up(page: Page) -> None:
    """A minute, in words; here the minute is made short."""
    page.run(
        "const later = window.setTimeout; window.setTimeout = (f, ms) => later(f, ms > 9e3 ? 50 : ms);"
        "window.fetch = (_, {signal}) => new Promise((_, no) => "
        "signal.addEventListener('abort', () => no(new DOMException('x', 'AbortError'))))"
    )
    page.rewrite("you idiot")
    assert "has not answered within 60 seconds" in page.text("ask-fault")


def test_a_key_is_asked_for_used_and_limited(browser: Any, tmp_path: Path) -> None:
    """401 asks for a key, 429 says when to come back, for a text and for a file; then the server
    goes down."""
    with running("", *TOLD, stub=False, env={"TACTFUL_KEYS": f"people {KEY} 4/hour"}) as server:
        page = Page(browser, server.address)
        page.open()
        page.wait(lambda: page.seen("door"))
        page.rewrite("you idiot")
        assert page.text("ask-fault").startswith("This server asks for a key")
        for key, told in (("not-the-key-at-all", "does not know this key"), (KEY, "kept in this")):
            page.type(key, "key")
            page.all("#door .primary")[0].click()
            page.wait(lambda told=told: told in page.text("door-hint"))
        page.wait(lambda: not page.seen("door"))
        assert page.run("return localStorage.length") == 0
        page.open(clean=False)
        page.rewrite("you idiot")
        assert page.text("status") == "Rewritten"
        page.rewrite("you idiot")
        page.rewrite("you idiot")
        page.rewrite("you idiot")
        assert "used up what it may ask for now. Try again in" in page.text("ask-fault")
        page.click("tab-file")
        page.give("csv", table(tmp_path / "in.csv", "you idiot"))
        page.wait(lambda: page.seen("start"))
        page.click("start")
        page.wait(lambda: "Going on in" in page.text("pace"))
        page.click("stop")
        page.wait(lambda: page.text("pace").startswith("Stopped"))
        page.click("tab-rewrite")
        server.process.kill()
        server.process.wait()
        page.rewrite("you idiot")
        assert "cannot be reached" in page.text("ask-fault")
        page.click("leave")
        assert page.seen("door")


PAYLOADS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "<svg><script>window.pwned=1</script></svg>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<iframe src=javascript:parent.pwned=1></iframe>",
    "<body onload=window.pwned=1>",
    "<details open ontoggle=window.pwned=1>x</details>",
    "<video><source onerror=window.pwned=1></video>",
    "<input autofocus onfocus=window.pwned=1>",
    "<a href=javascript:window.pwned=1>click</a>",
    "<math><mtext></table><img src=x onerror=window.pwned=1>",
    "<style>@import '/x';</style><link rel=stylesheet href=/x>",
    "<base href=//example.org/><meta http-equiv=refresh content='0;url=/x'>",
    "<form action=/x><button>send</button></form>",
    '"><script>window.pwned=1</script>',
    "'-window.pwned=1-'",
    "</textarea></title><script>window.pwned=1</script>",
    "javascript:/*--></style></script><svg/onload='window.pwned=1'>",
    "{{constructor.constructor('window.pwned=1')()}}${window.pwned=1}",
)
"""Ways in which markup gets into a page that does not mind it; each sets `pwned` where it runs."""


def untouched(page: Page) -> None:
    inside = "#result *, #rows *, #report-shown *, #decided *, #entries *"
    page.run("for (const a of document.querySelectorAll('main a')) a.click()")
    assert page.run("return window.pwned") is None
    names = {element.tag_name for element in page.all(inside)}
    bad = {"script", "img", "svg", "iframe", "style", "link", "video", "math", "a", "base", "form"}
    assert names & (bad - {"form"}) == set()


def test_what_is_injected_never_runs(page: Page, tmp_path: Path) -> None:
    """Twenty payloads in texts and in what the model makes of them, in cells, in a report."""
    assert len(set(PAYLOADS)) == 20
    page.click("show")
    for payload in PAYLOADS:
        page.rewrite(f"you idiot {payload}")
        assert page.text("choices").startswith(f"you person {payload}")
        page.click("accept")
        untouched(page)
    page.click("tab-file")
    page.rewrite_file(table(tmp_path / "<img src=x onerror=window.pwned=1>.csv", *PAYLOADS))
    assert page.text("count-all") == "20"
    untouched(page)
    page.click("tab-report")
    metric = {"mean": 0.5, "low": 0.4, "high": 0.6}
    kinds = {kind: dict.fromkeys(("style", "joint"), metric) for kind in ("soft", "hard")}
    systems = [{"name": p, **kinds, "checks": {p: {"rate": 1, "of": 2}}} for p in PAYLOADS]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"signature": PAYLOADS[0], "systems": systems}))
    page.give("report-file", report)
    page.wait(lambda: len(page.all("#report-shown table")) == 3)
    untouched(page)


def test_a_report_is_kept_at_arms_length(page: Page, serving: Running, tmp_path: Path) -> None:
    """Its script may run, but reaches neither the page, nor what the page keeps, nor a network."""
    report = tmp_path / "report.html"
    report.write_text(
        "<!doctype html><html><body><h1>Figures</h1><script>"
        "const found = [];"
        "const tries = [() => parent.document.title, () => parent.pwned = 1,"
        "  () => localStorage.length, () => sessionStorage.length, () => document.cookie,"
        "  () => { const w = open('/docs'); if (!w) throw 1; }];"
        "for (const t of tries) try { t(); found.push('in'); } catch { found.push('out'); }"
        "fetch('/v1/score').then(() => 'in', () => 'out').then((net) => {"
        "  document.querySelector('h1').textContent = [...found, net, origin].join(' '); });"
        "</script></body></html>"
    )
    before = [e for e in serving.events("request") if e["route"] in ("/v1/score", "/docs")]
    page.click("tab-report")
    page.give("report-file", report)
    page.wait(lambda: page.all("iframe"))
    page.browser.switch_to.frame(page.all("iframe")[0])
    page.wait(lambda: page.all("h1") and "null" in page.all("h1")[0].text)
    told = page.all("h1")[0].text
    page.browser.switch_to.default_content()
    assert told == "out out out out out out out null"
    assert page.run("return window.pwned") is None
    # The policy stops it here, not the server for want of a permission to read.
    assert [e for e in serving.events("request") if e["route"] in ("/v1/score", "/docs")] == before
    # What was refused may be told on the console.
    page.browser.get_log("browser")


def test_what_is_no_report_is_told(page: Page, tmp_path: Path) -> None:
    """Some other JSON, or no markup at all."""
    page.click("tab-report")
    for name, content, told in (
        ("a.json", '{"systems": 5}', "no report of tactful evaluate"),
        ("b.json", "{", "not readable JSON"),
        ("c.html", "just text", "neither HTML nor JSON"),
    ):
        path = tmp_path / name
        path.write_text(content)
        page.give("report-file", path)
        page.wait(lambda told=told: told in page.text("report-fault"))


def test_tabs_are_reached_by_keyboard(page: Page) -> None:
    """Arrows go round, Home and End to the ends; the address says which one is open."""
    tab = page.at("tab-rewrite")
    tab.send_keys(Keys.ARROW_LEFT)
    assert page.seen("report")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.seen("rewrite")
    page.browser.switch_to.active_element.send_keys(Keys.END)
    assert page.run("return location.hash") == "#report"
    assert [t.get_attribute("tabindex") for t in page.all("[role=tab]")] == ["-1", "-1", "0"]
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) == "solid"


def fill(page: Page, tmp_path: Path) -> None:
    """Something in every tab."""
    page.rewrite("read it, you idiot")
    page.click("accept")
    page.rewrite("try that again, you idiot, and then once more in a calm and quiet voice")
    page.click("tab-file")
    texts = ["you idiot", "thanks", ":escalated x", ":unresolved y", ":error z", "so " * 400]
    page.rewrite_file(table(tmp_path / "in.csv", *texts))
    page.click("tab-report")
    page.give("report-file", ROOT / "docs" / "results" / "paradetox.final.json")
    page.wait(lambda: page.all("#report-shown table"))


def test_axe_finds_nothing_serious(page: Page, tmp_path: Path) -> None:
    """axe-core's rules, in light and dark, with toxic text hidden and shown, in all three tabs."""
    fill(page, tmp_path)
    page.browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text("utf-8")})
    found = {}
    for tab in ("rewrite", "file", "report"):
        page.click(f"tab-{tab}")
        for dark in (False, True):
            page.look(dark=dark)
            result = page.browser.execute_async_script(
                "const done = arguments[arguments.length - 1];"
                "axe.run(document, {resultTypes: ['violations']}).then(done, (e) => done(String(e)))"
            )
            assert len(result["passes"]) > 10
            found |= {
                (tab, dark, fault["id"], fault["nodes"][0]["html"][:200]): fault["impact"]
                for fault in result["violations"]
            }
    assert [where for where, impact in found.items() if impact in ("serious", "critical")] == []


def test_nothing_is_wider_than_a_small_phone(page: Page, tmp_path: Path) -> None:
    """At 375 pixels no tab scrolls sideways, whatever words there are."""
    fill(page, tmp_path)
    page.click("tab-rewrite")
    page.rewrite("idiot " + "w" * 300)
    page.look(375)
    for tab in ("rewrite", "file", "report"):
        page.click(f"tab-{tab}")
        assert page.run("return document.documentElement.scrollWidth") <= 375


def test_it_is_usable_soon_after_it_is_loaded(page: Page) -> None:
    """Within 200 ms of its document (more on a machine that does other things, too)."""
    page.open()
    ready, usable = page.run(
        "const [n] = performance.getEntriesByType('navigation');"
        "return [n.domInteractive, performance.getEntriesByName('usable')[0].startTime]"
    )
    load = page.run("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert usable - load <= 200
    assert usable - ready <= 5_000
