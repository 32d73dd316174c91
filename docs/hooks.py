"""The site's order, and its pages that are made from code (`mkdocs.yml` names this file).

A new page is picked up where it lies: how-tos, results and decisions need no entry anywhere. Only
whom a how-to is for is told here, and one that is not told stands with the platform engineers'.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).parent
READERS = {
    "For moderators": ("moderate-with-the-playground.md", "learn-from-people.md"),
    "For platform engineers": (
        "serve.md",
        "deploy.md",
        "rewrite-a-file.md",
        "leave-perspective.md",
        "choose-a-screener.md",
        "engines.md",
        "scale.md",
    ),
    "For researchers": ("train-a-rewriter.md", "train-on-many-gpus.md"),
}
"""Whom a how-to is for, in the order in which they are best read."""
_FOR_ALL_ELSE = "For platform engineers"

RECIPES = {
    "tactful screener fit": "recipe.ScreenerRecipe",
    "tactful screener kinds": "kinds_recipe.KindsRecipe",
    "tactful warmup": "pipeline.WarmRecipe",
    "tactful back-translate": "back_translation.BackRecipe",
    "tactful taste": "tasting.TasteRecipe",
    "tactful train": "pipeline.TrainRecipe",
    "tactful judge fit": "evaluation.judge_fit.JudgeRecipe",
}
"""What each verb reads."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs once it has found the pages: adds those that are made, then puts them in order."""
    for path, content in made():
        files.append(File.generated(config, path, content=content))
    config.nav = order({file.src_uri for file in files.documentation_pages()})
    return files


def order(pages: set[str]) -> list[Any]:
    """The navigation, of the pages there are."""

    def under(folder: str, *first: str) -> list[str]:
        found = sorted(page for page in pages if page.startswith(f"{folder}/"))
        wanted = [f"{folder}/{name}" for name in first]
        return [page for page in wanted if page in found] + [p for p in found if p not in wanted]

    named = {name for names in READERS.values() for name in names}
    how_to = []
    for reader, names in READERS.items():
        some = [page for name in names if (page := f"how-to/{name}") in pages]
        if reader == _FOR_ALL_ELSE:
            some += [page for page in under("how-to") if page.rpartition("/")[2] not in named]
        if reader == "For researchers":
            some += [page for page in ("export.md",) if page in pages]
        how_to.append({reader: some})
    placed = {"index.md", "tutorial.md", "export.md", "log.md", "changelog.md"}
    others = sorted(page for page in pages - placed if "/" not in page)
    return [
        {"Start": ["index.md", "tutorial.md", *under("notebooks"), *others]},
        {"How to": [group for group in how_to if all(group.values())]},
        {"Reference": under("reference", "python.md", "cli.md", "recipes.md")},
        {"Results": [*under("results"), "log.md"]},
        {"Decisions": under("decisions")},
        {"Changes": ["changelog.md"]},
    ]


def made() -> Iterator[tuple[str, str | bytes]]:
    """Paths and contents of the pages that no one writes."""
    yield "reference/cli.md", cli_page()
    yield "reference/recipes.md", recipes_page()
    yield "reference/http.md", http_page()
    yield "reference/metrics.md", metrics_page()
    yield "changelog.md", (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    for path in sorted(DOCS.glob("notebooks/*.ipynb")):
        yield from notebook_pages(path)


def cli_page() -> str:
    """Every verb with its arguments and options."""
    from tactful.cli import app

    parts = ["# Command line", "As `tactful VERB --help` tells it.", ""]
    for name, command in _verbs(typer.main.get_command(app)):
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        parts += [f"## {name}", _words(command.help or ""), f"```text\n{usage}\n```"]
        rows = [param.get_help_record(context) for param in command.get_params(context)]
        parts.append(_table("", "", [(f"`{row[0]}`", row[1]) for row in rows if row]))
    parts += ["## Exit codes", _words(typer.main.get_command(app).epilog or "")]
    return "\n\n".join(parts) + "\n"


def _verbs(group: Any, above: str = "tactful") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{above} {name}")
        else:
            yield f"{above} {name}", command


def recipes_page() -> str:
    """Every key that a recipe may hold: what it is, what it is by default."""
    parts = [
        "# Recipes",
        "A recipe is one YAML file; `--set a.b=c` overrides a value. Unknown keys are refused, and "
        "all faults are told at once. Those that ship are in `recipes/`.",
    ]
    package = griffe.load("tactful", search_paths=[DOCS.parent / "src"])
    models = {verb: _model(path) for verb, path in RECIPES.items()}
    sections: list[type[BaseModel]] = []
    for verb, model in models.items():
        parts += [f"## {verb}", *_keys(model, package, sections)]
    parts.append("## Sections")
    for model in sections:  # which grows while it is read
        parts += [f"### {model.__name__}", *_keys(model, package, sections)]
    return "\n\n".join(parts) + "\n"


def _model(path: str) -> type[BaseModel]:
    from importlib import import_module

    module, _, name = path.rpartition(".")
    found: type[BaseModel] = getattr(import_module(f"tactful.{module}"), name)
    return found


def _keys(
    model: type[BaseModel], package: griffe.Object | griffe.Alias, sections: list[type[BaseModel]]
) -> list[str]:
    """A model's own words and its keys; models that its keys hold are added to `sections`."""
    told = package[f"{model.__module__.removeprefix('tactful.')}.{model.__qualname__}"]
    rows = []
    for name, field in model.model_fields.items():
        inner = list(_models_in(field.annotation))
        sections += [one for one in inner if one not in sections]
        where = told.members.get(name)
        said = where.docstring.value if where is not None and where.docstring else ""
        kinds = ", ".join(f"[{one.__name__}](#{one.__name__.lower()})" for one in inner)
        limits = ", ".join(map(_limit, field.metadata))
        default = field.get_default(call_default_factory=True)
        if default is PydanticUndefined:
            shown = "required"
        elif isinstance(default, BaseModel):
            shown = ""
        else:
            shown = f"`{json.dumps(default, default=str, ensure_ascii=False)}`"
        notes = [_words(said), kinds and f"keys: {kinds}.", limits and f"({limits})"]
        rows.append((f"`{name}`", shown, " ".join(filter(None, notes))))
    own = [_words(told.docstring.value)] if told.docstring else []
    return [*own, _table("key", "default", "", rows)]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _limit(constraint: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "pattern": "matches"}
    found = [
        f"{sign} `{value}`"
        for name, sign in signs.items()
        if (value := getattr(constraint, name, None)) is not None
    ]
    return ", ".join(found)


def http_page() -> str:
    """Every route, from the document that clients read."""
    text = (DOCS / "openapi.json").read_text(encoding="utf-8")
    document = json.loads(text)
    rows = [
        (f"`{method.upper()} {path}`", operation.get("summary", ""), operation.get("description"))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return "\n\n".join(
        [
            "# HTTP",
            _words(document["info"]["description"]),
            "[openapi.json](../openapi.json) says it to programs, with every field.",
            _table("", "", "", [(route, what, _words(more or "")) for route, what, more in rows]),
        ]
    )


def metrics_page() -> str:
    """What Prometheus is told."""
    from tactful.serving.metrics import Metrics

    rows = [
        (f"`{family.name}`", family.type, _words(family.documentation))
        for family in Metrics().registry.collect()
    ]
    return "\n\n".join(
        [
            "# Metrics",
            "What `GET /metrics` tells Prometheus. A counter's samples end in `_total`. For "
            "Grafana there is a dashboard: [deploy](../how-to/deploy.md#watching-it).",
            _table("", "kind", "", rows),
        ]
    )


def notebook_pages(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """A notebook as it was executed: a page, and its pictures beside it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts, pictures = [], 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                pictures += 1
                name = f"{path.stem}-{pictures}.png"
                yield f"notebooks/{name}", base64.b64decode(data["image/png"])
                parts.append(f"![what the cell above has drawn]({name})")
            else:
                shown = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{shown.rstrip()}\n```")
    yield f"notebooks/{path.stem}.md", "\n\n".join(parts) + "\n"


def _table(*headed: Any) -> str:
    *names, rows = headed
    lines = [list(names), ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _words(text: str) -> str:
    """Prose that is no Markdown: what looks like a tag or a link is neither."""
    return text.replace("<", "&lt;").replace("[", "\\[")
