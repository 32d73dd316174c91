from __future__ import annotations

from itertools import zip_longest

import pytest
from sacrebleu.metrics import BLEU, CHRF

from tactful.evaluation import overlap as module
from tactful.evaluation.overlap import overlap


def test_what_people_wrote_scores_100() -> None:
    """Matching any one reference is enough, in the file and in every sentence."""
    found = overlap(
        ["you are not right at all", "read the whole article first"],
        [["he is wrong", "you are not right at all"], ["read the whole article first"]],
    )
    assert found.bleu == pytest.approx(100)
    assert found.chrf == pytest.approx(100)
    assert found.sentence_bleu.tolist() == pytest.approx([100, 100])
    assert found.sentence_chrf.tolist() == pytest.approx([100, 100])


def test_sentence_bleu_by_hand() -> None:
    """Of four words three match, two of three pairs, one of two triples, no quadruple.

    3/4 * 2/3 * 1/2 * 1/(2 * 1): the empty count is smoothed. Fourth root of 1/8 is 0.5946.
    """
    found = overlap(["read the article fool"], [["read the article now"]])
    assert found.sentence_bleu[0] == pytest.approx(59.46, abs=0.01)
    assert found.bleu == pytest.approx(59.46, abs=0.01)


def test_chrf_by_hand() -> None:
    """One common letter of two: precision and recall are 1/2 for letters, 0 for pairs: F = 1/4."""
    found = overlap(["ab"], [["ac"]])
    assert found.sentence_chrf[0] == pytest.approx(25)


def test_nothing_written_scores_nothing() -> None:
    """An empty rewrite shares nothing with any reference."""
    found = overlap(["", "you are wrong"], [["a b"], ["you are wrong"]])
    assert found.sentence_bleu.tolist() == pytest.approx([0, 100])
    assert found.sentence_chrf.tolist() == pytest.approx([0, 100])


@pytest.mark.parametrize("second", [["he errs", "he is not right"], ["he errs"]])
def test_chunks_give_what_sacrebleu_gives(
    monkeypatch: pytest.MonkeyPatch, second: list[str]
) -> None:
    """One row at a time: the same figures and signatures as in one go."""
    rewrites = ["you are not right at all", "he is wrong", "read the article"]
    references = [["you are wrong here", "that is not right at all"], second, ["read it", "read"]]
    monkeypatch.setattr(module, "_CHUNK", 1)
    found = overlap(rewrites, references)
    streams = [list(stream) for stream in zip_longest(*references)]
    bleu, chrf = BLEU(), CHRF()
    assert found.bleu == pytest.approx(bleu.corpus_score(rewrites, streams).score)
    assert found.chrf == pytest.approx(chrf.corpus_score(rewrites, streams).score)
    assert found.bleu_signature == str(bleu.get_signature())
    assert found.chrf_signature == str(chrf.get_signature())


def test_signatures_name_the_settings() -> None:
    """The settings behind a figure are kept with it."""
    found = overlap(["you are wrong"], [["you are wrong"]])
    assert found.bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
