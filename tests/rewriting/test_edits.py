from __future__ import annotations

import pytest

from tactful.rewriting.edits import Edit, apply_edits


@pytest.mark.parametrize(
    ("text", "cut", "put", "expected"),
    [
        ("you are a moron today", "moron", "idiot", "you are an idiot today"),
        ("An awful plan", "awful", "bad", "A bad plan"),
        ("an awful plan", "awful", "", "a plan"),
        ("a stupid idea", "stupid", "", "an idea"),
        ("thanks, you fool.", "you fool", "", "thanks."),
        ("moron, fix it", "moron", "", "fix it"),
        ("fix it, moron", "moron", "", "fix it"),
        ("so damn slow", "damn", "", "so slow"),
        ("a bad person", "bad person", "one", "a one"),
        ("fool", "fool", "", ""),
        ("fool!", "fool", "", "!"),
    ],
)
def test_one_edit_leaves_tidy_text(text: str, cut: str, put: str, expected: str) -> None:
    """Articles agree, no stray comma, no double space."""
    start = text.index(cut)
    assert apply_edits(text, [Edit(start, start + len(cut), put)]) == expected


def test_several_edits_use_the_offsets_of_the_source() -> None:
    """Edits are given against the source, in any order."""
    edits = [Edit(0, 3, "they"), Edit(8, 12, "bad")]
    assert apply_edits("you are dumb", edits) == "they are bad"
    assert apply_edits("you are dumb", edits[::-1]) == "they are bad"
