"""Checkpoints that can be trusted: sealed when whole, and believed only with an unbroken seal.

A run may be killed while it writes, and a disk may fill up. So the list of a checkpoint's files
with their hashes is written last, and whatever lacks it, or differs from it, is not resumed from.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tactful.errors import DataError
from tactful.models import file_sha256

SEAL = "complete.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path) -> None:
    """Say of what is in the folder that it is all there is; on disk when this returns."""
    files = {
        str(path.relative_to(folder)): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    part = folder / f"{SEAL}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(files, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / SEAL)


def is_whole(folder: Path) -> bool:
    """Whether every file of a sealed checkpoint is there and unchanged."""
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        return bool(files) and all(
            file_sha256(folder / name) == digest for name, digest in files.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


def latest(out: Path) -> Path | None:
    """The newest whole checkpoint of a run, None where there is none."""
    numbered = [
        (int(match[1]), path)
        for path in out.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name))
    ]
    return next((path for _, path in sorted(numbered, reverse=True) if is_whole(path)), None)


def to_resume(out: Path, resume: str) -> Path | None:
    """The checkpoint that `auto`, `never` or a path asks for."""
    if resume == "never":
        return None
    if resume == "auto":
        return latest(out)
    if not is_whole(Path(resume)):
        raise DataError(
            f"{resume} is no whole checkpoint: files are missing or differ from its {SEAL}. "
            f'Give another one, or "auto" for the newest that is whole.'
        )
    return Path(resume)
