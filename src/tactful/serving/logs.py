"""One JSON object a line on stderr; never a text, a key, or what followed a `?`.

What may be in a line is listed here: a field that is not is dropped. A traceback is told by its
frames and the type of the exception, whose message might quote a text.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

_FIELDS = (
    "method route status seconds bytes texts key engine pid reason error suggested ours attribute "
    "address requests version"
).split()
_OURS = ("tactful", "uvicorn")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; JSON escapes line breaks, so nothing that is sent can forge another line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            # What a library says may quote anything; that it said something is told all the same.
            "event": record.getMessage() if record.name.startswith(_OURS) else record.name,
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send our own lines, and what the web server and asyncio complain of, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    least_of = {"tactful": level, "uvicorn.error": logging.ERROR, "asyncio": logging.WARNING}
    for name, least in least_of.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False
