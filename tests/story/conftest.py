"""The acceptance criteria of the project's first user story, translated from a Rust crate to Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tea_llm
from tea_llm.actions import register_actions

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home directory: a test says itself what there is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    tea_llm.close_all()


@pytest.fixture
def llm_settings(smollm2: Path) -> dict[str, Any]:
    """``settings.llm`` of a workflow that uses the small real model."""
    return {"backend": "local", "model_path": str(smollm2), "n_ctx": 1024, "n_threads": 1}


@pytest.fixture
def run(llm_settings: dict[str, Any]) -> Run:
    """Calls an action by its name, as an engine with these settings does."""
    registry: dict[str, Callable[..., dict[str, Any]]] = {}
    register_actions(registry, SimpleNamespace(llm_settings=llm_settings))

    def run_action(name: str, **params: Any) -> dict[str, Any]:
        return registry[name](state={}, **params)

    return run_action
