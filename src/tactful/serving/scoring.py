"""What may be said about a text without rewriting it: by the screener, and by kinds if asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tactful.records import Span
from tactful.rewriting.gates import words
from tactful.rewriting.language import why_not_english
from tactful.screeners.base import FloatArray, Screener
from tactful.screeners.kinds import Kinds
from tactful.screeners.threats import ThreatKind, find_threat
from tactful.segment import sentences


@dataclass(frozen=True, slots=True)
class Question:
    """A text to be scored, and whether its sentences and its kinds are asked for, too."""

    text: str
    by_sentence: bool = False
    kinds: bool = False


@dataclass(frozen=True, slots=True)
class KindScore:
    """How likely a text is of a kind, and each of its sentences, as in `Score.sentences`."""

    probability: float
    sentences: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """The screener's answer to one text.

    `toxicity` is None where nothing was screened; `reason` then says why. `spans` are the words
    that made a toxic text so. `sentences` have their toxicity as weight, without the white space
    after them. `kinds` is empty unless they were asked for.
    """

    toxicity: float | None
    toxic: bool | None
    reason: str = ""
    threat: ThreatKind | None = None
    spans: tuple[Span, ...] = ()
    sentences: tuple[Span, ...] = ()
    kinds: Mapping[str, KindScore] = field(default_factory=dict)


def score(
    screener: Screener, questions: Sequence[Question], kinds: Kinds | None = None
) -> list[Score]:
    """Answer a batch, in order, as the rewriter would triage it."""
    scores = screener.toxicity([question.text for question in questions]).tolist()
    return [_score(screener, kinds, q, value) for q, value in zip(questions, scores, strict=True)]


def _score(screener: Screener, kinds: Kinds | None, question: Question, toxicity: float) -> Score:
    text = question.text
    threat = find_threat(text)
    toxic = toxicity >= screener.thresholds.act
    if not toxic and not threat and (reason := _out_of_scope(text)):
        return Score(None, None, reason)
    ranges = _sentences(text) if question.by_sentence else []
    return Score(
        toxicity,
        toxic,
        threat=threat.kind if threat else None,
        spans=tuple(screener.explain(text)) if toxic else (),
        sentences=_spans(ranges, screener.toxicity([text[start:end] for start, end in ranges])),
        kinds=_kinds(screener, kinds, text, ranges) if kinds and question.kinds else {},
    )


def _out_of_scope(text: str) -> str:
    if not words(text):
        return "" if text.isascii() else "no words, only symbols"
    return why_not_english(text)


def _sentences(text: str) -> list[tuple[int, int]]:
    return [
        (start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()))
        for start, end in sentences(text)
        if (piece := text[start:end]).strip()
    ]


def _kinds(
    screener: Screener, kinds: Kinds, text: str, ranges: Sequence[tuple[int, int]]
) -> dict[str, KindScore]:
    parts = [text[start:end] for start, end in ranges]
    found = kinds.probabilities([text, *parts], screener)
    return {
        name: KindScore(float(values[0]), _spans(ranges, values[1:]))
        for name, values in found.items()
    }


def _spans(ranges: Sequence[tuple[int, int]], weights: FloatArray) -> tuple[Span, ...]:
    return tuple(
        Span(start, end, weight)
        for (start, end), weight in zip(ranges, weights.tolist(), strict=True)
    )
