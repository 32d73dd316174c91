"""The instruction texts shared by generation and training.

The examples are our own, mild, and chosen for what they teach: replace the insult, keep the
point, keep a question a question, do not flatter.
"""

from __future__ import annotations

from tactful.records import Message

INSTRUCTION = (
    "Rewrite the comment so that it is polite. Keep its meaning, names and numbers. "
    "Answer with the rewritten comment only."
)

EXAMPLES = (
    ("you clearly have no clue, moron", "you seem to be missing something here"),
    ("what idiot parked the van on my lawn?", "who parked the van on my lawn?"),
    (
        "this update is total garbage and it broke 3 of my apps",
        "this update is really bad and it broke 3 of my apps",
    ),
    ("shut up and let her finish, you jerk", "please be quiet and let her finish"),
)


def zero_shot(text: str) -> list[Message]:
    """The plain instruction, for a model that follows instructions well."""
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": text},
    ]


def few_shot(text: str) -> list[Message]:
    """The instruction with our examples as earlier turns, for a small model."""
    turns: list[Message] = [{"role": "system", "content": INSTRUCTION}]
    for source, rewrite in EXAMPLES:
        turns += [
            {"role": "user", "content": source},
            {"role": "assistant", "content": rewrite},
        ]
    return [*turns, {"role": "user", "content": text}]


def trained(text: str) -> str:
    """What a model trained with tactful completes: short, since it is read for every sample."""
    return f"Toxic: {text}\nPolite:\n"


def insulting(text: str) -> str:
    """The way back, for back-translation only."""
    return f"Polite: {text}\nToxic:\n"
