"""The shape of Perspective's API, for clients whose service ends.

TOXICITY is what the screener says. The kinds of toxicity that were measured and found worth it are
answered too: P(toxic) times P(kind given toxic). Every other name is answered as that service answers
names it does not know, and every other language as one it does not support; a number that nobody
measured is worse than an error. Nothing is ever stored, so `doNotStore` is always honoured.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tactful.serving.problems import Problem
from tactful.serving.scoring import KindScore, Question, Score
from tactful.serving.service import Service

TOXICITY = "TOXICITY"
KINDS = {
    "INSULT": "insult",
    "PROFANITY": "profanity",
    "THREAT": "threat",
    "IDENTITY_ATTACK": "identity_attack",
    "SEVERE_TOXICITY": "severe_toxicity",
}
"""Our kinds by their names there; those that the weights lack are unknown attributes."""
ATTRIBUTES = [TOXICITY, *KINDS]
MAX_BYTES = 20_480
"""Of a comment in UTF-8; the service's own limit."""
_PROBABILITY = ("PROBABILITY", "SCORE_TYPE_UNSPECIFIED")

Finite = Annotated[float, Field(allow_inf_nan=False)]

log = logging.getLogger(__name__)


class Lenient(BaseModel):
    """As that service reads JSON: camelCase or snake_case, null for a default, more is ignored."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Comment(Lenient):
    """The text to be scored."""

    text: str | None = Field(default=None, examples=["what kind of idiot name is foo?"])
    type: str | None = None


class AttributeRequest(Lenient):
    """How an attribute is wanted; a score below the threshold is left out of the answer."""

    score_type: str | None = None
    score_threshold: Finite | None = None


Attributes = Annotated[
    dict[str, AttributeRequest | None],
    Field(json_schema_extra={"propertyNames": {"enum": ATTRIBUTES}}, examples=[{TOXICITY: {}}]),
]


class AnalyzeRequest(Lenient):
    """`context`, `sessionId`, `communityId` and `doNotStore` are accepted and change nothing."""

    comment: Comment | None = None
    requested_attributes: Attributes | None = None
    span_annotations: bool | None = None
    languages: Annotated[list[str], Field(max_length=16)] | None = None
    do_not_store: bool | None = None
    client_token: str | None = None


class ScoreOut(BaseModel):
    """A probability."""

    value: float
    type: Literal["PROBABILITY"] = "PROBABILITY"


class SpanScore(BaseModel):
    """The characters (code points) from `begin` up to, not including, `end`."""

    begin: int
    end: int
    score: ScoreOut


class AttributeScores(BaseModel):
    """The score of the whole and of its parts."""

    summaryScore: ScoreOut
    spanScores: list[SpanScore]


class AnalyzeResponse(BaseModel):
    """Scores by attribute; an attribute below its threshold is left out."""

    attributeScores: dict[str, AttributeScores]
    languages: list[str]
    detectedLanguages: list[str]
    clientToken: str | None = None


class SuggestedScore(Lenient):
    """An opinion."""

    value: Finite | None = None
    type: str | None = None


class SuggestedSpan(Lenient):
    """An opinion of a part."""

    begin: int | None = None
    end: int | None = None
    score: SuggestedScore | None = None


class SuggestedScores(Lenient):
    """Opinions of one attribute."""

    summary_score: SuggestedScore | None = None
    span_scores: Annotated[list[SuggestedSpan], Field(max_length=256)] | None = None


class SuggestRequest(Lenient):
    """What the caller thinks a comment should have scored."""

    comment: Comment | None = None
    attribute_scores: (
        Annotated[
            dict[str, SuggestedScores | None],
            Field(json_schema_extra={"propertyNames": {"enum": ATTRIBUTES}}),
        ]
        | None
    ) = None
    languages: Annotated[list[str], Field(max_length=16)] | None = None
    client_token: str | None = None


class SuggestResponse(BaseModel):
    """The opinion was heard."""

    clientToken: str | None = None


class GoogleDetail(BaseModel):
    """What programs look at."""

    model_config = ConfigDict(extra="allow")

    errorType: str


class GoogleFault(BaseModel):
    """Why a request was not answered as asked."""

    code: int
    message: str
    status: str
    details: list[GoogleDetail]


class GoogleFaultResponse(BaseModel):
    """The shape of errors on these routes."""

    error: GoogleFault


def routes(service: Service) -> APIRouter:
    """`comments:analyze`, `comments:suggestscore` and the discovery document."""
    router = APIRouter(
        tags=["Perspective's shapes"],
        responses={"4XX": {"model": GoogleFaultResponse}, 503: {"model": GoogleFaultResponse}},
    )

    known = [TOXICITY, *(name for name, kind in KINDS.items() if kind in service.kinds.names)]

    @router.post(
        "/v1alpha1/comments:analyze",
        summary="Score a comment",
        response_model_exclude_none=True,
    )
    async def analyze(request: Request, asked: AnalyzeRequest) -> AnalyzeResponse:
        """TOXICITY is the screener's probability, every other attribute that times how likely a toxic
        comment is of the kind, learned from Wikipedia comments alone. They are calibrated on other
        data than that service's, so thresholds must be matched: see
        docs/how-to/leave-perspective.md."""
        text = _text(asked.comment)
        wanted = _wanted(asked.requested_attributes, known)
        _refuse_languages(asked.languages, wanted)
        service.charge(request, 1)
        question = Question(text, bool(asked.span_annotations), _kinds_among(wanted))
        (score,) = await service.score([question])
        found = {name: _answer(score, name, wanted) for name in wanted}
        return AnalyzeResponse(
            attributeScores={
                name: _scores(text, answer, least)
                for name, answer in found.items()
                if answer.probability >= (least := wanted[name].score_threshold or 0.0)
            },
            languages=["en"],
            detectedLanguages=["en"],
            clientToken=asked.client_token,
        )

    @router.post(
        "/v1alpha1/comments:suggestscore",
        summary="Say what a comment should have scored",
        response_model_exclude_none=True,
    )
    async def suggest(request: Request, asked: SuggestRequest) -> SuggestResponse:
        """Leaves a line in the server's log: both scores, never the comment."""
        text = _text(asked.comment)
        suggested = asked.attribute_scores or {}
        _refuse_unknown(suggested, known)
        if not suggested:
            raise _fault("INVALID_REQUEST", "Missing attribute_scores")
        _refuse_languages(asked.languages, suggested)
        service.charge(request, 1)
        (score,) = await service.score([Question(text, kinds=_kinds_among(suggested))])
        for name, scores in suggested.items():
            opinion = (scores or SuggestedScores()).summary_score
            log.info(
                "suggested score",
                extra={
                    "attribute": name,
                    "suggested": opinion.value if opinion else None,
                    "ours": round(_answer(score, name, suggested).probability, 4),
                },
            )
        return SuggestResponse(clientToken=asked.client_token)

    @router.get("/$discovery/rest", summary="The discovery document")
    async def discovery(
        request: Request, version: Annotated[str, Query()] = "v1alpha1"
    ) -> Discovery:
        """For clients that build themselves from it, as google-api-python-client does."""
        if version != "v1alpha1":
            raise Problem(404, "no_such_version", "there is only the version v1alpha1")
        return Discovery.model_validate(
            discovery_document(service.config.public_url or str(request.base_url), known)
        )

    return router


def _fault(kind: str, message: str, **more: Any) -> Problem:
    return Problem(400, kind.lower(), message, detail={"errorType": kind, **more})


def _text(comment: Comment | None) -> str:
    text = (comment.text if comment else None) or ""
    if comment is not None and comment.type not in (None, "", "PLAIN_TEXT"):
        raise _fault("INVALID_REQUEST", "Currently, only 'PLAIN_TEXT' comments are supported")
    if not text.strip():
        raise _fault("COMMENT_EMPTY", "Comment must be non-empty.")
    if len(text.encode()) > MAX_BYTES:
        raise _fault("COMMENT_TOO_LONG", "Comment text too long.")
    return text


def _refuse_unknown(asked: Iterable[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            # Names are short and not secret; what is longer is no name.
            raise _fault("INVALID_REQUEST", f"Unknown requested attribute: {name[:64]}")


def _wanted(
    requested: dict[str, AttributeRequest | None] | None, known: Sequence[str]
) -> dict[str, AttributeRequest]:
    if not requested:
        raise _fault("NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes")
    _refuse_unknown(requested, known)
    wanted = {name: asked or AttributeRequest() for name, asked in requested.items()}
    for name, asked in wanted.items():
        if asked.score_type and asked.score_type not in _PROBABILITY:
            raise _fault(
                "INVALID_REQUEST",
                f"Requested score type {asked.score_type[:64]} is not supported by attribute {name}",
            )
    return wanted


def _kinds_among(names: Iterable[str]) -> bool:
    return any(name in KINDS for name in names)


def _refuse_languages(languages: list[str] | None, asked: Iterable[str]) -> None:
    others = [
        tag[:16] for tag in languages or () if tag.replace("_", "-").split("-")[0].lower() != "en"
    ]
    if others:
        raise _not_supported(others, asked)


def _not_supported(languages: list[str], asked: Iterable[str]) -> Problem:
    # No attribute supports it, and the shape has room for one.
    attribute = next(iter(asked))
    return _fault(
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        f"Attribute {attribute} does not support request languages: {', '.join(languages)}",
        languageNotSupportedByAttributeError={
            "detectedLanguages": languages,
            "attribute": attribute,
        },
    )


def _answer(score: Score, name: str, asked: Iterable[str]) -> KindScore:
    """What was found for one attribute; a fault where nothing was screened."""
    if score.toxicity is not None:
        if name == TOXICITY:
            return KindScore(score.toxicity, score.sentences)
        return score.kinds[KINDS[name]]
    if score.reason.startswith("no words"):
        raise _fault("LANGUAGE_DETECTION_FAILED", "Unable to detect language")
    # Which language it is we do not know, only that it is not the one we know.
    raise _not_supported(["und"], asked)


def _scores(text: str, answer: KindScore, least: float) -> AttributeScores:
    value = answer.probability
    parts = [(s.start, s.end, s.weight) for s in answer.sentences] or [(0, len(text), value)]
    return AttributeScores(
        summaryScore=ScoreOut(value=value),
        spanScores=[
            SpanScore(begin=begin, end=end, score=ScoreOut(value=part))
            for begin, end, part in parts
            if part >= least
        ],
    )


class Discovery(BaseModel):
    """A document in Google's discovery format; clients read it, people need not."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["discovery#restDescription"]
    name: str
    version: str
    rootUrl: str


def discovery_document(root: str, attributes: Sequence[str]) -> dict[str, Any]:
    """What `googleapiclient.discovery.build` needs to know of a server at this address."""
    root = root.rstrip("/") + "/"
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "title": "tactful, in the shape of the Perspective Comment Analyzer API",
        "description": f"Scores comments. The attributes are {', '.join(attributes)}. All but "
        f"{TOXICITY} are P(toxic) times P(kind given toxic), learned from Wikipedia comments only.",
        "protocol": "rest",
        "rootUrl": root,
        "servicePath": "",
        "baseUrl": root,
        "basePath": "",
        "batchPath": "batch",
        "parameters": {
            "key": {"type": "string", "location": "query", "description": "Your key."},
            "alt": {
                "type": "string",
                "location": "query",
                "enum": ["json"],
                "default": "json",
                "description": "The form of the answer.",
            },
        },
        "resources": {
            "comments": {
                "methods": {
                    "analyze": _method(
                        "analyze", "AnalyzeCommentRequest", "AnalyzeCommentResponse"
                    ),
                    "suggestscore": _method(
                        "suggestscore", "SuggestCommentScoreRequest", "SuggestCommentScoreResponse"
                    ),
                }
            }
        },
        "schemas": _SCHEMAS,
    }


def _method(name: str, request: str, response: str) -> dict[str, Any]:
    return {
        "id": f"commentanalyzer.comments.{name}",
        "path": f"v1alpha1/comments:{name}",
        "flatPath": f"v1alpha1/comments:{name}",
        "httpMethod": "POST",
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": request},
        "response": {"$ref": response},
    }


def _object(name: str, **properties: Any) -> dict[str, Any]:
    return {"id": name, "type": "object", "properties": properties}


def _map(name: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": name}}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_STRING = {"type": "string"}
_NUMBER = {"type": "number", "format": "float"}
_INTEGER = {"type": "integer", "format": "int32"}
_BOOLEAN = {"type": "boolean"}
_SCHEMAS = {
    schema["id"]: schema
    for schema in (
        _object("TextEntry", text=_STRING, type=_STRING),
        _object("ArticleAndParentComment", article={"$ref": "TextEntry"}),
        _object(
            "Context",
            entries=_list({"$ref": "TextEntry"}),
            articleAndParentComment={"$ref": "ArticleAndParentComment"},
        ),
        _object("AttributeParameters", scoreType=_STRING, scoreThreshold=_NUMBER),
        _object("Score", value=_NUMBER, type=_STRING),
        _object("SpanScore", begin=_INTEGER, end=_INTEGER, score={"$ref": "Score"}),
        _object(
            "AttributeScores",
            summaryScore={"$ref": "Score"},
            spanScores=_list({"$ref": "SpanScore"}),
        ),
        _object(
            "AnalyzeCommentRequest",
            comment={"$ref": "TextEntry"},
            context={"$ref": "Context"},
            requestedAttributes=_map("AttributeParameters"),
            spanAnnotations=_BOOLEAN,
            languages=_list(_STRING),
            doNotStore=_BOOLEAN,
            clientToken=_STRING,
            sessionId=_STRING,
            communityId=_STRING,
        ),
        _object(
            "AnalyzeCommentResponse",
            attributeScores=_map("AttributeScores"),
            languages=_list(_STRING),
            detectedLanguages=_list(_STRING),
            clientToken=_STRING,
        ),
        _object(
            "SuggestCommentScoreRequest",
            comment={"$ref": "TextEntry"},
            context={"$ref": "Context"},
            attributeScores=_map("AttributeScores"),
            languages=_list(_STRING),
            clientToken=_STRING,
            sessionId=_STRING,
            communityId=_STRING,
        ),
        _object("SuggestCommentScoreResponse", clientToken=_STRING),
    )
}
