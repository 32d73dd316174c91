"""One server for all tests that only ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.running import Running, running


@pytest.fixture(scope="session")
def _shared() -> Iterator[Running]:
    with running("at_once") as server:
        yield server


@pytest.fixture
def server(socket_enabled: None, _shared: Running) -> Running:
    """A server without keys whose engine answers at once."""
    return _shared
