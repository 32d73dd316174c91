from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from tactful.config import Config, dump_recipe, load_recipe
from tactful.errors import ConfigError


class Inner(Config):
    rate: float = Field(1.0, gt=0)
    names: tuple[str, ...] = ()


class Outer(Config):
    inner: Inner = Inner()
    folder: Path


class Part(Config):
    size: int
    names: tuple[str, ...]


class Extended(Config):
    inner: Part
    flag: bool


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_overrides_are_yaml_and_reach_inside(tmp_path: Path) -> None:
    """--set a.b=c sets nested values, read as YAML, over those of the file."""
    path = write(tmp_path, "inner: {rate: 2}\n")
    recipe = load_recipe(path, Outer, ["inner.rate=0.5", "inner.names=[a, b]", "folder=x/y"])
    assert recipe == Outer(inner=Inner(rate=0.5, names=("a", "b")), folder=Path("x/y"))


def test_all_faults_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    """An unknown key, a value out of range and a missing key are one message."""
    path = write(tmp_path, "inner: {rat: 1, rate: -1}\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, Outer)
    message = str(caught.value)
    assert "3 faults" in message
    assert 'inner.rat is not a known key. Did you mean "rate"?' in message
    assert "inner.rate = -1" in message
    assert "folder is required" in message


@pytest.mark.parametrize(
    ("text", "override", "expected"),
    [
        ("- a\n", [], "mapping"),
        ("a: [", [], "YAML"),
        ("folder: x\n", ["folder"], "key=value"),
        ("folder: x\n", ["folder.deeper=1"], "not a section"),
        (
            "folder: x\n",
            [
                "inner.rate=[",
            ],
            "YAML",
        ),
    ],
)
def test_unreadable_recipes(tmp_path: Path, text: str, override: list[str], expected: str) -> None:
    """What cannot be read is said in words."""
    with pytest.raises(ConfigError, match=expected):
        load_recipe(write(tmp_path, text), Outer, override)


def test_missing_file(tmp_path: Path) -> None:
    """A recipe that is not there is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml", Outer)


def test_dump_reads_back(tmp_path: Path) -> None:
    """The resolved recipe that is saved gives the same recipe."""
    recipe = Outer(inner=Inner(names=("é",)), folder=Path("x"))
    dump_recipe(recipe, tmp_path / "resolved.yaml")
    assert load_recipe(tmp_path / "resolved.yaml", Outer) == recipe


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    """Sections are merged, single values and lists replaced, overrides come last."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "low.yaml").write_text("inner: {size: 1, names: [a, b]}\nflag: true\n")
    (tmp_path / "middle.yaml").write_text("extends: parts/low.yaml\ninner: {names: [c]}\n")
    (tmp_path / "high.yaml").write_text("extends: middle.yaml\nflag: false\n")
    got = load_recipe(tmp_path / "high.yaml", Extended, ["inner.size=3"])
    assert got == Extended(inner=Part(size=3, names=("c",)), flag=False)


def test_a_recipe_that_extends_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml extends itself, by way of"):
        load_recipe(tmp_path / "a.yaml", Extended)
    (tmp_path / "a.yaml").write_text("extends: [b.yaml]\n")
    with pytest.raises(ConfigError, match="extends must name one recipe"):
        load_recipe(tmp_path / "a.yaml", Extended)
    (tmp_path / "a.yaml").write_text("extends: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"cannot read recipe .*gone\.yaml"):
        load_recipe(tmp_path / "a.yaml", Extended)
