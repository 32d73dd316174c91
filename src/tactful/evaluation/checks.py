"""What can be told about a rewrite from its source alone, by rules one can read.

Copied, shortened, left hanging; negation, numbers, names, tags and question form kept or lost. A
judge's three scores do not see such faults one by one, and a rewrite that games the judge usually
trips over one of them. They are heuristics for English: a rate over a thousand sentences means
something, a single verdict less so.

Casing and tokenisation do not matter ("do n't", "don’t" and "dont" are one word), since sources
are often lower-cased and split at every sign.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from functools import cache
from importlib import resources
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from tactful.screeners.base import Screener
from tactful.segment import sentences

ToxicWords = Callable[[str], bool] | Collection[str]
"""Says of a lower-cased word whether it is toxic, or lists those that are."""


def minded_by(screener: Screener) -> ToxicWords:
    """The words that a screener would act on by themselves; each is asked about once."""
    return cache(lambda word: bool(screener.toxicity([word])[0] >= screener.thresholds.act))


@dataclass(frozen=True, slots=True)
class Checks:
    """What was found in one rewrite; `kept_*` is None where the source has nothing to keep.

    empty              nothing was written; the faults below are then not looked for
    copy               equal to the source but for case, spacing and punctuation
    length_ratio       words of the rewrite per word of the source
    deletion_rate      share of the source's content words gone with nothing in their place
    pure_deletion      the source's words in order with some left out, and nothing else
    dropped_predicate  ends, or breaks off, where the source went on: "reddit is full of"
    kept_tags          links, @mentions and #hashtags
    became_question    asks what its source states
    new_toxicity       has a toxic word that its source has not; None when no words were given
    """

    empty: bool
    copy: bool
    length_ratio: float
    deletion_rate: float
    pure_deletion: bool
    dropped_predicate: bool
    kept_negation: bool | None
    kept_numbers: bool | None
    kept_names: bool | None
    kept_tags: bool | None
    kept_question: bool | None
    became_question: bool
    new_toxicity: bool | None


MEANS = ("length_ratio", "deletion_rate")
RATES = tuple(field.name for field in fields(Checks) if field.name not in MEANS)


def check(source: str, rewrite: str, toxic: ToxicWords | None = None) -> Checks:
    """Runs every check on one rewrite."""
    empty = not rewrite.strip()
    return Checks(
        empty=empty,
        copy=is_copy(source, rewrite),
        length_ratio=length_ratio(source, rewrite),
        deletion_rate=deletion_rate(source, rewrite),
        pure_deletion=is_pure_deletion(source, rewrite),
        dropped_predicate=drops_predicate(source, rewrite),
        kept_negation=keeps_negation(source, rewrite),
        kept_numbers=keeps_numbers(source, rewrite),
        kept_names=keeps_names(source, rewrite, toxic),
        kept_tags=keeps_tags(source, rewrite),
        kept_question=is_question(rewrite) if is_question(source) else None,
        became_question=is_question(rewrite) and not is_question(source),
        new_toxicity=None if toxic is None else bool(new_toxic_words(source, rewrite, toxic)),
    )


def summarise(checks: Sequence[Checks]) -> dict[str, dict[str, Any]]:
    """Rates with counts, each over the `of` sentences it can be asked of; means of the shares.

    {"kept_negation": {"rate": 0.9, "count": 9, "of": 10}, "length_ratio": {"mean": ..., "median":
    ..., "of": ...}}. Empty rewrites have no length and no deletions: they are counted as empty.
    Nothing to ask about is rate None.
    """
    summary: dict[str, dict[str, Any]] = {}
    for name in RATES:
        answers = [answer for c in checks if (answer := getattr(c, name)) is not None]
        count = sum(answers)
        rate = count / len(answers) if answers else None
        summary[name] = {"rate": rate, "count": count, "of": len(answers)}
    for name in MEANS:
        values = [float(getattr(c, name)) for c in checks if not c.empty]
        summary[name] = {
            "mean": fmean(values) if values else None,
            "median": median(values) if values else None,
            "of": len(values),
        }
    return summary


# --- words ----------------------------------------------------------------------------------

_LINK = r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]']"
_TAG = re.compile(rf"{_LINK}|(?<![\w@])@\w+|(?<![\w#])#\w+")
# "do n't", "it 's": how tokenisers write clitics.
_DETACHED = re.compile(r"(?<=\w)\s+(?=(?:n't|'(?:s|re|m|ve|ll|d))(?!\w))")
_WORD = re.compile(r"\w+(?:'\w+)*")
_PIECE = re.compile(r"\w+(?:'\w+)*|[.,;:!?()…\n]|--|—")

_BARE_NEGATIONS = frozenset(
    "dont doesnt didnt cant wont isnt arent wasnt werent aint couldnt wouldnt shouldnt havent hasnt "
    "hadnt mustnt neednt".split()
)
_NEGATIONS = _BARE_NEGATIONS | frozenset(
    "not no never without cannot nobody nothing none nowhere neither nor".split()
)
# Says no in another way; a rewrite may use it in the place of a plain negation.
_NEGATION_LIKE = frozenset(
    "hardly barely scarcely unable lack lacks lacked lacking refuse refuses refused false untrue "
    "dislike dislikes disliked disagree disagrees fail fails failed incapable impossible stop".split()
)
_PRONOUNS = frozenset(
    "i me you he him she her it we us they them this that these those who someone everyone anyone "
    "u ya yall".split()
)
_DETERMINERS = frozenset("a an the my your our their his its every ur".split())
_COPULAS = frozenset("is are was were am be been being 's 're 'm".split())
_AUXILIARIES = _COPULAS | frozenset(
    "do does did has have had will would can could shall should may might must gonna wanna".split()
)
_PREPOSITIONS = frozenset(
    "of in on at by for from to into with about than like as over under between against through "
    "during without within upon towards toward among".split()
)
_CONJUNCTIONS = frozenset("and or but because if while although unless whether nor".split())
# Nothing can end on these, whoever wrote it.
_NEVER_LAST = frozenset("a an the my your our their every and or because than very such".split())
_DANGLERS = _DETERMINERS | _AUXILIARIES | _PREPOSITIONS | _CONJUNCTIONS | _NEVER_LAST | {"another"}
# A clause ends before these as it does at a comma.
_LINKS = frozenset("and or but because".split())
_ASKING = frozenset("what who how where which".split())
# What may trail behind a gap: "will be shit too" -> "will be too".
_TRAILERS = frozenset(
    "too also either again anyway anyways though then now lol lmao haha man bro dude please".split()
)
_AFTER_DETERMINER = frozenset("and or but is are was were of because".split())
_FUNCTION_WORDS = (
    _PRONOUNS
    | _DANGLERS
    | _TRAILERS
    | (_NEGATIONS - {"nobody", "nothing"})
    | frozenset(
        "mine yours hers ours theirs myself yourself himself herself itself themselves what which "
        "when where why how there here so just very really even still only all any some each such "
        "own same more most much many both few up down out off back well oh yeah yes im youre hes "
        "shes theyre thats its whats theres ive id ill got get s t re m ve ll d".split()
    )
)


def words(text: str) -> list[str]:
    """The words of a text in lower case, contractions in one piece, tags and links left out."""
    return _WORD.findall(_folded(_TAG.sub(" ", text)))


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("`", "'")
    return _DETACHED.sub("", text)


def is_function_word(word: str) -> bool:
    """True of the small words that hold a sentence together, lower-cased."""
    return word in _FUNCTION_WORDS or _is_contraction(word)


def _is_content(word: str) -> bool:
    return not is_function_word(word)


def _is_contraction(word: str) -> bool:
    return "'" in word and word.split("'")[0] in _FUNCTION_WORDS | _stems_of_negations()


@cache
def _stems_of_negations() -> frozenset[str]:
    """What stands before the apostrophe of "don't" and "doesn't"."""
    return frozenset(word.removesuffix("t") for word in _BARE_NEGATIONS)


# --- the checks -----------------------------------------------------------------------------


def is_copy(source: str, rewrite: str) -> bool:
    """Whether a rewrite is its source again, but for case, spacing and punctuation."""
    ours, theirs = _letters(source), _letters(rewrite)
    return ours == theirs if ours or theirs else source.strip() == rewrite.strip()


def _letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def length_ratio(source: str, rewrite: str) -> float:
    """Words of the rewrite per word of the source; a source without words counts as one."""
    return len(words(rewrite)) / max(1, len(words(source)))


def deletion_rate(source: str, rewrite: str) -> float:
    """The share of the source's content words that are gone with nothing put in their place.

    A word that moved is not gone, and one insult for two ("stupid fools" -> "people") is a
    replacement. 0 for a source without content words.
    """
    ours, theirs = words(source), words(rewrite)
    content = sum(map(_is_content, ours))
    if not content:
        return 0.0
    by_tag: dict[str, list[str]] = {"equal": [], "delete": [], "replace": [], "insert": []}
    for tag, start, end, _, _ in _aligned(ours, theirs):
        by_tag[tag] += ours[start:end]
    moved = Counter(theirs) - Counter(by_tag["equal"])
    gone = Counter(by_tag["delete"]) - moved
    return sum(count for word, count in gone.items() if _is_content(word)) / content


def is_pure_deletion(source: str, rewrite: str) -> bool:
    """Whether a rewrite is the words of its source, in order, with some left out; not all."""
    ours, theirs = words(source), words(rewrite)
    rest = iter(ours)
    return 0 < len(theirs) < len(ours) and all(word in rest for word in theirs)


def drops_predicate(source: str, rewrite: str) -> bool:
    """Whether a rewrite stops, or has a hole, where the source went on to say something.

    "will be shit too" -> "will be"; "is full of fools" -> "is full of"; "he is a fool and a liar"
    -> "he is a and a liar". A verb or preposition that ends the source as well is no fault.
    """
    ours, theirs = _pieces(source), _pieces(rewrite)
    return _stops_short(ours, theirs) or _has_hole(ours, theirs)


def _pieces(text: str) -> list[str]:
    """Words and the signs that end a clause; a quoted or final sign is as good as an end."""
    return _PIECE.findall(_folded(_TAG.sub(" ", text)))


def _stops_short(ours: list[str], theirs: list[str]) -> bool:
    origin = _origins(ours, theirs)
    for last in _clause_ends(theirs):
        at = origin.get(last)
        if at is None:
            if theirs[last] in _NEVER_LAST:
                return True
        elif (
            _ending(theirs[last]) in _DANGLERS
            and _goes_on(ours, at)
            and not _asked_anew(ours, theirs, last)
        ):
            return True
    return False


def _asked_anew(ours: list[str], theirs: list[str], last: int) -> bool:
    """Whether a new question word takes the place of what went: "I know what you are"."""
    return any(word in _ASKING and word not in ours for word in theirs[:last])


def _clause_ends(pieces: list[str]) -> Iterable[int]:
    """Where the last word of each clause stands, light words behind it left out."""
    for index, piece in enumerate(pieces):
        following = pieces[index + 1] if index + 1 < len(pieces) else "."
        if not _is_word(piece) or (_is_word(following) and following not in _LINKS):
            continue
        while index > 0 and pieces[index] in _TRAILERS and _is_word(pieces[index - 1]):
            index -= 1
        yield index


def _goes_on(pieces: list[str], at: int) -> bool:
    """Whether more than light words follow in the same clause."""
    for piece in pieces[at + 1 :]:
        if not _is_word(piece) or piece in _LINKS:
            return False
        if piece not in _TRAILERS:
            return True
    return False


def _has_hole(ours: list[str], theirs: list[str]) -> bool:
    before = set(pairwise(ours))
    return any(
        pair[0] in _DETERMINERS and pair[1] in _AFTER_DETERMINER and pair not in before
        for pair in pairwise(theirs)
    )


def _ending(word: str) -> str:
    """The word, or the verb that a pronoun carries: "you're" -> "'re"."""
    head, apostrophe, tail = word.partition("'")
    return apostrophe + tail if apostrophe and head in _PRONOUNS else word


def _is_word(piece: str) -> bool:
    return piece[0].isalnum() or piece[0] == "_"


def _origins(ours: list[str], theirs: list[str]) -> dict[int, int]:
    """Where each kept piece of the rewrite stood in the source."""
    return {
        new + k: old + k
        for tag, old, end, new, _ in _aligned(ours, theirs)
        if tag == "equal"
        for k in range(end - old)
    }


def _aligned(ours: list[str], theirs: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()


def keeps_negation(source: str, rewrite: str) -> bool | None:
    """Whether as many clauses are negated as in the source; None when none is.

    Clauses are counted, not words: "ain't got no clue" is one negation, in "don't have a clue" as
    well. "hardly", "unable", "false" and the like stand in for one.
    """
    wanted = _negated_clauses(source, _NEGATIONS)
    if not wanted:
        return None
    return _negated_clauses(rewrite, _NEGATIONS | _NEGATION_LIKE) >= wanted


_CLAUSE = re.compile(
    r"[.,;:!?()\n…—]|--|\b(?:and|but|because|if|so|that|which|who|when|while|although|cause|cuz)\b"
)
# "no, ..." answers and "not only" adds; neither negates what follows.
_NO_NEGATION = re.compile(r"\bno+\b(?=\s*(?:[,.!?]|$|\bno\b))|\bnot only\b")


def _negated_clauses(text: str, negations: frozenset[str]) -> int:
    plain = _NO_NEGATION.sub(" ", _folded(_TAG.sub(" ", text)))
    return sum(
        any(word in negations or word.endswith("n't") for word in _WORD.findall(clause))
        for clause in _CLAUSE.split(plain)
    )


# "55kb" and "55 kb", "2nd" and "2": a unit is no part of a number.
_NUMBER = re.compile(r"(?<![\w.])(\d+(?:[.,:/]\d+)*)(?:[a-z]{1,3})?(?!\w)")
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
# "u 2" and "good 4 nothing": a rewrite that spells them out has kept everything.
_SOUNDS = {"2": ("to", "too"), "4": ("for",)}


def keeps_numbers(source: str, rewrite: str) -> bool | None:
    """Whether every number in digits is still there, in digits or up to twelve as a word."""
    wanted = _numbers(source)
    if not wanted:
        return None
    found = _numbers(rewrite)
    for word in words(rewrite):
        if word in _NUMBER_WORDS:
            found[_NUMBER_WORDS[word]] += 1
    spoken = Counter(words(rewrite))
    for digit, sounds in _SOUNDS.items():
        found[digit] += sum(spoken[sound] for sound in sounds)
    return wanted <= found


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(_TAG.sub(" ", text).casefold()))


def keeps_tags(source: str, rewrite: str) -> bool | None:
    """Whether every link, @mention and #hashtag is still there, as often as before."""
    wanted = Counter(tag.casefold() for tag in _TAG.findall(source))
    return wanted <= Counter(tag.casefold() for tag in _TAG.findall(rewrite)) if wanted else None


_OPENER = r"^\W*(?:(?:and|but|so|well|ok|okay|oh|yo|hey|lol|then)\b\W*)*"
_VERB_FIRST = (
    r"(?:(?:is|are|was|were|am|did|does|has|have|had|can|could|would|will|should|must|may|shall)"
    r"(?:n't)?|(?:is|are|was|were|did|does|has|have|had|ca|could|would|wo|should)nt|can't|won't|ai?n't)"
)
_SUBJECT = r"(?:i|you|u|he|she|it|we|they|ya|yall|this|that|these|those|there|the|your|my|any|anyone|someone|everyone|people)"
_QUESTION = re.compile(
    rf"{_OPENER}(?:"
    rf"{_VERB_FIRST}\s+{_SUBJECT}\b"
    rf"|(?:do|don't|dont)\s+(?:i|you|u|we|they|ya|yall|these|those|people)\b"
    rf"|why\b|how\s+(?:come|about|(?:\w+\s+){{0,2}}(?:{_VERB_FIRST}|do)\s+{_SUBJECT}\b)"
    rf"|(?:who|what|where|when)(?:\s+the\s+\w+)?\s+(?:{_VERB_FIRST}\s+|do\s+{_SUBJECT}\b)"
    rf"|who\s+(?:cares|knows|gives|wants|needs|said|says|made|asked|thinks|the\s+\w+\s+\w+)\b"
    rf"|(?:who|what|where|when)'s\b)"
)


def is_question(text: str) -> bool:
    """Whether any sentence asks: it ends in a question mark, or begins as questions do."""
    plain = _folded(_TAG.sub(" ", text))
    return any(_asks(plain[start:end]) for start, end in sentences(plain))


def _asks(sentence: str) -> bool:
    return "?" in sentence or bool(_QUESTION.search(sentence))


_CASED_WORD = re.compile(r"[^\W\d_][\w.&-]*(?:['’]\w+)*")


def keeps_names(source: str, rewrite: str, toxic: ToxicWords | None = None) -> bool | None:
    """Whether every name in the source is still there; None when there is none.

    Names are those on a shipped list and, in cased text, what is capitalised inside a sentence
    and no ordinary word. An insult with a capital is no name: `toxic` says what is one.
    """
    wanted = names_in(source, toxic)
    if not wanted:
        return None
    kept = f" {' '.join(_bare(rewrite))} "
    return all(
        any(f" {form} " in kept for form in (name, f"{name}s", name.removesuffix("s")))
        for name in wanted
    )


def names_in(text: str, toxic: ToxicWords | None = None) -> set[str]:
    """The names in a text, in lower case."""
    tokens = _bare(text)
    found = {
        " ".join(tokens[start : start + length])
        for start in range(len(tokens))
        for length in _lengths_of_names()
        if " ".join(tokens[start : start + length]) in _listed_names()
    }
    cased = _capitalised(_TAG.sub(" ", text))
    return found | {name for name in cased if not _is_toxic(name, toxic)}


def _bare(text: str) -> list[str]:
    """The words of a text without possessives."""
    return [word.removesuffix("'s") for word in words(text)]


def _capitalised(text: str) -> set[str]:
    """Words with a capital that neither their place nor the writer's shouting explains."""
    found: set[str] = set()
    for start, end in sentences(text):
        cased = [match[0] for match in _CASED_WORD.finditer(text[start:end])]
        # Titles and shouting capitalise what they please: such a sentence shows no names.
        if sum(word[0].isupper() for word in cased) * 2 > len(cased):
            continue
        for word in cased[1:]:
            plain = re.sub(r"['’]s$", "", word).casefold().strip(".")
            if word[0].isupper() and len(plain) > 1 and plain not in _ordinary_words():
                found.add(" ".join(_WORD.findall(plain)))
    return found - {""}


def _is_toxic(word: str, toxic: ToxicWords | None) -> bool:
    if toxic is None:
        return False
    return toxic(word) if callable(toxic) else word in toxic


def new_toxic_words(source: str, rewrite: str, toxic: ToxicWords) -> list[str]:
    """The toxic words of a rewrite that its source has not, in order, each once."""
    known = set(words(source))
    fresh = dict.fromkeys(word for word in words(rewrite) if word not in known)
    return [word for word in fresh if _is_toxic(word, toxic)]


# --- lists ----------------------------------------------------------------------------------


@cache
def _listed_names() -> frozenset[str]:
    listed = resources.files("tactful").joinpath("assets/names.txt").read_text(encoding="utf-8")
    lines = (line for line in listed.splitlines() if not line.startswith("#"))
    return frozenset(name.strip() for line in lines for name in line.split(",") if name.strip())


@cache
def _lengths_of_names() -> tuple[int, ...]:
    return tuple(sorted({len(name.split()) for name in _listed_names()}))


@cache
def _ordinary_words() -> frozenset[str]:
    listed = resources.files("tactful").joinpath("assets/english_words.txt")
    return frozenset(listed.read_text(encoding="utf-8").split())
