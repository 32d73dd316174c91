"""The site: it builds without a warning, loads nothing from elsewhere, and says what the code says."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from tactful.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# The site is built once, in the first test that looks at it.
pytestmark = pytest.mark.timeout(600)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """What `mkdocs.yml` names."""
    return _module(DOCS / "hooks.py")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; with --strict a link or an anchor that leads nowhere fails."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def _html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_page_is_in_the_site_and_reached_from_the_start(site: Path) -> None:
    """Files that lie in docs/ become pages, and the start's navigation leads to each group."""
    for page in PAGES:
        assert (site / page.relative_to(DOCS).with_suffix(".html")).is_file(), page
    start = _html(site / "index.html")
    for group in ("How to", "Reference", "Results", "Decisions"):
        assert re.search(rf"<a href=[^>]*>\s*{group}", start), group


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No script, style sheet, font, picture or frame of another origin; links may lead anywhere."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    loads = re.compile(
        r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^>]*>"
    )
    for page in pages:
        found = [tag for tag in loads.findall(_html(page)) if 'rel="canonical"' not in tag]
        assert not found, page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), sheet


def test_the_command_line_is_told_whole(site: Path) -> None:
    """Every verb and every option."""
    page = _html(site / "reference" / "cli.html")
    commands: Any = typer.main.get_command(app)
    verbs = {
        **commands.commands,
        **commands.commands["screener"].commands,
        **commands.commands["judge"].commands,
    }
    for name, command in verbs.items():
        assert name in page
        for option in (opt for param in command.params for opt in param.opts):
            if option.startswith("--"):
                assert option in page, option


def test_recipes_are_told_whole(site: Path, hooks: ModuleType) -> None:
    """Every key of every recipe, in the section of its model."""
    page = _html(site / "reference" / "recipes.html")
    waiting, known = [hooks._model(path) for path in hooks.RECIPES.values()], set()
    while waiting:
        model = waiting.pop()
        if model in known:
            continue
        known.add(model)
        for name, field in model.model_fields.items():
            assert f"<code>{name}</code>" in page, f"{model.__name__}.{name}"
            inner = list(hooks._models_in(field.annotation))
            assert all(f'id="{one.__name__.lower()}"' in page for one in inner)
            waiting += inner
    assert len(known) > 20


def test_what_is_public_is_told(site: Path) -> None:
    """All that `from tactful import` gives has a place of its own."""
    import tactful

    page = _html(site / "reference" / "python.html")
    assert set(tactful._PUBLIC) == set(tactful.__all__) - {"__version__"}
    for module, name in tactful._PUBLIC.values():
        assert f'id="{module}.{name}"' in page, name


def test_a_new_how_to_needs_no_entry(hooks: ModuleType) -> None:
    """One that is named stands with its readers, one that is not with the platform engineers."""
    order = hooks.order(
        {"index.md", "how-to/serve.md", "how-to/train-a-rewriter.md", "how-to/new.md"}
    )
    (groups,) = [entry["How to"] for entry in order if "How to" in entry]
    assert groups == [
        {"For platform engineers": ["how-to/serve.md", "how-to/new.md"]},
        {"For researchers": ["how-to/train-a-rewriter.md"]},
    ]


def test_every_page_stands_in_the_navigation_once(site: Path, hooks: ModuleType) -> None:
    """Those that are made included."""
    pages = {page.relative_to(site).with_suffix(".md").as_posix() for page in site.rglob("*.html")}
    pages -= {"404.md"}
    assert {"reference/cli.md", "notebooks/walkthrough.md", "changelog.md"} <= pages

    def leaves(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [leaf for value in values for leaf in leaves(value)]

    assert sorted(leaves(hooks.order(pages))) == sorted(pages)


_BLOCK = re.compile(r"^```(?:bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _commands(page: Path) -> list[list[str]]:
    """The tactful commands of a page's blocks, up to what the shell takes for itself."""
    found = []
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith("tactful "):
                continue
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&<>;")
            lexer.whitespace_split = True
            words = []
            for word in lexer:
                if set(word) <= set("|&<>;"):
                    break
                words.append(word)
            found.append(words)
    return found


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_commands_in_the_docs_are_ones_that_tactful_takes(page: Path) -> None:
    """Verbs, options and the kind of their values."""
    for _, *words in _commands(page):
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "commands"):
            if words[0].startswith("-"):
                break
            verb, *words = words
            assert verb in command.commands, f"{page}: {verb}"
            command = command.commands[verb]
        command.make_context("tactful", words)


def test_there_are_commands_to_check() -> None:
    """The pattern above finds them, continued lines included."""
    assert ["tactful", "doctor"] in _commands(DOCS / "tutorial.md")
    told = [" ".join(words) for words in _commands(DOCS / "how-to" / "train-a-rewriter.md")]
    assert any("demonstrations=runs/back --set start=" in line for line in told)
