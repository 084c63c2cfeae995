"""Measures the speed of a model on this machine: prompts, concurrent generation, and cached prompts."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tea_llm.backends.local import LocalLlmBackend

__all__ = ["Figure", "measure"]

LENGTHS = (128, 512, 1024)
WIDTHS = (1, 2, 4, 8)
SHARES = (0, 50, 100)
N_GENERATED = 64
N_PROMPT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The result of one measurement.

    Attributes:
        work: ``"prompt"``, ``"generation"`` or ``"cached"``.
        size: tokens of the prompt, concurrent requests, or cached percent of the prompt.
        n_threads: number of compute threads.
        unit: ``"tokens/s"``, or ``"ms"`` to the first token.
        values: one per round.
    """

    work: str
    size: int
    n_threads: int
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        what = {
            "prompt": f"prompt of {self.size} tokens",
            "generation": f"{self.size} concurrent request{'s' if self.size > 1 else ''}, {N_GENERATED} tokens each",
            "cached": f"first token, {self.size} % of the prompt cached",
        }[self.work]
        return f"{what:38} {self.median:8.1f} {self.unit:8} ({min(self.values):.1f} to {max(self.values):.1f})"


def measure(
    llm: LocalLlmBackend, *, rounds: int = 3, lengths: Sequence[int] = LENGTHS, widths: Sequence[int] = WIDTHS
) -> Iterator[Figure]:
    """Yields the measurements one by one; sizes that exceed ``n_ctx`` or ``n_parallel`` are left out.

    Args:
        llm: the model; nothing else should use it meanwhile.
        rounds: repetitions of each measurement, after a warm-up that does not count.
        lengths: lengths of prompts, in tokens.
        widths: numbers of concurrent requests.
    """
    chance = random.Random(0)  # noqa: S311 - token ids
    info = llm.info

    def tokens(n: int) -> list[int]:
        return [chance.randrange(info.n_vocab) for _ in range(n)]

    def first_token_ms(prompt: list[int]) -> float:
        timings = llm.call(prompt, max_tokens=1, temperature=0, ignore_eos=True).timings
        assert timings is not None  # noqa: S101 - local results have them
        return timings.ttft_ms

    def prompt_speed(n: int) -> float:
        return 1000 * n / first_token_ms(tokens(n))

    def continued(n: int, share: int) -> float:
        prompt = tokens(n)
        if share > 0:
            first_token_ms(prompt[: n * share // 100])
        return first_token_ms(prompt)

    def figure(work: str, size: int, unit: str, once: Callable[[], float]) -> Figure:
        once()
        return Figure(
            work=work,
            size=size,
            n_threads=info.n_threads,
            unit=unit,
            values=tuple(once() for _ in range(rounds)),
        )

    fitting = [n for n in lengths if n < info.n_ctx] or [info.n_ctx // 2]
    for n in fitting:
        yield figure("prompt", n, "tokens/s", partial(prompt_speed, n))
    for width in widths:
        if width <= info.n_parallel and width * (N_PROMPT + N_GENERATED) <= info.n_ctx:
            yield figure("generation", width, "tokens/s", partial(_generate, llm, width, tokens))
    for share in SHARES:
        yield figure("cached", share, "ms", partial(continued, min(512, fitting[-1]), share))


def _generate(llm: LocalLlmBackend, width: int, tokens: Callable[[int], list[int]]) -> float:
    """The total tokens per second of ``width`` concurrent requests; the time includes their short prompts."""
    prompts = [tokens(N_PROMPT) for _ in range(width)]
    with ThreadPoolExecutor(width) as threads:
        begin = time.perf_counter()
        results = threads.map(
            lambda prompt: llm.call(prompt, max_tokens=N_GENERATED, temperature=0, ignore_eos=True), prompts
        )
        n_generated = sum(result.tokens_used or 0 for result in results)
        return n_generated / (time.perf_counter() - begin)
