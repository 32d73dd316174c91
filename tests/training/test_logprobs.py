"""Log-probabilities of completions, against tables made by hand and against naive loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tactful.errors import ConfigError
from tactful.records import Response
from tactful.training.logprobs import (
    LogProbs,
    causal_logprobs,
    completion_ids,
    seq2seq_logprobs,
)
from tactful.training.pairs import Judged, paper_pairs
from tests.tiny import tiny_tokenizer

VOCAB = 41
PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12], [13, 14, 15, 16, 17, 18, 19, 20]]
COMPLETIONS = [[21, 22, 1], [23, 24, 25, 26, 27, 28, 1], [1], [29, 30, 31, 1]]

quiet_peft = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

# What follows which token, as probabilities: NEXT[now][then]. Token 3 is the end.
NEXT = torch.tensor(
    [
        [0.5, 0.25, 0.125, 0.125],
        [0.1, 0.2, 0.3, 0.4],
        [0.25, 0.25, 0.25, 0.25],
        [0.7, 0.1, 0.1, 0.1],
    ]
)


class Bigram(nn.Module):
    """A causal model that looks at one token and answers from the table."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _OneHot()
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight.data = NEXT.log().T.contiguous()
        self.device = torch.device("cpu")

    def get_decoder(self) -> nn.Module:
        return self.backbone

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        hidden = self.backbone(input_ids=input_ids).last_hidden_state
        return SimpleNamespace(logits=self.head(hidden))


class _OneHot(nn.Module):
    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=nn.functional.one_hot(input_ids, 4).float())


class BigramDecoder(nn.Module):
    """An encoder-decoder that ignores its source; its decoder starts from token 1."""

    device = torch.device("cpu")
    config = SimpleNamespace(decoder_start_token_id=1)

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=NEXT.log()[decoder_input_ids])


def test_causal_by_hand() -> None:
    """After 0 1 come 2 0 3: p(2|1) p(0|2) p(3|0) = 0.3 x 0.25 x 0.125.

    Unshifted it would be p(2|2) p(0|0) p(3|3), with the prompt also p(1|0), without the end
    0.3 x 0.25: all of them other numbers.
    """
    got = causal_logprobs(Bigram(), [[0, 1]], [[2, 0, 3]])
    assert got.total.tolist() == pytest.approx([math.log(0.3 * 0.25 * 0.125)])
    assert got.mean.tolist() == pytest.approx([math.log(0.3 * 0.25 * 0.125) / 3])
    assert got.per_token.exp().tolist() == [pytest.approx([0.3, 0.25, 0.125])]
    assert got.tokens.tolist() == [3]


def test_seq2seq_by_hand() -> None:
    """From start token 1 the decoder writes 2 0 3, with the same probabilities."""
    got = seq2seq_logprobs(BigramDecoder(), [[2, 2]], [[2, 0, 3]])
    assert got.total.tolist() == pytest.approx([math.log(0.3 * 0.25 * 0.125)])
    assert got.per_token.exp().tolist() == [pytest.approx([0.3, 0.25, 0.125])]
    assert got.tokens.tolist() == [3]


@pytest.mark.parametrize(
    ("score", "model"), [(causal_logprobs, Bigram()), (seq2seq_logprobs, BigramDecoder())]
)
def test_the_end_counts(score: Callable[..., LogProbs], model: nn.Module) -> None:
    """To stop is a choice: after 1 0 the end costs another log 0.125, and is a token."""
    open_end = score(model, [[0, 1]], [[1, 0]])
    ended = score(model, [[0, 1]], [[1, 0, 3]])
    assert (ended.total - open_end.total).item() == pytest.approx(math.log(0.125))
    assert (ended.tokens - open_end.tokens).item() == 1


@pytest.mark.parametrize(
    ("score", "model"), [(causal_logprobs, Bigram()), (seq2seq_logprobs, BigramDecoder())]
)
def test_rows_of_unlike_length_by_hand(score: Callable[..., LogProbs], model: nn.Module) -> None:
    """What fills a row up adds nothing. p(3|1) = 0.4; p(1|1) p(1|1) p(3|1) = 0.2 x 0.2 x 0.4."""
    got = score(model, [[1], [2, 3, 1]], [[3], [1, 1, 3]])
    assert got.per_token.exp().tolist() == [
        pytest.approx([0.4, 1, 1]),
        pytest.approx([0.2, 0.2, 0.4]),
    ]
    assert got.tokens.tolist() == [1, 3]
    assert got.mean.exp().tolist() == pytest.approx([0.4, (0.2 * 0.2 * 0.4) ** (1 / 3)])


def _made(model: type[Any], config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = model(config).eval()
        # Large weights make a random model care about what it reads.
        for weight in made.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.3)
    return made


def _llama() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return _made(LlamaForCausalLM, LlamaConfig(vocab_size=VOCAB, **sizes, **heads))


def _gpt2() -> Any:
    config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return _made(GPT2LMHeadModel, config)


def _opt() -> Any:
    # Its embeddings are narrower than its layers, and its positions come from the mask.
    sizes = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "word_embed_proj_dim": 8}
    config = OPTConfig(vocab_size=VOCAB, num_attention_heads=2, max_position_embeddings=32, **sizes)
    return _made(OPTForCausalLM, config)


def _t5(*, tied: bool) -> Any:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = T5Config(vocab_size=VOCAB, decoder_start_token_id=0, tie_word_embeddings=tied, **sizes)
    return _made(T5ForConditionalGeneration, config)


def _bart() -> Any:
    layers = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    widths = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = BartConfig(vocab_size=VOCAB, max_position_embeddings=32, **layers, **heads, **widths)
    return _made(BartForConditionalGeneration, config)


CAUSAL = {"llama": _llama, "gpt2": _gpt2, "opt": _opt}
SEQ2SEQ = {"t5": lambda: _t5(tied=False), "t5-tied": lambda: _t5(tied=True), "bart": _bart}
MODELS = [pytest.param(causal_logprobs, make, id=name) for name, make in CAUSAL.items()] + [
    pytest.param(seq2seq_logprobs, make, id=name) for name, make in SEQ2SEQ.items()
]
Score = Callable[..., LogProbs]


def naive(score: Score, model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    """One text at a time, one token at a time, without padding."""
    total = torch.zeros(())
    for step, token in enumerate(completion):
        if score is causal_logprobs:
            logits = model(input_ids=torch.tensor([prompt + completion[:step]])).logits
        else:
            seen = [model.config.decoder_start_token_id, *completion[:step]]
            source, written = torch.tensor([prompt]), torch.tensor([seen])
            logits = model(input_ids=source, decoder_input_ids=written).logits
        total = total + logits[0, -1].log_softmax(-1)[token]
    return total


@pytest.mark.parametrize(("score", "make"), MODELS)
def test_a_batch_equals_a_naive_loop(score: Score, make: Callable[[], Any]) -> None:
    """Values and gradients are those of one text and one token at a time."""
    model = make()
    got = score(model, PROMPTS, COMPLETIONS, chunk=4)
    expected = torch.stack(
        [naive(score, model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    )
    assert got.tokens.tolist() == [3, 7, 1, 4]
    torch.testing.assert_close(got.total, expected, atol=1e-5, rtol=1e-5)

    weights, parameters = torch.tensor([1.0, -2.0, 3.0, 0.5]), list(model.parameters())
    slopes = torch.autograd.grad((weights * got.total).sum(), parameters, allow_unused=True)
    wanted = torch.autograd.grad((weights * expected).sum(), parameters, allow_unused=True)
    assert any(slope is not None and slope.abs().max() > 0.1 for slope in slopes)
    for slope, want in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(slope, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("score", "make"), MODELS)
def test_labels_are_shifted_as_the_model_shifts_them(score: Score, make: Callable[[], Any]) -> None:
    """The model's own loss, which shifts for itself, says the same."""
    model, prompt, completion = make(), PROMPTS[0], COMPLETIONS[1]
    if score is causal_logprobs:
        ids, labels = prompt + completion, [-100] * len(prompt) + completion
    else:
        ids, labels = prompt, completion
    loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
    assert score(model, [prompt], [completion]).mean.item() == pytest.approx(-loss.item(), abs=1e-5)


@pytest.mark.parametrize(("score", "make"), MODELS)
def test_neighbours_and_order_change_nothing(score: Score, make: Callable[[], Any]) -> None:
    """A row is worth the same alone, in a batch, and beside a much longer one."""
    model = make()
    together = score(model, PROMPTS, COMPLETIONS)
    backwards = score(model, PROMPTS[::-1], COMPLETIONS[::-1])
    beside = score(model, [PROMPTS[0], [7] * 20], [COMPLETIONS[0], [8] * 9])
    torch.testing.assert_close(backwards.total.flip(0), together.total, atol=1e-5, rtol=0)
    torch.testing.assert_close(beside.total[0], together.total[0], atol=1e-5, rtol=0)
    for i, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        alone = score(model, [prompt], [completion])
        torch.testing.assert_close(alone.total[0], together.total[i], atol=1e-5, rtol=0)
        assert alone.per_token.shape == (1, len(completion))


@pytest.mark.parametrize("make", CAUSAL.values(), ids=CAUSAL)
def test_padding_on_the_left_would_say_the_same(make: Callable[[], Any]) -> None:
    """Rows that end together, with positions counted from their first token, agree."""
    model = make()
    rows = [p + c for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    # OPT marks padding by position -1.
    positions = positions if make is not _opt else positions.masked_fill(mask == 0, -1)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    logp = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    expected = [logp[i, -len(c) :].sum() for i, c in enumerate(COMPLETIONS)]
    got = causal_logprobs(model, PROMPTS, COMPLETIONS).total
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_the_output_layer_sees_only_what_is_asked_for(chunk: int) -> None:
    """15 tokens of completions are 15 rows for it, at most `chunk` at a time."""
    model = _llama()
    causal_logprobs(model, PROMPTS, COMPLETIONS)  # the first call also tries the model out
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda _m, args, _out: rows.append(args[0].shape[0]))
    causal_logprobs(model, PROMPTS, COMPLETIONS, chunk=chunk)
    assert sum(rows) == 15
    assert max(rows) == min(chunk, 15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_logits_are_kept_for_the_gradient(dtype: torch.dtype) -> None:
    """What autograd holds on to has no dimension as long as the vocabulary but the weights."""
    model = _llama().to(dtype)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        causal_logprobs(model, PROMPTS, COMPLETIONS)
    assert kept
    assert not [shape for shape in kept if shape[-1] == VOCAB]


def test_bfloat16_models_are_added_up_in_float32() -> None:
    """A sum of many logs keeps its digits."""
    model = _llama().bfloat16()
    got = causal_logprobs(model, PROMPTS, COMPLETIONS)
    assert got.per_token.dtype == got.total.dtype == torch.float32
    exact = causal_logprobs(model.float(), PROMPTS, COMPLETIONS)
    torch.testing.assert_close(got.total, exact.total, atol=0.5, rtol=0.05)


@pytest.mark.parametrize(
    ("model", "config"),
    [
        # Each does something else to its logits after the output layer.
        (Gemma2ForCausalLM, Gemma2Config),
        (GraniteForCausalLM, lambda **sizes: GraniteConfig(logits_scaling=4.0, **sizes)),
        (CohereForCausalLM, CohereConfig),
    ],
)
def test_models_that_bend_their_logits_are_refused(
    model: type[Any], config: Callable[..., Any]
) -> None:
    """A wrong number would look like a right one, so there is none."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    made = _made(model, config(vocab_size=VOCAB, pad_token_id=0, **sizes, **heads))
    with pytest.raises(ConfigError, match="does more to its logits"):
        causal_logprobs(made, PROMPTS, COMPLETIONS)


@quiet_peft
@pytest.mark.parametrize(
    ("score", "make", "modules"),
    [
        (causal_logprobs, _llama, ["q_proj", "v_proj"]),
        (causal_logprobs, _llama, ["q_proj", "lm_head"]),
        (seq2seq_logprobs, lambda: _t5(tied=False), ["q", "v"]),
    ],
)
def test_an_adapter_counts_while_it_is_on(
    score: Score, make: Callable[[], Any], modules: list[str]
) -> None:
    """On, it changes the values and takes the gradient; off, the reference is there again."""
    from peft import LoraConfig, get_peft_model

    plain = score(make(), PROMPTS, COMPLETIONS).total
    config = LoraConfig(r=2, target_modules=modules, init_lora_weights=False)
    model = get_peft_model(make(), config).eval()
    on = score(model, PROMPTS, COMPLETIONS).total
    expected = [naive(score, model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    torch.testing.assert_close(on, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(on, plain, atol=0.01)

    with torch.no_grad(), model.disable_adapter():
        off = score(model, PROMPTS, COMPLETIONS).total
    torch.testing.assert_close(off, plain, atol=1e-5, rtol=0)

    on.sum().backward()
    slopes = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert slopes
    assert all("lora_" in name for name in slopes)
    assert all(slope.abs().max() > 0 for slope in slopes.values())


@quiet_peft
def test_virtual_prompt_tokens_are_refused() -> None:
    """They live around the model, where the parts that are called do not pass."""
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(ConfigError, match="use LoRA"):
        causal_logprobs(get_peft_model(_llama(), config), PROMPTS, COMPLETIONS)


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        ([[1]], [[1], [2]], "1 prompts and 2 completions"),
        ([], [], "at least one"),
        ([[1]], [[]], "completion is empty"),
        ([[]], [[1]], "prompt is empty"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(
    prompts: list[list[int]], completions: list[list[int]], message: str
) -> None:
    """Nothing is made up where something is missing."""
    with pytest.raises(ValueError, match=message):
        causal_logprobs(Bigram(), prompts, completions)


def test_a_decoder_without_start_is_an_error() -> None:
    """The message names the setting."""
    model = BigramDecoder()
    model.config = SimpleNamespace()
    with pytest.raises(ConfigError, match="decoder_start_token_id"):
        seq2seq_logprobs(model, [[1]], [[2, 3]])


def test_a_completion_is_the_bare_text_and_the_end() -> None:
    """Neither a start token nor a second end comes from a tokenizer that likes to add them."""
    tokenizer = tiny_tokenizer()
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", start), ("<|im_end|>", end)],
    )
    assert tokenizer.encode("hi")[0] == start
    tokens = completion_ids(tokenizer, "hi")
    assert tokens == [*tokenizer.convert_tokens_to_ids(["h", "i"]), end]


def test_a_users_control_tokens_do_not_end_a_completion() -> None:
    """Written out in a text, the end token is text."""
    tokenizer = tiny_tokenizer()
    tokens = completion_ids(tokenizer, "hi<|im_end|> there")
    assert tokens.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(tokens[:-1]) == "hi<|im_end|> there"


def test_a_tokenizer_without_end_is_an_error() -> None:
    """Completions that never end are not trained on."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no end-of-text token"):
        completion_ids(tokenizer, "hi")


def test_the_rejected_copy_is_what_the_policy_would_have_to_write() -> None:
    """From verdict to tokens: the source's own letters and the end, nothing of the prompt."""
    tokenizer = tiny_tokenizer()
    judged = Judged("you idiot", "you are wrong", {}, value=0.9)
    assert isinstance(judged, Response)
    [pair] = paper_pairs([judged]).pairs
    letters = tokenizer.convert_tokens_to_ids(list("youĠidiot"))
    assert completion_ids(tokenizer, pair.rejected) == [*letters, tokenizer.eos_token_id]
