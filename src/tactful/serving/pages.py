"""Pages for people: strict about what a page may load, and one that shows the API.

A page gets nothing from anywhere but this server, and runs no script that is not a file of ours.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

_STYLE = (
    "body{max-width:60em;margin:2em auto;padding:0 1em;font:16px/1.5 system-ui,sans-serif}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{white-space:pre-wrap}"
    "h2{margin-top:2em;border-top:1px solid;padding-top:1em}"
)


def strict_headers(style: str = "", *, frames: bool = False) -> dict[str, str]:
    """Headers for a page; `style` is the one inline style sheet it may have, `frames` lets it frame
    other pages of this server."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    inline = f" 'sha256-{digest}'" if style else ""
    framed = "frame-src 'self'; " if frames else ""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'{inline}; img-src 'self'; "
            f"font-src 'self'; connect-src 'self'; {framed}base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def api_page(document: dict[str, Any]) -> HTMLResponse:
    """The operations of an OpenAPI document, to be read; no script, nothing from elsewhere."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>",
        f"<p>{escape(document['info'].get('description', ''))}</p>",
        '<p>As a document for programs: <a href="openapi.json">openapi.json</a></p>',
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += [
                f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
                f"<p><strong>{escape(operation.get('summary', ''))}</strong></p>",
                f"<p>{escape(operation.get('description', ''))}</p>",
            ]
            if "requestBody" in operation:
                parts.append(f"<p>{_fields(operation['requestBody'], document)}</p>")
    return HTMLResponse("".join(parts), headers=strict_headers(_STYLE))


def _fields(body: dict[str, Any], document: dict[str, Any]) -> str:
    reference = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][reference]
    needed = set(schema.get("required", ()))
    return "Fields: " + ", ".join(
        f"<code>{escape(name)}</code>{'' if name in needed else ' (optional)'}"
        for name in schema["properties"]
    )
