"""Errors on their way out, in the shape that the clients of each route know.

    /v1alpha1, /$discovery   {"error": {"code": 400, "message": ..., "status": ..., "details": []}}
    everything else          {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

No message quotes what was sent: it may be a text, and errors are what people paste into tickets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_GOOGLE_ERROR = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"


class Problem(Exception):
    """A request that is not answered as asked, and why.

    `kind` is for programs and stays as it is; `message` is for people. `retry_after` are seconds.
    `detail` is what the Perspective shape tells besides, with its `errorType`.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        detail: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))


def is_perspective(path: str) -> bool:
    """Whether a path belongs to the clients of the Perspective shape."""
    return path.startswith(("/v1alpha1/", "/$discovery/"))


def render(problem: Problem, path: str) -> JSONResponse:
    """The answer to a request on this path."""
    body: dict[str, Any]
    if is_perspective(path):
        detail = problem.detail or (
            {"errorType": "INVALID_REQUEST"} if problem.status == 400 else None
        )
        body = {
            "code": problem.status,
            "message": problem.message,
            "status": _GOOGLE_STATUS.get(problem.status, "INVALID_ARGUMENT"),
            "details": [{"@type": _GOOGLE_ERROR, **detail}] if detail else [],
        }
    else:
        body = {
            "message": problem.message,
            "type": problem.kind,
            "param": problem.param,
            "code": problem.kind,
        }
    return JSONResponse({"error": body}, problem.status, headers=problem.headers)
