"""Similarity by sentence embeddings, on a tiny random embedder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tactful.scorers.similarity import MiniLMSimilarity
from tests.tiny import tiny_embedder

TEXTS = ["you idiot", "read the article", "", "x" * 400, "   ", "a [SEP] b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random embedder on disk."""
    return tiny_embedder(tmp_path_factory.mktemp("embedder"))


@pytest.fixture
def scorer(folder) -> MiniLMSimilarity:
    """The tiny embedder, loaded, with nothing in its cache."""
    return MiniLMSimilarity.load(folder, device="cpu")


def test_an_embedding_is_the_mean_of_its_tokens_made_unit(folder, scorer) -> None:
    """One text without padding, worked out with the bare model."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        states = model.eval()(torch.tensor([tokenizer.encode("you idiot")])).last_hidden_state
    mean = states[0].mean(dim=0).numpy()
    [vector] = scorer.embed(["you idiot"])
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_text_is_fully_similar_to_itself_and_scores_are_in_range(scorer) -> None:
    """The same text scores 1, others lie in [0, 1] as float64."""
    assert scorer(TEXTS[:2], TEXTS[:2]) == pytest.approx([1.0, 1.0], abs=1e-6)
    scores = scorer(TEXTS, TEXTS[::-1])
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()


def test_blank_texts_are_similar_to_nothing(scorer) -> None:
    """An empty rewrite keeps nothing of its source, and two empty texts share nothing."""
    assert scorer(["you idiot", "", ""], ["", "you idiot", ""]).tolist() == [0.0, 0.0, 0.0]


def test_opposite_meanings_score_zero(scorer, monkeypatch) -> None:
    """A negative cosine is clipped."""
    vectors = {"a": [1.0, 0.0], "b": [-1.0, 0.0]}
    monkeypatch.setattr(
        scorer, "embed", lambda texts: np.array([vectors[t] for t in texts], dtype=np.float32)
    )
    assert scorer(["a"], ["b"]).tolist() == [0.0]


def test_nothing_in_nothing_out(scorer) -> None:
    """Empty lists give an empty array."""
    assert scorer([], []).shape == (0,)
    assert scorer.embed([]).shape == (0, 32)


def test_batches_change_nothing_and_order_is_kept(scorer) -> None:
    """Any batch size gives the same embeddings, in the order of the texts."""
    whole = scorer.embed(TEXTS)
    scorer.batch_size = 1
    np.testing.assert_allclose(scorer.embed(TEXTS), whole, atol=1e-5)
    scorer.batch_size = 2
    np.testing.assert_allclose(scorer.embed(TEXTS[::-1]), whole[::-1], atol=1e-5)


def test_long_texts_are_cut(scorer) -> None:
    """What comes after the 256th token does not count."""
    kept = "ab" * 128
    np.testing.assert_allclose(scorer.embed([kept + "cd"]), scorer.embed([kept]), atol=1e-5)


def test_a_source_is_embedded_once_for_all_its_candidates(scorer, monkeypatch) -> None:
    """Candidates of one source, in one call or several, cost one embedding of it."""
    seen: list[str] = []
    embed = scorer.embed
    monkeypatch.setattr(scorer, "embed", lambda texts: seen.extend(texts) or embed(texts))
    scorer(["source"] * 3, ["a", "b", "c"])
    scorer(["source"], ["d"])
    assert seen.count("source") == 1


def test_the_cache_of_sources_is_bounded(scorer) -> None:
    """The oldest sources are forgotten; the scores stay right."""
    scorer.cache_size = 2
    sources = ["one", "two", "three"]
    first = scorer(sources, sources)
    assert list(scorer._cache) == ["two", "three"]
    np.testing.assert_allclose(scorer(sources, sources), first, atol=1e-6)


def test_lists_of_different_length_are_refused(scorer) -> None:
    """A missing rewrite is the caller's mistake and is not guessed away."""
    with pytest.raises(ValueError, match="2 sources but 1 rewrites"):
        scorer(["a", "b"], ["a"])
