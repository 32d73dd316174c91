from __future__ import annotations

import pytest

from tests.serving.running import Running


def test_one_text_is_rewritten(server: Running) -> None:
    """Everything the engine said of a text is in its result, and where the time went in a header."""
    answer = server.rewrite("you idiot")
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "stub@test",
        "results": [
            {
                "text": "you person",
                "status": "rewritten",
                "reason": "",
                "toxicity": {"before": 0.9, "after": 0.1},
                "similarity": 0.8,
                "fluency": 0.7,
                "alternatives": ["you human"],
                "spans": [{"start": 4, "end": 9, "weight": 2.0}],
            }
        ],
    }
    assert answer.headers["server-timing"].startswith("queue;dur=")


def test_several_texts_are_answered_in_order(server: Running) -> None:
    """A list of texts gives a list of results; `force` reaches every one of them."""
    answer = server.post("/v1/rewrite", {"text": ["fine", "idiot", "good"]}).json()
    assert [r["status"] for r in answer["results"]] == ["unchanged", "rewritten", "unchanged"]
    forced = server.post("/v1/rewrite", {"text": ["fine", "idiot"], "force": True}).json()
    assert [r["status"] for r in forced["results"]] == ["rewritten", "rewritten"]


def test_scores_come_from_the_real_screener(server: Running) -> None:
    """An insult is toxic and its word is shown; thanks are clean; German is not screened."""
    texts = ["you are an idiot", "thank you for your help", "das habe ich leider nicht verstanden"]
    answer = server.post("/v1/score", {"text": texts}).json()
    toxic, clean, foreign = answer["results"]
    assert toxic["toxic"] is True
    assert toxic["toxicity"] > answer["act"] > clean["toxicity"]
    assert texts[0][toxic["spans"][0]["start"] : toxic["spans"][0]["end"]] == "idiot"
    assert clean["toxic"] is False
    assert (foreign["toxicity"], foreign["toxic"]) == (None, None)
    assert "English" in foreign["reason"]


def test_threats_are_pointed_out(server: Running) -> None:
    """A threat is named beside the score: it is for a person to see."""
    (result,) = server.post("/v1/score", {"text": "i will find you and hurt you"}).json()["results"]
    assert result["threat"] == "threat"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Field required"),
        (b"{", "the body is not JSON"),
        (b'{"text": 5}', "text: Input should be a valid string"),
        (b'{"text": []}', "at least 1 item"),
        (b'{"text": "x", "seed": 1}', "Extra inputs"),
        (b'{"text": "\\ud800"}', "unicode"),
        (b'{"text": "' + b"x" * 5001 + b'"}', "5000 characters"),
        (b"[" * 10_000 + b"]" * 10_000, ""),
    ],
)
def test_what_cannot_be_read_is_told(server: Running, body: bytes, told: str) -> None:
    """A request that makes no sense is a 4xx that says what was wrong with it."""
    answer = server.client.post(
        "/v1/rewrite", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert told in answer.json()["error"]["message"]


def test_other_routes_and_methods_are_refused_in_shape(server: Running) -> None:
    """Also what no route of ours answers has the shape of our errors."""
    assert server.client.get("/nothing").json()["error"]["code"] == "not_found"
    answer = server.client.get("/v1/score")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert server.client.get("/v1alpha1/nothing").json()["error"]["status"] == "NOT_FOUND"


def test_what_an_engine_prints_is_not_an_answer(server: Running) -> None:
    """A library that writes to standard output does not come between server and engine."""
    assert server.rewrite(":print").json()["results"][0]["text"] == ":print"
    assert server.rewrite("idiot").json()["results"][0]["text"] == "person"


def test_an_engine_that_raises_goes_on(server: Running) -> None:
    """A text over which the engine raises is a 503; the next one is rewritten by the same process."""
    before = server.engine_pid()
    answer = server.rewrite(":raise")
    assert answer.status_code == 503
    assert "ValueError" in answer.json()["error"]["message"]
    assert server.rewrite("idiot").status_code == 200
    # Those that came with it have done nothing.
    found = server.rewrite(["idiot", ":raise"]).json()["results"]
    assert [(one["text"], one["status"]) for one in found] == [
        ("person", "rewritten"),
        ("", "error"),
    ]
    assert "ValueError" in found[1]["reason"]
    assert server.engine_pid() == before


def test_the_api_is_shown_to_people(server: Running) -> None:
    """The page of the API names every route and loads nothing from elsewhere."""
    page = server.client.get("/docs")
    for route in server.client.get("/openapi.json").json()["paths"]:
        assert route in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text


def test_metrics_count(server: Running) -> None:
    """Outcomes are counted by status, requests by route."""
    before = server.metric('tactful_rewrites_total{status="rewritten"}')
    server.rewrite("idiot")
    assert server.metric('tactful_rewrites_total{status="rewritten"}') == before + 1
    assert server.metric("tactful_ready") == 1
    assert server.metric('tactful_requests_total{route="/v1/rewrite",status="200"}') > 0
