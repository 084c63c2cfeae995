"""A local model, and a server on loopback that lets it answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import LocalLlmBackend


@pytest.fixture(scope="module")
def local(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=4, n_threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def server(local: LocalLlmBackend) -> Iterator[OpenAiServer]:
    with OpenAiServer(local) as running:
        yield running
