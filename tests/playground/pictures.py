"""The pictures in docs/images/playground, from a server that runs:

    python -m tactful serve --engine tests.playground.stub:table &
    python -m tests.playground.pictures http://127.0.0.1:8000 docs/images/playground

Without --engine they show what the engine that ships writes. Look at each of them before it is committed.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from tests.playground.page import Page, open_browser
from tests.serving.running import ROOT, until

TEXT = "You have read nothing, you moron. The meeting on 4 May was cancelled because of the storm!"
FIRST = "what kind of idiot parks across two spaces?"
ROWS = (
    "Thanks for the quick answer, that solved it.",
    "you clearly have no clue, moron",
    "The second link is broken, could you check it?",
    "this update is total garbage and it broke 3 of my apps",
    "I disagree: the study had only twelve participants.",
    "shut up and let her finish, you jerk",
    "Das habe ich leider nicht verstanden.",
    "See you all on Thursday at 6 pm.",
    "I know where you live and I will hurt you",
    "only an idiot would believe that number",
    "Where did you buy the blue one?",
    "Great photo, which lens is that?",
)
WIDTHS = (375, 1280)
_PATIENCE = 1500.0


def take(address: str, folder: Path) -> None:
    """All three tabs, narrow and wide, light and dark."""
    until.__kwdefaults__["within"] = _PATIENCE
    folder.mkdir(parents=True, exist_ok=True)
    browser = open_browser()
    browser.set_page_load_timeout(_PATIENCE)
    page = Page(browser, address)
    page.open()
    # The page gives up after a minute; a picture may take longer.
    page.run(
        "const later = setTimeout; window.setTimeout = (f, ms) => later(f, ms > 9e3 ? 9e8 : ms)"
    )
    page.rewrite(FIRST)
    page.click("accept")
    page.rewrite(TEXT)
    _shots(page, "rewrite", folder)
    page.click("tab-file")
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "comments.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["comment"], *([row] for row in ROWS)])
        page.rewrite_file(table)
    _shots(page, "file", folder)
    page.click("tab-report")
    page.give("report-file", ROOT / "docs" / "results" / "paradetox.final.json")
    page.wait(lambda: page.all("#report-shown table"))
    _shots(page, "report", folder, height=900)
    browser.quit()


def _shots(page: Page, name: str, folder: Path, height: int | None = None) -> None:
    page.run("document.activeElement.blur()")
    for width in WIDTHS:
        for dark in (False, True):
            page.look(width, dark=dark)
            page.look(
                width, dark=dark, height=height or page.run("return document.body.scrollHeight")
            )
            time.sleep(0.6)  # the bars grow
            path = folder / f"{name}-{width}-{'dark' if dark else 'light'}.png"
            picture = Image.open(io.BytesIO(page.browser.get_screenshot_as_png()))
            picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
            sys.stderr.write(f"{path} {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
