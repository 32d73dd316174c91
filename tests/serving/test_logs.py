from __future__ import annotations

import json
import logging
import sys

from tactful.serving.logs import JsonLines


def line(message: str, name: str = "tactful", **fields: object) -> dict[str, object]:
    record = logging.LogRecord(name, logging.INFO, __file__, 1, message, (), None)
    record.__dict__.update(fields)
    return json.loads(JsonLines().format(record))


def test_only_listed_fields_are_written() -> None:
    """What nobody thought about does not get into the log."""
    found = line("request", status=200, text="you idiot")
    assert (found["event"], found["status"]) == ("request", 200)
    assert "you idiot" not in json.dumps(found)


def test_a_traceback_is_frames_and_a_type() -> None:
    """The message of an exception may quote a text, so it is left out."""
    try:
        raise ValueError("you idiot")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info())
    assert found["exception"] == "ValueError"
    assert "test_logs.py" in str(found["at"])
    assert "you idiot" not in json.dumps(found)


def test_what_a_library_says_is_not_repeated() -> None:
    """asyncio tells of a task with its exception, and so perhaps with a text; the line is JSON still."""
    found = line("Task exception was never retrieved: you idiot", name="asyncio")
    assert found["event"] == "asyncio"
    assert "you idiot" not in json.dumps(found)
