"""``tea-llm-child``, in which files and kernels are tried: it runs no code but ours, and only its word is success."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from tea_llm import LlmError, LocalBackendUnavailableError, ModelLoadError, _child, diagnosis

Tiny = Callable[..., Path]


@pytest.fixture
def source(tiny_model: Tiny) -> Path:
    return tiny_model("llama")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is there once any code of the working directory, or ``sys.executable``, was run."""
    marker, directory = tmp_path / "was run", tmp_path / "hostile"
    directory.mkdir()
    for name in ("numpy", "json", "subprocess", "tea_llm", "sitecustomize"):
        (directory / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    program = directory / "program"
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    monkeypatch.chdir(directory)
    monkeypatch.setenv("PYTHONPATH", ".")
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    return marker


def child_that(monkeypatch: pytest.MonkeyPatch, path: Path, script: str, mode: int = 0o755) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    monkeypatch.setattr(_child, "_program", lambda: path)


def test_no_code_but_ours_is_run(source: Path, marker: Path, tmp_path: Path) -> None:
    with tea_llm.load(source, n_ctx=64, probe=True) as llm:
        assert llm.info.n_vocab > 0
    target = tea_llm.quantize(source, tmp_path / "out.gguf", "q8_0")
    assert target.read_bytes()[:4] == b"GGUF"
    assert {"variants", "kernels", "limits", "n_threads", "devices", "self_test"} == set(diagnosis._ask_child())
    assert not marker.exists()


def test_paths_with_any_bytes(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / os.fsdecode(b"caf\xe9 \xc3\xa9.gguf")
    copy.write_bytes(source.read_bytes())
    tea_llm.load(copy, n_ctx=64, probe=True).close()
    assert tea_llm.quantize(copy, copy.with_suffix(".q8.gguf"), "q8_0").is_file()


def test_a_source_is_loaded_by_the_child_alone(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header can be read and the model cannot be loaded, so the error must be the child's."""
    unknown = tmp_path / "unknown.gguf"
    unknown.write_bytes(source.read_bytes().replace(b"llama", b"llamb"))
    with pytest.raises(ModelLoadError, match="llamb"):
        tea_llm.load(unknown)
    child_that(monkeypatch, tmp_path / "child", """echo '{"error": "of the child"}'; exit 1""")
    with pytest.raises(LlmError, match="of the child"):
        tea_llm.quantize(unknown, tmp_path / "out.gguf", "q8_0")


@pytest.mark.parametrize("script", ["exit 0", "echo ok", "echo '{}'", """echo '{"result": {}}'; exit 3"""])
def test_only_its_word_is_success(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    child_that(monkeypatch, tmp_path / "child", script)
    with pytest.raises(ModelLoadError, match="ended without an answer"):
        tea_llm.load(source, probe=True)
    with pytest.raises(ModelLoadError, match="ended without an answer"):
        tea_llm.quantize(source, tmp_path / "out.gguf", "q8_0")
    assert "ended without an answer" in diagnosis._ask_child()["problem"]
    assert not (tmp_path / "out.gguf").exists()


def test_a_file_that_crashes_llama_cpp(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that(monkeypatch, tmp_path / "child", "echo 'last words' >&2; kill -SEGV $$")
    with pytest.raises(ModelLoadError, match=r"(?s)tried in a child process, which died of signal 11:\nlast words"):
        tea_llm.load(source, probe=True)


def test_a_damaged_file(source: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(source.read_bytes()[:-5000])
    with pytest.raises(ModelLoadError, match=r"(?s)tried in a child process, which failed:\n.*broken\.gguf"):
        tea_llm.load(broken, probe=True)


def test_a_missing_child_is_said(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that(monkeypatch, tmp_path / "child", "exit 0", mode=0o644)
    with pytest.raises(LocalBackendUnavailableError, match=r"child does not start: Permission denied.*with pip"):
        tea_llm.load(source, probe=True)
    monkeypatch.undo()
    monkeypatch.setattr("tea_llm._child._core", type("Moved", (), {"__file__": str(tmp_path / "_core.so")}))
    with pytest.raises(LocalBackendUnavailableError, match=r"tea-llm-child is missing.*with pip"):
        tea_llm.load(source, probe=True)
    with pytest.raises(LocalBackendUnavailableError, match="is missing"):
        tea_llm.quantize(source, tmp_path / "out.gguf", "q8_0")


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that(monkeypatch, tmp_path / "child", "exec sleep 60")
    with pytest.raises(TimeoutError, match="did not end within"):
        _child.run("kernels", "1", timeout=0.3)


def test_it_ends_with_its_parent() -> None:
    child = subprocess.Popen([_child._program(), "kernels", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.communicate(timeout=20)  # closes its input
    assert child.returncode == 1
