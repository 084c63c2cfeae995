"""Greedy answers, step by step, to be compared up to what float rounding may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tea_llm import LocalLlmBackend, _core

Steps = list[list[tuple[int, float]]]
EXACT: dict[str, Any] = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off"}
"""Options of ``load`` that leave the least room for rounding."""
ROUNDING = 1e-2
"""Most that batch shapes then change a logit (of about 10)."""


def submit(llm: LocalLlmBackend, prompt: str | Sequence[int], n: int, **options: Any) -> _core.Request:
    """A greedy request for ``n`` tokens that keeps the two best logits of each step."""
    tokens = llm.tokenize(prompt) if isinstance(prompt, str) else prompt
    defaults: dict[str, Any] = {"sampling": {"temperature": 0}, "seeds": [0], "ignore_eos": True, "n_top_logits": 2}
    (request,) = llm._engine.submit(tokens, max_tokens=n, **(defaults | options))
    return request


def steps(llm: LocalLlmBackend, prompt: str | Sequence[int], n: int = 20) -> Steps:
    """The two best (token, logit) of each step of a greedy answer."""
    return submit(llm, prompt, n).wait().top_logits


def assert_equal(one: Steps, other: Steps, rounding: float = ROUNDING) -> None:
    """Asserts that both are the same, or part where the two best tokens are as good as each other."""
    for (best, second), (other_best, _) in zip(one, other, strict=True):
        assert abs(best[1] - other_best[1]) < rounding
        if best[0] != other_best[0]:
            assert best[1] - second[1] < rounding
            return
