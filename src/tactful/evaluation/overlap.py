"""BLEU and chrF against people's rewrites, by sacreBLEU, each with its signature.

Both reward what looks like the references, which for this task means: mostly the source. They are
reported for comparison with published tables, not steered by. Scores are in [0, 100].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from tactful.evaluation.base import FloatArray

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

_CHUNK = 256
# How sacreBLEU notes that rows have different numbers of references.
_VARYING = -1


@dataclass(frozen=True, slots=True)
class Overlap:
    """BLEU and chrF of a whole file, and of each sentence."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    sentence_bleu: FloatArray
    sentence_chrf: FloatArray


def overlap(rewrites: Sequence[str], references: Sequence[Sequence[str]]) -> Overlap:
    """Compares rewrites with one or more references each; their number may differ by row.

    The corpus figures pool counts over all rows and are no mean of the sentences. BLEU of a single
    sentence leaves out the n-grams it is too short for.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # Tokenised rows are usual here: no advice about them.
    bleu, chrf = BLEU(force=True), CHRF()
    corpus_bleu, bleu_signature = _corpus_score(bleu, rewrites, references)
    corpus_chrf, chrf_signature = _corpus_score(chrf, rewrites, references)
    single = BLEU(effective_order=True)
    pairs = list(zip(rewrites, references, strict=True))
    return Overlap(
        bleu=corpus_bleu,
        bleu_signature=bleu_signature,
        chrf=corpus_chrf,
        chrf_signature=chrf_signature,
        sentence_bleu=np.array([single.sentence_score(r, list(refs)).score for r, refs in pairs]),
        sentence_chrf=np.array([chrf.sentence_score(r, list(refs)).score for r, refs in pairs]),
    )


def _corpus_score(
    metric: Metric, rewrites: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, str]:
    """What `metric.corpus_score` answers, and its signature.

    It would hold the n-grams of all references at once, some ten kilobytes a row. Its own two
    steps, a chunk at a time, need the counts alone.
    """
    counts = []
    for start in range(0, len(rewrites), _CHUNK):
        some = references[start : start + _CHUNK]
        # The first references of all rows, then the second: None where there is none.
        streams = [list(stream) for stream in zip_longest(*some)]
        found = metric._extract_corpus_statistics(rewrites[start : start + _CHUNK], streams)
        counts.append(np.sum(found, axis=0).tolist())
    numbers = {len(listed) for listed in references}
    metric.num_refs = numbers.pop() if len(numbers) == 1 else _VARYING
    return float(metric._aggregate_and_compute(counts).score), str(metric.get_signature())
