"""``tea-llm bench`` and ``tea-llm quantize``, with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from tea_llm import cli
from tea_llm.benchmark import measure


@pytest.fixture
def model(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama", n_embd=256, n_head=8, n_head_kv=8)


def test_bench_measures_each_size(model: Path) -> None:
    with tea_llm.load(model, n_ctx=512, n_threads=1, n_parallel=4) as llm:
        figures = list(measure(llm, rounds=2, lengths=(50, 300, 512), widths=(1, 3, 4, 5)))
        sizes = [(figure.work, figure.size) for figure in figures]
        assert sizes == [
            *(("prompt", 50), ("prompt", 300)),
            *(("generation", 1), ("generation", 3), ("generation", 4)),
            *(("cached", 0), ("cached", 50), ("cached", 100)),
        ]
        assert all(len(figure.values) == 2 and min(figure.values) > 0 for figure in figures)
        assert all(min(figure.values) <= figure.median <= max(figure.values) for figure in figures)
        stats = llm.stats()
        assert stats.generated_tokens == 3 * (2 + (1 + 3 + 4) * 64 + 1 + 2 + 2)
        assert stats.cached_tokens >= 3 * (150 + 299)  # that was what the last three measured


def test_bench(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "bench.png", tmp_path / "bench.json"]
    arguments = ["--rounds", "1", "--threads", "1,2", "--plot", str(files[0]), "--json", str(files[1])]
    assert cli.main(["bench", str(model), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (1 + 10)
    assert lines[0].endswith("1 threads")
    assert "8 concurrent requests, 64 tokens each" in lines[7]
    assert "tokens/s" in lines[7]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    saved = json.loads(files[1].read_text())
    assert saved["model"] == model.stem
    assert [(figure["work"], figure["n_threads"]) for figure in saved["figures"]][9:11] == [
        ("cached", 1),
        ("prompt", 2),
    ]


def test_bench_says_what_is_wrong(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(model), "--threads", "one"]) == 1
    assert "is not a list of integers" in capsys.readouterr().err
    assert cli.main(["bench", str(model), "--rounds", "0"]) == 2


def test_quantize(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.gguf"
    assert cli.main(["quantize", str(model), str(target), "--type", "q8_0"]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: ")
    assert cli.main(["quantize", str(target), str(tmp_path / "x"), "--threads", "1"]) == 1
    assert "requantiz" in capsys.readouterr().err
    assert cli.main(["quantize", str(model), str(target), "--type", "q9"]) == 1
    assert "unknown file type 'q9'" in capsys.readouterr().err
