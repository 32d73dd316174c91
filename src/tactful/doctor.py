"""What is on this machine, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tactful import __version__
from tactful.engines import PACKAGES, choices, installed
from tactful.errors import TactfulError
from tactful.models import home, native_bfloat16, status

_LIBRARIES = ("torch", "transformers", "peft", "scikit-learn", "pyarrow")


def examine() -> dict[str, Any]:
    """Everything `tactful doctor` reports; `problems` is empty when rewriting will work."""
    problems: list[str] = []
    models = []
    for model in status(verify=True):
        models.append(
            {
                "name": model.name,
                "what": model.what,
                "licence": model.licence,
                "folder": str(model.folder),
                "state": model.state,
            }
        )
        if model.state != "intact":
            problems.append(f"model {model.name!r} is {model.state}: run `tactful fetch`")
    return {
        "tactful": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "libraries": {name: _installed(name, problems) for name in _LIBRARIES},
        "bfloat16": _bfloat16(),
        "home": str(home()),
        "models": models,
        "engines": _engines(),
        "chosen": [choice.render() for choice in choices()],
        "screener": _screener(problems),
        "problems": problems,
    }


def render(findings: dict[str, Any]) -> str:
    """The findings as plain lines."""
    lines = [
        f"tactful {findings['tactful']}, Python {findings['python']}, {findings['machine']}",
        "libraries   " + ", ".join(f"{n} {v}" for n, v in findings["libraries"].items()),
        f"bfloat16    {findings['bfloat16']}",
        f"home        {findings['home']}",
    ]
    for model in findings["models"]:
        lines.append(f"{model['name']:<11} {model['state']}: {model['what']} ({model['licence']})")
    lines.append("engines     " + ", ".join(f"{n} {v}" for n, v in findings["engines"].items()))
    lines += [f"chosen      {choice}" for choice in findings["chosen"]]
    lines.append(f"screener    {findings['screener']}")
    lines += [f"PROBLEM     {problem}" for problem in findings["problems"]]
    return "\n".join(lines if findings["problems"] else [*lines, "all is well"])


def _installed(name: str, problems: list[str]) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        problems.append(f"{name} is not installed: pip install tactful")
        return "missing"


def _engines() -> dict[str, str]:
    """What can write here; none of them but torch is needed, and its extra is its name."""
    return {name: installed(name) or f'missing: pip install "tactful[{name}]"' for name in PACKAGES}


def _bfloat16() -> str:
    return "native, used" if native_bfloat16() else "not native here; float32 is used"


def _screener(problems: list[str]) -> str:
    from tactful.screeners.linear import LinearScreener

    try:
        screener = LinearScreener.load()
    except TactfulError as error:
        problems.append(str(error))
        return "damaged"
    cut = screener.thresholds
    return f"{screener.name}, acts at {cut.act:.3f}, passes below {cut.passing:.3f}"
