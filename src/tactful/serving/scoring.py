"""What may be said about a text without rewriting it; the screener alone is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tactful.records import Span
from tactful.rewriting.gates import words
from tactful.rewriting.language import why_not_english
from tactful.screeners.base import Screener
from tactful.screeners.threats import ThreatKind, find_threat
from tactful.segment import sentences


@dataclass(frozen=True, slots=True)
class Question:
    """A text to be scored, and whether its sentences are asked for, too."""

    text: str
    by_sentence: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """The screener's answer to one text.

    `toxicity` is None where nothing was screened; `reason` then says why. `spans` are the words
    that made a toxic text so. `sentences` have their toxicity as weight, without the white space
    after them.
    """

    toxicity: float | None
    toxic: bool | None
    reason: str = ""
    threat: ThreatKind | None = None
    spans: tuple[Span, ...] = ()
    sentences: tuple[Span, ...] = ()


def score(screener: Screener, questions: Sequence[Question]) -> list[Score]:
    """Answer a batch, in order, as the rewriter would triage it."""
    scores = screener.toxicity([question.text for question in questions]).tolist()
    return [_score(screener, q, value) for q, value in zip(questions, scores, strict=True)]


def _score(screener: Screener, question: Question, toxicity: float) -> Score:
    text = question.text
    threat = find_threat(text)
    toxic = toxicity >= screener.thresholds.act
    if not toxic and not threat and (reason := _out_of_scope(text)):
        return Score(None, None, reason)
    return Score(
        toxicity,
        toxic,
        threat=threat.kind if threat else None,
        spans=tuple(screener.explain(text)) if toxic else (),
        sentences=_sentences(screener, text) if question.by_sentence else (),
    )


def _out_of_scope(text: str) -> str:
    if not words(text):
        return "" if text.isascii() else "no words, only symbols"
    return why_not_english(text)


def _sentences(screener: Screener, text: str) -> tuple[Span, ...]:
    ranges = [
        (start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()))
        for start, end in sentences(text)
        if (piece := text[start:end]).strip()
    ]
    scores = screener.toxicity([text[start:end] for start, end in ranges]).tolist()
    return tuple(Span(*range_, value) for range_, value in zip(ranges, scores, strict=True))
