"""Baselines that need a language model: masked words refilled, and a contrastive prompt.

They are here to be beaten in tables, in the plainest form that is still honest. Copying and
deletion, which need none, are in `candidates.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tactful.prompts import EXAMPLES
from tactful.records import Message
from tactful.rewriting.candidates import PromptedModel, seed_of
from tactful.rewriting.edits import Edit, apply_edits
from tactful.rewriting.lexicon import flagged_words
from tactful.rollouts.base import Backend, Completion, Request, Sampling
from tactful.scorers.fluency import LanguageModel
from tactful.screeners.base import Screener


class InfillingModel(Backend, LanguageModel, Protocol):
    """A model that can both go on with a text and say how likely a text is."""


FILLERS = tuple("person people guy thing stuff it bad wrong silly really very not".split())
"""What a gap is filled with where the model offers nothing decent."""

# Common words take a token or two; rarer ones may come out cut, and are then unlikely.
_TOKENS_A_WORD = 4
_EDGES = ".,!?;:\"'“”‘’()[]…-*"


class MaskAndRefill:
    """Refills the words that the screener points at, one after another, from left to right.

    What may stand in a gap is what the language model says after the left context, `draws`
    times, without the words that the screener flags alone; which of these stays is decided by
    the likelihood of the whole sentence. Words further right stand there as they were until it
    is their turn.

    Left out, against Mask & Infill (Wu et al. 2019): a masked model that sees both sides when it
    *proposes*, fine-tuned on neutral text; fills of several words; a say for the meaning of the
    word that is gone. A word stays a word: nothing is deleted.
    """

    name = "mask-and-refill"

    def __init__(
        self, model: InfillingModel, screener: Screener, *, draws: int = 16, seed: int = 0
    ) -> None:
        self.model = model
        self.screener = screener
        self.sampling = Sampling(num=draws, temperature=1.0, top_p=0.9)
        self.seed = seed

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        """One rewrite of each source; the source itself where nothing is flagged."""
        texts = list(sources)
        slots = [flagged_words(source, self.screener) for source in sources]
        while any(slots):
            turn = [i for i, places in enumerate(slots) if places]
            firsts = [slots[i].pop(0) for i in turn]
            refilled = self._refill([texts[i] for i in turn], firsts)
            for i, text in zip(turn, refilled, strict=True):
                # Left of a gap an article may change too, right of it nothing.
                moved = len(text) - len(texts[i])
                slots[i] = [(start + moved, end + moved) for start, end in slots[i]]
                texts[i] = text
        return [[text] for text in texts]

    def _refill(self, texts: Sequence[str], slots: Sequence[tuple[int, int]]) -> list[str]:
        contexts = [text[:start].rstrip() for text, (start, _) in zip(texts, slots, strict=True)]
        gone = [text[slice(*slot)] for text, slot in zip(texts, slots, strict=True)]
        choices = [
            [apply_edits(text, [Edit(start, end, word)]) for word in words]
            for text, (start, end), words in zip(
                texts, slots, self._fills(contexts, gone), strict=True
            )
        ]
        flat = list(dict.fromkeys(choice for options in choices for choice in options))
        likely = dict(zip(flat, self.model.mean_logp(flat).tolist(), strict=True))
        return [max(options, key=lambda text: likely[text]) for options in choices]

    def _fills(self, contexts: Sequence[str], gone: Sequence[str]) -> list[list[str]]:
        """Decent words for the gap after each context, in the case of the word that is gone."""
        requests = [
            Request(context, _TOKENS_A_WORD, seed_of(context, self.seed)) for context in contexts
        ]
        answers = self.model.generate(requests, self.sampling)
        spoken = [list(dict.fromkeys(_first_word(c.text) for c in answer)) for answer in answers]
        distinct = list(dict.fromkeys(word for words in spoken for word in words))
        toxic = dict(zip(distinct, self.screener.toxicity(distinct).tolist(), strict=True))
        limit = self.screener.thresholds.passing
        fills = []
        for words, old in zip(spoken, gone, strict=True):
            decent = [w for w in words if w and w != old.lower() and toxic[w] < limit]
            fills.append([_cased(word, old) for word in decent or FILLERS])
        return fills


def _first_word(text: str) -> str:
    """The first word of a continuation in lower case; "" where it begins with something else.

    Whether it goes on with the word before the gap cannot be seen any more. If it does, the
    sentence becomes unlikely, and that decides.
    """
    word = (text.split() or [""])[0].strip(_EDGES).lower()
    return word if word.replace("'", "").replace("-", "").isalpha() else ""


def _cased(word: str, old: str) -> str:
    return word.capitalize() if old[:1].isupper() else word


@dataclass(frozen=True, slots=True)
class Triple:
    """A comment with a rewrite that failed, what was wrong about it, and one that passed."""

    source: str
    failed: str
    avoid: str
    passed: str


TRIPLES = tuple(
    Triple(source, failed, avoid, passed)
    for (source, passed), (failed, avoid) in zip(
        EXAMPLES,
        (
            ("you clearly have no clue, you fool", "another insult in the place of the first"),
            ("i am sorry to hear about your lawn", "answering the comment, dropping the question"),
            ("this update is total and it broke my apps", "holes, lost numbers"),
            ("you are lovely, let her finish", "flattery, a request left out"),
        ),
        strict=True,
    )
)
"""The examples of the few-shot prompt, each with a failure: only the contrast is new."""


def contrastive(text: str) -> list[Message]:
    """The instruction with examples of what failed, why, and what passed instead.

    The model is to say in one line what to avoid before it writes. The failed rewrite of the
    text itself is its copy, the one failure that is always at hand.

    Left out, against contrastive in-context learning (arXiv 2401.17390): examples retrieved for
    each text, and failures that the model itself produced.
    """
    turns: list[Message] = [{"role": "system", "content": _CONTRAST}]
    for triple in TRIPLES:
        turns += [
            {"role": "user", "content": _question(triple.source, triple.failed)},
            {"role": "assistant", "content": f"Avoid: {triple.avoid}\nRewrite: {triple.passed}"},
        ]
    return [*turns, {"role": "user", "content": _question(text, text)}]


def _question(source: str, failed: str) -> str:
    return f"Comment: {source}\nBad rewrite: {failed}"


_CONTRAST = (
    "Rewrite the comment so that it is polite. Keep its meaning, names and numbers. You see a bad "
    'rewrite of it first. Answer in two lines: "Avoid:" with what is wrong about the bad rewrite, '
    'then "Rewrite:" with a good one.'
)


class ContrastivePrompt(PromptedModel):
    """Samples rewrites by the contrastive prompt; what the model lists before them is not proposed.

    An answer without a line "Rewrite: ..." is no candidate.
    """

    def __init__(
        self, backend: Backend, *, sampling: Sampling | None = None, seed: int = 0
    ) -> None:
        super().__init__(_AfterList(backend), prompt=contrastive, sampling=sampling, seed=seed)


# Room for the line of what to avoid and for the two labels.
_TOKENS_FOR_LIST = 32
_REWRITE = re.compile(r"^[ \t]*rewrite:(.*)", re.IGNORECASE | re.MULTILINE)


class _AfterList:
    """A backend with room for a list before each answer, which it takes off again."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name = backend.name

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        longer = [
            replace(request, max_new_tokens=request.max_new_tokens + _TOKENS_FOR_LIST)
            for request in requests
        ]
        answers = self.backend.generate(longer, sampling)
        return [[_after_list(completion) for completion in answer] for answer in answers]


def _after_list(completion: Completion) -> Completion:
    found = _REWRITE.search(completion.text)
    text = found[1].strip() if found else ""
    # What has no such line was cut off before it, for all that can be said.
    return Completion(text, finished=completion.finished and bool(text))
