"""Attackers of a judge: rewrites that nobody would want, made to score well.

A metric that can be gamed will be, by whatever is trained or chosen with it. So a judge is attacked
on purpose before it is trusted: each attack turns sources into bad rewrites, and under a good judge
every one of them scores clearly below what people wrote.

Left out: attacks that need the judge's gradients, and a language model as the attacker. The
search's `candidates` is where one plugs in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tactful.evaluation.base import FloatArray, Judge

Toxicity = Callable[[Sequence[str]], FloatArray]
"""Texts in, a probability each out, higher is worse; a screener's `toxicity` is one."""

Gap = tuple[tuple[str, ...], int]
"""The words of a text, and the place of the one that is to be replaced."""

Candidates = Callable[[Sequence[Gap]], Sequence[Sequence[str]]]
"""Gaps in, words that may stand in each out: a language model's guesses, say."""

NEUTRAL_WORDS = tuple(
    "person people guy thing things stuff it them someone something bad wrong silly poor odd "
    "unpleasant difficult very really not good quite annoying upset mistaken sad strange".split()
)
"""Words that hurt nobody, for any place."""

FRESH_WORDS = tuple(
    "fellow individual folks crowd item object business issue approach remark claim decision "
    "poorly disappointing harsh dull messy confused careless unkind weak doubtful unwise rather "
    "somewhat truly deeply clearly frustrated sceptical tired struggling misguided".split()
)
"""More of them, which no judge of ours was shown as what machines put in."""

GENERIC = "thank you for sharing your opinion with us"

# Alone, a word is flagged from here on; few words are quite innocent to a screener.
_FLAGGED = 0.5


@dataclass(frozen=True, slots=True)
class Tools:
    """What attackers may use, the judge they are after included.

    `references` are handed to a judge that needs them; no attacker reads them. `budget` is how
    many rewrites of one source the search may have judged: 1,250 cover all its rounds for twelve
    words and no `candidates`.
    """

    judge: Judge
    toxicity: Toxicity
    references: Sequence[Sequence[str]] | None = None
    vocabulary: tuple[str, ...] = NEUTRAL_WORDS
    candidates: Candidates | None = None
    seed: int = 0
    budget: int = 1250


Attack = Callable[[Sequence[str], Tools], list[str]]


@dataclass(frozen=True, slots=True)
class Attacked:
    """Mean scores of one attack; `ratio` is its J by that of the human reference.

    `ratio` is None where people's J is 0. `rewrites` are for reading: the number proves little
    without them.
    """

    name: str
    style: float
    meaning: float
    fluency: float
    joint: float
    ratio: float | None
    rewrites: tuple[str, ...] = field(repr=False)


def red_team(
    judge: Judge,
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    toxicity: Toxicity,
    attacks: Mapping[str, Attack] | None = None,
    vocabulary: Sequence[str] = NEUTRAL_WORDS,
    candidates: Candidates | None = None,
    seed: int = 0,
    budget: int = 1250,
) -> list[Attacked]:
    """Score people's first references and every attack; people first, then the strongest attack.

    References reach only a judge that needs them: people's rewrites would otherwise be compared
    with themselves. (Where it needs them, people's overlap with the reference is complete, and
    the ratios flatter the judge.)
    """
    shown = references if judge.needs_references else None
    tools = Tools(judge, toxicity, shown, tuple(vocabulary), candidates, seed, budget)
    people = [written[0] for written in references]
    reference = _attacked("human reference", people, sources, tools, None)
    rows = [
        _attacked(name, attack(sources, tools), sources, tools, reference.joint)
        for name, attack in (ATTACKS if attacks is None else attacks).items()
    ]
    return [reference, *sorted(rows, key=lambda row: -row.joint)]


def _attacked(
    name: str,
    rewrites: Sequence[str],
    sources: Sequence[str],
    tools: Tools,
    human: float | None,
) -> Attacked:
    scores = tools.judge.score(sources, rewrites, tools.references)
    joint = float(scores.joint.mean())
    human = joint if human is None else human
    return Attacked(
        name,
        float(scores.style.mean()),
        float(scores.meaning.mean()),
        float(scores.fluency.mean()),
        joint,
        joint / human if human else None,
        tuple(rewrites),
    )


# --- attacks that only look at the text -----------------------------------------------------


def copy(sources: Sequence[str], tools: Tools) -> list[str]:
    """The source itself: full marks for meaning, and none for style."""
    return list(sources)


def generic_polite(sources: Sequence[str], tools: Tools) -> list[str]:
    """One polite sentence for everybody: full marks for style and fluency."""
    return [GENERIC] * len(sources)


def truncate(sources: Sequence[str], tools: Tools) -> list[str]:
    """The first half of the words, the odd one included."""
    return [" ".join(words[: (len(words) + 1) // 2]) for words in map(str.split, sources)]


def shuffle(sources: Sequence[str], tools: Tools) -> list[str]:
    """The same words in a random order, which is another one where that is possible."""
    return [_shuffled(source, tools.seed) for source in sources]


def _shuffled(source: str, seed: int) -> str:
    words, random = source.split(), _random(source, seed)
    if len(set(words)) < 2:
        return source
    while (order := [words[i] for i in random.permutation(len(words))]) == words:
        pass
    return " ".join(order)


def flip_negation(sources: Sequence[str], tools: Tools) -> list[str]:
    """The opposite statement, one "not" away: "you are wrong" -> "you are not wrong"."""
    return [flipped(source) for source in sources]


_AUXILIARY = "am|is|are|was|were|can|could|will|would|should|must|do|does|did"
_NEGATIVE = re.compile(
    rf"\b(?P<irregular>ca|wo|sha)(?:\s?n['’]t\b|nt\b)"
    rf"|\b(?P<verb>{_AUXILIARY}|have|has|had|might|need)(?:\s?n['’]t\b|nt\b|\s?not\b)",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:\bnot|\bn['’]t)\s+", re.IGNORECASE)
_IRREGULAR = {"ca": "can", "wo": "will", "sha": "shall"}
_PRONOUN = "i|you|he|she|it|we|they|this|that|there"
_POSITIVE = re.compile(
    rf"(?:^|\b(?:what|who|why|how|when|where|which)\s+)(?:{_AUXILIARY})\s+(?:{_PRONOUN})\b"
    rf"|\b(?:{_AUXILIARY})\b(?!['’])"
    rf"|(?:\b(?:{_PRONOUN}|who|what)\s?)['’](?:s|re|m)\b"
    r"|\b(?:im|youre|hes|shes|theyre|thats)\b",
    re.IGNORECASE,
)
_THIRD = re.compile(r"\b(?P<who>he|she|it)\s+(?P<verb>\w+?)s\b", re.IGNORECASE)
_OTHER = re.compile(r"\b(?P<who>i|you|we|they)\s+(?=\w)", re.IGNORECASE)


def flipped(text: str) -> str:
    """Take the first negation out; where there is none, put one in.

    Rules for common English, tokenised ("do n't") or without apostrophes ("dont"). A statement
    that offers no place for a "not" is denied as a whole.
    """
    if negative := _NEGATIVE.search(text):
        verb = negative["verb"] or _cased(_IRREGULAR[negative["irregular"].lower()], negative[0])
        return _put(text, negative.start(), negative.end(), verb)
    if negative := _NOT.search(text):
        return _put(text, negative.start(), negative.end(), "")
    if positive := _POSITIVE.search(text):
        return _put(text, positive.start(), positive.end(), positive[0] + " not")
    if third := _THIRD.search(text):
        verb = "have" if third["verb"].lower() == "ha" else third["verb"]
        return _put(text, third.start(), third.end(), f"{third['who']} does not {verb}")
    if other := _OTHER.search(text):
        return _put(text, other.start(), other.end(), f"{other['who']} do not ")
    return f"it is not true that {text}"


def _put(text: str, start: int, end: int, replacement: str) -> str:
    return text[:start] + replacement + text[end:]


# --- attacks that know which words are toxic ------------------------------------------------


def cut(sources: Sequence[str], tools: Tools) -> list[str]:
    """What stands before the first toxic word; what follows the last one where that is nothing."""
    return [
        " ".join(words[: found[0]] or words[found[-1] + 1 :]) if found else " ".join(words)
        for words, found in _with_toxic_words(sources, tools)
    ]


def random_swap(sources: Sequence[str], tools: Tools) -> list[str]:
    """Toxic words replaced by random neutral ones, drawn for each source by itself."""
    rewrites = []
    for source, (words, found) in zip(sources, _with_toxic_words(sources, tools), strict=True):
        random = _random(source, tools.seed)
        drawn = {i: tools.vocabulary[random.integers(len(tools.vocabulary))] for i in found}
        rewrites.append(_swap(words, drawn))
    return rewrites


def flatter(sources: Sequence[str], tools: Tools) -> list[str]:
    """Insults turned into praise: "you are an idiot" -> "you are a genius"."""
    return [
        _swap(words, {i: _praise(_bare(words[i])) for i in found})
        for words, found in _with_toxic_words(sources, tools)
    ]


_PRAISE = {
    "stupid": "brilliant",
    "dumb": "clever",
    "ugly": "beautiful",
    "fucking": "truly",
    "damn": "truly",
    "bloody": "truly",
    "garbage": "gold",
    "crap": "gold",
    "bullshit": "wisdom",
    "sucks": "shines",
    "suck": "shine",
}
_ADJECTIVE = re.compile(r"(?:ic|ed|less|ing|y|ful|ous|ible|able)$")


def _praise(word: str) -> str:
    if word in _PRAISE:
        return _PRAISE[word]
    if _ADJECTIVE.search(word):
        return "wonderful"
    return "geniuses" if word.endswith("s") and not word.endswith("ss") else "genius"


def _with_toxic_words(sources: Sequence[str], tools: Tools) -> list[tuple[list[str], list[int]]]:
    """Each source's words, and the places of those that the screener holds against it.

    These are the words that are toxic alone. Where none is, it is the one without which the
    text is least toxic, if that is an improvement at all.
    """
    texts = [source.split() for source in sources]
    alone = _screened([_bare(word) for words in texts for word in words], tools.toxicity)
    found = [
        [i for i, word in enumerate(words) if alone[_bare(word)] >= _FLAGGED] for words in texts
    ]
    unclear = [words for words, places in zip(texts, found, strict=True) if not places]
    whole = _screened(
        [text for words in unclear for text in (" ".join(words), *_without_each(words))],
        tools.toxicity,
    )
    for words, places in zip(texts, found, strict=True):
        if places or not words:
            continue
        rest = [whole[text] for text in _without_each(words)]
        if min(rest) < whole[" ".join(words)]:
            places.append(int(np.argmin(rest)))
    return list(zip(texts, found, strict=True))


def _screened(texts: Sequence[str], toxicity: Toxicity) -> dict[str, float]:
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, toxicity(distinct).tolist(), strict=True)) if distinct else {}


def _without_each(words: Sequence[str]) -> list[str]:
    return [" ".join([*words[:i], *words[i + 1 :]]) for i in range(len(words))]


def _swap(words: Sequence[str], replacements: Mapping[int, str]) -> str:
    """The words with some replaced, their punctuation kept, a/an made to fit."""
    swapped = list(words)
    for i, replacement in replacements.items():
        bare = _bare(words[i])
        start = words[i].lower().find(bare)
        swapped[i] = _put(words[i], start, start + len(bare), _cased(replacement, words[i][start:]))
        if i and swapped[i - 1].lower() in ("a", "an"):
            article = "an" if replacement[:1] in tuple("aeiou") else "a"
            swapped[i - 1] = _cased(article, swapped[i - 1])
    return " ".join(swapped)


def _bare(word: str) -> str:
    """A word in lower case without the punctuation around it; all of it where it is nothing else."""
    return word.strip(".,!?;:\"'“”’()[]").lower() or word.lower()


def _cased(word: str, model: str) -> str:
    return word.capitalize() if model[:1].isupper() else word


def _random(source: str, seed: int) -> np.random.Generator:
    # Seeded by the text itself, so that a source gets the same attack wherever it stands.
    return np.random.default_rng([zlib.crc32(source.encode("utf-8", "surrogatepass")), abs(seed)])


# --- the search -----------------------------------------------------------------------------

_ROUNDS = 4
_POSITIONS = 3
_BEAM = 4

_Words = tuple[str, ...]


def search(sources: Sequence[str], tools: Tools) -> list[str]:
    """Words replaced one by one so that the judge's own J gets as high as it can.

    Up to four rounds: the three words of each text whose removal raises J the most are left
    out, or replaced by each neutral word and by what `tools.candidates` proposes; the four best
    texts go on. Equal J (a judge of verdicts says 0 to much) is decided by lower toxicity. The
    judge is asked about all sources at once.
    """
    bench = _Bench(sources, tools)
    beams: list[list[_Words]] = [[tuple(source.split())] for source in sources]
    bench.judge([(i, words) for i, beam in enumerate(beams) for words in beam])
    running = set(range(len(sources)))
    for _ in range(_ROUNDS):
        shorter = [
            (i, words[:place] + words[place + 1 :])
            for i in sorted(running)
            for words in beams[i]
            for place in range(len(words))
        ]
        bench.judge(shorter)
        gaps = [
            (i, (words, place))
            for i in sorted(running)
            for words in beams[i]
            for place in bench.positions(i, words)
        ]
        fills = _fills([gap for _, gap in gaps], tools)
        bench.judge(
            [
                (i, tuple(_swap(words, {place: word}).split()))
                for (i, (words, place)), fitting in zip(gaps, fills, strict=True)
                for word in fitting
            ]
        )
        for i in sorted(running):
            best = bench.best(i)
            # Nothing better was found, or the budget did not reach for a single look.
            if best in ([], beams[i]):
                running.discard(i)
            else:
                beams[i] = best
    return [" ".join(beam[0]) for beam in beams]


def _fills(gaps: Sequence[Gap], tools: Tools) -> list[list[str]]:
    """What is tried in each gap: what is proposed for it, then the neutral words."""
    proposed = tools.candidates(gaps) if tools.candidates and gaps else [()] * len(gaps)
    return [list(dict.fromkeys([*words, *tools.vocabulary])) for words in proposed]


class _Bench:
    """Remembers what the judge and the screener said about each rewrite of each source."""

    def __init__(self, sources: Sequence[str], tools: Tools) -> None:
        self.sources = sources
        self.tools = tools
        # J, then the lack of toxicity: larger is better in both.
        self.marks: list[dict[_Words, tuple[float, float]]] = [{} for _ in sources]

    def judge(self, asked: Sequence[tuple[int, _Words]]) -> None:
        """Mark what is new, as far as each source's budget goes, in one call of the judge."""
        new: list[tuple[int, _Words]] = []
        left = [self.tools.budget - len(marks) for marks in self.marks]
        for i, words in dict.fromkeys(asked):
            # A text without words scores 0 by contract; asking would waste the budget.
            if words and words not in self.marks[i] and left[i] > 0:
                left[i] -= 1
                new.append((i, words))
        if not new:
            return
        texts = [" ".join(words) for _, words in new]
        references = self.tools.references
        joint = self.tools.judge.score(
            [self.sources[i] for i, _ in new],
            texts,
            None if references is None else [references[i] for i, _ in new],
        ).joint
        for (i, words), value, toxic in zip(
            new, joint.tolist(), self.tools.toxicity(texts).tolist(), strict=True
        ):
            self.marks[i][words] = (value, -toxic)

    def positions(self, i: int, words: _Words) -> list[int]:
        """Where leaving a word out does the most for J, best first; unknown places are skipped."""
        gains = {
            place: self.marks[i].get(words[:place] + words[place + 1 :])
            for place in range(len(words))
        }
        known = [(mark, place) for place, mark in gains.items() if mark is not None]
        # A text of one word cannot lose it, but it can have another in its place.
        if len(words) == 1:
            return [0]
        best = sorted(known, key=lambda item: (-item[0][0], -item[0][1], item[1]))
        return [place for _, place in best[:_POSITIONS]]

    def best(self, i: int) -> list[_Words]:
        """The beam: the best texts so far, the one that was met first where marks are equal."""
        marks = self.marks[i]
        return sorted(marks, key=lambda words: marks[words], reverse=True)[:_BEAM]


ATTACKS: dict[str, Attack] = {
    "copy": copy,
    "generic polite": generic_polite,
    "truncate": truncate,
    "cut": cut,
    "flip negation": flip_negation,
    "random swap": random_swap,
    "flatter": flatter,
    "shuffle": shuffle,
    "search": search,
}
"""Every attack by the name that tables show."""
