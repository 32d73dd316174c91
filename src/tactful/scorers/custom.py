"""A scorer of the user's own: a callable by its dotted path, or a server by its address."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tactful.errors import ConfigError, TactfulError
from tactful.scorers.base import Scorer
from tactful.scorers.http import HTTPScorer
from tactful.web import is_address

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_call(text: str) -> bool:
    """Whether it has the form of what `custom_scorer` takes."""
    return is_address(text) or bool(_DOTTED.fullmatch(text))


def custom_scorer(call: str) -> Scorer:
    """`package.module:callable` or `http(s)://...`; what cannot be called is told in words."""
    return HTTPScorer(call) if is_address(call) else CalledScorer(call)


class CalledScorer:
    """Calls a function `(sources, rewrites) -> scores` that is named by its dotted path."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._function = _found(path)

    def __call__(self, sources: Sequence[str], rewrites: Sequence[str]) -> NDArray[np.float64]:
        """What the function says, as an array: whoever asks checks its shape and range."""
        try:
            return np.asarray(self._function(list(sources), list(rewrites)), dtype=np.float64)
        except TactfulError:
            raise
        except Exception as error:
            # It is the user's code that failed, not ours: say where to look.
            raise TactfulError(
                f"{self.name} failed when it was asked about {len(rewrites)} rewrites: "
                f"{type(error).__name__}: {error}. It is called with a list of sources and a list "
                "of rewrites and must give a number for each."
            ) from error


def _found(path: str) -> Callable[..., Any]:
    if not _DOTTED.fullmatch(path):
        raise ConfigError(
            f"{path!r} is no dotted path; write package.module:callable, or an address that begins "
            "with http:// or https://"
        )
    name, _, attribute = path.partition(":")
    module = _imported(name)
    try:
        found: Any = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise ConfigError(
            f"{path}: {name} ({getattr(module, '__file__', None)}) has no {attribute!r}"
        ) from error
    if inspect.isclass(found) or not callable(found):
        kind = "a class, so calling it scores nothing" if inspect.isclass(found) else "not callable"
        raise ConfigError(
            f"{path} is {kind}; name a function of (sources, rewrites), or an object that can be "
            "called so"
        )
    called: Callable[..., Any] = found
    return called


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise ConfigError(
                f"there is no module {missing!r} (for {name}). Install it, or start with "
                "PYTHONPATH=<the folder it lies in>"
            ) from error
        raise ConfigError(f"{name} cannot be imported: it needs {missing!r}") from error
    except Exception as error:
        raise ConfigError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
