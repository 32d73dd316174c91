"""Every method is there, asks for the model it needs, and says where it cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tactful.errors import ConfigError
from tactful.rewriting.candidates import PromptedModel
from tactful.rewriting.methods import METHODS, Method, sources_of
from tactful.rewriting.rewriter import Rewriter
from tactful.rollouts.base import Backend, Sampling
from tactful.rollouts.local import LocalBackend
from tests.fakes import CannedBackend, KeywordScreener, WordOverlap
from tests.tiny import tiny_causal_lm

SCREENER = KeywordScreener({"idiot": 0.9})
SAMPLING = Sampling(5, 0.8, 0.95)


class Weighing(CannedBackend):
    """Also says how likely a text is: the shorter the better."""

    def mean_logp(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([-float(len(text)) for text in texts])


def _value(sources: Sequence[str], rewrites: Sequence[str]) -> np.ndarray:
    return np.ones(len(rewrites))


def _sources(method: Method, asked: list[bool], backend: Backend | None = None) -> list[object]:
    def load(ours: bool) -> Backend:
        asked.append(ours)
        return backend or Weighing({}, default="you there")

    return list(sources_of(method, SCREENER, _value, SAMPLING, load))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_proposes(method: Method) -> None:
    """One list for each source; the adapter of ours is wanted by one method alone."""
    asked: list[bool] = []
    sources = _sources(method, asked)
    for source in sources:
        assert len(source.propose(["you idiot", "an idiot"])) == 2  # type: ignore[attr-defined]
    bare = ("best-of-n", "refine", "contrastive", "mask-and-refill", "prompt")
    assert asked == {"model": [True]}.get(method, [False] if method in bare else [])


def test_only_methods_that_choose_draw_several() -> None:
    """Best of n draws as it is told; a baseline gets one greedy answer."""
    [best], [prompt] = _sources("best-of-n", []), _sources("prompt", [])
    assert isinstance(best, PromptedModel)
    assert isinstance(prompt, PromptedModel)
    assert (best.sampling, prompt.sampling) == (SAMPLING, Sampling(1, 0.0))
    assert best.prompt is prompt.prompt


def test_an_engine_that_only_writes_cannot_refill() -> None:
    """Said at once, with what to give instead."""
    with pytest.raises(ConfigError, match=r"which canned@test does not tell; leave --engine out"):
        _sources("mask-and-refill", [], CannedBackend({}))


@pytest.mark.parametrize("method", ["best-of-n", "refine", "contrastive", "mask-and-refill"])
def test_a_real_model_rewrites_by_each(method: Method, tmp_path: Path) -> None:
    """A tiny random one writes nothing of use, and no method breaks over it."""
    backend = LocalBackend.load(tiny_causal_lm(tmp_path / "tiny"), dtype="float32")
    backend.model.config.max_position_embeddings = 4096
    sources = sources_of(method, SCREENER, _value, Sampling(2, 0.8, 0.95), lambda ours: backend)
    rewriter = Rewriter(SCREENER, WordOverlap(), sources)
    [found] = rewriter.rewrite_many(["you are an idiot, read it"])
    assert found.status in ("rewritten", "unresolved"), found.reason
