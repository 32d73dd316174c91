"""Debian's Chromium, really driven against a server that really runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.playground.page import Page, open_browser
from tests.serving.running import Running, running

TOLD = ("--engine", "tests.playground.stub:told")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a busy machine takes its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def _serving() -> Iterator[Running]:
    with running("", *TOLD, stub=False) as server:
        yield server


@pytest.fixture
def serving(socket_enabled: None, _serving: Running) -> Running:
    """A server without keys that keeps nothing."""
    return _serving


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if missing:
        why = f"needs {' and '.join(missing)}: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    driver = open_browser(tmp_path_factory.mktemp("downloads"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(socket_enabled: None, _browser: Any) -> Any:
    """The browser; fails the test that left an error on the console or asked anybody else."""
    _browser.get_log("browser")
    _browser.get_log("performance")
    return _browser


@pytest.fixture
def page(browser: Any, serving: Running) -> Iterator[Page]:
    """The playground, newly opened, as somebody sees it who was never there.

    Afterwards there must be no error on the console, and no request that left the server.
    """
    found = Page(browser, serving.address)
    found.open()
    yield found
    assert [line for line in browser.get_log("browser") if line["level"] != "INFO"] == []
    foreign = [url for url in requests(browser) if not url.startswith(serving.address)]
    assert [url for url in foreign if not url.startswith(("blob:", "data:", "about:"))] == []


def requests(browser: Any) -> list[str]:
    """Where the browser has sent something since this was asked last."""
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
