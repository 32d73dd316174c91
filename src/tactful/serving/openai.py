"""OpenAI's shapes, so that its clients can be pointed here unchanged.

A chat is not a chat here: the last message of the user is the text, and the reply is its rewrite.
Nothing else of the conversation is read, least of all as an instruction. What OpenAI's answer has
no place for is in its extra field `tactful`.

A text that was not screened (not English, only symbols) is an error on these routes: their clients
would take any other answer for a verdict.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from tactful.records import Rewrite, Status
from tactful.segment import split
from tactful.serving.engine import Task
from tactful.serving.problems import Problem
from tactful.serving.schemas import FaultResponse, ScoredText, Toxicity
from tactful.serving.scoring import Question
from tactful.serving.service import Service, wall
from tactful.serving.settings import MAX_REWRITTEN, MAX_SCORED, MAX_SCORED_TEXTS

_EVENT = {
    "type": "object",
    "description": "With `stream`: `data` is a chat.completion.chunk as JSON, the last one [DONE].",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}


class Lenient(BaseModel):
    """A request in somebody else's shape: what we have no use for is let pass."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Part(Lenient):
    """A piece of a message; only those of type `text` can be read."""

    type: str
    text: str | None = None


class ChatMessage(Lenient):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[Part], Field(max_length=256)] | None = None


class ChatRequest(Lenient):
    """Settings of sampling and tools are accepted and have no effect."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=256)] = Field(
        examples=[[{"role": "user", "content": "you are an idiot, read the article"}]]
    )
    model: str = Field(default="tactful", description="Any name; there is one model.")
    stream: bool | None = False
    n: Literal[1] | None = 1


class TactfulExtra(BaseModel):
    """What became of the text; OpenAI's shape has no place for it."""

    status: Status
    reason: str
    toxicity: Toxicity
    similarity: float | None
    fluency: float | None
    alternatives: list[str]


class ReplyMessage(BaseModel):
    """The rewrite."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """`content_filter` when the policy decided the text, because no rewrite passed."""

    index: Literal[0] = 0
    message: ReplyMessage
    finish_reason: Literal["stop", "content_filter"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """OpenAI's answer, with one field more. Tokens are not counted, so there is no `usage`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    tactful: TactfulExtra


class ModerationRequest(Lenient):
    """One text or several, or parts of type `text`."""

    input: (
        ScoredText
        | Annotated[list[ScoredText], Field(min_length=1, max_length=MAX_SCORED_TEXTS)]
        | Annotated[list[Part], Field(min_length=1, max_length=MAX_SCORED_TEXTS)]
    ) = Field(examples=["what kind of moron parks across 2 spaces?"])
    model: str | None = None


CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


class Moderation(BaseModel):
    """`harassment` is our toxicity; every other category is null: not judged, not absent."""

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, float | None]
    category_applied_input_types: dict[str, list[str]]


class ModerationResponse(BaseModel):
    """The results, in the order of the texts."""

    id: str
    model: str
    results: list[Moderation]


class Model(BaseModel):
    """The one there is."""

    id: Literal["tactful"] = "tactful"
    object: Literal["model"] = "model"
    created: Literal[0] = 0
    owned_by: Literal["local"] = "local"


class ModelList(BaseModel):
    """All one of them."""

    object: Literal["list"] = "list"
    data: list[Model]


def routes(service: Service) -> APIRouter:
    """`/v1/chat/completions`, `/v1/moderations` and `/v1/models`."""
    router = APIRouter(
        prefix="/v1",
        tags=["OpenAI's shapes"],
        responses={"4XX": {"model": FaultResponse}, 503: {"model": FaultResponse}},
    )

    @router.post(
        "/chat/completions",
        summary="Rewrite the last user message",
        response_model=ChatCompletion,
        responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
    )
    async def chat(request: Request, asked: ChatRequest) -> Response:
        """The reply is the rewrite of the last message whose role is `user`; everything else in
        `messages` is ignored. With `stream` the same text comes sentence by sentence, once the
        whole of it has been screened."""
        text = _last_text(asked)
        service.charge(request, 1)
        (result,), timing = await service.rewrite([Task(text)])
        if result.status == "not_screened":
            raise Problem(400, "not_screened", result.reason, param="messages")
        if result.status == "error":
            raise Problem(503, "engine_failed", "this text could not be rewritten", retry_after=1)
        name = "chatcmpl-" + secrets.token_hex(12)
        if asked.stream:
            return StreamingResponse(
                _stream(result, name),
                media_type="text/event-stream",
                headers={"Server-Timing": timing, "Cache-Control": "no-cache"},
            )
        answer = ChatCompletion(
            id=name,
            created=wall(),
            model=result.model,
            choices=[
                Choice(
                    message=ReplyMessage(content=result.text), finish_reason=_finish(result.status)
                )
            ],
            tactful=_extra(result),
        )
        return JSONResponse(answer.model_dump(), headers={"Server-Timing": timing})

    @router.post("/moderations", summary="Is it toxic?")
    async def moderations(request: Request, asked: ModerationRequest) -> ModerationResponse:
        """`harassment` is the screener's verdict. Other categories are null: not judged."""
        texts = _inputs(asked)
        service.charge(request, len(texts))
        results = []
        for index, score in enumerate(await service.score([Question(text) for text in texts])):
            if score.toxicity is None or score.toxic is None:
                raise Problem(400, "not_screened", score.reason, param=f"input[{index}]")
            results.append(_moderation(score.toxicity, score.toxic))
        return ModerationResponse(
            id="modr-" + secrets.token_hex(12), model=service.screener.name, results=results
        )

    @router.get("/models", summary="The one model there is")
    async def models() -> ModelList:
        """For clients that ask before they talk."""
        return ModelList(data=[Model()])

    return router


def _last_text(asked: ChatRequest) -> str:
    for message in reversed(asked.messages):
        if message.role != "user" or message.content is None:
            continue
        text = message.content if isinstance(message.content, str) else _joined(message.content)
        if len(text) > MAX_REWRITTEN:
            raise Problem(
                400,
                "context_length_exceeded",
                f"the text has {len(text):,} characters; {MAX_REWRITTEN:,} can be rewritten",
                param="messages",
            )
        return text
    raise Problem(400, "no_text", "there is no user message to rewrite", param="messages")


def _joined(parts: list[Part], param: str = "messages") -> str:
    if any(part.type != "text" or part.text is None for part in parts):
        raise Problem(400, "not_text", "only parts of type text can be read", param=param)
    return "".join(part.text or "" for part in parts)


def _inputs(asked: ModerationRequest) -> list[str]:
    if isinstance(asked.input, str):
        return [asked.input]
    texts = [
        item if isinstance(item, str) else _joined([item], param="input") for item in asked.input
    ]
    if any(len(text) > MAX_SCORED for text in texts):
        raise Problem(400, "too_long", f"a text may have {MAX_SCORED:,} characters", param="input")
    return texts


def _moderation(toxicity: float, toxic: bool) -> Moderation:
    return Moderation(
        flagged=toxic,
        categories={name: toxic if name == "harassment" else None for name in CATEGORIES},
        category_scores={name: toxicity if name == "harassment" else None for name in CATEGORIES},
        category_applied_input_types={
            name: ["text"] if name == "harassment" else [] for name in CATEGORIES
        },
    )


def _finish(status: Status) -> Literal["stop", "content_filter"]:
    return "stop" if status in ("rewritten", "unchanged") else "content_filter"


def _extra(result: Rewrite) -> TactfulExtra:
    before, after = result.toxicity
    return TactfulExtra(
        status=result.status,
        reason=result.reason,
        toxicity=Toxicity(before=before, after=after),
        similarity=result.similarity,
        fluency=result.fluency,
        alternatives=list(result.alternatives),
    )


async def _stream(result: Rewrite, name: str) -> AsyncIterator[bytes]:
    """The text in sentences. It has been screened as a whole before the first one leaves."""
    common = {
        "id": name,
        "object": "chat.completion.chunk",
        "created": wall(),
        "model": result.model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return format_sse_event(data_str=json.dumps({**common, "choices": [choice], **more}))

    yield chunk({"role": "assistant", "content": ""})
    for sentence in split(result.text):
        yield chunk({"content": sentence})
    yield chunk({}, _finish(result.status), tactful=_extra(result).model_dump())
    yield format_sse_event(data_str="[DONE]")
