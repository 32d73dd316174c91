from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tactful.screeners.kinds import Kinds
from tactful.serving import perspective
from tactful.serving.app import create_app
from tactful.serving.service import Service
from tactful.serving.settings import ServeConfig
from tests.fakes import KeywordScreener
from tests.serving.running import Running, until


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    """Google's client, built as the service's documentation builds it, from our document."""
    with discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey="none",
        discoveryServiceUrl=f"{server.address}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    ) as found:
        yield found


def analyze(server: Running, body: Any, **kwargs: Any) -> Any:
    """The answer to comments:analyze, which must be 200."""
    answer = server.post("/v1alpha1/comments:analyze?key=none", body, **kwargs)
    assert answer.status_code == 200, answer.text
    return answer.json()


def fault(server: Running, body: Any) -> tuple[str, str]:
    """The error type and the message of a 400."""
    answer = server.post("/v1alpha1/comments:analyze", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    return error["details"][0]["errorType"], error["message"]


def test_googles_client_works_unchanged(client: Any) -> None:
    """Analyze and suggestscore through google-api-python-client, requests as documented."""
    answer = (
        client.comments()
        .analyze(
            body={
                "comment": {"text": "friendly greetings from python"},
                "requestedAttributes": {"TOXICITY": {}},
            }
        )
        .execute()
    )
    score = answer["attributeScores"]["TOXICITY"]["summaryScore"]
    assert score["type"] == "PROBABILITY"
    assert 0 <= score["value"] < 0.5
    suggested = (
        client.comments()
        .suggestscore(
            body={
                "comment": {"text": "you idiot"},
                "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.2}}},
                "clientToken": "someToken",
            }
        )
        .execute()
    )
    assert suggested == {"clientToken": "someToken"}


def test_googles_client_understands_our_errors(client: Any) -> None:
    """What we do not measure is refused in the shape that client reads."""
    asked = {"comment": {"text": "hello"}, "requestedAttributes": {"FLIRTATION": {}}}
    with pytest.raises(HttpError) as refused:
        client.comments().analyze(body=asked).execute()
    assert refused.value.status_code == 400
    assert "Unknown requested attribute: FLIRTATION" in str(refused.value)


def test_the_documented_example_through_urllib(server: Running) -> None:
    """A plain client that does not even say that it sends JSON gets scores by sentence."""
    body = {
        "comment": {"text": "What kind of idiot name is foo? Sorry, I like your name."},
        "languages": ["en"],
        "requestedAttributes": {"TOXICITY": {}},
        "spanAnnotations": True,
        "doNotStore": True,
        "clientToken": "someClientToken",
        "sessionId": "someSessionId",
    }
    request = urllib.request.Request(
        f"{server.address}/v1alpha1/comments:analyze?key=none", json.dumps(body).encode()
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as answer:
        found = json.load(answer)
    assert found["clientToken"] == "someClientToken"
    assert found["languages"] == ["en"]
    first, second = found["attributeScores"]["TOXICITY"]["spanScores"]
    assert (first["begin"], first["end"]) == (0, 31)
    assert (second["begin"], second["end"]) == (32, 56)
    assert first["score"]["value"] > 0.7 > second["score"]["value"]
    # A text is as toxic as its worst sentence.
    summary = found["attributeScores"]["TOXICITY"]["summaryScore"]
    assert summary["value"] == first["score"]["value"]


def test_without_span_annotations_the_whole_is_the_span(server: Running) -> None:
    """One span, from the first character to the last."""
    text = "You idiot. Bye."
    found = analyze(server, {"comment": {"text": text}, "requestedAttributes": {"TOXICITY": {}}})
    (span,) = found["attributeScores"]["TOXICITY"]["spanScores"]
    assert (span["begin"], span["end"]) == (0, len(text))
    assert found["detectedLanguages"] == ["en"]
    assert "clientToken" not in found


def test_a_score_below_the_threshold_is_left_out(server: Running) -> None:
    """The threshold holds for the whole and for its spans."""
    body = {
        "comment": {"text": "You idiot. Thank you."},
        "requestedAttributes": {"TOXICITY": {"scoreThreshold": 0.5}},
        "spanAnnotations": True,
    }
    (span,) = analyze(server, body)["attributeScores"]["TOXICITY"]["spanScores"]
    assert (span["begin"], span["end"]) == (0, 10)
    body["comment"] = {"text": "Thank you."}
    assert analyze(server, body)["attributeScores"] == {}


KINDS = ["INSULT", "PROFANITY", "THREAT", "IDENTITY_ATTACK", "SEVERE_TOXICITY"]


def test_kinds_are_answered_beside_toxicity(server: Running) -> None:
    """All that are offered, none above the toxicity; alone, toxicity is not answered."""
    body: dict[str, Any] = {
        "comment": {"text": "You stupid idiot, go away."},
        "requestedAttributes": {name: {} for name in ["TOXICITY", *KINDS]},
    }
    found = analyze(server, body)["attributeScores"]
    values = {name: scores["summaryScore"]["value"] for name, scores in found.items()}
    assert list(values) == ["TOXICITY", *KINDS]
    assert all(0 <= value <= values["TOXICITY"] for value in values.values())
    assert values["INSULT"] > 0.5 > values["THREAT"]
    body["requestedAttributes"] = {"INSULT": None}
    alone = analyze(server, body)["attributeScores"]
    assert alone == {"INSULT": found["INSULT"]}


def test_kinds_have_spans_and_thresholds_of_their_own(server: Running) -> None:
    """Each sentence has its own score, the highest is the summary's, and thresholds are apart."""
    body = {
        "comment": {"text": "You stupid idiot. I will kill you. Thank you."},
        "requestedAttributes": {
            "INSULT": {},
            "THREAT": {"scoreThreshold": 0.5},
            "PROFANITY": {"scoreThreshold": 0.999},
        },
        "spanAnnotations": True,
    }
    found = analyze(server, body)["attributeScores"]
    assert set(found) == {"INSULT", "THREAT"}
    spans = found["INSULT"]["spanScores"]
    assert [(s["begin"], s["end"]) for s in spans] == [(0, 17), (18, 34), (35, 45)]
    assert max(s["score"]["value"] for s in spans) == found["INSULT"]["summaryScore"]["value"]
    (threat,) = found["THREAT"]["spanScores"]
    assert (threat["begin"], threat["end"]) == (18, 34)
    assert threat["score"]["value"] == found["THREAT"]["summaryScore"]["value"]


def test_what_the_document_offers_is_what_the_weights_hold() -> None:
    """Every name of the OpenAPI document is answered, and no kind is held back."""
    offered = {kind for name, kind in perspective.KINDS.items() if name in perspective.ATTRIBUTES}
    assert offered == set(Kinds.load().names)


def test_a_kind_that_the_weights_lack_is_an_unknown_attribute() -> None:
    """Whatever this file can name: what nobody found worth offering has no number."""
    kinds = Kinds.load().only(["insult"])
    service = Service(ServeConfig(), KeywordScreener({"idiot": 0.9}), kinds=kinds)
    client = TestClient(create_app(service), base_url="http://127.0.0.1:8000")
    for name, status in (("INSULT", 200), ("THREAT", 400)):
        body = {"comment": {"text": "you idiot"}, "requestedAttributes": {name: {}}}
        answer = client.post("/v1alpha1/comments:analyze", json=body)
        assert answer.status_code == status
    assert "Unknown requested attribute: THREAT" in answer.text
    described = client.get("/$discovery/rest").json()["description"]
    assert "TOXICITY, INSULT." in described


def test_snake_case_and_nulls_are_read(server: Running) -> None:
    """As Google's own JSON reader does."""
    body = {
        "comment": {"text": "thanks", "type": None},
        "requested_attributes": {"TOXICITY": None},
        "languages": None,
        "do_not_store": True,
    }
    assert "TOXICITY" in analyze(server, body)["attributeScores"]


ASKED = {"TOXICITY": {}}
GERMAN = "das habe ich leider nicht verstanden"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ({"requestedAttributes": ASKED}, "COMMENT_EMPTY", "Comment must be non-empty."),
        (
            {"comment": {"text": ""}, "requestedAttributes": ASKED},
            "COMMENT_EMPTY",
            "Comment must be non-empty.",
        ),
        (
            {"comment": {"text": "é" * 10_241}, "requestedAttributes": ASKED},
            "COMMENT_TOO_LONG",
            "Comment text too long.",
        ),
        ({"comment": {"text": "x"}}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        (
            {"comment": {"text": "x"}, "requestedAttributes": {"TOXICITY": {}, "OBSCENE": {}}},
            "INVALID_REQUEST",
            "Unknown requested attribute: OBSCENE",
        ),
        (
            {"comment": {"text": "x", "type": "HTML"}, "requestedAttributes": ASKED},
            "INVALID_REQUEST",
            "Currently, only 'PLAIN_TEXT' comments are supported",
        ),
        (
            {"comment": {"text": "x"}, "requestedAttributes": {"TOXICITY": {"scoreType": "LOG"}}},
            "INVALID_REQUEST",
            "Requested score type LOG is not supported by attribute TOXICITY",
        ),
        (
            {"comment": {"text": "x"}, "requestedAttributes": {"INSULT": {"scoreType": "LOG"}}},
            "INVALID_REQUEST",
            "Requested score type LOG is not supported by attribute INSULT",
        ),
        (
            {"comment": {"text": GERMAN}, "requestedAttributes": {"INSULT": {}}},
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "Attribute INSULT does not support request languages: und",
        ),
        (
            {"comment": {"text": "bonjour"}, "languages": ["fr"], "requestedAttributes": ASKED},
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "Attribute TOXICITY does not support request languages: fr",
        ),
        (
            {"comment": {"text": GERMAN}, "languages": ["en"], "requestedAttributes": ASKED},
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "Attribute TOXICITY does not support request languages: und",
        ),
        (
            {"comment": {"text": "🎉🎉"}, "requestedAttributes": ASKED},
            "LANGUAGE_DETECTION_FAILED",
            "Unable to detect language",
        ),
        ({"comment": "x"}, "INVALID_REQUEST", "comment: "),
    ],
)
def test_errors_are_those_of_the_service(
    server: Running, body: Any, kind: str, message: str
) -> None:
    """Never a made-up number: each fault has the service's type and words."""
    found = fault(server, body)
    assert found[0] == kind
    assert found[1].startswith(message)


def test_the_language_error_names_attribute_and_languages(server: Running) -> None:
    """Clients read the details to leave an attribute out and ask again."""
    body = {"comment": {"text": "x"}, "languages": ["en", "fr"], "requestedAttributes": ASKED}
    details = server.post("/v1alpha1/comments:analyze", body).json()["error"]["details"][0]
    assert details["languageNotSupportedByAttributeError"] == {
        "detectedLanguages": ["fr"],
        "attribute": "TOXICITY",
    }


def test_a_suggestion_leaves_both_scores_and_no_text(server: Running) -> None:
    """What the log keeps of an opinion is two numbers."""
    body = {
        "comment": {"text": "you absolute walnutwalnut"},
        "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.25}}},
    }
    assert server.post("/v1alpha1/comments:suggestscore", body).json() == {}
    # A line is written at once and read a little later.
    until(lambda: [one for one in server.events("suggested score") if one["suggested"] == 0.25])
    line = server.events("suggested score")[-1]
    assert (line["attribute"], line["suggested"]) == ("TOXICITY", 0.25)
    assert 0 <= line["ours"] <= 1
    assert b"walnutwalnut" not in server.raw


def test_a_suggestion_for_a_kind_is_heard(server: Running) -> None:
    """One line for each attribute, its own score beside the caller's."""
    scores = {"INSULT": {"summaryScore": {"value": 0.75}}, "THREAT": None}
    body = {"comment": {"text": "you idiot"}, "attributeScores": scores}
    assert server.post("/v1alpha1/comments:suggestscore", body).json() == {}
    until(lambda: [one for one in server.events("suggested score") if one["suggested"] is None])
    insult, threat = server.events("suggested score")[-2:]
    assert (insult["attribute"], insult["suggested"]) == ("INSULT", 0.75)
    assert (threat["attribute"], threat["suggested"]) == ("THREAT", None)
    assert insult["ours"] > threat["ours"]


def test_the_document_says_where_it_is_reached(server: Running) -> None:
    """Only the version there is; the address is that which was asked."""
    document = server.client.get("/$discovery/rest").json()
    assert document["rootUrl"] == server.address + "/"
    assert server.client.get("/$discovery/rest?version=v2").status_code == 404
