"""The default screener learns words, adds them up, explains the sum and survives the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tactful.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    ModelsMissingError,
    NotFittedError,
)
from tactful.screeners.base import Thresholds
from tactful.screeners.linear import (
    SETTINGS_FILE,
    WEIGHTS_FILE,
    LinearConfig,
    LinearScreener,
    letter_groups,
    words,
)

TOXIC = [
    f"you are an {insult} {end}"
    for insult in ("idiot", "oaf")
    for end in ("today", "again", "my friend", "", "there")
]
NEUTRAL = [
    f"you are an {name} {end}"
    for name in ("uncle", "actor")
    for end in ("today", "again", "my friend", "", "there")
]
TINY = LinearConfig(word_count=2, pair_count=2, gram_count=2, silent=("uncle",))


@pytest.fixture(scope="module")
def tiny() -> LinearScreener:
    screener = LinearScreener(Thresholds(0.5, 0.4), config=TINY)
    texts = TOXIC + NEUTRAL
    labels = [True] * len(TOXIC) + [False] * len(NEUTRAL)
    return screener.fit(texts, labels).calibrate(texts, labels)


@pytest.fixture(scope="module")
def shipped() -> LinearScreener:
    return LinearScreener.load()


def test_words_by_hand() -> None:
    """Numbers, addresses and mentions are no words; masked words and hashtags are."""
    text = "RT @you: 3 f*ols at http://a.b/idiot, #really do n't sh**"
    assert words(text) == ["rt", "f*ols", "at", "really", "dont", "sh**"]


def test_letter_groups_by_hand() -> None:
    """Groups of two and three letters, with the ends of the word marked, each once."""
    assert letter_groups("so", (2, 3)) == ["<s", "so", "o>", "<so", "so>"]


def test_learns_insults(tiny: LinearScreener) -> None:
    """What it was shown as toxic is above act, the rest below."""
    assert (tiny.toxicity(TOXIC) >= 0.5).all()
    assert (tiny.toxicity(NEUTRAL) < 0.5).all()


def test_case_punctuation_and_disguise_change_nothing(tiny: LinearScreener) -> None:
    """The score is one of words, not of how they are dressed."""
    plain = tiny.toxicity(["you are an idiot"])[0]
    dressed = [
        "You are an IDIOT!!!",
        "you are an idiot .",
        "you are an і d і o t",
        "you are an id1ot",
        "you are an ID\u200bIOT?",
    ]
    assert tiny.toxicity(dressed).tolist() == [plain] * len(dressed)


def test_a_long_text_scores_its_worst_sentence(tiny: LinearScreener) -> None:
    """Decent company neither dilutes nor adds to an insult."""
    insult = "You are an idiot. "
    decent = "You are an actor. "
    alone = tiny.toxicity([insult])[0]
    assert tiny.toxicity([decent * 50 + insult + decent * 50])[0] == alone
    assert tiny.toxicity([decent, insult]).max() == alone


def test_silent_words_say_nothing(tiny: LinearScreener) -> None:
    """A silent word moves no score, whatever it was learned beside."""
    one, other = tiny.scores(["uncle", "uncle uncle"])
    assert one == other
    assert tiny._contributions(["uncle"]) == {"uncle": 0.0}


def test_words_may_be_silenced_after_the_fit(tiny: LinearScreener, tmp_path: Path) -> None:
    """A learned word, its pairs and one that was never met lose their say; all others keep theirs."""
    tiny.save(tmp_path / "before")
    screener = LinearScreener.load(tmp_path / "before").silence(["oaf", "idiotish"])
    screener.save(tmp_path / "after")
    after = LinearScreener.load(tmp_path / "after")
    assert after.name != tiny.name
    assert after.thresholds == tiny.thresholds
    texts = ["you are an oaf", "you are an uncle", "you are an idiotish", "an oafs"]
    oaf, uncle, unknown, _ = after.scores(texts)
    assert oaf == pytest.approx(uncle)
    assert unknown == pytest.approx(uncle)
    assert tiny.scores(texts)[0] > uncle
    others = ["you are an idiot today", "an actor there"]
    assert after.scores(others) == pytest.approx(tiny.scores(others))
    with pytest.raises(ConfigError, match="'two words' is no single word"):
        after.silence(["two words"])


def test_unknown_words_are_judged_by_their_letters(tiny: LinearScreener) -> None:
    """A compound nobody has seen takes after what it contains."""
    assert tiny.scores(["idiotish"])[0] > tiny.scores(["actorish"])[0]
    assert "idiott" not in tiny._weights.words  # type: ignore[union-attr]  # fitted
    assert tiny.scores(["idiott"])[0] == tiny.scores(["idiot"])[0]


def test_explanation_adds_up(tiny: LinearScreener) -> None:
    """The contributions of all words and the bias are the score."""
    text = "you are an idiot again"
    total = sum(tiny._contributions(words(text)).values()) + tiny._weights.bias  # type: ignore[union-attr]  # fitted
    assert tiny.scores([text])[0] == pytest.approx(total)


def test_explain_points_at_the_insult(tiny: LinearScreener) -> None:
    """Strongest first, in the original's characters, and nothing for a decent text."""
    text = "You are an actor. You are an ID\u200bIOT!"
    spans = tiny.explain(text)
    assert text[spans[0].start : spans[0].end] == "ID\u200bIOT"
    assert [s.weight for s in spans] == sorted((s.weight for s in spans), reverse=True)
    assert all(span.start >= 19 for span in spans)
    assert tiny.explain("You are an actor.") == []


def test_a_text_without_words_is_not_toxic(tiny: LinearScreener) -> None:
    """Nothing said, nothing to hold against it."""
    assert tiny.toxicity(["", "!!!", "123", "http://a.b", "\U0001f600"]).tolist() == [0.0] * 5


def test_weights_count(tiny: LinearScreener) -> None:
    """A text that counts for little teaches little."""
    texts, labels = [*TOXIC, *NEUTRAL, "you are an idiot"], [True] * 10 + [False] * 11
    light = LinearScreener(config=TINY).fit(texts, labels, [1.0] * 20 + [0.01])
    heavy = LinearScreener(config=TINY).fit(texts, labels, [1.0] * 20 + [20.0])
    assert light.scores(["you are an idiot"])[0] > heavy.scores(["you are an idiot"])[0]


def test_long_toxic_texts_teach_their_worst_sentence() -> None:
    """The decent sentences of a toxic comment are not learned as toxic."""
    filler = "the weather is fine. we went home. she likes tea. he plays chess. "
    screener = LinearScreener(config=TINY).fit(
        TOXIC + [filler + t for t in TOXIC] + NEUTRAL + ["the bus is late"] * 10,
        [True] * 20 + [False] * 20,
    )
    assert screener.scores(["she likes tea"])[0] < screener.scores(["you are an idiot"])[0] - 1


def test_save_and_load_keep_every_score(tiny: LinearScreener, tmp_path: Path) -> None:
    """A screener read back is the same: name, thresholds, scores to the last bit."""
    tiny.save(tmp_path)
    again = LinearScreener.load(tmp_path)
    texts = [*TOXIC, *NEUTRAL, "quite new words", "id1ot"]
    assert again.name == tiny.name
    assert again.thresholds == tiny.thresholds
    assert again.config == tiny.config
    assert again.toxicity(texts).tolist() == tiny.toxicity(texts).tolist()


def test_unfitted_names_the_call() -> None:
    """Asking before learning says what to do."""
    with pytest.raises(NotFittedError, match=r"fit\(texts, targets\)"):
        LinearScreener().toxicity(["hello"])


def test_fit_refuses_what_cannot_be_learned() -> None:
    """Lengths must agree and both classes be there."""
    with pytest.raises(DataError, match="2 texts, 1 labels"):
        LinearScreener().fit(["a", "b"], [True])
    with pytest.raises(DataError, match="toxic and neutral"):
        LinearScreener().fit(["a", "b"], [True, True])


def test_missing_files_are_named(tmp_path: Path) -> None:
    """An empty folder is missing models, not damage."""
    with pytest.raises(ModelsMissingError, match=SETTINGS_FILE):
        LinearScreener.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_truncated_weights_are_corrupt(tiny: LinearScreener, tmp_path: Path, keep: int) -> None:
    """A cut-off weights file is named."""
    tiny.save(tmp_path)
    file = tmp_path / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match=WEIGHTS_FILE):
        LinearScreener.load(tmp_path)


def test_flipped_bytes_are_corrupt(tiny: LinearScreener, tmp_path: Path) -> None:
    """A single wrong byte in the middle is noticed."""
    tiny.save(tmp_path)
    file = tmp_path / WEIGHTS_FILE
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match=WEIGHTS_FILE):
        LinearScreener.load(tmp_path)


def test_weights_of_another_screener_are_corrupt(tiny: LinearScreener, tmp_path: Path) -> None:
    """Weights and settings belong together; infinite weights are refused whatever the sum says."""
    tiny.save(tmp_path)
    with np.load(tmp_path / WEIGHTS_FILE) as arrays:
        tables = dict(arrays)
    tables["words_weights"] = tables["words_weights"] + np.float32(1)
    np.savez_compressed(tmp_path / WEIGHTS_FILE, **tables)
    with pytest.raises(CorruptFileError, match="does not hold"):
        LinearScreener.load(tmp_path)
    tables["words_weights"][0] = np.inf
    np.savez_compressed(tmp_path / WEIGHTS_FILE, **tables)
    with pytest.raises(CorruptFileError, match="finite"):
        LinearScreener.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("bias", "x"), ("format", 99), ("thresholds", {"act": 2, "passing": 0}), ("calibration", {"slope": -1, "intercept": 0}), ("config", {"colour": 1}), ("bias", float("nan"))],
)  # fmt: skip
def test_damaged_settings_are_corrupt(
    tiny: LinearScreener, tmp_path: Path, key: str, value: object
) -> None:
    """Settings that make no sense are named with their file."""
    tiny.save(tmp_path)
    file = tmp_path / SETTINGS_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(CorruptFileError, match=SETTINGS_FILE):
        LinearScreener.load(tmp_path)


def test_scoring_needs_neither_torch_nor_sklearn() -> None:
    """The shipped screener starts fast: no heavy import for scoring."""
    code = (
        "import sys; from tactful.screeners.linear import LinearScreener\n"
        "LinearScreener.load().toxicity(['hello'])\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "text",
    ["You idiot!", "you 're a stupid idiot .", "What a pathetic loser you are.", "shut up, moron", "you id1ot", "you idiooooot", "y o u   i d i o t"],
)  # fmt: skip
def test_shipped_screener_acts_on_insults(shipped: LinearScreener, text: str) -> None:
    """Plain insults are acted on, in any dress."""
    assert shipped.toxicity([text])[0] >= shipped.thresholds.act


@pytest.mark.parametrize(
    "text",
    ["Thank you for the article.", "My neighbour is gay.", "Black women in science", "He is Muslim and she is Jewish.", "Trump won the election.", "The rights of gay people are protected by law.", "I disagree with you.", "That is not correct.", "Kill the process and restart it.", "We need a dumb terminal.", "hi", "ok", "12"],
)  # fmt: skip
def test_shipped_screener_leaves_decent_text_alone(shipped: LinearScreener, text: str) -> None:
    """Identities, topics, disagreement and computers are not toxic."""
    assert shipped.toxicity([text])[0] < shipped.thresholds.act
