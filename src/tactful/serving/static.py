"""The playground: the files in the folder beside, and the little they must know of this server.

They hold no secrets, so they need no key; whatever they then ask for does. Nothing else in the
folder is reachable: a file is found by its name in a table, not by a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tactful.prompts import trained
from tactful.serving.pages import strict_headers
from tactful.serving.service import Service
from tactful.serving.settings import MAX_REWRITTEN, MAX_REWRITTEN_TEXTS

FOLDER = Path(__file__).with_name("playground")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FRAME = "frame.html"
_SETTINGS = "/playground/settings"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]


def _read() -> dict[str, _File]:
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix not in _TYPES:
            continue
        route = "/" if path.name == "index.html" else f"/playground/{path.name}"
        headers = _frame_headers() if path.name == _FRAME else strict_headers(frames=True)
        found[route] = _File(path.read_bytes(), {**headers, "Content-Type": _TYPES[path.suffix]})
    return found


def _frame_headers() -> dict[str, str]:
    """A report brings its own style and script: it gets an origin of its own, and no network."""
    policy = (
        "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    )
    return {**strict_headers(), "Content-Security-Policy": policy}


_FILES = _read()
PATHS = frozenset({*_FILES, _SETTINGS})
"""What is answered without a key."""


def routes(service: Service) -> APIRouter:
    """The page and its files; none of them stands in the document of the API."""
    router = APIRouter(include_in_schema=False)

    def add(route: str, file: _File) -> None:
        async def answer() -> Response:
            return Response(file.content, headers=file.headers)

        router.add_api_route(route, answer, methods=["GET", "HEAD"])

    for route, file in _FILES.items():
        add(route, file)

    @router.get(_SETTINGS)
    async def settings() -> dict[str, Any]:
        return {
            "needs_key": bool(service.keys),
            "keeps_decisions": service.decisions is not None,
            "act": service.screener.thresholds.act,
            "max_text": MAX_REWRITTEN,
            "max_texts": MAX_REWRITTEN_TEXTS,
            # With {text} for the text: the page writes the rows that training reads.
            "prompt": trained("{text}"),
        }

    return router
