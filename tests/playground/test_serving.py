from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tactful.errors import ConfigError
from tactful.prompts import trained
from tactful.serving.decisions import Decisions
from tactful.serving.schemas import Decision
from tactful.serving.static import FOLDER, PATHS
from tactful.training.pairs import Pair, PushDown
from tactful.training.preferences import read_preferences, read_rejections
from tests.playground.conftest import TOLD
from tests.serving.running import Running, running

KEY = "the-only-key-there-is"


def test_it_is_small_and_whole() -> None:
    """150 kB at most, all of it loaded from here; no inline script, style or handler."""
    files = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir() if path.is_file()}
    assert sum(len(text.encode()) for text in files.values()) <= 150_000
    markup = files["index.html"] + files["frame.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", markup)
    assert not re.search(r"<script(?![^>]*\ssrc=)", markup)
    script = "".join(text for name, text in files.items() if name.endswith(".js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function", script)
    assert not re.search(r"https?://", script)
    # Only in the frame that has an origin of its own.
    assert [name for name, text in files.items() if "document.write" in text] == ["frame.js"]


def test_every_file_is_served_strictly(serving: Running) -> None:
    """Each with its type and a policy that lets in nothing from elsewhere and nothing inline."""
    assert {"/", "/playground/app.js", "/playground/app.css", "/playground/frame.html"} <= PATHS
    for path in PATHS - {"/playground/settings"}:
        answer = serving.client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        if path == "/playground/frame.html":
            assert policy.startswith("sandbox allow-scripts;")
        else:
            assert "unsafe" not in policy
    assert serving.client.get("/playground/../app.py").status_code == 404
    assert serving.client.get("/playground/__init__.py").status_code == 404


def test_what_the_page_must_know(serving: Running) -> None:
    """Its limits, and the prompt by which its rows are trained on."""
    found = serving.client.get("/playground/settings").json()
    assert found["prompt"].replace("{text}", "so") == trained("so")
    assert (found["needs_key"], found["keeps_decisions"]) == (False, False)
    assert found["max_text"] == 5000
    other = serving.client.get("/", headers={"Host": "evil.example"})
    assert other.status_code == 403


def test_with_keys_the_page_is_open_and_nothing_else(socket_enabled: None) -> None:
    """The files hold no secrets; whatever they ask for needs a key, and looking costs nothing."""
    with running(
        "", *TOLD, stub=False, ready=False, env={"TACTFUL_KEYS": f"people {KEY} 1/hour"}
    ) as server:
        for path in PATHS:
            assert server.client.get(path).status_code == 200
            signed = server.client.get(path, headers={"Authorization": f"Bearer {KEY}"})
            assert signed.status_code == 200
            assert KEY not in signed.text
        assert server.client.get("/playground/settings").json()["needs_key"] is True
        assert server.post("/v1/decisions", {}).status_code == 401
        assert server.client.get("/playground/nothing").status_code == 401


def test_nothing_is_kept_unasked(serving: Running) -> None:
    """Without --decisions there is no such thing."""
    body = {"text": "a", "decision": "rejected", "rejected": "b"}
    answer = serving.post("/v1/decisions", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_decisions")


@pytest.mark.parametrize(
    "fields",
    [
        {"decision": "accepted"},
        {"decision": "rejected", "chosen": "c"},
        {"decision": "edited", "chosen": " b "},
        {"decision": "edited", "chosen": "  "},
        {"decision": "liked", "chosen": "c"},
    ],
)
def test_a_decision_that_prefers_nothing_is_refused(
    serving: Running, fields: dict[str, str]
) -> None:
    """What would be no row to learn from, told by the route."""
    answer = serving.post("/v1/decisions", {"text": "a", "rejected": "b", **fields})
    assert answer.status_code == 422


def test_kept_decisions_are_what_training_reads(tmp_path: Path) -> None:
    """Pairs in one file, what was only rejected beside it; for the operator's eyes."""
    file = tmp_path / "people.jsonl"
    kept = Decisions(file)
    kept.keep(Decision(text="a b", decision="accepted", chosen="c", rejected="a b"), "mods")
    kept.keep(Decision(text="d e", decision="rejected", rejected="f"), None)
    Decisions(file).keep(Decision(text="g", decision="edited", chosen="h", rejected="i"), None)
    assert read_preferences(file) == [Pair("a b", "c", "a b"), Pair("g", "h", "i")]
    assert read_rejections(tmp_path / "people.rejected.jsonl") == [PushDown("d e", "f")]
    first = json.loads(file.read_text("utf-8").splitlines()[0])
    assert (first["prompt"], first["key"]) == (trained("a b"), "mods")
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """Before anybody has worked for it."""
    with pytest.raises(ConfigError, match=r"cannot be written.*folder there"):
        Decisions(tmp_path / "nowhere" / "people.jsonl")
    with pytest.raises(ConfigError, match=r"ends in \.jsonl"):
        Decisions(tmp_path / "people.csv")
