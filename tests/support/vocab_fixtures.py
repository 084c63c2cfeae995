"""llama.cpp's vocabulary fixtures: texts, and the ids that the original tokenizers give for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LLAMA_CPP = Path(__file__).resolve().parents[2] / "vendor" / "llama.cpp"
SEPARATOR = "\n__ggml_vocab_test__\n"


class VocabCase(NamedTuple):
    """One vocabulary with its expected encodings, made with add_special=False and parse_special=False."""

    name: str
    path: Path
    texts: list[tuple[str, list[int]]]


def cases() -> Iterator[VocabCase]:
    """Every vocabulary-only GGUF in llama.cpp's tree that comes with fixtures, by name.

    Raises:
        FileNotFoundError: The tree or its fixtures are missing.
    """
    inputs = sorted((LLAMA_CPP / "models").glob("ggml-vocab-*.gguf.inp"))
    if not inputs:
        raise FileNotFoundError(f"no vocabulary fixtures in {LLAMA_CPP / 'models'}: `python vendor/fetch.py` gets them")
    for path in inputs:
        model = path.with_suffix("")
        yield VocabCase(model.stem.removeprefix("ggml-vocab-"), model, read_fixture(model))


def read_fixture(model: Path) -> list[tuple[str, list[int]]]:
    """The texts of ``model``.inp with the ids of ``model``.out, read as tests/test-tokenizer-0.cpp reads them.

    A separator stands after each text (at the end of the file it may be missing); line n of the other file holds the
    ids of text n, none for the empty text.
    """
    texts = Path(f"{model}.inp").read_bytes().decode().split(SEPARATOR)
    if not texts[-1]:
        del texts[-1]
    lines = Path(f"{model}.out").read_text().split("\n")
    if not lines[-1]:
        del lines[-1]
    if len(texts) != len(lines):
        raise ValueError(f"{model}: {len(texts)} texts, but the ids of {len(lines)}")
    return [(text, [int(number) for number in line.split()]) for text, line in zip(texts, lines, strict=True)]
