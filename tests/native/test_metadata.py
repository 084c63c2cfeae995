"""Every key of a model's metadata missing, of another type, empty or huge: an error or a model, never the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.odd_metadata import USE, keys_of, write_odd
from support.subject import Subject, is_fault

FEW = (None, "text", 0, [1, 2], 2**32 - 1)  # tests/fuzz/fuzz_metadata.py has more, and combinations


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    with Subject(USE) as subject:
        yield subject


@pytest.mark.parametrize("value", FEW, ids=["missing", "text", "0", "list", "huge"])
def test_any_value_of_a_metadata_key_is_contained(
    tiny_model: Callable[..., Path], tmp_path: Path, subject: Subject, value: object
) -> None:
    good = tiny_model("llama")
    assert subject.tell(str(good)) == "ok | ok | ok | ok | ok"
    faults = {}
    for key in keys_of(good, "llama"):
        if key != "general.architecture":  # the writer needs it
            told = subject.tell(str(write_odd(tmp_path / "odd.gguf", "llama", {key: value})))
            if is_fault(told):
                faults[key] = told
    assert not faults
