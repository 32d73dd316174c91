"""Memory that was freed and is still held, and how to give it back."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Return freed memory: glibc keeps what loading and batches of odd sizes freed, half a gigabyte."""
    # Other C libraries have no such call, and give back by themselves.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
