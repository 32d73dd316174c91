"""The published stacks: formulas by hand on stand-ins, loading on tiny models of the right kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from tokenizers.processors import RobertaProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from tactful.errors import ConfigError, CorruptFileError, DataError, ModelsMissingError
from tactful.evaluation.evaluate import evaluate
from tactful.evaluation.stacks import (
    STACKS,
    CLEF2024Stack,
    CLEF2025Stack,
    NeutralClassifier,
    SentenceEncoder,
    SNLPStack,
    SubwordAverage,
    clef2025_meaning,
    clef2025_style,
    cosine,
    load_stack,
    read_pooling,
    read_xcomet_scores,
    treebank,
    untokenise,
    verdicts,
    write_xcomet_requests,
)

SOURCES = ["you idiot", "read the article , moron !", "what a dumb idea", "x" * 700]
REWRITES = ["you are wrong", "", "what an idea ( odd )", "please read the article\n"]
REFERENCES = [["you are mistaken"], ["read it"], ["a bad idea", "an odd idea"], ["read it please"]]


# --- tiny models ----------------------------------------------------------------------------

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_SIZES = {
    "vocab_size": len(_SPECIAL) + 256,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 1,
    "initializer_range": 0.3,
}


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte between <s> and </s>, as RoBERTa has them."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*_SPECIAL, *letters])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def _save(model, folder: Path) -> Path:
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _classifier(kind, config, folder: Path, *, seed: int, **settings) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config(**_SIZES, max_position_embeddings=514, **settings))
        return _save(model, folder)


def _labse(folder: Path) -> Path:
    """A tiny BERT in the layout of sentence-transformers/LaBSE."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        _save(BertModel(BertConfig(**_SIZES, max_position_embeddings=512)), folder)
        dense = torch.nn.Linear(32, 32)
    kinds = {
        "": "Transformer",
        "1_Pooling": "Pooling",
        "2_Dense": "Dense",
        "3_Normalize": "Normalize",
    }
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": False})
    _write(
        folder / "1_Pooling/config.json",
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    )
    _write(
        folder / "2_Dense/config.json",
        {"activation_function": "torch.nn.modules.activation.Tanh", "bias": True},
    )
    weights = {"linear.weight": dense.weight.detach(), "linear.bias": dense.bias.detach()}
    save_file(weights, folder / "2_Dense/model.safetensors")
    return folder


def _subwords(folder: Path) -> Path:
    """Four words with vectors in the plane."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "you": 1, "read": 2, "!": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    vectors = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [-3.0, 0.0]])
    save_file({"embeddings": vectors}, folder / "embeddings.safetensors")
    return folder


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Mapping[str, Path]:
    """One folder for each kind of model."""
    root = tmp_path_factory.mktemp("stacks")
    roberta = (RobertaForSequenceClassification, RobertaConfig)
    xlmr = (XLMRobertaForSequenceClassification, XLMRobertaConfig)
    labels = {"id2label": {0: "neutral", 1: "toxic"}}
    return {
        "roberta": _classifier(*roberta, root / "roberta", seed=0, **labels),
        "cola": _classifier(*roberta, root / "cola", seed=1),
        "xlmr": _classifier(*xlmr, root / "xlmr", seed=3),
        "labse": _labse(root / "labse"),
        "subwords": _subwords(root / "subwords"),
    }


@pytest.fixture(scope="module")
def folders(models) -> Mapping[str, Mapping[str, Path]]:
    """What each stack is loaded from."""
    return {
        "s-nlp": {
            "style": models["roberta"],
            "meaning": models["labse"],
            "fluency": models["cola"],
        },
        "clef2024": {"style": models["xlmr"], "meaning": models["labse"]},
        "clef2025": {"style": models["xlmr"], "meaning": models["labse"]},
    }


# --- stand-ins ------------------------------------------------------------------------------


class Listed:
    """Probabilities from a table."""

    name = "listed"

    def __init__(self, table: Mapping[str, float]) -> None:
        self.table = table

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self.table[text] for text in texts], dtype=np.float64)


class Angles:
    """Vectors in the plane by their first coordinate: the cosine with "o" is that number."""

    name = "angles"

    def __init__(self, table: Mapping[str, float]) -> None:
        self.table = {"o": 1.0, **table}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        x = np.array([self.table[text] for text in texts], dtype=np.float64)
        return np.stack([x, np.sqrt(1 - x**2)], axis=1)


# --- the formulas ---------------------------------------------------------------------------


def test_a_verdict_is_one_minus_argmax() -> None:
    """The good class wins at one half and above, as argmax takes the first of two equals."""
    assert verdicts(np.array([0.49, 0.5, 0.9])).tolist() == [0.0, 1.0, 1.0]


def test_spaces_of_tokenised_text_are_undone() -> None:
    """Before . , ! ? ) and after (, and nowhere else."""
    assert untokenise("well , ( no ) , why ? oh ! ok .") == "well, (no), why? oh! ok."
    assert untokenise("a - b : c") == "a - b : c"


def test_opposite_vectors_have_no_similarity() -> None:
    """The cosine of unit vectors is their product, and at least 0."""
    left = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    right = np.array([[-1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    assert cosine(left, right) == pytest.approx([0.0, 0.6, 0.96])


def test_style_of_2025_by_hand() -> None:
    """max([n(h) <= n(g)], (n(g) + [n(o) <= n(g)]) / 2), for source o, output g, reference h.

    Below the reference and above the source: (.6 + 1) / 2 = .8. Below both: .2 / 2 = .1. At or
    above the reference: 1. A copy has n(o) = n(g) = .1: (.1 + 1) / 2 = .55.
    """
    source = np.array([0.1, 0.3, 0.1, 0.1])
    output = np.array([0.6, 0.2, 0.9, 0.1])
    reference = np.array([0.9, 0.9, 0.9, 0.9])
    assert clef2025_style(source, output, reference) == pytest.approx([0.8, 0.1, 1.0, 0.55])


def test_meaning_of_2025_by_hand() -> None:
    """0.4 x .5 + 0.6 x 1 = .8."""
    assert clef2025_meaning(np.array([0.5]), np.array([1.0])) == pytest.approx([0.8])


def test_snlp_scores_by_hand() -> None:
    """Verdicts by default, probabilities when soft; fluency sees the text without the spaces."""
    style = Listed({"a .": 0.9, "b": 0.4})
    fluency = Listed({"a.": 0.7, "b": 0.8})
    meaning = Angles({"a .": 0.5, "b": 0.25})
    hard = SNLPStack(style, meaning, fluency).score(["o", "o", "o"], ["a .\n", " ", "b"])
    assert hard.style.tolist() == [1.0, 0.0, 0.0]
    assert hard.meaning == pytest.approx([0.5, 0.0, 0.25])
    assert hard.fluency.tolist() == [1.0, 0.0, 1.0]
    assert hard.joint == pytest.approx([0.5, 0.0, 0.0])
    soft = SNLPStack(style, meaning, fluency, soft=True).score(["o", "o"], ["a .", "b"])
    assert soft.joint == pytest.approx([0.9 * 0.5 * 0.7, 0.4 * 0.25 * 0.8])


def test_2024_scores_by_hand() -> None:
    """The third slot is chrF with the best reference: 1 for the same text, 0 without a letter shared."""
    stack = CLEF2024Stack(Listed({"abcdef": 0.9, "xyz": 0.8}), Angles({"abcdef": 0.5, "xyz": 0.5}))
    scores = stack.score(["o", "o"], ["abcdef", "xyz"], [["ghi", "abcdef"], ["abcdef"]])
    assert scores.style == pytest.approx([0.9, 0.8])
    assert scores.fluency == pytest.approx([1.0, 0.0])
    assert scores.joint == pytest.approx([0.45, 0.0])


def test_chrf_by_hand() -> None:
    """Orders 1 to 6, beta 2: "abc" against "abd".

    Characters: 2 of 3, pairs 1 of 2, triples 0 of 1; precision and recall are alike, so the F of
    their means over the three orders that exist is (2/3 + 1/2 + 0) / 3 = 7/18.
    """
    stack = CLEF2024Stack(Listed({"abc": 1.0}), Angles({"abc": 1.0}))
    assert stack.score(["o"], ["abc"], [["abd"]]).fluency == pytest.approx([7 / 18])


def test_2025_scores_by_hand() -> None:
    """With h and k as references: k gives the better product, so its three scores stand.

    To h: style (.6 + 1) / 2 = .8, meaning .4 x .5 + .6 x (.5 x .8 + sqrt(.75) x .6), xcomet .5.
    To k: style 1 as .6 >= .5, meaning .4 x .5 + .6 x 1 = .8 as k is embedded as g, xcomet .9.
    """
    stack = CLEF2025Stack(
        Listed({"o": 0.1, "g": 0.6, "h": 0.7, "k": 0.5}),
        Angles({"g": 0.5, "h": 0.8, "k": 0.5}),
        {("o", "g", "h"): 0.5, ("o", "g", "k"): 0.9},
    )
    both = stack.score(["o", "o"], ["g", ""], [["h", "k"], ["h"]])
    assert (both.style[0], both.meaning[0], both.fluency[0]) == pytest.approx((1.0, 0.8, 0.9))
    assert both.joint == pytest.approx([0.72, 0.0])
    alone = stack.score(["o"], ["g"], [["h"]])
    meaning = 0.4 * 0.5 + 0.6 * (0.5 * 0.8 + np.sqrt(0.75) * 0.6)
    assert (alone.style[0], alone.meaning[0], alone.fluency[0]) == pytest.approx(
        (0.8, meaning, 0.5)
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("don't go, please.", "do n't go , please ."),
        ('he said "no" (twice)!', "he said `` no '' ( twice ) !"),
        ("i cannot, it's 3,000", "i can not , it 's 3,000"),
        ("wanna wait...", "wan na wait ..."),
    ],
)
def test_words_are_split_as_the_penn_treebank_does(text: str, tokens: str) -> None:
    """Contractions, quotes, brackets; a comma inside a number stays."""
    assert treebank(text) == tokens


# --- XCOMET by file -------------------------------------------------------------------------


def test_xcomet_requests_and_scores_find_each_other(tmp_path) -> None:
    """One line for each rewrite and reference, none for an empty rewrite; the order is free."""
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "scores.jsonl"
    assert write_xcomet_requests(requests, SOURCES, REWRITES, REFERENCES) == 4
    rows = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {"src": "you idiot", "mt": "you are wrong", "ref": "you are mistaken"}
    assert [row["ref"] for row in rows[1:3]] == ["a bad idea", "an odd idea"]
    assert rows[3]["mt"] == "please read the article"
    answered = [json.dumps({**row, "score": i / 4}) for i, row in enumerate(rows)]
    answers.write_text("\n".join(reversed(answered)) + "\n", encoding="utf-8")
    scores = read_xcomet_scores(answers)
    assert scores["you idiot", "you are wrong", "you are mistaken"] == 0.0
    assert scores["x" * 700, "please read the article", "read it please"] == 0.75


def test_xcomet_lines_that_cannot_be_used_are_named(tmp_path) -> None:
    """Every fault with its line, all at once; scores outside [0, 1] are clipped."""
    row = {"src": "a", "mt": "b", "ref": "c"}
    lines = ["no json", json.dumps(row), json.dumps({**row, "score": float("nan")})]
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join([*lines, json.dumps({**row, "score": 1.02})]), encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)3 lines.*line 1 .*line 2 .*line 3 has the score nan"):
        read_xcomet_scores(path)
    path.write_text(json.dumps({**row, "score": 1.02}), encoding="utf-8")
    assert read_xcomet_scores(path) == {("a", "b", "c"): 1.0}


def test_without_xcomet_scores_the_stack_says_what_to_run(folders, tmp_path) -> None:
    """No file, or a file for other texts: both are told in steps."""
    stack = load_stack("clef2025", folders["clef2025"], device="cpu")
    with pytest.raises(ModelsMissingError, match=r"(?s)write_xcomet_requests.*XCOMET-lite.*xcomet"):
        stack.score(SOURCES, REWRITES, REFERENCES)
    path = tmp_path / "scores.jsonl"
    path.write_text('{"src": "a", "mt": "b", "ref": "c", "score": 1}\n', encoding="utf-8")
    stack = load_stack("clef2025", {**folders["clef2025"], "xcomet": path}, device="cpu")
    with pytest.raises(DataError, match="lack 4 of 4"):
        stack.score(SOURCES, REWRITES, REFERENCES)


# --- real files -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xcomet(tmp_path_factory) -> Path:
    """Scores for the texts of this file, as XCOMET would have written them."""
    path = tmp_path_factory.mktemp("xcomet") / "scores.jsonl"
    write_xcomet_requests(path, SOURCES, REWRITES, REFERENCES)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps({**row, "score": 0.5}) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", list(STACKS))
def test_a_stack_scores_alike_in_any_batch(name: str, folders, xcomet) -> None:
    """Alone or together, in order, in [0, 1]; an empty rewrite scores 0 in all three."""
    given = {**folders[name], **({"xcomet": xcomet} if name == "clef2025" else {})}
    options = {"device": "cpu", **({"soft": True} if name == "s-nlp" else {})}
    whole = load_stack(name, given, **options).score(SOURCES, REWRITES, REFERENCES)
    single = load_stack(name, given, batch_size=1, **options)
    back = single.score(SOURCES[::-1], REWRITES[::-1], REFERENCES[::-1])
    for one, other in zip(
        (whole.style, whole.meaning, whole.fluency),
        (back.style, back.meaning, back.fluency),
        strict=True,
    ):
        np.testing.assert_allclose(one, other[::-1], atol=1e-5)
        assert one.dtype == np.float64
        assert ((one >= 0) & (one <= 1)).all()
        assert one[1] == 0.0
    assert np.ptp(whole.style[[0, 2, 3]]) > 1e-4  # the model looks at the text


@pytest.mark.parametrize("name", list(STACKS))
def test_nothing_in_nothing_out(name: str, folders, xcomet) -> None:
    """Empty lists, and lists of empty rewrites, need no model."""
    given = {**folders[name], **({"xcomet": xcomet} if name == "clef2025" else {})}
    stack = load_stack(name, given, device="cpu")
    assert stack.score([], [], []).joint.shape == (0,)
    assert stack.score(["a", "b"], ["", "\n"], [["c"], ["d"]]).joint.tolist() == [0.0, 0.0]


def test_a_classifier_says_the_probability_of_its_first_class(models) -> None:
    """One text, worked out with the bare model."""
    model = RobertaForSequenceClassification.from_pretrained(models["roberta"]).eval()
    tokens = _tokenizer()(["you idiot"], return_tensors="pt")
    with torch.inference_mode():
        expected = model(**tokens).logits.softmax(dim=-1)[0, 0].item()
    classifier = NeutralClassifier.load(models["roberta"], device="cpu")
    assert classifier(["you idiot"]) == pytest.approx([expected], abs=1e-6)


def test_labse_takes_the_first_token_through_its_dense_layer(models) -> None:
    """tanh(W state + b), made unit, worked out with the bare model."""
    model = BertModel.from_pretrained(models["labse"]).eval()
    with torch.inference_mode():
        state = model(**_tokenizer()(["you idiot"], return_tensors="pt")).last_hidden_state[0, 0]
    dense = load_file(models["labse"] / "2_Dense/model.safetensors")
    expected = torch.tanh(dense["linear.weight"] @ state + dense["linear.bias"])
    encoder = SentenceEncoder.load(models["labse"], device="cpu")
    [vector] = encoder.embed(["you idiot"])
    np.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)
    assert encoder.name.endswith(":cls+dense")


def test_an_encoder_that_says_nothing_is_averaged(models, tmp_path) -> None:
    """Without modules.json the vector is the mean of the tokens' states."""
    model = BertModel.from_pretrained(models["labse"]).eval()
    _save(model, tmp_path / "plain")
    with torch.inference_mode():
        states = model(**_tokenizer()(["you idiot"], return_tensors="pt")).last_hidden_state[0]
    mean = states.mean(dim=0)
    encoder = SentenceEncoder.load(tmp_path / "plain", device="cpu")
    [vector] = encoder.embed(["you idiot"])
    np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-5)
    assert encoder.name.endswith(":mean")


def test_long_texts_are_cut_where_the_stack_cuts_them(models) -> None:
    """Classifiers read 512 tokens with <s> and </s>; this encoder's folder says 256."""
    classifier = NeutralClassifier.load(models["xlmr"], device="cpu")
    encoder = SentenceEncoder.load(models["labse"], device="cpu")
    long = "ab" * 255
    assert classifier([long + "cd" * 99]) == pytest.approx(classifier([long]), abs=1e-6)
    assert classifier([long[:-2] + "cd"]) != pytest.approx(classifier([long]), abs=1e-6)
    np.testing.assert_allclose(encoder.embed(["ab" * 200]), encoder.embed(["ab" * 127]), atol=1e-6)


def test_a_model_with_few_positions_reads_as_far_as_it_can(tmp_path) -> None:
    """RoBERTa's positions begin after its padding token: 66 of them hold 64 tokens."""
    sizes = {**_SIZES, "max_position_embeddings": 66}
    _save(RobertaForSequenceClassification(RobertaConfig(**sizes)), tmp_path)
    classifier = NeutralClassifier.load(tmp_path, device="cpu")
    assert classifier(["ab" * 99]) == pytest.approx(classifier(["ab" * 31]), abs=1e-6)


def test_control_tokens_in_a_text_are_text(models) -> None:
    """ "</s>" typed by a user is not the end of the sentence."""
    tokenizer = _tokenizer()
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "a</s>b"]
    model = XLMRobertaForSequenceClassification.from_pretrained(models["xlmr"]).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([[0, *letters, 2]])).logits
    classifier = NeutralClassifier.load(models["xlmr"], device="cpu")
    assert classifier(["a</s>b"]) == pytest.approx([logits.softmax(-1)[0, 0].item()], abs=1e-6)


def test_subword_vectors_are_averaged_without_context(models, folders) -> None:
    """By hand: "you read" is (3, 4) / 5; "you" is (1, 0), so their cosine is .6.

    "You" is lower-cased, the "!" of "you!" is a word of its own and cancels it: similar to nothing.
    """
    vectors = SubwordAverage.load(models["subwords"]).embed(["You read", "you", "you!", ""])
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    stack = load_stack("s-nlp", {**folders["s-nlp"], "meaning": models["subwords"]}, device="cpu")
    assert stack.score(["you"], ["you read"]).meaning == pytest.approx([0.6])
    assert ":subwords" in stack.signature


def test_the_signature_names_models_and_contents(folders, tmp_path) -> None:
    """Another tokenizer file, another hardness, another signature; the same files, the same."""
    hard = load_stack("s-nlp", folders["s-nlp"], device="cpu")
    soft = load_stack("s-nlp", folders["s-nlp"], soft=True, device="cpu")
    assert hard.signature.startswith("judge:s-nlp-hard|style:roberta@")
    assert soft.signature == hard.signature.replace("-hard", "-soft")
    classifier = _classifier(
        RobertaForSequenceClassification, RobertaConfig, tmp_path / "roberta", seed=0
    )
    before = NeutralClassifier.load(classifier, device="cpu").name
    assert NeutralClassifier.load(classifier, device="cpu", batch_size=1).name == before
    (classifier / "vocab.txt").write_text("another")
    assert NeutralClassifier.load(classifier, device="cpu").name != before


# --- what goes wrong ------------------------------------------------------------------------


def test_all_missing_parts_are_told_at_once(tmp_path, models) -> None:
    """Which part, why, and what belongs there."""
    (tmp_path / "empty").mkdir()
    commit = "0" * 40
    with pytest.raises(ModelsMissingError) as caught:
        load_stack("s-nlp", {"style": tmp_path / "empty", "meaning": f"org/labse@{commit}"})
    message = str(caught.value)
    assert "lacks 3 of its parts" in message
    assert "style (" in message
    assert "config.json" in message
    assert f"tactful fetch org/labse@{commit}" in message
    assert "needs cointegrated/roberta-large-cola-krishna2020" in message
    with pytest.raises(ModelsMissingError, match=r"(?s)only s-nlp uses.*there is no file"):
        load_stack(
            "clef2025",
            {"style": models["xlmr"], "meaning": models["subwords"], "xcomet": tmp_path / "no"},
        )


def test_wrong_requests_are_refused(folders) -> None:
    """An unknown stack gets its nearest name; an unknown part the known ones."""
    with pytest.raises(ConfigError, match='Did you mean "clef2024"'):
        load_stack("clef-2024", {})
    with pytest.raises(ConfigError, match="no part fluency; its parts: style, meaning"):
        load_stack("clef2024", folders["s-nlp"])
    with pytest.raises(ConfigError, match="no soft form"):
        load_stack("clef2024", folders["clef2024"], soft=True)


def test_a_model_of_another_kind_is_refused(models, tmp_path) -> None:
    """No random head on an encoder, no third class, no classifier that is the wrong way round."""
    with pytest.raises(CorruptFileError, match="lacks the weights"):
        NeutralClassifier.load(models["labse"], device="cpu")
    kind = (RobertaForSequenceClassification, RobertaConfig)
    three = _classifier(*kind, tmp_path / "three", seed=0, num_labels=3)
    with pytest.raises(ConfigError, match="3 classes"):
        NeutralClassifier.load(three, device="cpu")
    labels = {0: "toxic", 1: "neutral"}
    turned = _classifier(*kind, tmp_path / "turned", seed=0, id2label=labels)
    with pytest.raises(ConfigError, match="class 0 must be the good one"):
        NeutralClassifier.load(turned, device="cpu")


def test_pooling_that_is_not_known_is_refused(tmp_path) -> None:
    """Maximum pooling, an unknown layer, dense weights only as a pickle."""
    _write(tmp_path / "modules.json", [{"path": "1_Pooling", "type": "x.Pooling"}])
    _write(tmp_path / "1_Pooling/config.json", {"pooling_mode_max_tokens": True})
    with pytest.raises(ConfigError, match="pooling_mode_max_tokens"):
        read_pooling(tmp_path)
    _write(tmp_path / "modules.json", [{"path": "", "type": "x.LSTM"}])
    with pytest.raises(ConfigError, match="LSTM"):
        read_pooling(tmp_path)
    _write(tmp_path / "modules.json", [{"path": "2_Dense", "type": "x.Dense"}])
    with pytest.raises(ModelsMissingError, match="pickles"):
        read_pooling(tmp_path)


def test_rows_that_do_not_fit_are_refused() -> None:
    """Lists of different length, and rows without the references that the stack needs."""
    snlp = SNLPStack(Listed({}), Angles({}), Listed({}))
    with pytest.raises(DataError, match="2 sources but 1 rewrites"):
        snlp.score(["a", "b"], ["c"])
    clef = CLEF2024Stack(Listed({}), Angles({}))
    with pytest.raises(DataError, match="compares with references"):
        clef.score(["a"], ["b"])
    with pytest.raises(DataError, match="row 1"):
        clef.score(["a", "b"], ["c", "d"], [["e"], [" "]])


@pytest.mark.parametrize("name", list(STACKS))
def test_a_stack_goes_through_a_whole_evaluation_with_references(
    name: str, folders, xcomet
) -> None:
    """References are compared by a judge that offers that, and no stack does."""
    given = {**folders[name], "xcomet": xcomet} if name == "clef2025" else folders[name]
    stack = load_stack(name, given, device="cpu")
    report = evaluate({"ours": REWRITES}, SOURCES, stack, references=REFERENCES, boot=20)
    assert report.system("ours").reference_meaning is None
    assert 0 <= report.system("ours").soft["joint"].mean <= 1
