"""Model files with odd metadata: refused, or loaded and used; the process lives and nothing foreign is raised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fuzzing import fuzz
from support.odd_metadata import USE, VALUES, keys_of, write_odd
from support.subject import Subject, is_fault
from support.tiny_gguf import write_tiny_model

ARCHS = ("llama", "qwen2", "gemma3", "phi3", "mamba", "bert")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The keys of each architecture."""
    directory = tmp_path_factory.mktemp("models")
    return {arch: keys_of(write_tiny_model(directory / f"{arch}.gguf", arch), arch) for arch in ARCHS}


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    with Subject(USE) as subject:
        yield subject


@pytest.mark.parametrize("arch", ARCHS)
@fuzz
@given(data=st.data(), n_changes=st.integers(1, 3))
def test_odd_values(
    keys: dict[str, list[str]],
    subject: Subject,
    tmp_path_factory: pytest.TempPathFactory,
    arch: str,
    data: st.DataObject,
    n_changes: int,
) -> None:
    changes = {
        data.draw(st.sampled_from(keys[arch]), label="key"): data.draw(
            st.sampled_from(VALUES) | st.integers(-(2**31), 2**32 - 1), label="value"
        )
        for _ in range(n_changes)
    }
    changes.pop("general.architecture", None)  # the writer needs it
    told = subject.tell(str(write_odd(tmp_path_factory.getbasetemp() / "odd.gguf", arch, changes)))
    assert not is_fault(told), (changes, told)
