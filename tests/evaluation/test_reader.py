"""A reader on a tiny encoder: it learns, it repeats itself, and it comes back from its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tactful.errors import CorruptFileError, DataError
from tactful.evaluation.reader import Reader, ReaderConfig, plain
from tests.tiny import tiny_embedder

TEXTS = ["the tea is nice", "what an idiot", "see you on monday", "you stupid fool"] * 8
DECENT = [1.0, 0.0, 1.0, 0.0] * 8


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ReaderConfig:
    base = tiny_embedder(tmp_path_factory.mktemp("encoder"))
    return ReaderConfig(base=str(base), rank=4, epochs=15, learning_rate=1e-2, batch_size=8)


@pytest.fixture(scope="module")
def reader(config: ReaderConfig) -> Reader:
    return Reader.fit([(text,) for text in TEXTS], DECENT, config=config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("You do n't know , do you ?", "you dont know, do you"),
        ('He said "stop" .', "he said stop"),
        ("  It's   GOOD!!! ", "its good"),
        ("( a ) b", "(a) b"),
        ("...", ""),
    ],
)
def test_plain_drops_case_tokenisation_and_final_stops(text: str, words: str) -> None:
    assert plain(text) == words


def test_it_learns_what_it_was_shown(reader: Reader) -> None:
    """Both answers on the right side for every text it was taught."""
    says = reader.logits([(text,) for text in TEXTS[:4]])
    assert (says > 0).tolist() == [True, False, True, False]


def test_an_answer_does_not_depend_on_the_rows_beside_it(reader: Reader) -> None:
    """Alone, in a batch of longer texts, and with a second text: the same to 1e-5."""
    rows = [("tea",), ("a much longer text that needs a lot more room than tea does",), ("fool",)]
    together = reader.logits(rows * 40)
    alone = np.concatenate([reader.logits([row]) for row in rows])
    assert np.abs(together[:3] - alone).max() < 1e-5
    assert np.abs(together[3:6] - alone).max() < 1e-5


def test_a_pair_is_read_in_order(config: ReaderConfig) -> None:
    """Which text is the source matters, or no reader could tell lost from added."""
    rows = [("the tea is nice", "nice"), ("nice", "the tea is nice")] * 12
    pairs = Reader.fit(rows, [1.0, 0.0] * 12, config=config)
    first, second = pairs.logits(rows[:2])
    assert first > 0 > second


def test_what_is_saved_answers_the_same(
    reader: Reader, config: ReaderConfig, tmp_path: Path
) -> None:
    """Bit for bit: weights are rounded when learned, not when saved."""
    reader.save(tmp_path / "reader.safetensors")
    loaded = Reader.load(tmp_path / "reader.safetensors", config)
    rows = [(text,) for text in TEXTS[:4]]
    assert loaded.digest == reader.digest
    assert np.array_equal(loaded.logits(rows), reader.logits(rows))


def test_the_same_seed_learns_the_same(reader: Reader, config: ReaderConfig) -> None:
    again = Reader.fit([(text,) for text in TEXTS], DECENT, config=config)
    other = Reader.fit(
        [(text,) for text in TEXTS], DECENT, config=config.model_copy(update={"seed": 1})
    )
    assert again.digest == reader.digest != other.digest


def test_a_row_that_counts_nothing_teaches_nothing(config: ReaderConfig) -> None:
    """Wrong labels with weight 0 do not get through."""
    texts, wrong = TEXTS + TEXTS, DECENT + [1 - d for d in DECENT]
    taught = Reader.fit(
        [(t,) for t in texts], wrong, weights=[1.0] * 32 + [0.0] * 32, config=config
    )
    assert (taught.logits([(t,) for t in TEXTS[:4]]) > 0).tolist() == [True, False, True, False]


def test_a_broken_file_is_told(config: ReaderConfig, tmp_path: Path) -> None:
    (tmp_path / "reader.safetensors").write_bytes(b"not weights")
    with pytest.raises(CorruptFileError, match="does not hold a sound reader"):
        Reader.load(tmp_path / "reader.safetensors", config)


def test_as_many_targets_as_rows(config: ReaderConfig) -> None:
    with pytest.raises(DataError, match="1, 2"):
        Reader.fit([("a",)], [1.0, 0.0], config=config)
