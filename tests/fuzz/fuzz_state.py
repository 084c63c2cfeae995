"""State files that were changed anywhere and given the right checksum: refused or taken, and the process lives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tea_llm
from support.forged_state import PROMPT, USE, forge
from support.fuzzing import fuzz
from support.subject import Subject, is_fault
from support.tiny_gguf import write_tiny_model

ARCHS = ("llama", "gemma3", "mamba")
NUMBERS = st.integers(-3, 400) | st.sampled_from([2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 10**30, -(2**31)])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SIZES = st.lists(st.lists(NUMBERS, min_size=1, max_size=3), max_size=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model and a state file for each architecture."""
    files = tmp_path_factory.mktemp("states")
    for arch in ARCHS:
        model = write_tiny_model(files / f"{arch}.gguf", arch)
        with tea_llm.load(model, n_ctx=512, n_parallel=2, n_threads=1) as llm:
            llm.call(PROMPT, max_tokens=2, ignore_eos=True)
            assert llm.save_state(files / f"{arch}.state") > 0
    return files


@pytest.fixture(scope="module")
def subject(files: Path) -> Iterator[Subject]:
    with Subject(USE.format(models=str(files), prompt=PROMPT)) as subject:
        yield subject


def _try(subject: Subject, files: Path, arch: str, content: bytes) -> None:
    path = files / f"forged-{os.getpid()}.state"
    path.write_bytes(content)
    told = subject.tell(f"{arch} {path}")
    assert not is_fault(told), told


def _state(files: Path, arch: str) -> bytes:
    return (files / f"{arch}.state").read_bytes()


@fuzz
@given(arch=st.sampled_from(ARCHS), sizes=SIZES | JSON, keeps=st.booleans())
def test_changed_sizes(files: Path, subject: Subject, arch: str, sizes: Any, keeps: bool) -> None:
    def change(header: dict[str, Any], body: bytes) -> tuple[object, bytes]:
        return header | {"sizes": header["sizes"] + sizes if keeps and isinstance(sizes, list) else sizes}, body

    _try(subject, files, arch, forge(_state(files, arch), change))


@fuzz
@given(arch=st.sampled_from(ARCHS), header=JSON | st.binary(max_size=40) | st.just(b"[" * 200_000))
def test_changed_headers(files: Path, subject: Subject, arch: str, header: object) -> None:
    _try(subject, files, arch, forge(_state(files, arch), lambda _, body: (header, body)))


@fuzz
@given(arch=st.sampled_from(ARCHS), data=st.data(), change=NUMBERS)
def test_overwritten_bodies(files: Path, subject: Subject, arch: str, data: st.DataObject, change: int) -> None:
    """Four bytes of the token ids or of llama.cpp's state are overwritten, its beginning most of all."""
    original = _state(files, arch)

    def overwrite(header: dict[str, Any], body: bytes) -> tuple[object, bytes]:
        n_tokens = header["sizes"][0][0]
        place = data.draw(st.integers(0, 4 * n_tokens + 1200) | st.integers(0, len(body) - 4))
        return header, body[:place] + (change % 2**32).to_bytes(4, "little") + body[place + 4 :]

    _try(subject, files, arch, forge(original, overwrite))


@fuzz
@given(arch=st.sampled_from(ARCHS), n_cut=st.integers(1, 5000), repeats=st.integers(0, 2))
def test_shortened_and_lengthened_bodies(files: Path, subject: Subject, arch: str, n_cut: int, repeats: int) -> None:
    """Less or more state than there was, as the header says."""

    def change(header: dict[str, Any], body: bytes) -> tuple[object, bytes]:
        n_tokens, _ = header["sizes"][0]
        cut = body[: max(4 * n_tokens + 1, len(body) - n_cut)] + body[-n_cut:] * repeats
        return header | {"sizes": [[n_tokens, len(cut) - 4 * n_tokens]]}, cut

    _try(subject, files, arch, forge(_state(files, arch), change))


def test_the_unchanged_file_is_taken(files: Path, subject: Subject) -> None:
    """The untouched one is taken: what the others say of changed ones means something."""
    for arch in ARCHS:
        _try(subject, files, arch, forge(_state(files, arch), lambda header, body: (header, body)))
        assert subject.tell(f"{arch} {files / arch}.state") == "ok | ok"
