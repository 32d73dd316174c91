"""The page as a person uses it: found by what stands on it, waited for, and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.serving.running import PATIENCE, until


def open_browser(downloads: Path | None = None) -> webdriver.Chrome:
    """Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # tests run as root in containers
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        "--disable-background-networking",
        "--disable-component-update",
    ):
        options.add_argument(argument)
    if downloads is not None:
        options.add_experimental_option(
            "prefs",
            {"download.default_directory": str(downloads), "download.prompt_for_download": False},
        )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_script_timeout(PATIENCE)
    driver.downloads = downloads
    return driver


class Page:
    """The playground of a server, in a browser."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        self.address = address

    def open(self, tab: str = "", *, clean: bool = True) -> None:
        """Load it; `clean` forgets what the browser remembers of it."""
        self.look()
        self.browser.get("about:blank")
        self.browser.get(f"{self.address}/#{tab}")
        if clean:
            self.run("localStorage.clear(); sessionStorage.clear()")
            self.browser.refresh()
        self.wait(lambda: self.run("return performance.getEntriesByName('usable').length"))

    def look(self, width: int = 1280, *, dark: bool = False, height: int = 900) -> None:
        """Set the window's width, and whether its owner likes it dark."""
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.browser.execute_script(script, *arguments)

    def wait(self, happened: Any) -> None:
        """Wait until something is so."""
        until(happened)

    def at(self, name: str) -> WebElement:
        """The element of this id."""
        return self.browser.find_element(By.ID, name)

    def all(self, css: str) -> list[WebElement]:
        """The elements of a selector."""
        return list(self.browser.find_elements(By.CSS_SELECTOR, css))

    def text(self, name: str) -> str:
        """What stands in an element, seen or not."""
        return str(self.at(name).get_property("textContent"))

    def seen(self, name: str) -> bool:
        """Whether an element is shown."""
        return self.at(name).is_displayed()

    def click(self, name: str) -> None:
        """Press a button."""
        self.at(name).click()

    def type(self, text: str, name: str = "text") -> None:
        """Put a text where a person would type it; at once, since keys take seconds."""
        self.run(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.at(name),
            text,
        )

    def rewrite(self, text: str) -> None:
        """Ask for a rewrite and wait for what comes of it: a result, or words on why not."""
        self.run("document.getElementById('said').textContent = ''")
        self.type(text)
        self.click("go")
        self.wait(lambda: self.text("said") not in ("", "Rewriting") or self.seen("ask-fault"))

    def give(self, name: str, path: Path) -> None:
        """Choose a file."""
        self.at(name).send_keys(str(path))

    def rewrite_file(self, path: Path) -> None:
        """Give a table, and wait until all its rows are done."""
        self.give("csv", path)
        self.wait(lambda: self.seen("start"))
        self.click("start")
        self.wait(lambda: self.text("pace").startswith("Done"))

    def downloaded(self, button: str, name: str) -> Path:
        """The file that a button leaves."""
        path = Path(self.browser.downloads) / name
        path.unlink(missing_ok=True)
        self.click(button)
        self.wait(path.exists)
        self.wait(lambda: not list(path.parent.glob("*.crdownload")))
        return path
