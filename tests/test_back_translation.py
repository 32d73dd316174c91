import json
from pathlib import Path

import numpy as np
import pytest

from tactful.back_translation import (
    BACK,
    FOUND,
    BackRecipe,
    back_translate,
    mix,
    sound_insults,
)
from tactful.config import dump_recipe
from tactful.corpora.piles import Pile
from tactful.errors import ConfigError, DataError
from tactful.pipeline import Piles
from tactful.run_folder import grown
from tactful.screeners.linear import LinearScreener
from tactful.training.warm_found import Demonstration


def recipe(**changes: object) -> BackRecipe:
    data = Piles(dir=Path(), toxic=(Pile(file="x", toxic=True),), folds=(0,), dev_folds=(9,))
    return BackRecipe(data=data, warm_start=Path(), **changes)  # type: ignore[arg-type]


def many(kind: str, count: int) -> list[Demonstration]:
    return [Demonstration(f"{kind} {i}", f"answer to {kind} {i}", kind) for i in range(count)]


def test_a_mixture_holds_no_more_than_its_parts() -> None:
    """60 that are back-translated are at least 60 %, so at most 30 found and 10 old go with them."""
    given = recipe(found=0.3, old=0.1)
    shown = mix(many(BACK, 60), many(FOUND, 99), many("word", 99), given, np.random.default_rng(0))
    kinds = [d.kind for d in shown]
    assert (kinds.count(BACK), kinds.count(FOUND), kinds.count("word")) == (60, 30, 10)
    assert kinds[:60] != [BACK] * 60
    with pytest.raises(DataError, match="leave room"):
        mix([], [], [], recipe(found=0.6, old=0.4), np.random.default_rng(0))


def test_an_answer_is_not_shown_twice() -> None:
    """What was insulted by rule before is left out where it has been insulted better now."""
    back = [Demonstration("you daft goose , sit down", "sit down", BACK)]
    old = [Demonstration("sit down idiot", "sit down", "vocative")]
    shown = mix(back, [], old, recipe(found=0.0, old=0.9), np.random.default_rng(0))
    assert [d.kind for d in shown] == [BACK]


def test_insults_that_teach_nothing_are_left_out() -> None:
    """Not insulting, or longer by far than what it is to be answered with."""
    answer = "the man at the desk was no help at all"
    sources = [
        "the idiot at the desk was no fucking help at all",
        "the man at the desk was of no help at all",
        "the idiot at the desk was no fucking help at all " * 3,
    ]
    shown = [Demonstration(source, answer, BACK) for source in sources]
    kept = sound_insults(shown, LinearScreener.load(), lambda s, r: np.full(len(list(s)), 0.7), 0.5)
    assert [d.source for d in kept] == sources[:1]
    assert not sound_insults(shown[:1], LinearScreener.load(), lambda s, r: np.array([0.4]), 0.5)


def test_the_work_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    """Its rewrites would be taken for this one's; what differs is told, and nothing is touched."""
    dump_recipe(recipe(samples=4), tmp_path / "recipe.yaml")
    before = (tmp_path / "recipe.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"use another folder:\n  samples: 4 before, 8 now"):
        back_translate(recipe(samples=8), tmp_path)
    assert (tmp_path / "recipe.yaml").read_bytes() == before


def test_lines_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    """Half a line, as a killed run leaves it, is."""
    path = tmp_path / "lines.jsonl"
    items = [str(i) for i in range(100)]
    asked: list[str] = []

    def made(texts: list[str]) -> list[dict[str, str]]:
        asked.extend(texts)
        return [{"text": text} for text in texts]

    whole = [{"text": text} for text in items]
    assert grown(path, items, made, lambda done: None) == whole  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:-5])
    asked.clear()
    assert grown(path, items, made, lambda done: None) == whole  # type: ignore[arg-type]
    assert asked == ["99"]
    assert [json.loads(line) for line in path.read_text().splitlines()] == whole
