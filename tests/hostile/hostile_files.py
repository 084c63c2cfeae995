"""Writing to a disk that is full: which file, and nothing left. Needs root, for a file system of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TEA = f"{sys.executable} -m tea_llm"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 140 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=140k", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["/bin/umount", str(path)], check=True)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("seq 3000 | $TEA embed - --gguf $BERT --out $DISK/x.npy", "x.npy"),
        ("seq 3000 | $TEA embed - --gguf $BERT --out $DISK/x.jsonl", "x.jsonl"),
        ("$TEA quantize $LLAMA $DISK/q.gguf --type q8_0", "q.gguf"),
        ("$TEA quantize $LLAMA $DISK/f.gguf --type f16", "f.gguf"),
        ("XDG_CACHE_HOME=$DISK $TEA pull file://$LLAMA", "tea/models/llama-0.gguf"),
    ],
)
def test_a_full_disk_says_which_file(
    disk: Path, tmp_path: Path, tiny_model: Callable[..., Path], line: str, named: str
) -> None:
    model = tmp_path / "llama-0.gguf"
    model.write_bytes(tiny_model("llama").read_bytes())
    variables = {"TEA": TEA, "LLAMA": str(model), "BERT": str(tiny_model("bert")), "DISK": str(disk)}
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert str(disk / named) in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in disk.rglob("*") if path.is_file()] == []
