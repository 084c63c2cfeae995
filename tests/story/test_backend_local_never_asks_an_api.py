"""AC-9: ``settings.llm.backend: local`` in a workflow's YAML means local, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tea_llm.workflow as workflow

YAML = """
settings:
  llm: {{backend: {backend}, model_path: {path}, n_ctx: 512, n_threads: 1, api_url: "http://127.0.0.1:9/v1", model: m}}
nodes:
  - name: answer
    action: llm.call
    params: {{prompt: "The capital of France is", max_tokens: 4, temperature: 0}}
    output: result
"""


def test_backend_local_loads_the_model(smollm2: Path) -> None:
    state: dict[str, Any] = workflow.loads(YAML.format(backend="local", path=smollm2)).run({})
    assert state["result"]["backend"] == "local"
    assert "Paris" in state["result"]["content"]


def test_an_unknown_backend_is_an_error(smollm2: Path) -> None:
    with pytest.raises(workflow.WorkflowError, match="'lokal' is not one of 'auto', 'local', 'api'"):
        workflow.loads(YAML.format(backend="lokal", path=smollm2))
