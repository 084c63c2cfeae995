"""Files as users have them: in parts, with odd names, behind links, not readable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from support.tiny_gguf import Tensors, write_tiny_model
from tea_llm import LocalLlmBackend, ModelLoadError, ModelNotFoundError


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    first = write_tiny_model(tmp_path / "big.gguf", tensors_a_file=8)
    return sorted(first.parent.glob("big-*"))


def load(path: Path) -> LocalLlmBackend:
    return tea_llm.load(path, n_ctx=128, n_threads=1)


def answer(path: Path) -> str:
    with load(path) as llm:
        return llm.call("Hello", max_tokens=8, temperature=0).content


def test_a_model_in_parts_is_one_model(parts: list[Path], tiny_model: Callable[..., Path]) -> None:
    assert [path.name for path in parts] == [f"big-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    with load(parts[0]) as llm:
        assert llm.info.name == llm.call("Hello", max_tokens=1).model == "big"
    assert answer(parts[0]) == answer(tiny_model())


def test_a_later_part_names_the_first(parts: list[Path]) -> None:
    for path in parts[1:]:
        with pytest.raises(ModelLoadError, match=r"later part of a model in 3 files: give the path of the first"):
            load(path)


def test_a_missing_part_is_named(parts: list[Path]) -> None:
    parts[2].unlink()
    with pytest.raises(ModelLoadError, match=r"big-00003-of-00003\.gguf"):
        load(parts[0])


def test_a_renamed_first_part(parts: list[Path]) -> None:
    with pytest.raises(ModelLoadError, match=r"it is the first of 3 parts, and its name does not end"):
        load(parts[0].rename(parts[0].with_name("mine.gguf")))


def test_a_poisoned_later_part(tmp_path: Path) -> None:
    def poison(tensors: Tensors) -> None:
        name = next(name for name in tensors if name.endswith("ffn_norm.weight"))
        tensors[name] = tensors[name].astype("float16")

    first = write_tiny_model(tmp_path / "big.gguf", tensors_a_file=1, edit=poison)
    with pytest.raises(ModelLoadError, match=r"ffn_norm\.weight is of type f16"):
        load(first)


@pytest.mark.parametrize(
    "name", ["A MODEL.GGUF", "mit Leerzeichen und ü.gguf", "no-ending", "日本.gguf", "a'b\"c$d.gguf"]
)
def test_odd_names(tmp_path: Path, tiny_model: Callable[..., Path], name: str) -> None:
    path = tmp_path / name
    shutil.copy(tiny_model(), path)
    with load(path) as llm:
        assert llm.info.path == str(path)
    linked = tmp_path / "link.gguf"
    linked.symlink_to(path)
    with load(linked) as llm:
        assert llm.info.path == str(linked)  # links are kept
        assert llm.info.name == "link"


def test_what_is_no_file(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    shutil.copy(tiny_model(), tmp_path / "a.gguf")
    with pytest.raises(ModelNotFoundError, match=r"is a directory: give the path of a file in it\. It holds a\.gguf"):
        load(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("loop", "Too many levels"), ("pipe", "not a regular file"), ("none", "no such file")):
        with pytest.raises(ModelNotFoundError, match=words):
            load(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = tmp_path / "secret.gguf"
    shutil.copy(tiny_model(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads what it likes
        assert answer(path)
        return
    with pytest.raises(ModelLoadError, match="Permission denied"):
        load(path)
