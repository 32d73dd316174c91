"""What every backend promises, checked on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tactful.rollouts.base import Backend, Request, Sampling
from tactful.rollouts.local import LocalBackend
from tests.fakes import CannedBackend
from tests.openai_server import openai_server
from tests.test_exporting import _write_gguf_base as write_gguf_base
from tests.tiny import tiny_causal_lm

CANNED = {
    "idiot": ["please read the article", "do read it"],
    "garbage": ["this is not good at all, to my mind"],
}
PROMPTS = ["you idiot, read it", "this is garbage", "what a nice and rather long comment " * 3]
NEEDS = {"ct2": "ctranslate2", "gguf": "xllamacpp", "gguf, one slot": "xllamacpp"}


@pytest.fixture(
    scope="module",
    params=[
        "local",
        "local, one row a batch",
        "local, fused",
        "ct2",
        "gguf",
        "gguf, one slot",
        "openai",
        "canned",
    ],
)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Backend]]:
    """Every backend and its name here; the server is a process of its own."""
    kind: str = request.param
    if kind in NEEDS and find_spec(NEEDS[kind]) is None:
        pytest.skip(f"{NEEDS[kind]} is not installed")
    if kind == "canned":
        yield kind, CannedBackend(CANNED, default="as you say")
        return
    folder = tiny_causal_lm(tmp_path_factory.mktemp("tiny"))
    if kind.startswith("gguf"):
        from tactful.rollouts.gguf import GGUFBackend

        write_gguf_base(folder)
        slots = 1 if "one" in kind else 8
        yield kind, GGUFBackend.load(folder, slots=slots, context=1024, precision="as it is")
    elif kind == "ct2":
        from tactful.rollouts.ct2 import CT2Backend

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TACTFUL_HOME", str(tmp_path_factory.mktemp("converted")))
            yield kind, CT2Backend.load(folder, stored="float32")
    elif kind == "openai":
        from tactful.rollouts.openai import OpenAIBackend

        with openai_server(folder) as server:
            yield kind, OpenAIBackend(server.url, "tiny")
    else:
        options = {
            "local": {},
            "local, one row a batch": {"batch_size": 1},
            "local, fused": {"fuse": True},
        }[kind]
        yield (
            kind,
            LocalBackend.load(
                folder, dtype="float32", device="cpu", **({"batch_size": 4} | options)
            ),
        )


@pytest.fixture
def backend(made: tuple[str, Backend], request: pytest.FixtureRequest) -> Backend:
    """The backend; only what asks a server may open a connection."""
    if made[0] == "openai":
        request.getfixturevalue("socket_enabled")
    return made[1]


@pytest.fixture
def exact(made: tuple[str, Backend], backend: Backend) -> Backend:
    """One whose sums do not depend on who shares its batch.

    llama.cpp adds up in another order beside others, so a near tie falls otherwise: with several
    slots it promises no more than the tests that ask for `backend`.
    """
    if made[0] == "gguf":
        pytest.skip("rounds otherwise beside others; one slot does not")
    return backend


def ask(backend: Backend, prompts: list[str], *, num: int = 2, limit: int = 8):
    """Sample for each prompt, with the prompt's length as its seed."""
    requests = [Request(prompt, limit, seed=len(prompt)) for prompt in prompts]
    return backend.generate(requests, Sampling(num=num, temperature=0.9, top_p=0.95))


def test_every_request_gets_num_completions(backend: Backend) -> None:
    """Each request is answered by as many completions as were asked for."""
    assert [len(answers) for answers in ask(backend, PROMPTS, num=3)] == [3, 3, 3]


def test_answers_come_in_the_order_of_the_requests(exact: Backend) -> None:
    """Turning the requests around turns the answers around, whatever was batched together."""
    assert ask(exact, PROMPTS[::-1]) == ask(exact, PROMPTS)[::-1]


def test_an_answer_does_not_depend_on_its_neighbours(exact: Backend) -> None:
    """A request alone is answered as it is among others."""
    together = ask(exact, PROMPTS)
    assert [ask(exact, [prompt])[0] for prompt in PROMPTS] == together


def test_the_first_completions_do_not_depend_on_how_many_follow(exact: Backend) -> None:
    """Asking for more completions keeps those that fewer would have given."""
    few, many = ask(exact, PROMPTS, num=2), ask(exact, PROMPTS, num=5)
    assert [answers[:2] for answers in many] == few


def test_the_same_seed_gives_the_same_texts(exact: Backend) -> None:
    """Sampling twice with the same seeds gives the same answers."""
    assert ask(exact, PROMPTS) == ask(exact, PROMPTS)


def test_greedy_completions_are_all_the_same(backend: Backend) -> None:
    """At temperature 0 every completion of a prompt is the same text."""
    [answers] = backend.generate([Request("this is garbage", 8)], Sampling(num=3, temperature=0))
    assert len(answers) == 3
    assert len({answer.text for answer in answers}) == 1


def test_no_requests_no_answers(backend: Backend) -> None:
    """An empty list is answered by an empty list."""
    assert backend.generate([], Sampling()) == []


def test_each_request_keeps_its_own_length_limit(backend: Backend) -> None:
    """Limits differ within a batch, and what a limit cut is marked as unfinished."""
    requests = [Request("you idiot", 1), Request("you idiot", 8)]
    [[short], [long]] = backend.generate(requests, Sampling(temperature=0))
    assert len(short.text) < len(long.text)
    assert long.text.startswith(short.text)
    assert not short.finished


def test_messages_are_a_prompt_too(backend: Backend) -> None:
    """A chat prompt is answered like a plain one."""
    prompt = [{"role": "user", "content": "you idiot"}]
    [answers] = backend.generate([Request(prompt, 4)], Sampling(num=2))
    assert len(answers) == 2


def test_it_has_a_name(backend: Backend) -> None:
    """A backend names its model and the model's version."""
    assert "@" in backend.name
