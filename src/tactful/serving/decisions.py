"""What people decided, on this machine's disk: only where the operator has asked for it.

A decision is a line of JSON. One that names something better is a pair, as training reads it; a
rewrite that was turned down and nothing more goes into a file of its own beside it:

    people.jsonl            {"text", "prompt", "chosen", "rejected", "decision", "model", "time", "key"}
    people.rejected.jsonl   {"text", "prompt", "rejected", "decision", "model", "time", "key"}
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tactful.errors import ConfigError
from tactful.prompts import trained
from tactful.serving.schemas import Decision


class Decisions:
    """Two files that are only ever added to.

    Raises ConfigError at once where they cannot be written: a moderator's work must not be what
    finds out.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix != ".jsonl":
            raise ConfigError(f"--decisions {path}: give a name that ends in .jsonl")
        self.pairs = path
        self.rejected = path.with_suffix(".rejected.jsonl")
        self._lock = threading.Lock()
        for file in (self.pairs, self.rejected):
            try:
                os.close(_opened(file))
            except OSError as error:
                raise ConfigError(
                    f"--decisions {file} cannot be written: {error.strerror}. Is the folder there?"
                ) from error

    def keep(self, decision: Decision, key: str | None) -> None:
        """Add one line, on the disk before this returns; OSError where it cannot be."""
        line = json.dumps(row(decision, key), ensure_ascii=False) + "\n"
        with self._lock:
            handle = _opened(self.rejected if decision.chosen is None else self.pairs)
            try:
                # In one piece: what a full disk cuts off must not glue two lines together.
                _write(handle, line.encode())
                os.fsync(handle)
            finally:
                os.close(handle)


def row(decision: Decision, key: str | None) -> dict[str, Any]:
    """A decision as a line of a file; `key` is the name of who asked, where there are keys."""
    found = {
        "text": decision.text,
        "prompt": trained(decision.text),
        "chosen": decision.chosen,
        "rejected": decision.rejected,
        "decision": decision.decision,
        "model": decision.model,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "key": key,
    }
    return {name: value for name, value in found.items() if value is not None}


def _opened(file: Path) -> int:
    # The texts are other people's: for the operator's eyes.
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _write(handle: int, line: bytes) -> None:
    size = os.fstat(handle).st_size
    try:
        written = os.write(handle, line)
        if written < len(line):
            raise OSError("the disk is full")
    except OSError:
        os.ftruncate(handle, size)
        raise
