"""What is measured: token ids, so that every library computes the same. Imports nothing but the standard library."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

N_CTX = 8192
N_SLOTS = 8
WIDTHS = (1, 2, 4, 8, 16, 32)
LENGTHS = (100, 400, 1600, 6400)
SHARES = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Request:
    """A prompt, and how many tokens to generate greedily, whatever the model wants to end."""

    prompt: list[int]
    n_tokens: int


@dataclass(frozen=True)
class Work:
    """Requests that are made at once (or, if they are turns, one after the other).

    Attributes:
        requests: by an index that differs from run to run, so that no run finds the last one's prompts computed.
        is_at_once: whether they may be computed together.
        n_before: of the requests, the first ones, whose time does not count.
        bound: llama.cpp's own program that computes as much and nothing else, with its arguments: no library that
            computes with these kernels in this way takes less time.
    """

    name: str
    what: str
    is_at_once: bool
    n_before: int = 0
    bound: str = ""

    def requests(self, run: int) -> list[Request]:
        """The requests of one run."""
        return _REQUESTS[self.name](random.Random(f"{self.name} {run}"))

    def n_generated(self) -> int:
        """Tokens that a run generates."""
        return sum(request.n_tokens for request in self.requests(0)[self.n_before :])


def _ids(chance: random.Random, n: int) -> list[int]:
    return [chance.randrange(1000, 40000) for _ in range(n)]


def _shared32(chance: random.Random) -> list[Request]:
    prefix = _ids(chance, 701)
    return [Request(prefix + _ids(chance, 16), 16) for _ in range(32)]


def _cached(chance: random.Random, percent: int) -> list[Request]:
    prompt = _ids(chance, 1600)
    before = prompt[: len(prompt) * percent // 100] or _ids(chance, 16)
    return [Request(before, 1), Request(prompt, 1)]


def _turns10(chance: random.Random) -> list[Request]:
    turns, history = [], _ids(chance, 60)
    for _ in range(10):
        turns.append(Request(list(history), 16))
        history += _ids(chance, 16 + 30)  # an answer and the next question
    return turns


_REQUESTS = {
    "single": lambda chance: [Request(_ids(chance, 91), 128)],
    "conc8": lambda chance: [Request(_ids(chance, 91), 64) for _ in range(8)],
    "shared32": _shared32,
    "turns10": _turns10,
    "overhead": lambda chance: [Request(_ids(chance, 8), 1500)],
    **{f"width{n}": lambda chance, n=n: [Request(_ids(chance, 32), 32) for _ in range(n)] for n in WIDTHS},
    **{f"cached{n}": lambda chance, n=n: _cached(chance, n) for n in SHARES},
    **{f"prompt{n}": lambda chance, n=n: [Request(_ids(chance, n), 1)] for n in (512, *LENGTHS)},
    "stream128": lambda chance: [Request(_ids(chance, 1), 128)],
}

WORKS: Mapping[str, Work] = {
    work.name: work
    for work in (
        Work(
            "single",
            "one request: a prompt of 91 tokens, 128 generated",
            is_at_once=False,
            bound="llama-bench -p 0 -n 0 -pg 91,128",
        ),
        Work(
            "conc8",
            "8 requests at once: prompts of 91 tokens, 64 generated each",
            is_at_once=True,
            bound="llama-batched-bench -c 8192 -npp 91 -ntg 64 -npl 8",
        ),
        Work("shared32", "32 requests at once over one prefix of 701 tokens: 16 own, 16 out each", is_at_once=True),
        Work(
            "turns10",
            "a chat of 10 growing turns, 16 tokens generated each",
            is_at_once=False,
            # What each turn adds to what is in the cache, but for the first one's 14 more tokens.
            bound="llama-bench -p 0 -n 0 -pg 46,16 -d " + ",".join(str(14 + 46 * turn) for turn in range(10)),
        ),
        Work(
            "overhead",
            "1500 tokens of a 2-layer model with 49k vocabulary",
            is_at_once=False,
            bound="llama-bench -p 0 -n 0 -pg 8,1500",
        ),
        Work("prompt512", "a prompt of 512 tokens", is_at_once=False, bound="llama-bench -p 512 -n 0"),
        Work("stream128", "one stream: 128 tokens after one", is_at_once=False, bound="llama-bench -p 0 -n 128"),
        *(Work(f"width{n}", f"{n} requests at once, 32 tokens in and out", is_at_once=True) for n in WIDTHS),
        *(Work(f"prompt{n}", f"a prompt of {n} tokens", is_at_once=False) for n in LENGTHS),
        *(
            Work(f"cached{n}", f"a prompt of 1600 tokens, of which {n} % came before", is_at_once=False, n_before=1)
            for n in SHARES
        ),
    )
}
