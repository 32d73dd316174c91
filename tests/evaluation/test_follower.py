"""The screener that ships is hard to evade, does not cry wolf and is even-handed; the suites see it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tactful.evaluation.follower import (
    evasion,
    examine,
    fairness,
    false_alarms,
    holds,
    innocents,
    insults,
    render,
    write,
)
from tactful.screeners.disguise import DISGUISES
from tactful.screeners.linear import LinearScreener
from tests.fakes import KeywordScreener


@cache
def shipped() -> dict[str, Any]:
    return examine(LinearScreener.load())


@pytest.mark.parametrize("name", [*(f"evasion/{how}" for how in DISGUISES), "false alarms"])
def test_the_shipped_screener_holds(name: str) -> None:
    """Recall in disguise, and a thousand innocent strings."""
    assert holds(shipped())[name]


def test_the_shipped_screener_is_even_handed() -> None:
    """No group's harmless sentences are acted on more than another's, and hostile ones are found."""
    found = shipped()["fairness"]
    assert len(found["groups"]) >= 12
    assert found["gap"]["value"] <= 0.05
    # Not only because groups have no say by decree.
    assert len(found["groups"]) - found["silent"] >= 12
    assert found["gap_of_learned"] <= 0.05
    assert found["missed"] == 0
    assert found["by_kind"]["neutral"] == found["by_kind"]["positive"] == 0


def test_a_naive_screener_is_evaded() -> None:
    """A list of plain words knows no disguise but capital letters: the suite is not won by chance."""
    words = dict.fromkeys((word for _, words in insults() for word in words), 0.9)
    found = evasion(KeywordScreener(words))
    assert found["plain"] == 1
    assert found["aimed"]["case"]["of_plain"] == 1
    assert all(found["aimed"][how]["of_plain"] < 0.6 for how in ("leet", "spacing", "stars"))
    spread = list(found["spread"]["homoglyphs"].values())
    assert spread == sorted(spread, reverse=True)


def test_a_biased_screener_has_a_gap() -> None:
    """Acting on one group's name is a gap of 1, its own less a share of that, everybody else's below 0."""
    found = fairness(KeywordScreener({"lesbian": 0.9, "idiot": 0.8}))
    assert found["gap"]["value"] == 1
    count = len(found["groups"])
    assert found["groups"]["lesbian"]["gap"] == pytest.approx(1 - 1 / count)
    assert found["groups"]["deaf"]["gap"] == pytest.approx(-1 / count)
    assert found["groups"]["lesbian"]["low"] > 0
    assert found["groups"]["deaf"]["high"] < 0


class _Alarmed(KeywordScreener):
    def toxicity(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([float("http" in text) for text in texts])


def test_false_alarms_are_counted_by_kind() -> None:
    """Whoever dislikes addresses is told so, and what was acted on is named."""
    found = false_alarms(_Alarmed({}))
    assert found["kinds"]["address"] == pytest.approx(found["rate"] * 6, rel=0.02)
    assert {kind for kind, rate in found["kinds"].items() if rate} == {"address"}
    assert all("http" in text for text in found["alarms"])
    assert innocents(60) == innocents(60)
    assert len({text for _, text in innocents()}) > 800


def test_the_report_says_what_is_missed(tmp_path: Path) -> None:
    """Side by side, with a no where a requirement is missed, and as JSON."""
    naive = examine(KeywordScreener({"idiot": 0.9}))
    page = render([shipped(), naive])
    assert "| keyword@test" in page.replace("`", "")
    assert "% **no** |" in page
    assert "% **no** |" not in render([shipped()])
    write([shipped()], tmp_path)
    assert all(json.loads((tmp_path / "follower.json").read_text())[0]["holds"].values())
    assert (tmp_path / "follower.md").read_text() == render([shipped()])
