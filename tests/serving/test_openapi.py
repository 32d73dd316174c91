from __future__ import annotations

import json

from tactful.serving.run import describe
from tests.serving.running import ROOT


def test_the_document_in_the_repository_is_what_is_served() -> None:
    """A change of the API shows in a diff. If it is meant: make openapi."""
    kept = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert describe() == kept


def test_every_operation_of_the_document_says_what_can_go_wrong() -> None:
    """Errors are part of an API; only the routes of health have none."""
    for path, operations in json.loads(describe())["paths"].items():
        for operation in operations.values():
            errors = set(operation["responses"]) - {"200"}
            assert errors or path == "/livez"
            assert "HTTPValidationError" not in json.dumps(operation)
