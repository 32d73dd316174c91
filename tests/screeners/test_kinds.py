from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml

from tactful.errors import CorruptFileError, DataError, ModelsMissingError
from tactful.screeners.calibration import Calibration
from tactful.screeners.kinds import Kinds, KindsConfig
from tactful.screeners.linear import LinearScreener
from tests.fakes import KeywordScreener

SCREENER = KeywordScreener({"idiot": 0.8, "damn": 0.5})


def by_hand() -> Kinds:
    """Insults are said by "idiot" and "you idiot", profanity by "damn"; nothing else has weight."""
    weights = np.array([[4.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=np.float16)
    return Kinds(
        ["insult", "profanity"],
        ["idiot", "you idiot", "damn"],
        weights,
        [-1.0, -2.0],
        [Calibration(), Calibration(2.0, 1.0)],
    )


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_scores_by_hand() -> None:
    """A sum over the root of how many are known, a bias, a scale, and the toxicity before it all."""
    found = by_hand().probabilities(["you idiot", "damn , that idiot", "hello"], SCREENER)
    # (4 + 2) / sqrt 2 - 1; (4 + 0) / sqrt 2 - 1; a text that is not toxic is of no kind.
    insult = [0.8 * sigmoid(6 / math.sqrt(2) - 1), 0.8 * sigmoid(4 / math.sqrt(2) - 1), 0.0]
    assert found["insult"].tolist() == pytest.approx(insult)
    # 2 * (0 / sqrt 2 - 2) + 1 = -3; 2 * (3 / sqrt 2 - 2) + 1.
    profanity = [0.8 * sigmoid(-3), 0.8 * sigmoid(6 / math.sqrt(2) - 3), 0.0]
    assert found["profanity"].tolist() == pytest.approx(profanity)


def test_two_sentences_are_not_added_up() -> None:
    """Each sentence has its own toxicity and its own kind; the product counts, not the best of each."""
    found = by_hand().probabilities(["Damn it. You idiot!"], SCREENER)
    # "Damn it.": 0.5 * sigmoid(2 * (3 - 2) + 1). "You idiot!" is 0.8 * sigmoid(-3), which is less.
    assert found["profanity"][0] == pytest.approx(0.5 * sigmoid(3))


def test_a_screener_that_reads_the_whole_has_the_last_word() -> None:
    """Where a text is less toxic than its parts, so are its kinds."""

    class Mild:
        def toxicity(self, texts: list[str]) -> np.ndarray:
            return np.array([0.1 if " " in text else 0.9 for text in texts])

    found = by_hand().probabilities(["idiot. idiot."], Mild())  # type: ignore[arg-type]  # lists do
    assert found["insult"].tolist() == [0.1]


def test_learns_what_is_said_only_of_a_kind() -> None:
    """The word of a kind speaks for it, and the same texts give the same weights."""
    texts = ["you idiot", "an idiot", "damn it", "oh damn", "idiot here", "damn there"]
    labels = {"insult": [True, True, False, False, True, False]}
    config = KindsConfig(word_count=2, pair_count=2, gram_count=3)
    first, second = (Kinds.fit(texts, labels, config) for _ in range(2))
    idiot, damn = first.given_toxic(["what an idiot", "damn that"])[:, 0]
    assert idiot > 0.5 > damn
    assert first.name == second.name


def test_fit_refuses_a_kind_of_all_or_none() -> None:
    """Of a kind that every text is, nothing can be learned."""
    with pytest.raises(DataError, match="toxic texts that are insult and some that are not"):
        Kinds.fit(["a", "b"], {"insult": [True, True]})


def test_calibration_says_which_kind_is_in_vain() -> None:
    """A kind whose texts score below others is named, and what to do about it."""
    with pytest.raises(DataError, match="insult do not score above others"):
        by_hand().calibrated(
            ["idiot", "hello"], {"insult": [False, True], "profanity": [True, False]}
        )


def test_only_some_kinds() -> None:
    """A kind that is left out leaves the others as they are."""
    kinds = by_hand()
    left = kinds.only(["profanity", "unheard of"])
    assert left.names == ("profanity",)
    asked = ["oh damn", "you idiot"]
    before, after = (k.probabilities(asked, SCREENER)["profanity"] for k in (kinds, left))
    assert before.tolist() == after.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"format": 99}, "format 99"),
        (lambda s: s | {"kinds": {"insult": {"bias": 0.0}}}, "slope"),
        (
            lambda s: s | {"kinds": {"insult": {"bias": 0.0, "slope": -1.0, "intercept": 0.0}}},
            "slopes positive",
        ),
        (lambda s: s | {"config": {"penalti": 1}}, "penalti"),
        (lambda s: s | {"kinds": ["insult"]}, "not settings of kinds"),
        (lambda s: s | {"sha256": "0"}, "does not hold the weights"),
        (lambda s: s | {"kinds": {}}, "0 kinds"),
    ],
)
def test_wrong_settings_are_told(change: object, message: str, tmp_path: Path) -> None:
    """Whatever is wrong with the settings, the file is named and the fault said."""
    by_hand().save(tmp_path)
    file = tmp_path / "kinds.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))  # type: ignore[operator]  # a lambda
    with pytest.raises(CorruptFileError, match=message) as told:
        Kinds.load(tmp_path)
    assert str(tmp_path) in str(told.value)


@pytest.mark.parametrize("damage", [b"", b"PK", b"no archive at all"])
def test_damaged_weights_are_told(damage: bytes, tmp_path: Path) -> None:
    """A file that is no archive, or half of one, is named."""
    by_hand().save(tmp_path)
    (tmp_path / "weights.npz").write_bytes(damage)
    with pytest.raises(CorruptFileError, match=r"weights\.npz is damaged"):
        Kinds.load(tmp_path)


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    """There is a verb that makes them."""
    with pytest.raises(ModelsMissingError, match="tactful screener kinds"):
        Kinds.load(tmp_path)


# --- the shipped ones -----------------------------------------------------------------------


def test_shipped_kinds_tell_kinds_apart() -> None:
    """Each kind scores higher on what is of it than on what is toxic otherwise."""
    kinds, screener = Kinds.load(), LinearScreener.load()
    texts = ["you are a stupid idiot", "damn , this is crap", "i will kill you"]
    found = kinds.probabilities(texts, screener)
    assert found["insult"][0] > found["insult"][2]
    assert found["profanity"][1] > found["profanity"][2]
    assert found["threat"][2] > 0.5 > max(found["threat"][:2])


def test_a_group_by_itself_is_not_attacked() -> None:
    """Harmless sentences of the follower's suite, whoever they are about, are no identity attack."""
    file = resources.files("tactful") / "assets" / "follower_suite.yaml"
    suite = yaml.safe_load(file.read_text(encoding="utf-8"))
    frames = [f for of in ("neutral", "positive") for f in suite[f"{of}_frames"]]
    texts = [frame.format(group) for frame in frames for group in suite["groups"].values()]
    texts += ["i am a proud gay man", *suite["functions"]["reclaimed"]]
    found = Kinds.load().probabilities(texts, LinearScreener.load())
    assert found["identity_attack"].max() < 0.2


def test_shipped_kinds_are_small() -> None:
    """Two megabytes at most, card and figures included."""
    folder = resources.files("tactful") / "assets" / "kinds"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 2_000_000
