"""Foreign text in the command line's output: no command lets it steer a terminal, and none shows a secret."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tea_llm
from tea_llm import cli
from tea_llm._shown import shown, without_secrets
from tea_llm.paths import models_dir

EVIL = "a\x1b]0;owned\x07b\x9b2Jc"
SHOWN = "a\\u001b]0;owned\\u0007b\\u009b2Jc"
QUOTED = repr(EVIL)[1:-1]  # as Python shows it
TOKEN = "hf_verysecretindeed"  # noqa: S105 - nobody's

ECHO = """
name: echo
nodes:
  - name: say
    run: |
      return {"text": state["text"]}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


@pytest.fixture
def model(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose name, and what it says of itself, are a stranger's."""
    overrides = {"general.name": EVIL, "general.license": EVIL}
    path = tmp_path / f"{EVIL}.gguf"
    path.write_bytes(tiny_model("llama", overrides=overrides).read_bytes())
    return path


def said(capsys: pytest.CaptureFixture[str], *args: str | Path, status: int | None = None) -> str:
    """What the command says on a terminal, where the stranger's text is to be seen and cannot act."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        got = cli.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    both = captured.out + captured.err
    assert status in (None, got), both
    assert not set(both) & {"\x1b", "\x07", "\x9b"}, repr(both)
    assert TOKEN not in both
    return both


@pytest.mark.parametrize("command", ["chat", "embed", "bench", "inspect", "quantize"])
def test_what_cannot_be_loaded(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / f"{EVIL}.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "lines").write_text("x\n")
    more: dict[str, list[str | Path]] = {"chat": ["Hi", "--gguf", bad], "embed": [tmp_path / "lines", "--gguf", bad]}
    more["quantize"] = [bad, tmp_path / f"{EVIL}-out.gguf"]
    assert SHOWN in said(capsys, command, *more.get(command, [bad]), status=1)


def test_an_architecture_that_llama_cpp_names(
    tiny_model: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(tiny_model("llama").read_bytes().replace(b"llama", b"a\x1b[2J"))
    assert "\\u001b[2J" in said(capsys, "chat", "Hi", "--gguf", path, status=1)


def test_inspect(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "inspect", model, status=0).count(SHOWN) == 3
    assert "\\u001b" in said(capsys, "inspect", model, "--json", status=0)


def test_bench(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.benchmark.measure", lambda llm, rounds: [])
    assert SHOWN in said(capsys, "bench", model, status=0)


def test_chat(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.cli.chat._answer", lambda llm, messages, options, take: take(EVIL))
    monkeypatch.setattr("tea_llm.cli.chat._say_if_cut", lambda *_: None)
    assert said(capsys, "chat", "Hi", "--gguf", model, status=0) == SHOWN


def test_quantize(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "quantize", model, model.with_name(f"{EVIL}-q8.gguf"), "--type", "q8_0", status=0)
    assert f"{SHOWN}-q8.gguf: " in out


def test_models_and_rm(capsys: pytest.CaptureFixture[str]) -> None:
    models_dir().mkdir(parents=True)
    for name in (EVIL, "two\nlines", "\udcff"):
        (models_dir() / f"{name}.gguf").touch()
    out = said(capsys, "models", status=0)
    assert SHOWN in out
    assert "two\\u000alines.gguf" in out
    assert "\\udcff.gguf" in out
    assert SHOWN in said(capsys, "rm", f"{EVIL}.gguf", "--yes", status=0)
    assert QUOTED in said(capsys, "rm", f"{EVIL}.gguf", "--yes", status=1)


def test_pull(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(name: str, *, sha256: str | None, progress: Callable[[int, int], None]) -> Path:
        progress(1, 2)
        return Path(f"/models/{EVIL}.gguf")

    monkeypatch.setattr("tea_llm.hub.pull", pull)
    out = said(capsys, "pull", f"https://me:{TOKEN}@host/{EVIL}.gguf?token={TOKEN}#{TOKEN}", status=0)
    assert f"https://host/{SHOWN}.gguf: 0.0 of 0.0 MB" in out
    assert f"/models/{SHOWN}.gguf" in out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("tea_llm.cli.pull.progress_bar", lambda *_: Bar())
    assert Bar.labels == []
    cli.main(["pull", f"https://host/{EVIL}[red].gguf?token={TOKEN}"])
    assert Bar.labels == [f"https://host/{SHOWN}[red].gguf"]


class Bar:
    labels: list[str] = []  # noqa: RUF012 - one test's

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, label: str, **_: Any) -> int:
        self.labels.append(label)
        return 0

    def update(self, *_: object, **__: object) -> None:
        pass


def test_pull_of_what_is_no_source(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (f"HTTPS://me:{TOKEN}@host/x.gguf", f"ftp://host/{EVIL}?{TOKEN}", f"https://h:{TOKEN}/x.gguf"):
        said(capsys, "pull", name, status=1)


def test_workflows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "echo.yaml"
    file.write_text(ECHO)
    for more in ([], ["--json"], ["--stream"]):
        assert SHOWN.encode() in said(capsys, "run", file, "--allow-code", "--input", f"text={EVIL}", *more).encode()
    bad = tmp_path / f"{EVIL}.yaml"
    bad.write_text("nodes: [{name: x, uses: 5}]")
    assert SHOWN in said(capsys, "validate", bad, status=1)
    assert SHOWN in said(capsys, "run", bad, status=1)


def test_doctor(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.diagnosis._ask_child", lambda: {"problem": EVIL})
    monkeypatch.setenv("TEA_MODEL_PATH", str(model))
    assert said(capsys, "doctor", status=1).count(SHOWN) == 2
    assert "\\u001b" in said(capsys, "doctor", "--json", status=1)


def test_the_log_and_wrong_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_MODEL_PATH", f"/no/{EVIL}")
    assert f"tea-llm: TEA_MODEL_PATH is set, but /no/{SHOWN}" in said(capsys, "models", status=0)
    for args in ([EVIL], ["chat", "Hi", f"--{EVIL}"], ["chat", "Hi", "--seed", EVIL]):
        said(capsys, *args, status=2)
    logger = logging.getLogger("tea_llm.llama")
    monkeypatch.setattr(tea_llm, "load", lambda *_, **__: logger.error("%s", EVIL), raising=False)
    with pytest.raises(TypeError):
        cli.main(["chat", "Hi"])
    assert SHOWN in capsys.readouterr().err


@given(st.text())
def test_shown_text_can_be_printed_and_steers_nothing(text: str) -> None:
    for one_line in (True, False):
        printed = shown(text, one_line=one_line)
        printed.encode()
        assert all(char.isprintable() or ord(char) > 0x9F or char in "\n\t" for char in printed)
        assert not one_line or len(printed.split("\n")) == 1


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("see https://a.b:8/x.gguf?t=1#f, and http://u:p@c", "see https://a.b:8/x.gguf and http://c"),
        ("URL('socks9://u:p@proxy')", "URL('socks9://proxy')"),
        ("http://h:1x2/secret", "http://..."),
        ("no URL: a?b#c@d", "no URL: a?b#c@d"),
    ],
)
def test_without_secrets(text: str, harmless: str) -> None:
    assert without_secrets(text) == harmless
