"""``tea-llm embed``, with a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tea_llm
from tea_llm import cli

Vectors = NDArray[np.float32]
TEXTS = ["one", "two words", "", "naïve 🙂"]


@pytest.fixture
def model(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("bert")


@pytest.fixture
def expected(model: Path) -> Vectors:
    with tea_llm.load(model, n_threads=1) as llm:
        return llm.embed(TEXTS)


def run(*arguments: str | Path) -> int:
    return cli.main(["embed", *map(str, arguments), "--threads", "1"])


def test_lines_to_npy(model: Path, expected: Vectors, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_bytes("one\r\ntwo words\n\nnaïve 🙂".encode())
    out = tmp_path / "vectors.npy"
    assert run(tmp_path / "texts.txt", "--gguf", model, "--out", out) == 0
    np.testing.assert_allclose(np.load(out), expected, atol=1e-5)
    assert capsys.readouterr().out == ""
    assert run(tmp_path / "texts.txt", "--gguf", model, "--out", out, "--dimensions", "8") == 0
    assert np.load(out).shape == (4, 8)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "texts.txt", out]


def test_json_lines(model: Path, expected: Vectors, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = [json.dumps({"id": 7, "body": text}) for text in TEXTS[:2]] + [json.dumps(text) for text in TEXTS[2:]]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    out = tmp_path / "vectors.jsonl"
    for arguments in ((), ("--out", out)):
        assert run(tmp_path / "texts.jsonl", "--gguf", model, "--field", "body", *arguments) == 0
        written = out.read_bytes() if arguments else capsysbinary.readouterr().out
        rows = [json.loads(line) for line in written.splitlines()]
        assert [row["index"] for row in rows] == [0, 1, 2, 3]
        np.testing.assert_allclose([row["embedding"] for row in rows], expected, atol=1e-5)


def test_a_pipe(model: Path, expected: Vectors) -> None:
    command = [sys.executable, "-m", "tea_llm", "embed", "-", "--gguf", str(model), "--threads", "1"]
    done = subprocess.run(command, input="\n".join(TEXTS).encode(), capture_output=True, check=True, timeout=120)
    rows = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("lines", "arguments", "said"),
    [
        ("x", ("--out", "x.csv"), "must end in .npy or .jsonl"),
        ("x", ("--pooling", "none"), "several vectors per text"),
        ("x", ("--truncate", "middle"), "'middle' is not one of"),
        ("x", ("--prompt", "query"), "give the text of the prefix"),
        ("ok\n" + "word " * 600, (), "text[1] has "),
        ('"x"\n{', ("--jsonl",), "line 2 is not JSON"),
        pytest.param("[" * 100_000, ("--jsonl",), "line 1 is not JSON", id="nested too deeply"),
        ('{"txt": "x"}', ("--jsonl",), "line 1 must be a string or an object whose field 'text' is a string"),
        ("5", ("--jsonl",), "line 1 must be a string or an object"),
    ],
)
def test_what_is_wrong(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lines: str,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "texts.txt").write_text(lines)
    out = tmp_path / "out.npy"
    out.write_bytes(b"what was there")
    assert run(tmp_path / "texts.txt", "--gguf", model, "--out", out, *arguments) == 1
    assert said in capsys.readouterr().err
    assert out.read_bytes() == b"what was there"
    assert run(tmp_path / "absent.txt", "--gguf", model) == 1
    assert "absent.txt" in capsys.readouterr().err
