"""Calls for processes of their own, in a module that is imported at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tactful.errors import DataError


def where(number: int, fails: bool) -> tuple[int, int]:
    """The number, and the process that was asked; or an error."""
    if fails:
        raise DataError(f"number {number} cannot be done")
    return number, os.getpid()


def linger(folder: str) -> None:
    """Leave the process's number in a folder, and do not end by yourself."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(300)
