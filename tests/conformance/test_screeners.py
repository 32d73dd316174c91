"""What every screener promises, whatever it is made of. A new one is tested by being listed."""

from __future__ import annotations

import copy
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tactful.screeners.base import Screener, Thresholds
from tactful.screeners.linear import LinearConfig, LinearScreener
from tactful.screeners.remote import RemoteScreener
from tactful.screeners.transformer import TransformerConfig, TransformerScreener
from tactful.screeners.wrappers import (
    CachedScreener,
    EnsembleScreener,
    FallbackScreener,
    NoisyScreener,
)
from tests.fakes import KeywordScreener
from tests.scorers.test_http import Server
from tests.tiny import tiny_embedder


@cache
def shipped() -> Screener:
    return LinearScreener.load()


EXAMPLES = ["you idiot", "what an idiot", "you fool", "such a fool"] * 3
EXAMPLES += ["you teacher", "what a day", "you there", "such a joy"] * 3
LABELS = [True] * 12 + [False] * 12


@cache
def fitted() -> Screener:
    config = LinearConfig(word_count=2, pair_count=2, gram_count=2)
    return LinearScreener(Thresholds(0.5, 0.4), config=config).fit(EXAMPLES, LABELS)


@cache
def transformer() -> Screener:
    with tempfile.TemporaryDirectory() as folder:
        base = str(tiny_embedder(Path(folder)))
        config = TransformerConfig(base=base, epochs=60, batch_size=8, learning_rate=2e-3)
        # Unlike words, a random encoder has to be shown what a greeting is.
        texts, labels = [*EXAMPLES, "good morning", "Well, you IDIOT!"], [*LABELS, False, True]
        return TransformerScreener.fit(texts, labels, config=config)


def keyword() -> Screener:
    return KeywordScreener({"idiot": 0.9, "fool": 0.7})


def mean() -> Screener:
    return EnsembleScreener([shipped(), fitted(), keyword()])


def vote() -> Screener:
    return EnsembleScreener([shipped(), fitted(), keyword()], how="vote", quorum=0.6)


def cached() -> Screener:
    return CachedScreener(shipped(), size=5)


def noisy() -> Screener:
    # A seed with which neither of the two texts that are told apart is mistaken.
    return NoisyScreener(shipped(), false_pass=0.1, false_fail=0.1, seed=1)


def fallen_back() -> Screener:
    """Nobody listens at port 9: the fallback speaks."""
    dead = RemoteScreener("http://127.0.0.1:9", Thresholds(0.6, 0.3), retries=0)
    return FallbackScreener(dead, shipped())


@cache
def adopted() -> Screener:
    """Somebody else's classifier with two labels: the fine-tuned encoder, with a constant beside."""
    with tempfile.TemporaryDirectory() as folder:
        own = transformer()
        assert isinstance(own, TransformerScreener)
        config = copy.deepcopy(own.model.config)
        config.num_labels = 2
        config.id2label, config.label2id = {0: "OK", 1: "toxic"}, {"OK": 0, "toxic": 1}
        two = type(own.model)(config)
        weights = own.model.state_dict()
        for name in ("classifier.weight", "classifier.bias"):
            weights[name] = torch.cat([torch.zeros_like(weights[name]), weights[name]])
        two.load_state_dict(weights)
        two.save_pretrained(folder)
        own.tokenizer.save_pretrained(folder)
        return TransformerScreener.adopt(folder, own.thresholds, "Toxic")


def remote() -> Screener:
    """A real server on this machine that says what the shipped screener says."""
    return RemoteScreener(_served().url, shipped().thresholds, timeout=30)


@cache
def _served() -> Server:
    server = Server()
    server.reply = lambda asked: (200, {"toxicity": shipped().toxicity(asked["texts"]).tolist()})
    threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True).start()
    return server


SCREENERS = [shipped, fitted, transformer, keyword, mean, vote, cached, noisy, adopted]
SCREENERS += [remote, fallen_back]
each = pytest.mark.parametrize("make", SCREENERS, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def _network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """To this machine alone, and only for those that ask a server."""
    made = getattr(request.node, "callspec", None)
    if made is not None and made.params.get("make") in (remote, fallen_back):
        request.getfixturevalue("socket_enabled")
        monkeypatch.setenv("no_proxy", "127.0.0.1")


Make = Callable[[], Screener]

TEXTS = [
    "you idiot",
    "good morning",
    "",
    "what a fool , really",
    "The bus is late. You idiot!",
    "x" * 3000,
]
WEIRD = [
    "",
    " ",
    "\x00",
    "\ud800",
    "\u202e\u200b",
    "\U0001f600" * 50,
    "İ\u0301ß",
    "ﷺ",
    "\n\n\n",
    "a\u0300" * 500,
    "f***",
    "&#0;",
]


@each
def test_is_a_screener(make: Make) -> None:
    """It has all parts of the protocol, and thresholds in order."""
    screener = make()
    assert isinstance(screener, Screener)
    assert screener.name
    assert 0 <= screener.thresholds.passing <= screener.thresholds.act <= 1


@each
def test_nothing_for_nothing(make: Make) -> None:
    """An empty list gives an empty array of floats."""
    found = make().toxicity([])
    assert found.shape == (0,)
    assert found.dtype == np.float64


@each
def test_range_and_shape(make: Make) -> None:
    """One probability for each text, whatever the text."""
    found = make().toxicity(TEXTS + WEIRD)
    assert found.shape == (len(TEXTS + WEIRD),)
    assert ((found >= 0) & (found <= 1)).all()


@each
def test_order_is_kept(make: Make) -> None:
    """Backwards in is backwards out."""
    screener = make()
    assert screener.toxicity(TEXTS[::-1]).tolist() == screener.toxicity(TEXTS).tolist()[::-1]


@each
def test_alone_as_in_a_batch(make: Make) -> None:
    """Company changes no score, beyond the rounding of a network's arithmetic."""
    screener = make()
    alone = [float(screener.toxicity([text])[0]) for text in TEXTS + WEIRD]
    np.testing.assert_allclose(screener.toxicity(TEXTS + WEIRD), alone, rtol=0, atol=1e-6)


@each
def test_an_insult_is_worse_than_a_greeting(make: Make) -> None:
    """Higher means worse, and the insult is acted on."""
    screener = make()
    insult, greeting = screener.toxicity(["you idiot", "good morning"])
    assert insult >= screener.thresholds.act > greeting


@each
def test_empty_text_is_not_toxic(make: Make) -> None:
    """There is nothing to act on in an empty text."""
    screener = make()
    assert screener.toxicity([""])[0] < screener.thresholds.act


@each
def test_explanations_lie_in_the_text(make: Make) -> None:
    """Spans are non-empty pieces of the original, and an insult has one."""
    screener = make()
    for text in [*TEXTS, *(w for w in WEIRD if w.lower() == w)]:
        assert all(0 <= s.start < s.end <= len(text) for s in screener.explain(text))
    spans = screener.explain("Well, you IDIOT!")
    assert "IDIOT" in {"Well, you IDIOT!"[s.start : s.end] for s in spans}


@each
def test_saved_and_loaded(make: Make, tmp_path: Path) -> None:
    """Where a screener can be saved, the loaded one answers alike."""
    screener = make()
    if not isinstance(screener, LinearScreener):
        pytest.skip("has nothing to save")
    screener.save(tmp_path)
    again = type(screener).load(tmp_path)
    assert again.name == screener.name
    assert again.toxicity(TEXTS).tolist() == screener.toxicity(TEXTS).tolist()
