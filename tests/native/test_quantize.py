"""Model files of other types: what comes out runs, and what goes wrong leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from tea_llm import ModelLoadError, ModelNotFoundError
from tea_llm.quantization import file_types


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.fixture
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama", n_embd=256, n_head=8, n_head_kv=8)  # blocks of 256 weights


@pytest.mark.parametrize("kind", file_types())
def test_every_type_runs(source: Path, tmp_path: Path, kind: str) -> None:
    fractions: list[float] = []
    target = tea_llm.quantize(source, tmp_path / "out.gguf", kind, progress=fractions.append)
    assert target == tmp_path / "out.gguf"
    assert names(tmp_path) == ["out.gguf"]
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)
    with tea_llm.load(target, n_ctx=64, n_threads=1) as llm:
        assert llm.call("Hello", max_tokens=4, ignore_eos=True).tokens_used == 4
        assert llm.info.size_bytes < source.stat().st_size or kind == "f32"


def test_what_is_quantized_already(source: Path, tmp_path: Path) -> None:
    once = tea_llm.quantize(source, tmp_path / "once.gguf", "q8_0")
    with pytest.raises(ModelLoadError, match="requantiz"):
        tea_llm.quantize(once, tmp_path / "twice.gguf", "q4_0")
    assert names(tmp_path) == ["once.gguf"]
    twice = tea_llm.quantize(once, tmp_path / "twice.gguf", "q4_0", allow_requantize=True, n_threads=1)
    assert twice.stat().st_size < once.stat().st_size


def test_a_file_that_is_there_stays_until_the_new_one_is_complete(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    target.write_text("old")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(source.read_bytes()[:-5000])
    with pytest.raises(ModelLoadError):
        tea_llm.quantize(broken, target)
    assert target.read_text() == "old"
    tea_llm.quantize(source, target, "q8_0")
    assert target.read_bytes()[:4] == b"GGUF"


def test_progress_can_end_it(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm._child._POLL_S", 1e-4)

    def stop(fraction: float) -> None:
        raise RuntimeError(f"no more after {fraction}")

    with pytest.raises(RuntimeError, match="no more"):
        tea_llm.quantize(source, tmp_path / "out.gguf", "q8_0", progress=stop)
    assert names(tmp_path) == []


def test_ctrl_c(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    source = tiny_model("llama", n_embd=1024, n_head=8, n_head_kv=8, n_layer=8)
    code = """
        import signal, sys, tea_llm
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tea_llm.quantize(sys.argv[1], sys.argv[2], "q3_k_s", n_threads=1, progress=lambda f: print(f, flush=True))
    """
    child = subprocess.Popen(
        [sys.executable, "-c", code.replace("\n        ", "\n"), source, tmp_path / "out.gguf"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    while child.poll() is None and not any(tmp_path.iterdir()):
        time.sleep(0.001)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    assert names(tmp_path) == []


def test_wrong_arguments(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown file type 'q9': allowed are f32, f16"):
        tea_llm.quantize(source, tmp_path / "x", "q9")
    with pytest.raises(ValueError, match="source and target are the same file"):
        tea_llm.quantize(source, source)
    with pytest.raises(ModelNotFoundError):
        tea_llm.quantize(tmp_path / "none.gguf", tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        tea_llm.quantize(source, tmp_path / "none" / "x")
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    with pytest.raises(ModelLoadError):
        tea_llm.quantize(text, tmp_path / "x")


def test_a_disk_that_is_too_small(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"not enough disk space for .*x: 0\.\d MB are needed, 0\.0 MB are free"):
        tea_llm.quantize(source, tmp_path / "x")
