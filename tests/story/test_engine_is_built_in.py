"""AC-8: an installation has local models unless it is told otherwise; it says which it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import tea_llm
from tea_llm import _native


def test_the_engine_is_built_in(smollm2: Path) -> None:
    assert _native.IS_NATIVE
    assert tea_llm.is_local_llm_available({"llm": {"model_path": str(smollm2)}})


def test_load_without_the_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.backends.local.loading._core", _native._Missing("not built"))
    with pytest.raises(tea_llm.LocalBackendUnavailableError, match="pip install"):
        tea_llm.load()
