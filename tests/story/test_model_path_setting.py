"""AC-10: ``settings.llm.model_path`` says where the GGUF file is."""

from __future__ import annotations

from pathlib import Path

import pytest

import tea_llm


def test_home_and_variables_are_expanded(home: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "models").mkdir()
    (home / "models" / "mine.gguf").symlink_to(smollm2)
    monkeypatch.setenv("MODELS", str(home / "models"))
    for written in ("~/models/mine.gguf", "$MODELS/mine.gguf", "${MODELS}/mine.gguf"):
        settings = {"llm": {"backend": "local", "model_path": written, "n_ctx": 256, "n_threads": 1}}
        with tea_llm.create_llm_backend(settings) as llm:
            assert llm.call("Hi", max_tokens=1).model == "mine"


def test_a_missing_file_is_a_warning(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert tea_llm.resolve_model_path({"llm": {"model_path": "~/none.gguf"}}) is None
    assert "settings.llm.model_path is set, but" in caplog.text
