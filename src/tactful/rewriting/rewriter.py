"""Candidates -> gates -> rerank -> fallback: one text in, one honest status out.

    text ── triage ──────────────► unchanged | not_screened | escalated | error
              │ some sentence is at or above `act`
              ▼
    failing sentences only ── sources propose ── gates ── rank ── best passing one
              │ none passes                                          │
              ▼                                                      ▼
    one that nearly does? ── yes ──────────────────────────────► rewritten
              │ no
              ▼
    unresolved: policy keep | mask | block

What people wrote down (idioms, words) is taken as they ordered it, and where it nearly passes, before
the sources that come after it are asked. Sentences that do not fail are kept byte for byte. Whatever
is assembled is screened once more as a whole, so the printed text never scores more toxic than its
source.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tactful.config import Config
from tactful.errors import UnreachableError
from tactful.models import shipped
from tactful.records import Policy, Response, Rewrite, Status
from tactful.rewriting.candidates import CandidateSource, blunt, strike, written
from tactful.rewriting.gates import text_gates, words
from tactful.rewriting.language import why_not_english
from tactful.rewriting.methods import Method, sources_of
from tactful.rewriting.protect import peel
from tactful.rewriting.refine import OwnValue
from tactful.rewriting.rerank import rank
from tactful.rollouts.base import Backend, Sampling
from tactful.scorers.base import Scorer
from tactful.scorers.consensus import consensus
from tactful.screeners.base import Screener
from tactful.screeners.threats import Threat, find_threat
from tactful.segment import split

MASK = "[removed]"
# Words from which on a sentence must keep all of `min_similarity`.
_FULL_LENGTH = 6
# What a candidate may be let off where nothing passes: numbers that it misses, not faults that it has.
_WAIVED = frozenset({"toxicity", "similarity", "fluency"})
# Of the similarity that is asked, what is asked then.
_NEARLY = 0.7
# Sentences whose candidates are judged together.
_GROUP = 16


class RewriteConfig(Config):
    """What a rewrite must satisfy, and what happens when nothing does."""

    policy: Policy = "mask"
    min_similarity: float = Field(
        default=0.5, ge=0, le=1, description="Least similarity to the source; less for short ones."
    )
    shortest: float = Field(default=0.34, ge=0, description="Least words per word of the source.")
    longest: float = Field(default=2.0, gt=0, description="Most words per word of the source.")
    meaning: float = Field(default=1.0, ge=0, description="Weight of similarity in the ranking.")
    fluency: float = Field(default=1.0, ge=0, description="Weight of fluency in the ranking.")
    consensus: float = Field(
        default=2.0, ge=0, description="Weight of what the samples agree on in the ranking."
    )
    min_fluency: float = Field(
        default=0.1, ge=0, le=1, description="Least fluency relative to the source."
    )
    flow: float = Field(
        default=0.1, ge=0, description="Weight in the ranking of how well a text goes on."
    )
    lenient: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Toxicity up to which the best candidate is printed where none passes; 0: never.",
    )
    samples: int = Field(default=8, ge=1, description="Rewrites that the model is asked for.")
    temperature: float = Field(default=0.8, gt=0, description="How freely it writes.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Likeliest words it chooses from.")
    max_chars: int = Field(default=20_000, ge=1, description="Longer texts are not screened.")


@dataclass(slots=True)
class _Piece:
    """One sentence of one text: what may be rewritten, what stays around it, and what came out.

    A failing one must be rewritten, others may be when the caller forces it. `failure` says why
    an engine could not work on it.
    """

    lead: str
    core: str
    trail: str
    score: float
    failing: bool
    to_rewrite: bool
    responses: list[Response] = field(default_factory=list)
    failure: str = ""

    @property
    def source(self) -> str:
        return self.lead + self.core + self.trail

    @property
    def passing(self) -> list[Response]:
        return [response for response in self.responses if response.passed]


class Rewriter:
    """Turns texts that insult into texts that say the same thing decently.

    The sources are asked in order; a later one is a fallback for sentences for which no earlier
    one proposed anything that passed.
    """

    def __init__(
        self,
        screener: Screener,
        similarity: Scorer,
        sources: Sequence[CandidateSource],
        config: RewriteConfig | None = None,
        *,
        fluency: Scorer | None = None,
        flow: Scorer | None = None,
    ) -> None:
        self.screener = screener
        self.similarity = similarity
        self.sources = list(sources)
        self.config = config or RewriteConfig()
        self.fluency = fluency
        self.flow = flow

    @classmethod
    def load(
        cls,
        model: str | Path = "base",
        *,
        screener: Screener | None = None,
        config: RewriteConfig | None = None,
        method: Method = "model",
        adapter: Path | None = None,
        engine: str = "torch",
        purpose: Literal["alone", "batch"] = "batch",
    ) -> Rewriter:
        """The default rewriter, from weights that are on this machine; downloads nothing.

        `adapter` is a folder that `tactful train` left, in place of the one that is shipped; another
        `model` is asked as it is, as `tactful export` merges it. `engine` is what writes, as
        `tactful.engines.load_engine` knows them (torch, gguf, ct2, openai, auto), chosen by `auto`
        for one text at a time (`alone`) or for many (`batch`).
        Raises ModelsMissingError, which says how to get them, when they are not.
        """
        # Imported here: these bring torch, which `import tactful` must not.
        from tactful.engines import load_engine
        from tactful.scorers.flow import Flow
        from tactful.scorers.similarity import MiniLMSimilarity
        from tactful.scorers.taste import Taste
        from tactful.screeners.linear import LinearScreener

        screener = screener or LinearScreener.load()
        config = config or RewriteConfig()
        similarity, fluency = MiniLMSimilarity.load(), Taste.load()

        def write(ours: bool) -> Backend:
            beside = (adapter or _shipped_for(model)) if ours else None
            return load_engine(engine, str(model), adapter=beside, purpose=purpose)

        value = OwnValue(
            screener,
            similarity,
            fluency,
            meaning=config.meaning,
            fluent=config.fluency,
            shortest=config.shortest,
            longest=config.longest,
        )
        sampling = Sampling(config.samples, config.temperature, config.top_p)
        sources = sources_of(method, screener, value, sampling, write)
        return cls(screener, similarity, sources, config, fluency=fluency, flow=Flow(fluency))

    @property
    def name(self) -> str:
        """What wrote and what screened, with versions; stands in every result."""
        followers = (self.screener, self.similarity, self.fluency, self.flow)
        names = [follower.name for follower in followers if follower is not None]
        return "|".join(["+".join(source.name for source in self.sources), *names])

    def rewrite(self, text: str, *, force: bool = False) -> Rewrite:
        """Rewrite one text if it needs it; with `force`, also when it is already clean."""
        return self.rewrite_many([text], force=force)[0]

    def rewrite_many(self, texts: Sequence[Any], *, force: bool = False) -> list[Rewrite]:
        """Rewrite many texts together, in order; `seconds` is each one's share of the time.

        What is no text (a missing cell) gets the status `error`, not an exception.
        """
        started = time.perf_counter()
        jobs = [_Job(text) for text in texts]
        for job in jobs:
            job.result = self._out_of_scope(job.text)
        self._screen([job for job in jobs if job.result is None], force)
        self._rewrite_pieces([p for job in jobs for p in job.pieces if p.to_rewrite])
        results = [job.result or self._assemble(job) for job in jobs]
        share = (time.perf_counter() - started) / max(1, len(jobs))
        name = self.name
        return [replace(result, seconds=share, model=name) for result in results]

    def _out_of_scope(self, text: Any) -> Rewrite | None:
        """The results that need no screener: wrong type, nothing to judge, too much to judge."""
        if not isinstance(text, str):
            return Rewrite("", "", "error", reason=f"expected text, got {type(text).__name__}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            broken = f"U+{ord(text[error.start]):04X} at character {error.start}"
            printable = text.encode("utf-8", "replace").decode("utf-8")
            return Rewrite(text, printable, "error", reason=f"not valid Unicode: {broken}")
        if len(text) > self.config.max_chars:
            reason = f"{len(text):,} characters; at most {self.config.max_chars:,} are screened"
            return Rewrite(text, text, "not_screened", reason=reason)
        if not words(text):
            if text.isascii():
                return Rewrite(text, text, "unchanged", reason="no words")
            return Rewrite(text, text, "not_screened", reason="no words, only symbols")
        return None

    def _screen(self, jobs: Sequence[_Job], force: bool) -> None:
        """Score texts and their sentences, settle the clean and the dangerous ones."""
        act = self.screener.thresholds.act
        cut = [split(job.text) for job in jobs]
        flat = [piece for pieces in cut for piece in pieces]
        scores = iter(self.screener.toxicity([job.text for job in jobs] + flat).tolist())
        for job in jobs:
            job.score = next(scores)
        for job, pieces in zip(jobs, cut, strict=True):
            scored = [(piece, next(scores)) for piece in pieces]
            job.score = max([job.score, *(score for _, score in scored)])
            threat = find_threat(job.text)
            if job.score < act and not threat:
                # Asked only now: an insult disguised in odd spelling must not pass as foreign.
                job.result = _foreign(job.text) or (None if force else _clean(job.text, job.score))
                if job.result:
                    continue
            # A screener may see in the whole what it sees in no sentence; then the worst one goes.
            bar = min(act, max(score for _, score in scored))
            toxic = job.score >= act
            job.pieces = [
                _piece(text, score, failing=toxic and score >= bar, force=force or score >= bar)
                for text, score in scored
            ]
            if threat:
                job.result = self._escalate(job, threat)
                job.pieces = []

    def _rewrite_pieces(self, pieces: Sequence[_Piece]) -> None:
        """Work on each distinct sentence once, some at a time."""
        # A sentence that stands twice is worked on once; groups keep the candidates of a long
        # text from all being held at a time.
        alike: dict[tuple[str, str, str], list[_Piece]] = {}
        for piece in pieces:
            alike.setdefault((piece.lead.strip(), piece.core, piece.trail.strip()), []).append(
                piece
            )
        firsts = [group[0] for group in alike.values()]
        for start in range(0, len(firsts), _GROUP):
            self._ask_sources(firsts[start : start + _GROUP])
        for first, *others in alike.values():
            for other in others:
                other.responses, other.failure = first.responses, first.failure

    def _ask_sources(self, pieces: Sequence[_Piece]) -> None:
        """Ask the sources in order for what has no passing candidate yet.

        A sentence that need not be rewritten is left alone where a model read it and had nothing
        better: what is done to its words without reading ("people all men" for "ban all men") says
        less than it does. One broken engine must not lose a batch: its failure is told by the
        sentences it left.
        """
        read = False
        for source, following in pairwise([*self.sources, None]):
            if source is None:
                break
            only_failing = read and blunt(source)
            open_pieces = [p for p in pieces if not p.passing and (p.failing or not only_failing)]
            if not open_pieces:
                continue
            read = read or not (blunt(source) or written(source))
            try:
                proposed = source.propose([piece.core for piece in open_pieces])
                answered = self._respond(open_pieces, proposed, known=written(source))
            except UnreachableError:
                # It would leave every text that follows, too.
                raise
            except Exception as error:
                for piece in open_pieces:
                    piece.failure = f"{source.name} failed: {type(error).__name__}: {error}"
                continue
            for piece, responses in zip(open_pieces, answered, strict=True):
                piece.responses += _first_passing(responses) if written(source) else responses
            if written(source) and not (following and written(following)):
                # Whoever wrote it down knew what it means; a model that has another try does not.
                self._relent([p for p in open_pieces if p.failing and not p.passing], known=True)
        self._relent([p for p in pieces if p.failing and not p.passing and not p.failure])

    def _relent(self, pieces: Sequence[_Piece], *, known: bool = False) -> None:
        """Let what nearly passes pass, where nothing does: a mask in its place would say less.

        It must be more likely decent than not and less toxic than its source. Which gates it was
        let off stands in the result. Of what is `known` to mean the same the first one is taken.
        """
        lenient = self.config.lenient
        near = [
            (piece, row, response)
            for piece in pieces
            for row, response in enumerate(piece.responses)
            if _WAIVED.issuperset(response.failed)
            and response.scores["toxicity"] < min(lenient, piece.score)
        ]
        scores = [dict(response.scores) for _, _, response in near]
        sources, rewrites = [p.core for p, _, _ in near], [r.rewrite for _, _, r in near]
        self._measure(sources, rewrites, scores, flow=not known)
        for (piece, row, response), found in zip(near, scores, strict=True):
            if known and piece.passing:
                continue
            least = 0.0 if known else _NEARLY * self._least_similarity(piece.core)
            if found["similarity"] >= least:
                piece.responses[row] = replace(
                    response, scores=found, failed=(), waived=response.failed
                )

    def _respond(
        self, pieces: Sequence[_Piece], proposed: Sequence[Sequence[str]], *, known: bool
    ) -> list[list[Response]]:
        """The followers' answer to every candidate, all asked in one batch.

        What is `known` to mean the same, as somebody wrote it down, need not be found similar, nor
        as long: "pull their heads out of their asses" and "pay attention" have little in common.
        """
        pairs = [(p, text) for p, texts in zip(pieces, proposed, strict=True) for text in texts]
        toxicity = self.screener.toxicity([p.lead + text + p.trail for p, text in pairs]).tolist()
        agreed = [value for texts in proposed for value in consensus(texts)]
        scores = [
            {"toxicity": value, "consensus": shared}
            for value, shared in zip(toxicity, agreed, strict=True)
        ]
        failed = [
            self._cheap_gates(piece, text, toxic, known)
            for (piece, text), toxic in zip(pairs, toxicity, strict=True)
        ]
        # The neural scorers are what takes time: they are only asked what may still pass.
        open_rows = [row for row, gates in enumerate(failed) if not gates]
        sources = [pairs[row][0].core for row in open_rows]
        rewrites = [pairs[row][1] for row in open_rows]
        self._measure(sources, rewrites, [scores[row] for row in open_rows], flow=not known)
        for row in open_rows:
            least = 0.0 if known else self._least_similarity(pairs[row][0].core)
            if scores[row]["similarity"] < least:
                failed[row] = ("similarity",)
            elif scores[row].get("fluency", 1.0) < self.config.min_fluency:
                failed[row] = ("fluency",)
        responses = iter(
            Response(piece.core, text, score, gates)
            for (piece, text), score, gates in zip(pairs, scores, failed, strict=True)
        )
        return [[next(responses) for _ in texts] for texts in proposed]

    def _measure(
        self,
        sources: Sequence[str],
        rewrites: Sequence[str],
        scores: Sequence[dict[str, float]],
        *,
        flow: bool = True,
    ) -> None:
        """Add what the neural scorers say to the scores of each rewrite."""
        scorers = {"similarity": self.similarity, "fluency": self.fluency}
        if flow:
            scorers["flow"] = self.flow
        for name, scorer in scorers.items():
            if scorer is None or not scores:
                continue
            for found, value in zip(scores, scorer(sources, rewrites).tolist(), strict=True):
                found[name] = value

    def _least_similarity(self, source: str) -> float:
        """A short sentence has little besides its insult, so less of it can be kept."""
        return self.config.min_similarity * min(1.0, len(words(source)) / _FULL_LENGTH)

    def _cheap_gates(
        self, piece: _Piece, text: str, toxicity: float, known: bool
    ) -> tuple[str, ...]:
        """The gates that need no neural scorer."""
        config = self.config
        shortest = 0.0 if known else config.shortest
        failed = text_gates(piece.core, text, shortest=shortest, longest=config.longest)
        too_toxic = toxicity >= self.screener.thresholds.passing or toxicity > piece.score
        return (*failed, "toxicity") if too_toxic else failed

    def _assemble(self, job: _Job) -> Rewrite:
        """Put a text back together from kept and rewritten sentences, and screen the whole."""
        act = self.screener.thresholds.act
        ranked = [self._rank(piece.passing) for piece in job.pieces]
        unsolved = [
            piece
            for piece, best in zip(job.pieces, ranked, strict=True)
            if piece.failing and not best
        ]
        if unsolved:
            failure = next((piece.failure for piece in unsolved if piece.failure), "")
            status: Status = "error" if failure else "unresolved"
            return self._fallback(job, ranked, status, failure or _why(unsolved))
        text = _join(job.pieces, [best[0].rewrite if best else None for best in ranked])
        after = float(self.screener.toxicity([text])[0])
        if after <= job.score and (after < act or job.score < act):
            return self._solved(job, text, after, ranked)
        if job.score < act:
            # It was clean, so it may stay; what would have been worse is not printed.
            return _clean(job.text, job.score)
        reason = "the sentences pass, but not the text they form"
        return self._fallback(job, ranked, "unresolved", reason)

    def _rank(self, responses: Sequence[Response]) -> list[Response]:
        config = self.config
        return rank(
            responses,
            meaning=config.meaning,
            fluency=config.fluency,
            consensus=config.consensus,
            flow=config.flow,
        )

    def _solved(
        self, job: _Job, text: str, after: float, ranked: Sequence[Sequence[Response]]
    ) -> Rewrite:
        if text == job.text:
            return Rewrite(job.text, text, "unchanged", toxicity=(job.score, after))
        return Rewrite(
            job.text,
            text,
            "rewritten",
            toxicity=(job.score, after),
            similarity=_least("similarity", ranked),
            fluency=_least("fluency", ranked),
            reason=_let_off(ranked),
            alternatives=_alternatives(job.pieces, ranked),
            spans=tuple(self.screener.explain(job.text)),
        )

    def _escalate(self, job: _Job, threat: Threat) -> Rewrite:
        return self._fallback(
            job,
            [[] for _ in job.pieces],
            "escalated",
            f"{threat.kind}: for a person to see",
            threat,
        )

    def _fallback(
        self,
        job: _Job,
        ranked: Sequence[Sequence[Response]],
        status: Status,
        reason: str,
        threat: Threat | None = None,
    ) -> Rewrite:
        """What the policy prints when no rewrite may be printed."""
        text = {"keep": job.text, "block": ""}.get(self.config.policy)
        if text is None:
            text = self._masked(job, ranked, threat)
        after = float(self.screener.toxicity([text])[0]) if text else 0.0
        return Rewrite(
            job.text,
            text,
            status,
            toxicity=(job.score, after),
            reason=reason,
            spans=tuple(self.screener.explain(job.text)),
        )

    def _masked(
        self, job: _Job, ranked: Sequence[Sequence[Response]], threat: Threat | None
    ) -> str:
        """Solved sentences rewritten, the others with their toxic spans masked, or masked whole."""
        act = self.screener.thresholds.act
        texts: list[str | None] = []
        start = 0
        for piece, best in zip(job.pieces, ranked, strict=True):
            end = start + len(piece.source)
            if threat and threat.start < end and start < threat.end:
                texts.append(MASK)
            elif best:
                texts.append(best[0].rewrite)
            elif piece.score >= act:
                masked = strike(piece.core, self.screener, replacement=MASK)
                texts.append(masked if self.screener.toxicity([masked])[0] < act else MASK)
            else:
                texts.append(None)
            start = end
        text = _join(job.pieces, texts)
        # Even masked, links and mentions around it may be what is toxic.
        after = self.screener.toxicity([text])[0]
        return text if after < act and after <= job.score else MASK


def _shipped_for(model: str | Path) -> Path | None:
    """Our adapter is of the embedded base and of no other model."""
    return shipped("rewriter") if model == "base" else None


class _Job:
    """One text on its way: its sentences while it is being worked on, its result when settled."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.score = 0.0
        self.pieces: list[_Piece] = []
        self.result: Rewrite | None = None


def _foreign(text: str) -> Rewrite | None:
    reason = why_not_english(text)
    return Rewrite(text, text, "not_screened", reason=reason) if reason else None


def _clean(text: str, score: float) -> Rewrite:
    return Rewrite(text, text, "unchanged", toxicity=(score, score))


def _piece(text: str, score: float, *, failing: bool, force: bool) -> _Piece:
    lead, core, trail = peel(text)
    can = bool(words(core))
    return _Piece(lead, core, trail, score, failing and can, force and can)


def _join(pieces: Sequence[_Piece], cores: Sequence[str | None]) -> str:
    """The text with some cores replaced; None keeps a sentence as it was."""
    return "".join(
        piece.source if core is None else piece.lead + core + piece.trail
        for piece, core in zip(pieces, cores, strict=True)
    )


def _least(score: str, ranked: Sequence[Sequence[Response]]) -> float | None:
    """A score of the rewritten sentence that has least of it; None where it was not measured."""
    return min(
        (best[0].scores[score] for best in ranked if best and score in best[0].scores), default=None
    )


def _let_off(ranked: Sequence[Sequence[Response]]) -> str:
    """The gates that what was chosen did not pass; empty where it passed them all."""
    gates = dict.fromkeys(gate for best in ranked if best for gate in best[0].waived)
    return f"nearly passed ({', '.join(gates)})" if gates else ""


def _alternatives(
    pieces: Sequence[_Piece], ranked: Sequence[Sequence[Response]], most: int = 4
) -> tuple[str, ...]:
    """Whole texts from the second, third, ... best candidate of each sentence."""
    depth = max((len(best) for best in ranked), default=0)
    texts = [
        _join(
            pieces,
            [best[min(rung, len(best) - 1)].rewrite if best else None for best in ranked],
        )
        for rung in range(1, min(depth, most + 1))
    ]
    return tuple(dict.fromkeys(texts))


def _first_passing(responses: Sequence[Response]) -> list[Response]:
    """Responses until the first that passes: whoever wrote them put the best first."""
    ends = (i + 1 for i, response in enumerate(responses) if response.passed)
    return list(responses[: next(ends, len(responses))])


def _why(unsolved: Sequence[_Piece]) -> str:
    """Which gates stood in the way, most frequent first."""
    counts: dict[str, int] = {}
    for piece in unsolved:
        for response in piece.responses:
            for gate in response.failed:
                counts[gate] = counts.get(gate, 0) + 1
    if not counts:
        return "no candidate was proposed"
    gates = ", ".join(f"{g} {n}" for g, n in sorted(counts.items(), key=lambda item: -item[1]))
    return f"no candidate passed ({gates})"
