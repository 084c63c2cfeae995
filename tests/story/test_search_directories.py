"""AC-11: without a path, ``$APPDIR`` and ``~/.cache/tea/models/`` are searched, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tea_llm import DEFAULT_MODELS, resolve_model_path


def test_bundled_models_come_before_cached_ones(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled, cached = home / "app/usr/share/models", home / ".cache/tea/models"
    monkeypatch.setenv("APPDIR", str(home / "app"))
    assert resolve_model_path() is None
    for directory, names in ((cached, DEFAULT_MODELS), (bundled, DEFAULT_MODELS)):
        directory.mkdir(parents=True)
        for name in reversed(names):  # the first of the list is found, whatever else is there
            (directory / name).touch()
            assert resolve_model_path() == directory / name
    monkeypatch.delenv("APPDIR")
    assert resolve_model_path() == cached / DEFAULT_MODELS[0]
