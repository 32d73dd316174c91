"""A screener by its folder, whatever kind it is, or by a file that says what it is made of.

    kind: ensemble
    how: vote
    members: [shipped, runs/reader, moderation.yaml]

Paths in a file are looked for beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from tactful.config import Config
from tactful.errors import ConfigError
from tactful.screeners.base import Screener, Thresholds
from tactful.screeners.remote import Breaker, RemoteScreener, Shape
from tactful.screeners.wrappers import CachedScreener, EnsembleScreener, FallbackScreener

SHIPPED = "shipped"
_SUFFIXES = (".yaml", ".yml")
Share = Annotated[float, Field(ge=0, le=1)]


class Ensemble(Config):
    """Several screeners together."""

    kind: Literal["ensemble"]
    members: Annotated[tuple[str, ...], Field(min_length=1)]
    how: Literal["mean", "vote"] = "mean"
    quorum: Annotated[float, Field(ge=0.5, le=1)] = 0.5


class Remote(Config):
    """A server; `act` and `passing` are of its own scores."""

    kind: Literal["remote"]
    address: str
    shape: Shape = "tactful"
    act: Share
    passing: Share
    key_from: str | None = None
    """The environment variable that holds its key."""
    model: str | None = None
    categories: tuple[str, ...] = ()
    timeout: Annotated[float, Field(gt=0)] = 10.0
    retries: Annotated[int, Field(ge=0)] = 2
    failures: Annotated[int, Field(ge=1)] = 3
    """After so many in a row it is left alone for `rest` seconds."""
    rest: Annotated[float, Field(ge=0)] = 30.0
    batch: Annotated[int, Field(ge=1)] = 64
    fallback: str | None = SHIPPED
    """Who answers while it cannot; training does without."""
    remember: Annotated[int, Field(ge=0)] = 100_000
    """Answers that are kept."""


class Classifier(Config):
    """Somebody else's sequence classifier, safetensors only."""

    kind: Literal["classifier"]
    folder: str
    label: str | None = None
    """Which of its labels is toxic; may be left out where there is but one."""
    act: Share = 0.5
    passing: Share = 0.5


Described = Annotated[Ensemble | Remote | Classifier, Field(discriminator="kind")]


def load_screener(folder: Path | None) -> Screener:
    """The screener that ships, or one of the user's own."""
    if folder is not None and folder.suffix in _SUFFIXES:
        return _described(folder)
    if folder is not None and (folder / "model.safetensors").is_file():
        # Imported here: it brings torch, which whoever only scores does without.
        from tactful.screeners.transformer import TransformerScreener

        return TransformerScreener.load(folder)
    from tactful.screeners.linear import LinearScreener

    return LinearScreener.load(folder)


def _described(path: Path) -> Screener:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error
    try:
        found: Ensemble | Remote | Classifier = TypeAdapter(Described).validate_python(raw)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'kind'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigError(f"{path} does not describe a screener: {told}") from error

    def named(name: str) -> Screener:
        if name == SHIPPED:
            return load_screener(None)
        other = path.parent / name
        if other.resolve() == path.resolve():
            raise ConfigError(f"{path} names itself")
        return load_screener(other)

    if isinstance(found, Ensemble):
        members = [named(name) for name in found.members]
        return EnsembleScreener(members, how=found.how, quorum=found.quorum)
    thresholds = Thresholds(found.act, found.passing, f"by hand, in {path.name}")
    if isinstance(found, Classifier):
        from tactful.screeners.transformer import TransformerScreener

        return TransformerScreener.adopt(path.parent / found.folder, thresholds, found.label)
    remote = RemoteScreener(
        found.address,
        thresholds,
        shape=found.shape,
        key_from=found.key_from,
        model=found.model,
        categories=found.categories,
        timeout=found.timeout,
        retries=found.retries,
        batch=found.batch,
        breaker=Breaker(found.failures, found.rest),
    )
    if found.key_from:
        remote.key()  # a missing key is told now, not hidden by a fallback
    asked: Screener = CachedScreener(remote, found.remember) if found.remember else remote
    # Outside of what remembers: the fallback's answers are not the server's.
    return FallbackScreener(asked, named(found.fallback)) if found.fallback else asked
