"""AC-6: an API answers when there is no local model, and the result says so."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm.actions import register_actions
from tea_llm.testing import MockBackend


def test_backend_auto_goes_to_the_api(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with OpenAiServer(MockBackend(["from afar"])) as server:
        llm_settings = {"backend": "auto", "model_path": "~/none.gguf", "api_url": server.url, "model": "m"}
        registry: dict[str, Any] = {}
        register_actions(registry, SimpleNamespace(llm_settings=llm_settings))
        result = registry["llm.chat"](state={}, prompt="Hi")
    assert (result["content"], result["backend"]) == ("from afar", "api")
    assert "No local model found" in caplog.text
    assert "The API is used instead of a local model" in caplog.text


def test_backend_local_does_not_go_to_the_api(home: Path) -> None:
    settings = {"llm": {"backend": "local", "api_url": "http://127.0.0.1:9/v1", "model": "m"}}
    with pytest.raises(tea_llm.ModelNotFoundError, match="Searched:"):
        tea_llm.create_llm_backend(settings)
