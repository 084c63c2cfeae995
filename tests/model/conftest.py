"""The real model, loaded once. On one thread: two that wait for each other crawl when the machine is busy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tea_llm


@pytest.fixture(scope="session")
def llm(smollm2: Path) -> Iterator[tea_llm.LocalLlmBackend]:
    with tea_llm.load(smollm2, n_ctx=2048, n_threads=1) as loaded:
        yield loaded
