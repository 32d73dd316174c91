"""What was freed is not held."""

from __future__ import annotations

import platform

import psutil
import pytest

from tactful.memory import give_back


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries hold nothing")
def test_what_was_freed_goes_back() -> None:
    """Many small pieces, of which the last one keeps the heap from shrinking by itself."""
    process = psutil.Process()
    pieces = [bytearray(60_000) for _ in range(2_000)]
    last = bytearray(60_000)
    full = process.memory_info().rss
    del pieces
    give_back()
    assert full - process.memory_info().rss > 100_000_000
    assert last
