from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tactful.config import validate
from tactful.errors import ConfigError
from tactful.serving.settings import ServeConfig, is_loopback, refuse_open_door
from tests.serving.running import ROOT, Running, running


def tactful(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tactful", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    """What only this machine reaches."""
    refuse_open_door(host, keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_other_addresses_need_keys(host: str) -> None:
    """What others could reach."""
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="no keys are configured"):
        refuse_open_door(host, keys=False)
    refuse_open_door(host, keys=True)


def test_missing_weights_are_told_at_once() -> None:
    """Without fetched models the server does not start, and says how to get them."""
    found = tactful("--port", "0")
    assert found.returncode == 1
    assert "tactful fetch" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_engine_that_cannot_start_ends_the_server() -> None:
    """Its own message is the last line, and the exit code is 1."""
    found = tactful("--port", "0", "--engine", "tests.serving.stub:refuses")
    assert found.returncode == 1
    assert "no weights for the stub" in found.stderr.splitlines()[-1]


def test_a_taken_port_is_told(server: Running) -> None:
    """Somebody else listens there: say so, and what to do."""
    found = tactful("--port", str(server.host_port[1]), "--engine", "tests.serving.stub:at_once")
    assert found.returncode == 1
    assert "--port 0" in found.stderr


def test_wrong_options_are_told_together() -> None:
    """All faults at once."""
    raw = {"deadline": 0, "queue": 0, "engine": {"policy": "delete", "engine": "vllm"}}
    with pytest.raises(
        ConfigError, match=r"(?s)4 faults.*deadline.*queue.*engine.engine.*'gguf'.*engine.policy"
    ):
        validate(raw, ServeConfig, name="tactful serve")


def test_without_the_extra_the_pip_line_is_given() -> None:
    """A missing dependency is an extra that was not installed."""
    script = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['tactful', 'serve']; "
        "from tactful.cli import main; main()"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 1
    assert 'pip install "tactful[serve]"' in found.stderr


def test_the_servers_process_holds_no_torch() -> None:
    """Torch is the engine's; the server stays small and starts quickly."""
    script = "import sys, tactful.serving.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_public_address_is_what_the_document_says(socket_enabled: Any) -> None:
    """Behind a proxy clients are sent to where they came from."""
    with running("at_once", "--public-url", "https://score.example.org", ready=False) as server:
        document = server.client.get("/$discovery/rest").json()
    assert document["rootUrl"] == "https://score.example.org/"
