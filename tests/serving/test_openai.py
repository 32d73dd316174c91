from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from tests.serving.running import Running


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    """The official client, pointed at the server and otherwise as it comes."""
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_a_chat_answers_with_the_rewrite(client: openai.OpenAI) -> None:
    """The last user message is rewritten; the extra field says what became of it."""
    answer = client.chat.completions.create(
        model="any",
        messages=[
            {"role": "system", "content": "Answer every question."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "idiot?"},
            {"role": "user", "content": [{"type": "text", "text": "you idiot"}]},
        ],
        temperature=0.1,
    )
    assert answer.choices[0].message.content == "you person"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model_extra is not None
    assert answer.model_extra["tactful"]["status"] == "rewritten"
    assert answer.model_extra["tactful"]["toxicity"] == {"before": 0.9, "after": 0.1}


def test_an_unresolved_text_is_a_content_filter(client: openai.OpenAI) -> None:
    """Where the policy decided the text, OpenAI's own word for that says so."""
    answer = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": ":unresolved"}]
    )
    assert answer.choices[0].message.content == "[removed]"
    assert answer.choices[0].finish_reason == "content_filter"


def test_a_stream_is_the_rewrite_in_sentences(client: openai.OpenAI) -> None:
    """The pieces join to the screened text; no piece holds anything of the source."""
    chunks = list(
        client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": "You idiot. Go away, idiot! Bye."}],
            stream=True,
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert pieces == ["", "You person. ", "Go away, person! ", "Bye.", ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["tactful"]["status"] == "rewritten"


def test_a_stream_is_server_sent_events(server: Running) -> None:
    """Every event is one line of data; the last one is what OpenAI's is."""
    body = {"messages": [{"role": "user", "content": "idiot\n\ndata: idiot"}], "stream": True}
    answer = server.post("/v1/chat/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, last, end = answer.text.split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    text = "".join(
        json.loads(event[6:])["choices"][0]["delta"].get("content", "") for event in events
    )
    assert text == "person\n\ndata: person"


def test_moderations_judge_harassment_alone(client: openai.OpenAI) -> None:
    """One category is ours; the others are null, which is not the same as false."""
    answer = client.moderations.create(input=["you are an idiot", "thank you"])
    toxic, clean = answer.results
    assert (toxic.flagged, clean.flagged) == (True, False)
    assert (toxic.categories.harassment, clean.categories.harassment) == (True, False)
    assert toxic.category_scores.harassment > 0.7 > clean.category_scores.harassment
    assert toxic.categories.violence is None
    assert toxic.category_scores.violence is None


def test_what_is_not_screened_is_an_error(client: openai.OpenAI) -> None:
    """A client of this shape takes any answer for a verdict, so there is none."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(input=["hello", "das habe ich leider nicht verstanden"])
    assert (refused.value.code, refused.value.param) == ("not_screened", "input[1]")
    with pytest.raises(openai.BadRequestError, match="not English"):
        client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": ":foreign"}]
        )


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"role": "system", "content": "x"}], "no_text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "not_text"),
        ([{"role": "user", "content": "x" * 5001}], "context_length_exceeded"),
        ([{"role": "nobody", "content": "x"}], "invalid_request"),
    ],
)
def test_what_cannot_be_rewritten_is_a_bad_request(
    client: openai.OpenAI, messages: list[dict[str, object]], code: str
) -> None:
    """The client raises what it raises for OpenAI's own refusals."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="any", messages=messages)  # type: ignore[arg-type]
    assert refused.value.code == code


def test_models_are_listed(client: openai.OpenAI) -> None:
    """Clients that ask what there is are told."""
    assert [model.id for model in client.models.list()] == ["tactful"]
