"""AC-5: the model's path comes from the YAML's settings or the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

import tea_llm
from tea_llm import LlmSettings, resolve_model_path

YAML = """
settings:
  llm:
    backend: local
    model_path: {path}
    n_ctx: 512
nodes: []
"""


def test_the_environment_comes_before_the_yaml(smollm2: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = home / "workflow.yaml"
    workflow.write_text(YAML.format(path=smollm2))
    settings = LlmSettings.from_yaml(workflow)
    assert resolve_model_path(settings) == smollm2
    other = home / "other.gguf"
    other.symlink_to(smollm2)
    monkeypatch.setenv("TEA_MODEL_PATH", str(other))
    assert resolve_model_path(settings) == other  # the environment comes first
    with tea_llm.create_llm_backend(settings) as llm:
        assert llm.call("The capital of France is", max_tokens=2, temperature=0).model == "other"
