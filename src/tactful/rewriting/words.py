"""Insults with one plain meaning, each said plainly: "is a liar" -> "is untruthful".

To a small model they are all alike: it writes "a bad person" for a liar, a coward and a fool, and the
point is gone with the insult. What such a word says of somebody is known, so it is written down
(assets/idioms.yaml), and only how it stands in its sentence is found out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tactful.rewriting.idioms import Rule, compiled, found, listed, marked, softened, ways
from tactful.rewriting.lexicon import flagged_words
from tactful.screeners.base import Screener

# What may follow when nothing more is said of the person: "is a fool for a king" says more.
_ENDS = (
    r"(?= ?(?:[.,!?;:)]|$)| (?:and|but|because|cause|if|when|as|to|in|on|at|with|or|so|while|like"
    r"|too|though|tho|lol|for(?! an?\b))\b)"
)
_THIS = (
    "another|one|some|any|every|each|no|this|that|the|my|your|his|her|our|their|little|usual|true"
)
_THESE = "these|those|the|my|your|his|her|our|their|both"
# What it says something of, as an adjective would: "a fool idea".
_WHAT = r"(?=(?:<NOUN>|<CROWD>)\b)"
_HAD = "(?:post|comment|tweet|opinion|word|brain|head|mouth|idea|account|page|supporter|wife|house|attitude)"
_SOME = "any|all|both|each|none|some|most"
_HE = "(?:he|she|they) (?:did|does|do|will|would|can|could|should)"
# More of the same follows: "the coward traitor" is one person, not two.
_NEXT = (
    r"(?! (?:idiot|moron|loser|clown|liar|traitor|coward|bastard|asshole|hypocrite|bully|crook"
    r"|thug|savant)s?\b)"
)
_SO_MANY = "(?:bunch|pack|group|load|bag|gang|collection)"
_ADVERBS = r"(?: (?:just|really|only|still|always|also|clearly|obviously|all|not|truly)){0,3}"


class Words:
    """The text with its idioms said decently and its plain insults said plainly."""

    name = "words"
    written = True

    def __init__(self, screener: Screener) -> None:
        self.screener = screener

    def propose(self, sources: Sequence[str]) -> list[list[str]]:
        said = [self._twice(softened(source)) for source in sources]
        return [[*once[:1], *twice, *once[1:]] for once, twice in said]

    def plainly(self, source: str) -> str:
        """The text with all of it said plainly that is known, whether that is enough or not."""
        text = softened(source)
        once, twice = self._twice(text)
        return [text, *once[:1], *twice][-1]

    def _twice(self, text: str) -> tuple[list[str], list[str]]:
        """The text said plainly, and the first of these again: others are minded with the worst gone."""
        once = self._said(text)
        return once, self._said(once[0], most=1) if once else []

    def _said(self, text: str, most: int = 6) -> list[str]:
        minded = marked(text, flagged_words(text, self.screener))
        # A word that the screener does not mind where it stands is no insult there.
        places = [
            (match, options)
            for match, options in found(text, _rules())
            if any(minded[match.start() : match.end()])
        ]
        return ways(text, places, most=most)


@cache
def _rules() -> tuple[Rule, ...]:
    people = [
        rule
        for says, words in listed()["people"].items()
        for rule in person_rules(says, words, contempt=says in listed()["contempt"])
    ]
    return compiled([*people, *listed()["words"]])


def person_rules(says: str, words: str, *, contempt: bool) -> list[list[str]]:
    """How people who are called one of some words are spoken of otherwise, as rules are written.

    Args:
        says: What the words say of somebody: an adjective.
        words: The words in the singular, as alternatives of a pattern.
        contempt: Whether they say little but contempt.
    """
    one, many = f"<MODS>(?:{words})", f"<MODS>(?:{words})e?s"
    # Where somebody is only meant, mere contempt says nothing.
    meant = "" if contempt else f"{says} "
    article = "an" if says[0] in "aeiou" else "a"
    return [
        # Who is spoken to is also who is spoken of: "any of you idiots", "he talks to you idiot".
        [rf"({_SOME}) of (?:you|u|ya) (?:{one}|{many})", "<1> of you"],
        [rf"any (?:you|u|ya) (?:{one}|{many})", "any of you"],
        [rf"(to|with|without|against|than|of) (you|u|ya) {one}(?= ?(?:[.!?]|$))", "<1> <2>"],
        # Spoken to: "read it, you idiot", "idiot, read it", "you idiots".
        [rf"(\w+) ?,? (?:you|u|ya) {one}(?= ?(?:[.!?]|$))", "<1>"],
        [rf"(\w+) ?, (?:{one}|{many})(?= ?(?:[.!?]|$))", "<1>"],
        [rf"^(?:hey |oh |well )?(?:you )?{one} ?[,!.:]+ ?(\w+)", "<1>"],
        [rf"({_HE}) ,? ?the {one}(?= ?(?:[.!?]|$))", "<1>"],
        [rf"^(?:hey |oh |well |you )?{many} ?, ?(\w+)", "<1>"],
        [rf"(you|yall|u) {many}", "<1> people", "<1>"],
        # An apostrophe that was left out: "this clowns page".
        [rf"(this|another|every) <MODS>(?:{words})s (?={_HAD}s?\b)", f"<1> {meant}person's "],
        # Said of somebody, and so the point: "is an idiot", "are idiots", "look like idiots".
        [rf"(<BE>)({_ADVERBS})(?: such| quite)? an? {one}{_ENDS}", f"<1><2> {says}"],
        [rf"(<BE>)({_ADVERBS})(?: an? {_SO_MANY} of)? {many}{_ENDS}", f"<1><2> {says}"],
        [
            rf"(look|sound|seem)(s|ed|ing|) like (?:(?:such )?an? {one}|{many}){_ENDS}",
            f"<1><2> {says}",
        ],
        [rf"the (?:biggest|greatest|worst) {one}{_ENDS}", f"the most {says} person"],
        [rf"the (?:biggest|greatest|worst) {many}{_ENDS}", f"the most {says} people"],
        # Before some nouns it is as an adjective: "a fool idea".
        [f"an? {one} {_WHAT}", f"{article} {says} "],
        [f"({_THIS}) {one} {_WHAT}", f"<1> {says} "],
        [f"an? {one}{_NEXT}", f"{article} {says} person"],
        # Said to mean somebody, while the point is another: "this idiot parks here".
        [
            f"({_THESE})((?: other| two| same)?) {many}",
            f"<1><2> {meant}people",
            f"<1><2> {says} people",
        ],
        [f"({_THIS}) {one}{_NEXT}", f"<1> {meant}person", f"<1> {says} person"],
        # "A fools errand" is nobody's.
        [rf"(?<!\ba )(?<!\ban ){many}", f"{says} people", "people"],
        [f"(?<!to )(?<!they )(?<!not )(?<!you )(?<!kids ){one} {_WHAT}", f"{says} "],
        [f"{one}{_NEXT}", f"{meant}person"],
    ]
