"""The application: our own routes, those in the shapes of others, and what surrounds them all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyQuery, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, JSONResponse

from tactful import __version__
from tactful.serving import openai, perspective, static
from tactful.serving.access import FREE, Door
from tactful.serving.body import BodyLimit, json_only
from tactful.serving.engine import Task
from tactful.serving.metrics import CONTENT_TYPE
from tactful.serving.pages import api_page
from tactful.serving.problems import Problem, render
from tactful.serving.schemas import (
    Decision,
    FaultResponse,
    Health,
    Kept,
    RewriteRequest,
    RewriteResponse,
    RewriteResult,
    ScoreRequest,
    ScoreResponse,
    ScoreResult,
)
from tactful.serving.scoring import Question
from tactful.serving.service import Service

_ABOUT = (
    "Rewrites texts that insult, and says how toxic texts are. Where keys are configured, every "
    "route but /livez and /readyz needs one, as `Authorization: Bearer KEY`. Texts are never stored; "
    "what people decide is, where the operator has asked for it."
)
_TOLD = 5
"""Faults of a request that are told; the others are likely alike."""


def create_app(service: Service) -> FastAPI:
    """Everything that `tactful serve` answers."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="tactful",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        # Its own pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Its spans and log records hold addresses and messages of exceptions, and so texts.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    bearer = Security(HTTPBearer(auto_error=False, description="A key of this server."))
    in_query = Security(APIKeyQuery(name="key", auto_error=False, scheme_name="Perspective's key"))
    _add_own_routes(app, service, bearer)
    app.include_router(static.routes(service))
    app.include_router(openai.routes(service), dependencies=[bearer, Depends(json_only)])
    app.include_router(perspective.routes(service), dependencies=[bearer, in_query])
    _add_handlers(app, service)
    app.add_middleware(
        BodyLimit,
        max_body=service.config.max_body,
        timeout=service.config.body_timeout,
        bodiless=FREE,
    )
    app.add_middleware(Door, service=service)
    if service.config.allow_origin:
        # Around the door: a browser asks whether it may before it sends a key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.config.allow_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Goog-Api-Key"],
            expose_headers=["Retry-After", "Server-Timing"],
        )
    return app


def openapi_text(app: FastAPI) -> str:
    """The OpenAPI document as it stands in docs/openapi.json."""
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


def _add_own_routes(app: FastAPI, service: Service, bearer: Any) -> None:
    faults: dict[int | str, dict[str, Any]] = {
        "4XX": {"model": FaultResponse},
        503: {"model": FaultResponse},
    }
    own: dict[str, Any] = {
        "responses": faults,
        "dependencies": [bearer, Depends(json_only)],
        "tags": ["tactful"],
    }
    about: dict[str, Any] = {"tags": ["about this server"]}

    @app.post("/v1/rewrite", summary="Rewrite texts that insult", **own)
    async def rewrite(
        request: Request, response: Response, asked: RewriteRequest
    ) -> RewriteResponse:
        """Clean texts come back byte for byte. Every text gets a status; see README."""
        texts = [asked.text] if isinstance(asked.text, str) else asked.text
        service.charge(request, len(texts))
        results, timing = await service.rewrite([Task(text, asked.force) for text in texts])
        response.headers["Server-Timing"] = timing
        return RewriteResponse(
            model=results[0].model, results=[RewriteResult.of(result) for result in results]
        )

    @app.post("/v1/score", summary="Say how toxic texts are", **own)
    async def score(request: Request, asked: ScoreRequest) -> ScoreResponse:
        """Needs no engine, so it answers while one is being started or is busy."""
        texts = [asked.text] if isinstance(asked.text, str) else asked.text
        service.charge(request, len(texts))
        scores = await service.score([Question(text) for text in texts])
        return ScoreResponse(
            model=service.screener.name,
            act=service.screener.thresholds.act,
            results=[ScoreResult.of(score) for score in scores],
        )

    @app.post("/v1/decisions", summary="Keep what a person decided", **own)
    async def decide(request: Request, decision: Decision) -> Kept:
        """For the playground. 404 unless the operator keeps decisions (`--decisions FILE`)."""
        key = request.scope["state"].get("key")
        await service.keep(decision, key.name if key else None)
        return Kept(kept=True)

    @app.get("/livez", summary="Is the server alive?", **about)
    async def livez() -> Health:
        """200 as long as it answers at all."""
        return Health(status="ok")

    @app.get(
        "/readyz",
        summary="Can texts be rewritten now?",
        responses={503: {"model": Health}},
        **about,
    )
    async def readyz() -> JSONResponse:
        """200 once the engine has passed a warm-up rewrite and while it lives; else 503."""
        why = service.not_ready()
        health = Health(status="not ready" if why else "ok", reason=why)
        return JSONResponse(health.model_dump(), 503 if why else 200)

    about |= {"dependencies": [bearer], "responses": {"4XX": {"model": FaultResponse}}}

    @app.get("/metrics", summary="For Prometheus", response_class=Response, **about)
    async def metrics() -> Response:
        """Counts and times; no texts, no keys."""
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return api_page(app.openapi())


def _add_handlers(app: FastAPI, service: Service) -> None:
    def answer(request: Request, problem: Problem) -> JSONResponse:
        service.metrics.refused.labels(problem.kind).inc()
        return render(problem, request.url.path)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        told = "; ".join(map(_tell, faults[:_TOLD]))
        # OpenAI's and Perspective's services answer 400 to what they cannot read.
        ours = request.url.path in ("/v1/rewrite", "/v1/score", "/v1/decisions")
        return answer(request, Problem(422 if ours else 400, "invalid_request", told))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        kind = {404: "not_found", 405: "method_not_allowed"}.get(
            error.status_code, "invalid_request"
        )
        message = {404: "there is no such route", 405: "this route has no such method"}.get(
            error.status_code, "the request could not be read"
        )
        return answer(
            request, Problem(error.status_code, kind, message, headers=dict(error.headers or {}))
        )

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> JSONResponse:
        return answer(
            request, Problem(500, "internal", "this is a fault of the server's, not yours")
        )


def _tell(fault: dict[str, Any]) -> str:
    """A fault and where it is, in names of ours: others may be anything, even a text."""
    if fault["type"] == "json_invalid":
        return f"the body is not JSON, from character {fault['loc'][-1]} on"
    known = [str(part) for part in fault["loc"] if isinstance(part, int) or part in _NAMES]
    return f"{'.'.join(known) or 'the body'}: {fault['msg']}"


_NAMES = frozenset(
    name
    for module in (openai, perspective)
    for model in vars(module).values()
    if hasattr(model, "model_fields")
    for field, info in model.model_fields.items()
    for name in (field, info.alias)
    if name
) | {"text", "force", *Decision.model_fields}
