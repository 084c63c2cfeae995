"""What is drawn has the distribution that the definitions of the options give, written down again in numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tea_llm
from support.steps import submit
from tea_llm import LocalLlmBackend

Row = NDArray[np.float64]
PROMPT = [1, 265, 299, 270, 277, 277, 280, 265, 299]
N_DRAWN = 128 * 24


@pytest.fixture(scope="module")
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=256, n_parallel=1, n_threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def vocabulary(llm: LocalLlmBackend) -> dict[bytes, tuple[int, float]]:
    """Tokens and their logits, by the tokens' bytes: those that have bytes of their own."""
    n = llm.info.n_vocab
    result = submit(llm, PROMPT, 1, n_top_logits=n, n_logprobs=n).wait()
    ((_, best),) = result.logprobs
    n_holders = Counter(piece for piece, _ in best)
    found = zip(best, result.top_logits[0], strict=True)  # both the best first
    return {piece: token for (piece, _), token in found if piece and n_holders[piece] == 1}


@pytest.fixture(scope="module")
def logits(llm: LocalLlmBackend, vocabulary: dict[bytes, tuple[int, float]]) -> Row:
    row = np.full(llm.info.n_vocab, -np.inf)
    for token, logit in vocabulary.values():
        row[token] = logit
    return row


def reference(logits: Row, **options: Any) -> Row:
    """The probabilities of all tokens."""
    get = options.get
    row = logits.copy()
    for token, bias in get("logit_bias", {}).items():
        row[token] += bias
    for token, n in Counter(PROMPT[-get("repeat_last_n", 64) :]).items():
        penalty = get("repeat_penalty", 1.0)
        row[token] = row[token] * penalty if row[token] <= 0 else row[token] / penalty
        row[token] -= n * get("frequency_penalty", 0) + get("presence_penalty", 0)
    top_k = get("top_k", 40)
    if top_k > 0:
        row[np.argsort(-row, kind="stable")[top_k:]] = -np.inf
    if get("typical_p", 1) < 1:
        p = softmax(row)
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = np.where(p > 0, -np.log(p), np.inf)
        entropy = np.sum(p[p > 0] * surprise[p > 0])
        row = fewest(row, np.argsort(np.abs(surprise - entropy), kind="stable"), get("typical_p", 1))
    if get("top_p", 0.95) < 1:
        row = fewest(row, np.argsort(-row, kind="stable"), get("top_p", 0.95))
    p = softmax(row)
    row[p < get("min_p", 0.05) * p.max()] = -np.inf
    if get("xtc_probability", 0) == 1:
        p = softmax(row)
        likely = np.flatnonzero(p >= get("xtc_threshold", 0.1))
        row[likely[p[likely] > p[likely].min()]] = -np.inf
    return softmax(row / get("temperature", 0.7))


def softmax(row: Row) -> Row:
    weights = np.exp(row - row.max())
    return np.asarray(weights / weights.sum())


def fewest(row: Row, order: NDArray[np.intp], share: float) -> Row:
    """The row with only the first tokens of an order whose probabilities reach a share."""
    n = int(np.searchsorted(np.cumsum(softmax(row)[order]), share)) + 1
    kept = np.full_like(row, -np.inf)
    kept[order[:n]] = row[order[:n]]
    return kept


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.0, "top_k": 7, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.0, "top_k": 0, "top_p": 0.8, "min_p": 0.0},
        {"temperature": 1.2, "top_k": 0, "top_p": 1.0, "min_p": 0.1},
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 0.6},
        {"temperature": 1.0, "top_k": 50, "top_p": 0.9, "xtc_probability": 1.0, "xtc_threshold": 0.1},
        {"repeat_penalty": 1.8, "presence_penalty": 0.5, "frequency_penalty": 0.4, "repeat_last_n": 5},
        {"logit_bias": {300: 8.0, 270: 7.0, 265: -5.0}, "temperature": 2.0, "top_p": 1.0},
    ],
    ids=str,
)
def test_tokens_come_as_often_as_the_reference_says(
    llm: LocalLlmBackend, vocabulary: dict[bytes, tuple[int, float]], logits: Row, options: dict[str, Any]
) -> None:
    expected = reference(logits, **options)
    excluded = [(int(token), -1e6) for token in np.flatnonzero(np.isneginf(logits))]
    sampling = options | {"logit_bias": [*options.get("logit_bias", {}).items(), *excluded]}
    counts = np.zeros(len(logits))
    for first in range(0, N_DRAWN, 128):
        seeds = range(first, first + 128)
        for request in llm._engine.submit(PROMPT, max_tokens=1, sampling=sampling, seeds=seeds, n_logprobs=0):
            (((piece, _), _),) = request.wait().logprobs
            counts[vocabulary[piece][0]] += 1
    assert not counts[expected == 0].any()
    # Pearson's test: bins with at least 5 expected, the others together; far from where chance would reach.
    n_expected = expected * N_DRAWN
    is_rare = n_expected < 5
    observed = np.append(counts[~is_rare], counts[is_rare].sum())
    wanted = np.append(n_expected[~is_rare], n_expected[is_rare].sum())
    statistic = float((((observed - wanted) ** 2)[wanted > 0] / wanted[wanted > 0]).sum())
    freedom = int((wanted > 0).sum()) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5 + 8
