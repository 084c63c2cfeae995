"""``tea-llm inspect``: what it says of a file, and that its estimate is llama.cpp's truth."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from support.malformed import MALFORMED
from support.tiny_gguf import ARCHS, HYBRIDS, write_tiny_model
from tea_llm import cli, diagnosis
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.inspection import inspect_model, problem_with
from tea_llm.paths import models_dir
from tea_llm.settings import LlmSettings


@pytest.mark.parametrize("arch", [arch for arch in ARCHS + HYBRIDS if arch != "bert"])
@pytest.mark.parametrize(("cache_type", "n_ctx"), [("f16", 1536), ("f32", 640)])
def test_memory_is_counted_as_llama_cpp_takes_it(
    tiny_model: Callable[..., Path], arch: str, cache_type: str, n_ctx: int, caplog: pytest.LogCaptureFixture
) -> None:
    """By ``inspect`` and by the engine that plans with it: layers, heads, windows and states of every kind."""
    path = tiny_model(arch, n_layer=22 if arch == "gemma3n" else 6)
    options = {"n_ctx": n_ctx, "n_parallel": 3, "cache_type_k": cache_type, "cache_type_v": cache_type}
    with caplog.at_level(logging.DEBUG, "tea_llm.llama"), tea_llm.load(path, **options) as llm:  # type: ignore[arg-type]
        llm.call([1], max_tokens=1)
        lines = [record.getMessage() for record in caplog.records]
        planned = llm._engine.cache_bytes / 2**20
    taken = {
        kind: [float(size) for line in lines for size in re.findall(rf"{kind} buffer size =\s*([\d.]+) MiB", line)]
        for kind in ("KV", "RS", "compute")
    }
    estimate = inspect_model(path, **options).memory  # type: ignore[arg-type]
    assert estimate is not None
    caches = taken["KV"] + taken["RS"]
    assert caches
    assert planned == estimate.cache / 2**20 == pytest.approx(sum(caches), abs=0.006 * len(caches))  # two decimals
    assert estimate.compute / 2**20 == pytest.approx(sum(taken["compute"]), rel=0.03)


def test_it_says_what_a_model_is_good_for(tiny_model: Callable[..., Path]) -> None:
    assert inspect_model(tiny_model("llama")).uses == ("generate", "embed")
    assert inspect_model(tiny_model("bert")).uses == ("embed",)
    file = inspect_model(tiny_model("llama"))
    assert file.architecture == "llama"
    assert file.memory is not None
    assert file.memory.weights == sum(file.types.values()) <= file.size_bytes
    assert file.memory.total > file.memory.weights
    with tea_llm.load(file.path) as llm:
        assert llm.info.n_params == file.n_params
        assert llm.info.n_ctx_train == file.number("context_length")


@pytest.mark.parametrize("kind", sorted(MALFORMED))
def test_malformed_files_raise_or_are_described(kind: str, tmp_path: Path) -> None:
    """Some are whole as files: what is wrong with them is for ``load`` to say."""
    path = MALFORMED[kind](tmp_path / "bad.gguf")
    problem = ""
    try:
        assert inspect_model(path).size_bytes > 0
    except (ModelLoadError, ModelNotFoundError) as error:
        problem = str(error)
    assert not problem or str(path) in problem


def test_a_file_that_is_cut_off_is_told(
    tiny_model: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_model("llama").read_bytes()
    monkeypatch.setenv("HOME", str(tmp_path))
    path = models_dir() / "cut.gguf"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("TEA_MODEL_PATH", str(path))
    path.write_bytes(whole)
    assert inspect_model(path).missing_bytes == 0
    assert problem_with(path) is None
    path.write_bytes(whole[:-100_000])
    assert inspect_model(path).missing_bytes == pytest.approx(100_000, abs=64)  # of padding
    assert inspect_model(path).uses == ("generate", "embed")
    said = "truncated: 0.1 MB of 0.5 MB are missing"
    assert problem_with(path) == said
    assert cli.main(["inspect", str(path)]) == 1
    assert "is truncated: 0.1 MB are missing at its end" in capsys.readouterr().err
    assert cli.main(["inspect", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing_bytes"] > 0
    assert cli.main(["models"]) == 0
    assert said in capsys.readouterr().out
    check = diagnosis._check_model(LlmSettings.parse(None), can_look=True)
    assert check.problem == f"{path} is {said}. Download it again with 'tea-llm pull'"
    path.write_bytes(whole[:100])
    assert problem_with(path) == "damaged"
    assert cli.main(["models"]) == 0
    assert "damaged" in capsys.readouterr().out


def test_parts_must_all_be_there(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    whole = inspect_model(tiny_model("llama"))
    first = write_tiny_model(tmp_path / "model.gguf", tensors_a_file=20)
    second = tmp_path / "model-00002-of-00002.gguf"
    for part in (first, second):
        described = inspect_model(part)
        assert (described.n_files, described.n_params, described.types) == (2, whole.n_params, whole.types)
        assert described.path == first
        assert described.architecture == "llama"
    second.rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(ModelNotFoundError, match=r"missing beside it: model-00002-of-00002\.gguf"):
        inspect_model(first)


def test_bad_arguments(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="cache_type_k='q9' is not one of f32"):
        inspect_model(tiny_model("llama"), cache_type_k="q9")
    with pytest.raises(ValueError, match="n_ctx=0 must be 1 or more"):
        inspect_model(tiny_model("llama"), n_ctx=0)
    with pytest.raises(ModelNotFoundError):
        inspect_model("no.gguf")


def test_the_command(tiny_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tiny_model("llama"))
    assert cli.main(["inspect", path, "--ctx", "512"]) == 0
    printed = capsys.readouterr().out
    assert "generate, embed" in printed
    assert "for 512 tokens: weights" in printed
    assert cli.main(["inspect", path, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["metadata"]["general.architecture"] == "llama"
    assert facts["memory_bytes"]["total"] == sum(
        facts["memory_bytes"][part] for part in ("weights", "cache", "compute")
    )


def test_json_has_no_nan(tiny_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tiny_model("llama", overrides={"general.a": float("nan"), "general.b": float("inf")}))
    assert cli.main(["inspect", path, "--json"]) == 0
    printed = capsys.readouterr().out
    assert "NaN" not in printed
    assert "Infinity" not in printed
    assert json.loads(printed)["metadata"]["general.a"] is None
