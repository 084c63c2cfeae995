"""`nox -s fuzz`: random inputs for TEA_LLM_FUZZ_MINUTES (default 20), shared equally by the tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from support import fuzzing

settings.register_profile(
    "fuzz", derandomize=False, deadline=None, max_examples=200, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    minutes = float(os.environ.get("TEA_LLM_FUZZ_MINUTES", "20"))
    fuzzing.seconds_per_test = minutes * 60 / max(1, len(items))
