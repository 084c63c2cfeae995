"""Random requests at once, whose answers are compared bit by bit with those of an engine that has done nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import tea_llm
from support.steps import Steps
from tea_llm import LocalLlmBackend, _core

N_PROMPTS = 12


def some_tokens(seed: int, n: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(10, 200) for _ in range(n)]


def prompt(i: int) -> list[int]:
    """Every other prompt begins with the same 90 tokens."""
    return (some_tokens(1000, 90) if i % 2 else []) + some_tokens(i, [3, 17, 30, 64, 100, 150][i % 6])


def submit(llm: LocalLlmBackend, i: int) -> _core.Request:
    (request,) = llm._engine.submit(
        prompt(i), max_tokens=4 + i, sampling={"temperature": 1.0}, seeds=[i], ignore_eos=True, n_top_logits=2
    )
    return request


def cold_answers(model: Path) -> list[Steps]:
    """The two best logits of each step, each prompt on an engine of its own."""
    answers = []
    for i in range(N_PROMPTS):
        with tea_llm.load(model, n_ctx=512, n_threads=1, n_parallel=1) as llm:
            answers.append(submit(llm, i).wait().top_logits)
    return answers


def assert_same_in_company(llm: LocalLlmBackend, expected: list[Steps], n_compositions: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(n_compositions):
        chosen = [chance.randrange(N_PROMPTS) for _ in range(chance.randint(1, 7))]
        for i, request in [(i, submit(llm, i)) for i in chosen]:
            assert request.wait().top_logits == expected[i], f"prompt {i} among {chosen}"
