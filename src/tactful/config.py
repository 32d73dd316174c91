"""YAML recipes into frozen pydantic models, with every fault reported at once.

A recipe is one file; `--set a.b=c` overrides single values, read as YAML. Unknown keys are faults
and come with the nearest known name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tactful.errors import ConfigError


class Config(BaseModel):
    """Base of every recipe section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


C = TypeVar("C", bound=Config)


def load_recipe(path: Path, model: type[C], overrides: Sequence[str] = ()) -> C:
    """Read a recipe file, apply `a.b=c` overrides and validate; all faults in one ConfigError.

    A recipe may start from another one: `extends: base.yaml`, beside it. Sections are merged; a
    list or a single value takes the place of the one there.
    """
    raw = _read(path, ())
    for override in overrides:
        _apply(raw, override)
    return validate(raw, model, name=str(path))


def _read(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe's mapping on top of those that it extends; `below` are those that led here."""
    if path in below:
        raise ConfigError(f"{path} extends itself, by way of {', '.join(map(str, below))}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read recipe {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold a mapping at the top, found {type(raw).__name__}")
    extended = raw.pop("extends", None)
    if extended is None:
        return raw
    if not isinstance(extended, str):
        raise ConfigError(f"{path}: extends must name one recipe, found {extended!r}")
    return _merged(_read(path.parent / extended, (*below, path)), raw)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def validate(raw: dict[str, Any], model: type[C], *, name: str) -> C:
    """Turn a plain mapping into a config; `name` says in messages where it came from."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        faults = [_explain(fault, model) for fault in error.errors()]
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        raise ConfigError(f"{name} has {count}\n  " + "\n  ".join(faults)) from error


def dump_recipe(config: Config, path: Path) -> None:
    """Write the resolved recipe, so that an output says what made it."""
    path.write_text(
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )


def require_recipe(recipe: Config, path: Path, advice: str) -> None:
    """Refuse a folder whose work was done by another recipe, the one saved at `path`.

    `advice` says what to do then.
    """
    before = load_recipe(path, type(recipe))
    if before == recipe:
        return
    old, new = (_flat(one.model_dump(mode="json")) for one in (before, recipe))
    changed = [
        f"{name}: {old.get(name)} before, {new.get(name)} now"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    more = ["..."] if len(changed) > 5 else []
    raise ConfigError(
        f"{path.parent} holds a run by another recipe; {advice}:"
        + "".join(f"\n  {line}" for line in changed[:5] + more)
    )


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set takes key=value, for example data.dir=corpus; got {override!r}")
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {parent!r} is a value, not a section")
        node = child
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not readable YAML") from error


def _explain(fault: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        return f"{where} is not a known key.{hint}  (known: {', '.join(known)})"
    if fault["type"] == "missing":
        return f"{where} is required; write it in the recipe or give --set {where}=..."
    return f"{where} = {fault['input']!r}: {fault['msg']}"


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The field names of the nested model at a fault's location, [] where that is no model."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        current = _model_of(current.model_fields[part].annotation)
        if current is None:
            return []
    return list(current.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_of(argument)
        if found is not None:
            return found
    return None
