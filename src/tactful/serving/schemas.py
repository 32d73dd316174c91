"""What goes over the wire on our own routes; what others call these things is beside their routes.

Every field has a type and every list a length: what a fuzzer cannot send, nobody can.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tactful.records import Rewrite, Status
from tactful.screeners.threats import ThreatKind
from tactful.serving.scoring import Score
from tactful.serving.settings import (
    MAX_REWRITTEN,
    MAX_REWRITTEN_TEXTS,
    MAX_SCORED,
    MAX_SCORED_TEXTS,
)

RewrittenText = Annotated[str, Field(max_length=MAX_REWRITTEN)]
ScoredText = Annotated[str, Field(max_length=MAX_SCORED)]


class Strict(BaseModel):
    """A request of ours: a misspelt field is a fault, not something to ignore."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RewriteRequest(Strict):
    """One text, or several that are answered in order."""

    text: (
        RewrittenText
        | Annotated[list[RewrittenText], Field(min_length=1, max_length=MAX_REWRITTEN_TEXTS)]
    ) = Field(examples=["you are an idiot, read the article before you comment"])
    force: bool = Field(default=False, description="Rewrite what is already clean, too.")


class ScoreRequest(Strict):
    """One text, or several that are answered in order."""

    text: (
        ScoredText | Annotated[list[ScoredText], Field(min_length=1, max_length=MAX_SCORED_TEXTS)]
    ) = Field(examples=["what kind of moron parks across 2 spaces?"])


class Decision(Strict):
    """What a person made of a rewrite. One who only turns it down names nothing better."""

    text: RewrittenText = Field(min_length=1)
    decision: Literal["accepted", "edited", "rejected"]
    chosen: RewrittenText | None = Field(
        default=None, description="What the person would post; null when rejected."
    )
    rejected: RewrittenText = Field(
        min_length=1, description="What it is better than: the rewrite, or the text itself."
    )
    model: Annotated[str, Field(max_length=2_000)] = ""

    @model_validator(mode="after")
    def _prefers_something(self) -> Self:
        if (self.chosen is None) != (self.decision == "rejected"):
            raise ValueError("whoever rejects chooses nothing, the others choose something")
        if self.chosen is not None and self.chosen.strip() in ("", self.rejected.strip()):
            raise ValueError("chosen is empty or what was rejected")
        return self


class SpanOut(BaseModel):
    """Characters (code points) `start` to `end`, without `end`, and how much they spoke for it."""

    start: int
    end: int
    weight: float


class Toxicity(BaseModel):
    """Probabilities before and after; null where nothing was screened."""

    before: float | None
    after: float | None


class RewriteResult(BaseModel):
    """What became of one text. `not_screened` is not to be read as clean."""

    text: str
    status: Status
    reason: str
    toxicity: Toxicity
    similarity: float | None
    fluency: float | None
    alternatives: list[str]
    spans: list[SpanOut] = Field(description="What made the source toxic.")

    @classmethod
    def of(cls, rewrite: Rewrite) -> RewriteResult:
        before, after = rewrite.toxicity
        return cls(
            text=rewrite.text,
            status=rewrite.status,
            reason=rewrite.reason,
            toxicity=Toxicity(before=before, after=after),
            similarity=rewrite.similarity,
            fluency=rewrite.fluency,
            alternatives=list(rewrite.alternatives),
            spans=[SpanOut(start=s.start, end=s.end, weight=s.weight) for s in rewrite.spans],
        )


class RewriteResponse(BaseModel):
    """The results, in the order of the texts."""

    model: str = Field(description="What wrote and what judged, with versions.")
    results: list[RewriteResult]


class ScoreResult(BaseModel):
    """How toxic one text is. Null where it was not screened; that is not to be read as clean."""

    toxicity: float | None = Field(description="A probability; higher is worse.")
    toxic: bool | None = Field(description="Whether it reaches the response's `act`.")
    reason: str = Field(description="Why it was not screened.")
    threat: ThreatKind | None = Field(
        description="What rules of high precision and modest recall found: for a person to see."
    )
    spans: list[SpanOut]

    @classmethod
    def of(cls, score: Score) -> ScoreResult:
        return cls(
            toxicity=score.toxicity,
            toxic=score.toxic,
            reason=score.reason,
            threat=score.threat,
            spans=[SpanOut(start=s.start, end=s.end, weight=s.weight) for s in score.spans],
        )


class ScoreResponse(BaseModel):
    """The results, in the order of the texts."""

    model: str
    act: float = Field(description="From here on a text counts as toxic.")
    results: list[ScoreResult]


class Kept(BaseModel):
    """A decision is on the disk."""

    kept: bool


class Fault(BaseModel):
    """Why a request was not answered as asked."""

    message: str
    type: str
    param: str | None
    code: str


class FaultResponse(BaseModel):
    """Every error has this shape, except on the routes of the Perspective shape."""

    error: Fault


class Health(BaseModel):
    """`ok`, or why not."""

    status: Literal["ok", "not ready"]
    reason: str = ""
