"""The small frozen records that every folder passes around."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

Status = Literal["unchanged", "rewritten", "unresolved", "escalated", "not_screened", "error"]
"""What became of a text.

unchanged     already clean: returned byte for byte
rewritten     a candidate passed every gate
unresolved    no candidate passed; the policy decided the text, never silently the original
escalated     a threat, call to violence, self-harm or doxxing: for a person, not for polite words
not_screened  outside what the screener can judge (language, size); never to be read as clean
error         the text could not be processed; `reason` says why
"""
STATUSES: tuple[Status, ...] = get_args(Status)

Policy = Literal["keep", "mask", "block"]
"""What an unresolved text becomes: the original (flagged), the original with its toxic spans
masked, or nothing."""
POLICIES: tuple[Policy, ...] = get_args(Policy)


class Message(TypedDict):
    """One turn of a chat prompt, in the shape every chat template and API understands."""

    role: str
    content: str


Prompt = str | list[Message]
"""A plain string is sent as it is; a list of messages goes through the model's chat template."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece `text[start:end]` of a text and how much it spoke for a verdict (log-odds)."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Response:
    """A rewrite of one source with the followers' answer to it.

    `scores` are those that were measured; `failed` names the gates the rewrite did not pass, in
    order, and `waived` those that it was let off since nothing else passed.
    """

    source: str
    rewrite: str
    scores: dict[str, float]
    failed: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when no gate failed."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What `Rewriter.rewrite` returns for one text.

    `toxicity` is (before, after), each in [0, 1], None where nothing was screened. `similarity`
    and `fluency` are those of the rewritten sentence that has least of it, None where nothing was
    rewritten. `alternatives` are texts made of other candidates that passed every gate, best
    first. `model` names what wrote and what judged, with versions.
    """

    source: str
    text: str
    status: Status
    toxicity: tuple[float | None, float | None] = (None, None)
    similarity: float | None = None
    fluency: float | None = None
    seconds: float = 0.0
    reason: str = ""
    alternatives: tuple[str, ...] = ()
    spans: tuple[Span, ...] = field(default=(), repr=False)
    model: str = ""
