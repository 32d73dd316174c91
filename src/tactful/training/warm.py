"""The warm start: demonstrations of decent rewriting, made from two piles that were never paired.

A small model cannot paraphrase well enough to explore, so it is shown first. Where it is shown
deletions it learns to delete, holes and all, and the game that follows can then only delete more.
So most of what it is shown here are substitutions: a decent sentence is the answer, and its toxic
source is made from it by putting insults where they would really stand (`warm_corrupt.py`).
`found_pairs` adds real toxic sentences with what a search over replacements made of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from tactful.config import Config
from tactful.errors import DataError
from tactful.screeners.base import Screener
from tactful.training.warm_contexts import Contexts
from tactful.training.warm_corrupt import CorruptConfig, Corruptor
from tactful.training.warm_draw import corrupt
from tactful.training.warm_found import Demonstration, FoundConfig, Rewrite, Sound, found_pairs
from tactful.training.warm_lexicon import (
    Lexicon,
    LexiconConfig,
    Neighbours,
    Piles,
    framed,
    is_word,
    mine_lexicon,
    tokens,
)

COPY = "copy"
_STRANGE = re.compile(r"https?:|www\.|[@#<>{}|\\^~]|&\w+;|[^\x00-\x7f’‘“”]")
_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b")
_SIGN = re.compile(r"(?<=\w)([.,!?;:])(?=\s|$)")


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """What the demonstrations of one kind are like."""

    count: int
    share: float
    source_words: float
    completion_words: float
    distinct_completions: int


class WarmConfig(Config):
    """What is shown, and in what mixture."""

    lexicon: LexiconConfig = LexiconConfig()
    corrupt: CorruptConfig = CorruptConfig()
    found: FoundConfig = FoundConfig()
    shortest: Annotated[int, Field(ge=1)] = 3
    longest: Annotated[int, Field(ge=1)] = 30
    barred: tuple[str, ...] = ("digit",)
    """Words that no answer may hold: what anonymising left behind."""
    known: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Part of an answer's words that the piles must hold more than a few times."""
    lowered: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Part of the sentences that are lower-cased, on both sides, as the toxic pile is."""
    spaced: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Part of the sentences whose signs stand apart, on both sides, as tokenisers leave them."""
    copies: Annotated[float, Field(ge=0, le=0.03)] = 0.0
    """Part of the demonstrations that show a decent sentence left as it is."""


def build_warm_start(
    neutral: Piles,
    toxic: Piles,
    screener: Screener,
    *,
    size: int,
    seed: int = 0,
    config: WarmConfig | None = None,
    rewrite: Rewrite | None = None,
    sound: Sound | None = None,
) -> list[Demonstration]:
    """Demonstrations from two unpaired piles, in random order, no source twice.

    Args:
        neutral: Decent texts by kind of source, as `toxic`; a kind on one side only adds texts and
            contexts but says nothing about which words are toxic.
        toxic: Toxic texts by kind of source.
        screener: Decides what is a toxic source (`act`) and a decent completion (`passing`).
        size: How many are wanted; fewer come back where the piles do not hold so many.
        seed: The same piles, settings and seed give the same demonstrations.
        config: Mixture and strictness.
        rewrite: Finds rewrites of real toxic texts; without it there are corruptions only.
        sound: Whether a completion has no hole where its source had a point; asked of what
            `rewrite` found and of corruptions alike. It must not refuse deletion as such.
    """
    config = config or WarmConfig()
    if size < 1:
        raise DataError(f"a warm start needs at least one demonstration, {size} were asked for")
    rng = np.random.default_rng(seed)
    sentences = {k: framed(texts) for k, texts in [*_keyed("toxic", toxic), *_keyed("", neutral)]}
    insulting = [s for key, pile in sentences.items() if key.startswith("toxic") for s in pile]
    neighbours = Neighbours([s for pile in sentences.values() for s in pile])
    lexicon = mine_lexicon(neutral, toxic, screener, neighbours, config.lexicon)
    contexts = Contexts(insulting, lexicon, neighbours, config.lexicon)
    decent = decent_sentences(neutral, screener, lexicon, neighbours, config, rng)
    found: list[Demonstration] = []
    if rewrite is not None:
        texts = [text for kind in sorted(toxic) for text in toxic[kind]]
        pairs = found_pairs(texts, rewrite, screener, config.found, rng, size=size, sound=sound)
        found = [pair for pair in pairs if _fit_to_show(pair.completion, lexicon, config)]
    copies = [Demonstration(text, text, COPY) for text in decent[: int(config.copies * size)]]
    corruptor = Corruptor(lexicon, contexts, config.corrupt)
    room = max(0, size - len(found) - len(copies))
    made = corrupt(decent[len(copies) :], corruptor, screener, room, rng)
    if sound is not None:
        made = [d for d in made if sound(d.source, d.completion)]
    together = list({d.source: d for d in [*made, *found, *copies]}.values())
    return [together[i] for i in rng.permutation(len(together))]


def statistics(demonstrations: Sequence[Demonstration]) -> dict[str, KindStatistics]:
    """Counts and lengths by kind, the commonest first."""
    by_kind: dict[str, list[Demonstration]] = defaultdict(list)
    for shown in demonstrations:
        by_kind[shown.kind].append(shown)
    return {
        kind: KindStatistics(
            count=len(those),
            share=len(those) / len(demonstrations),
            source_words=float(np.mean([len(d.source.split()) for d in those])),
            completion_words=float(np.mean([len(d.completion.split()) for d in those])),
            distinct_completions=len({d.completion for d in those}),
        )
        for kind, those in sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def _keyed(prefix: str, piles: Piles) -> list[tuple[str, Sequence[str]]]:
    return [(f"{prefix}/{kind}", piles[kind]) for kind in sorted(piles)]


# --- corruption -----------------------------------------------------------------------------


def decent_sentences(
    neutral: Piles,
    screener: Screener,
    lexicon: Lexicon,
    neighbours: Neighbours,
    config: WarmConfig,
    rng: np.random.Generator,
) -> list[str]:
    """Neutral sentences fit to be answers, in random order: decent, of a length, plain English
    letters, without a toxic word; cased and spaced as the toxic pile is."""
    texts = sorted({" ".join(t.split()) for pile in neutral.values() for t in pile})
    kept = [
        text
        for text in texts
        if _fit_to_show(text, lexicon, config) and neighbours.know(text) >= config.known
    ]
    order = rng.permutation(len(kept))
    styles = rng.random((len(kept), 2)) < (config.lowered, config.spaced)
    shown = list(dict.fromkeys(_styled(kept[i], *map(bool, styles[i])) for i in order))
    fair = screener.toxicity(shown) < screener.thresholds.passing
    return [text for text, ok in zip(shown, fair, strict=True) if ok]


def _fit_to_show(text: str, lexicon: Lexicon, config: WarmConfig) -> bool:
    words = [token.text for token in tokens(text) if is_word(token.text)]
    return (
        config.shortest <= len(words) <= config.longest
        and not _STRANGE.search(text)
        and not any(word in config.barred for word in words)
        and not any(word in lexicon or "*" in word for word in words)
    )


def _styled(text: str, lowered: bool, spaced: bool) -> str:
    text = text.translate(str.maketrans("’‘“”", "''\"\""))
    if spaced:
        text = _SIGN.sub(r" \1", _CLITIC.sub(r" \1", text))
    return text.lower() if lowered else text
