"""Find what polite words must not hide: threats, calls to violence, self-harm, doxxing.

Rules over normalised text, each asking for someone who acts, a violent verb and a person who
suffers it, close together. They are built for precision: idioms ("this will kill the mood") and
machines ("kill the process") stay silent. Many real threats are worded in ways no rule foresees;
the recall on held-out text is in `docs/results/screener.md`, and is no reason to feel safe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from tactful.screeners.normalise import normalise, normalise_with_offsets

ThreatKind = Literal["threat", "violence_call", "self_harm", "doxxing"]
KINDS: tuple[ThreatKind, ...] = get_args(ThreatKind)


@dataclass(frozen=True, slots=True)
class Threat:
    """What was found and where, as a piece `text[start:end]` of the original text."""

    kind: ThreatKind
    start: int
    end: int


def find_threat(text: str) -> Threat | None:
    """The first rule that fires, in the order in which help is needed; None when none does."""
    normal = normalise(text)
    for kind, rule in _RULES:
        match = rule.search(normal)
        if match:
            # Offsets cost more than the search and are needed for few texts.
            start, end = normalise_with_offsets(text).original(*match.span())
            return Threat(kind, start, end)
    return None


# Normalised text has no apostrophes inside words: "I'll" is "ill", "you're" is "youre".
_SWEAR = r"(?:(?:fuck\w*|freak\w*|bloody|goddamn|damn|god|just|really|actually|personally|literally|so|all|the|shit|hell|out|of) ){0,4}"
_WHOM = r"(?:you|u|ya|yous|yall|him|her|them|your (?:whole |entire |fuck\w* )?(?:family|mother|mom|mum|wife|kids?|children|dad|father|sister|brother|dog|face|head|throat|neck|ass|self|selves)|every(?:one|body)(?: (?:of you|here|there))|all of you|you all|(?:these|those|that|this|the|all|every) (?:\w+ )?(?:people|guy|man|woman|men|women|bastards?|admins?|editors?|politicians?|idiots?|person|teachers?|neighbou?rs?|cops?))\b"
_HURT = r"(?:kill|murder|slaughter|shoot|stab|strangle|behead|execute|torture|rape|hang|lynch|assassinate|choke|bomb|decapitate|gut|skin|crucify|castrate|mutilate|slit|smash|destroy|punch|hurt|burn|bash|stomp|kick|slap|butcher)"
# "I will beat you" is sport, "I will beat you up" is not.
_HURT_WHOM = (
    rf"(?:{_HURT} {_SWEAR}{_WHOM}(?! (?:an? |the |some )?(?:e?mails?|messages?|texts?|lines?|notes?|dm|pm|at |in (?:chess|the game)|with kindness|off (?:the|from)))"
    rf"|(?:hunt|track) {_SWEAR}{_WHOM} {_SWEAR}down"
    rf"|find {_SWEAR}{_WHOM},? and"
    rf"|beat (?:the )?{_SWEAR}(?:shit|crap|hell|life|{_WHOM} (?:up|down|to death|senseless|bloody|with))"
    rf"|(?:cut|rip|tear|chop|blow|shoot|slice|smash|bash|break|kick|knock|beat|burn|bite|stab|snap|crush|stomp) (?:off |out |in |up |down )?{_SWEAR}(?:your|ur|yo|his|her|their) {_SWEAR}(?:\w+ )?(?:head|heads|throat|throats|balls|dick|cock|penis|eyes?|heart|guts|neck|legs?|arms?|brains?|skull|face|faces|teeth|tongue|fingers?|limbs?|house|home|car|bones?|hands?|lungs|ass|asses|nuts|knees?)\b"
    rf"|come (?:over )?(?:to|2|after|for|round|around) {_SWEAR}(?:your|ur|you) ?(?:house|home|place|and)?"
    rf"|fuck you up\b|put a (?:bullet|knife) (?:in|through)|make (?:you|him|her|them) (?:bleed|suffer|pay with)|see (?:you|him|her|them) (?:dead|die|bleed|hang))"
)
_I_WILL = r"\b(?:i|we|ima|imma|ill|im|am|gonna)(?: (?:will|shall|am|are|m|swear|promise|want|wanna|would|could|might|d|like|love|id|ill|should|have|need|try|to|go|going|gonna|gona|finna|about|2|come|coming|and|then|personally|gladly|happily|fuck\w*|really|just|be|there|over|hope|wish|so|hard|please|find\w*|hunt|you|u|track|down|where|live|out|know|if|my|friends?)){0,9} "
_GROUP = r"\b(?:someone|somebody|we|they|people|everyone|everybody|you|i hope (?:someone|somebody|they|you)|hope (?:someone|somebody|they))"
_KILLED = r"(?:shot|killed|murdered|hanged|hung(?! (?:on|up|in|from the|out))|lynched|executed|beheaded|stabbed|burned alive|burnt alive|raped|gassed|tortured|castrated|assassinated|exterminated|put to death|tarred and feathered|drowned|strangled|slaughtered|beaten (?:up|to death)|run over|shot (?:dead|in))"
_SOMEBODY = r"\b(?:he|she|they|you|u|who|people|men|women|these|those|them|him|guys?|bastards?|idiots?|scum|admins?|politicians?|editors?|all of (?:you|them)|everyone|\w+ists|traitors?|man|woman|person)"
_ROAD = r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|court|ct|way|close|terrace|place|crescent)"
_TELEPHONE = r"\+?\(?\d[\d ().-]{5,16}\d"

_RULES: tuple[tuple[ThreatKind, re.Pattern[str]], ...] = (
    (
        "self_harm",
        re.compile(
            r"\b(?:kys\b|kill (?:your|ur|yo) ?self|kill all of your selfs|kill yourselves"
            r"|(?:hang|shoot|stab|neck|drown|off|cut|poison) your ?self(?! (?:a|an|some|in the foot)\b)"
            r"|(?:commit|consider(?:ing)?|contemplat(?:e|ing)|attempt) suicide"
            r"|i (?:really |just |only )?(?:want|wanna|need|wish|am going|m going|would like|have decided)(?: to| i could| i can| i would)? (?:just )?die\b(?! (?:laughing|of|from|a |in your|on (?:this|that) hill))"
            r"|(?:i|im|ill|id|to|gonna|will|wanna) (?:just |really |want to |wanna |going to |gonna |go |will |might |could |should |rather |am ){0,5}(?:kill(?:ing)? myself|end(?:ing)? my (?:own )?life|end it all|take my own life|hang myself|shoot myself|cut(?:ting)? myself open|slit my wrists)"
            r"|slit (?:your|ur) wrists|i am suicidal|im suicidal"
            r"|go jump (?:off|in front of) (?:a|the) (?:bridge|cliff|building|train|roof)"
            r"|(?:go|please|just) drink (?:some )?(?:bleach|poison))"
        ),
    ),
    (
        "doxxing",
        re.compile(
            rf"\b(?:(?:lives?|living|resides?|stays?) (?:at|on|in)|address(?: is|:)?)[ :]{{1,2}}\d{{1,5}} (?:\w+ ){{1,3}}{_ROAD}\b"
            rf"|\b(?:his|her|their|your|whose) (?:home |cell |mobile |phone |tele|private )*(?:phone|number|cell|mobile)(?: number)?(?: is|:|,)? ?:? ?{_TELEPHONE}"
            rf"|\b(?:call|text|ring|phone|harass) (?:him|her|them)(?: \w+)? (?:at|on) {_TELEPHONE}"
            r"|\b(?:post|leak|publish|release|give out|spread) (?:your|his|her|their) (?:home |phone |real )?(?:address|phone number|number|name and address)\b"
            r"|\bi know where (?:you|u|he|she|they) (?:live|lives|work|works|sleep|sleeps)\b"
        ),
    ),
    (
        "threat",
        re.compile(
            rf"{_I_WILL}{_HURT_WHOM}"
            r"|\b(?:you|u|yous|youre|ur|youll|your|all of you)(?: (?:will|are|all|shall|must|should|deserve|need|ought|better|fuck\w*|just|really|going|gonna|to|go|soon|both|be)){1,6} (?:die|dead meat|a dead man|as good as dead|going down|six feet under)(?=[ .,!?]*(?:$|[.,!?;]|you\b|u\b|soon|now|in\b|slow\w*|bitch\w*|fuck\w*|mother\w*|a\b|today|tonight|tomorrow|for\b|and\b|i\b|alone|mean|of\b))"
            r"|\b(?:watch (?:your|ur) back|(?:youre|you are|ur|u r|your) (?:so )?(?:fuck\w* )?dead(?=[ .,!?]*$)|sleep with one eye open|say goodbye to your (?:life|family))"
            r"|\b(?:stop|or|or you|or u|or else you)(?: will| shall)? (?:or )?die\b|\bor (?:else )?(?:i will|ill) \w+ you\b|\b(?:you|u)(?: (?:will|are|going to|gonna|should|better)){1,2} (?:get|be|get yourself) (?:\w+ )?(?:shot|stabbed|raped|killed|murdered|beaten)\b|\w (?:must|needs to) die(?=[ .!]*$)"
            r"|\b(?:i will|ill|ima|imma|im going to|im gonna) (?:be )?(?:kick|whoop|whop|whip|beat|bust|kicking|beating) (?:off )?(?:your|ur|yo|his|her) (?:\w+ )?(?:ass|butt)"
            r"|\b(?:6|six) ?(?:ft|feet|foot) under|\bi have a (?:gun|knife) and\b|\b(?:with|in) (?:a|my) (?:gun|knife|axe|bat|shotgun)\b[^.!?]{0,30}\b(?:your|you)\b"
        ),
    ),
    (
        "violence_call",
        re.compile(
            r"\b(?:i )?(?:really |sincerely |truly |just )?(?:hope|hoping|wish|pray|cant wait (?:till|until|for))(?: to god)?(?: that)? (?:you|u|your (?:\w+ )?(?:family|mother|mom|mum|kids?|children|wife)|he|she|they|all of you|every one of you|someone|somebody|ur)(?: (?:and|your|family|all|will|would|both|just|fuck\w*|bastards?|soon|slowly|one|day|whole|entire)){0,5} (?:die|dies|died|burn|burns|rot|suffer|bleed|choke|chokes|drown|kill|kills|shoot|shoots|stab|stabs|rape|rapes|murder|murders|drop dead|had died|(?:get|gets|are|is|be|been) (?:\w+ )?(?:cancer|aids|shot|killed|hit by|run over|raped|murdered|stabbed|hung|hanged|beaten|tortured|beheaded|in a car (?:crash|accident)))\b"
            rf"|{_GROUP} (?:really )?(?:should|must|needs? to|ought to|has to|have to|gotta|shoulda|please) (?:just |all |please |really |go |to ){{0,4}}{_HURT_WHOM}"
            rf"|{_SOMEBODY}(?: \w+){{0,4}} (?:should|must|deserves?|needs?|ought|oughta)(?: \w+){{0,2}} (?:be|get|have been) (?:\w+ )?{_KILLED}\b"
            rf"|\bdeserves? to (?:die|be {_KILLED})\b"
            r"|\b(?!it|this|that|what|he|she|who)\w+ should (?:all |just |really ){0,3}die\b(?! (?:out|down|off|of))"
            r"|\b(?:go|fuck off and|please|just|now|and|hurry up and|go and) (?:fuck\w* )?(?:die|drop dead)\b(?! (?:hard|laughing|down|out|for|of\b))"
            r"|\b(?:die|burn|rot) (?:in|of) (?:a |the )?(?:\w+ )?(?:fire|hole|hell|cancer|aids|car crash|car accident|ditch|pain)\b"
            r"|\bdie(?:,)? (?:you|u|mother\w*|fag\w*|bitch\w*|bastard\w*|scum|slow\w*|nazi\w*|pig\w*)\b"
            r"|(?:^|[.!?]\s?)(?:die[ !]*(?:$|!|\.|die)|i hate you,? die)"
            r"|\bdeath to (?:all |the |this |these |every |you|him|them|those )"
            r"|(?:^|[.!?,]\s?|\blets |\bgo )(?:kill|shoot|hang|bomb|lynch|exterminate|gas) (?:all|every|them all|them|him|her|those|these) ?(?:of )?(?:the |these |those )?(?!process|program|task|job|light|instance|thread|session|bug|weed)"
            r"|\bburn (?:him|her|them) (?:alive|at the stake)"
        ),
    ),
)
