"""What holds for every test: no network, no home of the person who runs them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Tiny models gain nothing from a second thread, and on busy cores two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has Ctrl-C ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test finds, or leaves, anything in a real cache folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TACTFUL_HOME", str(home))
    monkeypatch.setenv("MPLCONFIGDIR", str(home))
    return home
