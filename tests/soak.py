"""A long run of everything at once: `nox -s soak`. Prints what it saw, and fails if that is wrong.

Requests come from threads and from tasks of one event loop, as calls, streams and choices; some are cancelled at random
times, some have deadlines that they cannot keep.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tea_llm
from support.tiny_gguf import write_tiny_model
from tea_llm import GenerationCancelledError, GenerationTimeoutError, LocalLlmBackend
from tea_llm.backends.options import Options

N_THREADS, N_TASKS = 16, 64
CANCELLED, LATE = 1 / 3, 1 / 10


class Soak:
    """One run, and what became of its requests."""

    def __init__(self, llm: LocalLlmBackend, n_requests: int) -> None:
        self.llm = llm
        self.n_left = n_requests
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.resident: list[int] = []
        self.lock = threading.Lock()

    def take(self) -> random.Random | None:
        """The next request's chance; None: there are no more."""
        with self.lock:
            if self.n_left == 0:
                return None
            self.n_left -= 1
            if self.n_left % 50 == 0:
                self.resident.append(resident_bytes())
            return random.Random(self.n_left)

    def ended(self, outcome: str) -> None:
        """A request has ended. It must not do so again."""
        with self.lock:
            self.outcomes[outcome] += 1

    def run_thread(self) -> None:
        """Requests one by one, each cancelled by a timer or not."""
        while (chance := self.take()) is not None:
            prompt, options = request(chance)
            stream = self.llm.stream(prompt, **options)
            timer = threading.Timer(chance.random() * 0.02, stream.cancel) if chance.random() < CANCELLED else None
            if timer is not None:
                timer.start()
            try:
                if chance.random() < 0.5:
                    collections.deque(stream, maxlen=0)
                _ = stream.result
                self.ended("done")
            except GenerationCancelledError:
                self.ended("cancelled")
            except GenerationTimeoutError:
                self.ended("late")
            finally:
                if timer is not None:
                    timer.join()

    async def run_task(self) -> None:
        """The same in an event loop."""
        while (chance := self.take()) is not None:
            prompt, options = request(chance)
            task = asyncio.ensure_future(self.llm.acall(prompt, **options))
            if chance.random() < CANCELLED:
                asyncio.get_running_loop().call_later(chance.random() * 0.02, task.cancel)
            try:
                await task
                self.ended("done")
            except asyncio.CancelledError:
                self.ended("cancelled")
            except GenerationTimeoutError:
                self.ended("late")


def request(chance: random.Random) -> tuple[list[int], Options]:
    """Prompts that share one of three prefixes, or none."""
    root = random.Random(chance.randrange(3))
    prompt = [root.randrange(10, 200) for _ in range(chance.choice([0, 40, 150]))]
    prompt += [chance.randrange(10, 200) for _ in range(chance.randrange(1, 60))]
    options: Options = {
        "max_tokens": chance.randrange(1, 60),
        "n": chance.choice([1, 1, 1, 3]),
        "priority": chance.randrange(-1, 2),
        "ignore_eos": chance.random() < 0.5,
        "stop": chance.choice([None, "a", "the"]),
    }
    if chance.random() < LATE:
        options["timeout"] = chance.random() * 0.01 + 1e-6
    return prompt, options


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def run_tasks(soak: Soak) -> None:
    """All tasks in this loop."""
    await asyncio.gather(*(soak.run_task() for _ in range(N_TASKS)))


def run(arch: str, n_requests: int, prompt_lookup: int) -> bool:
    """One architecture; prints a line, and says whether all was right."""
    with tempfile.TemporaryDirectory() as directory:
        path = write_tiny_model(Path(directory) / "model.gguf", arch)
        with tea_llm.load(path, n_ctx=1024, n_parallel=8, n_threads=1, prompt_lookup=prompt_lookup) as llm:
            begin = time.monotonic()
            soak = Soak(llm, n_requests)
            threads = [threading.Thread(target=soak.run_thread) for _ in range(N_THREADS)]
            for thread in threads:
                thread.start()
            asyncio.run(run_tasks(soak))
            for thread in threads:
                thread.join()
            stats = llm.stats()
            half = soak.resident[len(soak.resident) // 2 :]
            growth = half[-1] / half[0] - 1
            is_right = (
                sum(soak.outcomes.values()) == n_requests
                and stats.running == stats.waiting == stats.cells_used == 0
                and stats.cells_idle + stats.cells_free == stats.cells
                and growth < 0.02
            )
            seconds = time.monotonic() - begin
            print(f"{arch}: {'right' if is_right else 'WRONG'}: {dict(soak.outcomes)} in {seconds:.0f} s")
            print(f"    memory grew by {growth:.2%} over the second half, to {half[-1] / 2**20:.0f} MiB; {stats}")
            return is_right


def main() -> None:
    """All kinds of memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2000)
    n_requests = parser.parse_args().requests
    kinds = {"llama": 0, "qwen2": 8, "gemma3": 0, "mamba": 0}
    results = [run(arch, n_requests, prompt_lookup) for arch, prompt_lookup in kinds.items()]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
