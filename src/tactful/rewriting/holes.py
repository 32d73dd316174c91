"""Does an edit leave a hole: a place where a word is plainly missing, or out of place?

"the other cooks are damned." -> "the other cooks are." keeps every other word, means nearly the same to a
model of meaning, and is no sentence. Only what stands beside a change is looked at, and only words of
closed classes, which call for something that does not follow: nothing is parsed, and how people
write otherwise is their own affair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from tactful.scorers.flow import changes

_NOT = re.compile(r"n ?' ?t\b")
_TOKEN = re.compile(r"n't\b|' ?(?:s|re|m|ll|d|ve)\b|[^\W_]+|[^\w\s]")
_END = ""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# What calls for something after it. "its" and "your" are often "it's" and "you're".
_DETERMINERS = _set("a an the my our their every")
_BE = _set(
    "is are was were am be been being 's 're 'm isnt arent wasnt aint im youre hes shes theyre"
)
_HELPERS = _set("'ll will would can could should must gonna wanna gotta n't dont cant wont didnt")
_PREPOSITIONS = _set("of with for from by about into at than")
_DEGREES = _set("very quite such extremely incredibly utterly unbelievably particularly")
_ALSO_DEGREES = _set("really totally completely absolutely truly amazingly especially pretty")
_SUBJECTS = _set("i he she they we")
_THIRD = _set("is was be has")
_YOU = _set("you u ya")

# What cannot begin it.
_STOPS = frozenset([_END, *".,!?;:)"])
_LINKS = _set("and but or because cause if")
_PARTICLES = _set("up out off over away on in at to for from with about of into as than")
_OTHERS = _set(
    "when while who that which i you he she it we they me him them u ya is are was were am be "
    "been 's 're 'm has have had do does did will would can could should n't today tonight again "
    "anymore here there these those this"
)
_NOT_NOUN = _STOPS | _LINKS | _PARTICLES | _OTHERS | _DETERMINERS
_SERIES = frozenset([*"and or but".split(), ","])
_NOT_VERB = _STOPS | _set("a an the my your our their some more any of with for from at about than")

# What is put in the place of an insult: qualities, and nouns that say nothing of anybody.
_QUALITIES = _set(
    "bad awful terrible wrong unwise silly poor unpleasant foolish unkind mean rude nasty horrible"
)
_ANYBODY = _set("person people man men guy guys woman women thing things folks someone somebody")
_OBJECTS = _set("me him us them ya myself yourself himself herself itself themselves ourselves")
_HOW = _set(
    "a an the such just really so very all still complete total real absolute utter big huge major "
    "generally basically truly clearly obviously always only not n't completely some"
)
_INTENSIFIERS = re.compile(
    r"(?:mother)?\W*f\W*u?\W*c?\W*k\w*|(?:god)?\W*dam\w+|bloody|freak\w+|frig\w+|eff\w+"
)
_ADJECTIVES = _set(
    "bigger biggest better best worse worst larger largest greater greatest older younger smarter "
    "dumber meaner richer poorer lesser lazy sexy crazy dumb stupid big fat sick bad good major total "
    "complete real huge dirty filthy ugly sorry useless worthless hopeless massive naive childish "
    "selfish foolish miserable horrible terrible unbelievable incredible ridiculous"
)


def leaves_hole(source: str, rewrite: str) -> bool:
    """Whether a word is plainly missing, out of place or empty where the rewrite was changed."""
    old, new = [*tokens(source), _END], [*tokens(rewrite), _END]
    there = set(pairwise(old))
    ended = {left for left, right in there if right in _STOPS}
    for was, until, begin, end in changes(old, new):
        gone = old[was:until]
        for place in range(max(1, begin), min(end, len(new) - 1) + 1):
            left, right = new[place - 1], new[place]
            if (left, right) in there or (right in _STOPS and left in ended):
                continue
            before = new[: place - 1]
            if begin == end and right in _STOPS and gone[0] in _YOU:
                # "what are you talking about [you fool]?"
                continue
            if (
                (_calls_for_more(left, right) and not _helps_alone(before, left, right))
                or (left in _QUALITIES and _misplaced(before, right))
                or (left in _ANYBODY and right in _STOPS | _LINKS and _said_of(before))
                or (begin == end and _lost_its_noun(before, left, right, gone))
            ):
                return True
    return False


def tokens(text: str) -> list[str]:
    """Words, clitics and marks, in lower case, however they are spaced; an is a."""
    apart = _NOT.sub(" n't", text.lower().replace("’", "'"))
    found = (token.group().replace(" ", "") for token in _TOKEN.finditer(apart))
    return ["a" if token == "an" else token for token in found]


def _calls_for_more(left: str, right: str) -> bool:
    """ "are .", "the of", "will some", "about .", "very .", ", ." """
    return (
        (left in _DETERMINERS and right in _NOT_NOUN)
        or (left in _BE and right in _STOPS | _LINKS)
        or (left in _HELPERS and right in _NOT_VERB)
        or (left in _PREPOSITIONS and right in _STOPS | _LINKS)
        or (left in _DEGREES | _SUBJECTS and right in _STOPS)
        or (left == "," and right in _STOPS)
        or (left in ("his", "her") and right in _THIRD)
    )


def _helps_alone(before: Sequence[str], left: str, right: str) -> bool:
    """ "is n't a fool", "can a fool?": no verb is called for after these."""
    if right not in _DETERMINERS or left not in _HELPERS:
        return False
    denied = left == "n't" and any(word in _BE | {"ai"} for word in before[-1:])
    asks = not before or before[-1] in _STOPS
    return denied or asks


def _misplaced(before: Sequence[str], right: str) -> bool:
    """A quality that stands as a noun or a verb: "the bad these days", "stop bad them"."""
    noun = right in _NOT_NOUN - _SERIES and any(word in _DETERMINERS for word in before[-1:])
    return noun or right in _OBJECTS


def _said_of(before: Sequence[str]) -> bool:
    """Whether "... are complete (people)" is all that is said of somebody."""
    for word in reversed(before):
        if word in _BE:
            return True
        if word not in _HOW:
            return False
    return False


def _lost_its_noun(before: Sequence[str], left: str, right: str, gone: Sequence[str]) -> bool:
    """ "a bigger [fool] than you", "an incredibly [stupid] idea" """
    if _INTENSIFIERS.fullmatch("".join(gone)) or gone[0] in _STOPS:
        return False
    if left in _DEGREES | _ALSO_DEGREES:
        return gone[-1] not in _SERIES and right not in _NOT_NOUN
    determined = any(word in _DETERMINERS for word in before[-1:])
    return left in _ADJECTIVES and determined and right in _NOT_NOUN
