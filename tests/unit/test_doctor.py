"""``tea-llm doctor``: what it finds, and what it makes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from tea_llm import cli, diagnosis
from tea_llm.diagnosis import Check, diagnose

KEY = "sk-verysecretindeed"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and an environment that names no API."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_", "OLLAMA_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's answer of this machine, asked once; the test of the child itself takes the real one."""
    monkeypatch.setattr(diagnosis, "_ask_child", lambda: NATIVE)


NATIVE: dict[str, Any] = {
    "variants": [
        {"name": "zen4", "score": 2000, "is_in_use": True},
        {"name": "haswell", "score": 63, "is_in_use": False},
        {"name": "sapphirerapids", "score": 0, "is_in_use": False},
    ],
    "kernels": "CPU : AVX512 = 1",
    "limits": {
        "n_cpus": 8,
        "n_cpus_allowed": 4,
        "n_physical_cores": 2,
        "quota_cores": 1.5,
        "free_memory": 8_000_000_000,
        "free_group_memory": 2_000_000_000,
    },
    "n_threads": 1,
    "devices": [{"name": "CPU", "description": "A processor", "memory_bytes": 1}],
    "self_test": [{"type": "q8_0", "error": 0.01, "gflops": 42.0}],
}


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def put_model(home: Path) -> Path:
    path = home / ".cache" / "tea" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(16))  # a header that announces nothing
    return path


def test_neither_model_nor_api_is_a_problem() -> None:
    checks = by_name(diagnose())
    assert [name for name, check in checks.items() if check.problem] == ["model"]
    assert "tea-llm pull smollm2-135m" in str(checks["model"].problem)


def test_a_model_is_enough(home: Path) -> None:
    path = put_model(home)
    checks = by_name(diagnose())
    assert not [check for check in checks.values() if check.problem]
    assert checks["model"].facts["path"] == str(path)


def test_a_configured_model_that_is_missing_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model or an API would answer; and nobody would notice."""
    put_model(home)
    monkeypatch.setenv("TEA_MODEL_PATH", str(home / "gone.gguf"))
    for strict in (False, True):
        llm = {"api_url": "http://127.0.0.1:9/v1", "model": "m", "strict": strict}
        check = by_name(diagnose({"llm": llm}))["configured model"]
        assert check.summary.startswith("TEA_MODEL_PATH is set, but")
        assert "gone.gguf is not a model file: no such file: correct or remove the path" in str(check.problem)


def test_an_api_is_enough_and_its_key_is_not_shown() -> None:
    checks = diagnose({"llm": {"api_url": "http://127.0.0.1:9/v1", "api_key": KEY, "model": "m"}})
    assert not [check for check in checks if check.problem]
    api = by_name(checks)["API"]
    assert api.facts["has_key"] is True
    assert api.summary == "openai, m at http://127.0.0.1:9/v1, with a key"
    assert KEY not in repr(checks)


def test_an_api_that_cannot_be_used_is_a_problem() -> None:
    checks = by_name(diagnose({"llm": {"api_url": "http://127.0.0.1:9/v1", "provider": "ollama"}}))
    assert "model is required" in str(checks["API"].problem)


def test_it_says_where_threads_and_memory_come_from() -> None:
    checks = by_name(diagnose())
    assert checks["threads"].summary == (
        "1: 2 physical cores in 4 of 8 CPUs that this process may use; a cgroup's quota of 1.5 cores"
    )
    assert checks["memory"].summary == "8.0 GB free, 2.0 GB of it in this process's cgroup"
    assert checks["CPU kernels"].summary == "zen4: of 3 variants; haswell would also run"


@pytest.mark.parametrize("error", [0.5, None])
def test_wrong_kernels_are_a_problem(monkeypatch: pytest.MonkeyPatch, error: float | None) -> None:
    monkeypatch.setitem(NATIVE, "self_test", [{"type": "q4_K", "error": error, "gflops": 1.0}])
    assert "q4_K" in str(by_name(diagnose())["self-test"].problem)


def test_a_child_that_dies_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    program = tmp_path / "child"
    program.write_text("#!/bin/sh\nkill -ILL $$\n")
    program.chmod(0o755)
    monkeypatch.setattr("tea_llm._child._program", lambda: program)
    checks = by_name(diagnose())
    assert "died of signal 4" in str(checks["engine"].problem)
    assert "self-test" not in checks


def test_the_command(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "! model" in printed
    assert "no model file and no API" in printed
    put_model(home)
    assert cli.main(["doctor", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in checks] == [
        "installation", "CPU kernels", "threads", "memory", "devices", "self-test", "model", "API",
    ]  # fmt: skip
    assert checks[0]["facts"]["tea_llm"] == tea_llm.__version__


def test_settings_of_a_workflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow = tmp_path / "flow.yaml"
    workflow.write_text(f"settings: {{llm: {{api_url: 'http://127.0.0.1:9/v1', model: m, api_key: {KEY}}}}}\nnodes: []")
    assert cli.main(["doctor", "--settings", str(workflow)]) == 0
    printed = capsys.readouterr().out
    assert "openai, m at http://127.0.0.1:9/v1, with a key" in printed
    assert KEY not in printed
