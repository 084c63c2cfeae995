"""The command line with streams that are closed, full, slow or in another encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TEA = f"{sys.executable} -m tea_llm"


@pytest.fixture
def shell(tiny_model: Callable[..., Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a line of shell, in which $TEA is the command, $LLAMA and $BERT are models, and $DIR is empty."""
    (tmp_path / "empty").mkdir()
    variables = {"TEA": TEA, "LLAMA": str(tiny_model("llama")), "BERT": str(tiny_model("bert"))}
    variables |= {"HOME": str(tmp_path), "DIR": str(tmp_path / "empty")}

    def run(line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **variables, **more}
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    return run


Shell = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("$TEA inspect $LLAMA >&-", 0, ""),
        ("$TEA chat Hi --gguf $LLAMA --max-tokens 2 >&-", 0, "[cut off: --max-tokens 2 was reached]\n"),
        ("echo a | $TEA embed - --gguf $BERT >&-", 0, ""),
        ("$TEA inspect $DIR/no.gguf >&-", 1, "no model file at"),
        ("$TEA chat --gguf $LLAMA <&-", 1, "no question"),
        ("$TEA run x.yaml --input - <&-", 1, "stdin is not JSON"),
        ("echo a | $TEA embed - --gguf $BERT >/dev/full", 1, "No space left on device: 'stdout'"),
        ("$TEA models >/dev/full", 1, "No space left on device: 'stdout'"),
        ("printf 'caf\\351' | $TEA chat --gguf $LLAMA", 1, "stdin is not UTF-8: invalid byte 0xe9 at offset 3"),
        (
            "printf 'caf\\351\\none' | $TEA embed - --gguf $BERT",
            1,
            "line 1 is not UTF-8: invalid byte 0xe9",
        ),
        ("seq 9 | $TEA embed - --gguf $BERT --out $DIR/no/x.npy", 1, "No such file or directory: '"),
        ("seq 9 | $TEA embed - --gguf $BERT --out $DIR/no/x.npy", 1, "empty/no/x.npy'"),
        ("ln -s /dev/full $DIR/x.npy; seq 9 | $TEA embed - --gguf $BERT --out $DIR/x.npy", 1, "empty/x.npy'"),
        ("$TEA bench $LLAMA --json $DIR/no/x.json", 1, "empty/no/x.json'"),
        ("$TEA quantize $LLAMA $DIR/no/x.gguf", 1, "empty/no/x.gguf'"),
        ("$TEA quantize $LLAMA /dev/null", 1, "no regular file, and only such a one can be replaced: '/dev/null'"),
    ],
)
def test_errors_are_on_stderr_and_the_status_is_the_works(shell: Shell, line: str, status: int, said: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr.decode()
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") <= 1


def test_a_closed_stderr_takes_nothing_of_stdout(shell: Shell) -> None:
    done = shell("$TEA inspect $LLAMA 2>&-")
    assert done.returncode == 0
    assert done.stdout.startswith(b"file ")
    for line, status in (
        ("$TEA inspect $DIR/no 2>&-", 1),
        ("$TEA bogus 2>&-", 2),
        ("$TEA inspect $DIR 2>/dev/full", 1),
    ):
        done = shell(line)
        assert (done.returncode, done.stdout) == (status, b"")


def test_text_in_the_encoding_that_stdin_is_declared_to_have(shell: Shell) -> None:
    latin = shell("printf 'caf\\351\\n' | $TEA embed - --gguf $BERT", PYTHONIOENCODING="latin-1")
    utf8 = shell("printf '\\357\\273\\277café\\r\\n' | $TEA embed - --gguf $BERT")  # with a byte order mark
    assert latin.returncode == utf8.returncode == 0
    assert latin.stdout == utf8.stdout


def test_blank_lines_behind_json_lines_hold_no_text(shell: Shell) -> None:
    done = shell("""printf '"a"\\n"b"\\n\\n \\n' | $TEA embed - --jsonl --gguf $BERT""")
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 1]
    done = shell("""printf '"a"\\n\\n"b"\\n' | $TEA embed - --jsonl --gguf $BERT""")
    assert done.returncode == 1
    assert b"line 2 is not JSON: it is blank" in done.stderr


def test_rows_appear_as_they_come(tiny_model: Callable[..., Path]) -> None:
    command = [*TEA.split(), "embed", "-", "--gguf", str(tiny_model("bert"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for index, text in enumerate([b"one\n", b"two\nand", b" three\n", b"four"]):
            child.stdin.write(text)
            if not text.endswith(b"\n"):  # the end of a line, or of all
                continue
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["index"] == min(index, 1), text
            if index == 2:
                assert json.loads(child.stdout.readline())["index"] == 2
        rest, said = child.communicate(timeout=60)
    assert [json.loads(line)["index"] for line in rest.splitlines()] == [3]
    assert said == b""


def test_messages_name_the_line_wherever_it_stands(shell: Shell) -> None:
    done = shell("(yes $(seq -s- 60) | head -500; seq -s' ' 2000) | $TEA embed - --gguf $BERT --out $DIR/x.npy")
    assert b"text[500] has " in done.stderr  # pipes hold less
