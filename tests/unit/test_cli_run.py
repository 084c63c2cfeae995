"""``tea-llm run`` and ``tea-llm validate``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tea_llm import cli

ADD = """
nodes:
  - name: sum
    run: |
      state["sum"] = [state["a"], state["b"]]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "add.yaml"
    path.write_text(ADD)
    return str(path)


def test_input_in_every_form(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.json").write_text('{"a": 1, "b": 2}')
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1, "b": 2}'))
    for given in (['{"a": 1, "b": 2}'], [f"@{tmp_path / 'in.json'}"], ["-"], ['{"a": 1}', '{"b": 2}']):
        words = [word for one in given for word in ("--input", one)]
        assert cli.main(["run", file, "--allow-code", *words]) == 0
        assert json.loads(capsys.readouterr().out) == [1, 2]
    assert cli.main(["run", file, "--allow-code", "--input", "a=x=y", "--input", "b=2"]) == 0
    assert json.loads(capsys.readouterr().out) == ["x=y", "2"]


def test_output_in_every_form(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", file, "--allow-code", "--input", '{"a": "ä", "b": 2}']
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": "ä", "b": 2, "sum": ["ä", 2]}
    assert cli.main([*words, "--stream"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"node": "sum", "state": {"a": "ä", "b": 2, "sum": ["ä", 2]}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "contains Python code: allow it with --allow-code"),
        (["--allow-code", "--input", "{"], "--input is not JSON"),
        (["--allow-code", "--input", "[" * 100_000], "--input is not JSON"),
        (["--allow-code", "--input", "[1]"], "--input must be a JSON object, not list"),
        (["--allow-code", "--input", "@/no/such.json"], "No such file"),
        (["--allow-code"], "node 'sum': KeyError: 'a'"),
        (
            ["--allow-code", "--input", '{"a": 1e999, "b": 0}'],
            "the state cannot be written as JSON: Out of range",
        ),
    ],
)
def test_what_goes_wrong_is_said(file: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", file, *words]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("tea-llm: error: ")
    assert said.out == ""


def test_gguf_and_backend_go_to_all_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ask.yaml"
    path.write_text("nodes: [{name: a, action: llm.call, params: {prompt: x, model_path: other.gguf}}]")
    assert cli.main(["run", str(path), "--gguf", "/no/such.gguf", "--backend", "local"]) == 1
    assert "no model file at /no/such.gguf" in capsys.readouterr().err
    assert cli.main(["run", str(path), "--backend", "cloud"]) == 2


@pytest.mark.parametrize(("words", "n_lines"), [([], 1), (["--json"], None), (["--stream"], None)])
def test_a_streams_text_is_printed_once(
    words: list[str],
    n_lines: int | None,
    tmp_path: Path,
    smollm2: Path,
    one_core: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(
        "nodes: [{name: a, action: llm.stream, params: {prompt: 'One, two,', max_tokens: 4, temperature: 0}}]"
    )
    assert cli.main(["run", str(path), "--gguf", str(smollm2), *words]) == 0
    out = capsys.readouterr().out
    if n_lines:
        assert out.count("three") == 1
    else:
        assert "three" in json.dumps(json.loads(out))


COMMANDS = [command.name or command.callback.__name__ for command in cli.build_app().registered_commands]  # type: ignore[union-attr]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_warns_of_a_missing_model(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEA_MODEL_PATH", "/nowhere/gone.gguf")
    assert cli.main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == "tea-llm: TEA_MODEL_PATH is set, but /nowhere/gone.gguf is not a model file: no such file\n"
    assert "Usage" in out


def test_a_warning_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TEA_MODEL_PATH", "/nowhere/gone.gguf")
    assert cli.main(["models"]) == 0  # which searches, too
    assert capsys.readouterr().err.count("gone.gguf") == 1


WRONG = """
settings:
  llm:
    backend: remote
    n_ctx: lots
nodes:
  - name: a
    action: llm.call
    params:
      prompt: "{{ state.q }}"
      temperature: hot
      max_tokens: -3
      backend: remote
      stop: ["{{ state.q }}", 5]
      top_p: "{{ state.p }}"
      max_retries: -1
  - name: b
    action: llm.embed
    params: {text: x, truncate: middle}
"""


def test_validate_says_all_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(WRONG)
    assert cli.main(["validate", str(bad)]) == 1
    lines = capsys.readouterr().out.splitlines()
    wrong = {
        4: "backend='remote'",
        5: "n_ctx must be an integer",
        11: "temperature must be a number",
        12: "max_tokens=-3",
        13: "'remote'",
        16: "max_retries=-1",
        19: "truncate='middle'",
    }
    assert len(lines) == len(wrong)
    for line, (number, text) in zip(lines, wrong.items(), strict=True):
        assert line.startswith(f"{bad}:{number}: ")
        assert text in line


def test_validate_looks_for_model_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone.gguf"
    file = tmp_path / "workflow.yaml"
    file.write_text(
        f"settings:\n  llm:\n    n_ctx: 512\n    model_path: {gone}\n"
        f"nodes:\n- {{name: a, action: llm.call, params: {{prompt: x, model_path: {gone}}}}}\n"
    )
    monkeypatch.delenv("TEA_MODEL_PATH", raising=False)
    assert cli.main(["validate", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{file}:4: settings.llm.model_path is set, but {gone} is not a model file")
    assert lines[1].startswith(f"{file}:6: node 'a', params.model_path: no model file at {gone}")
    gone.write_bytes(b"GGUF")
    assert cli.main(["validate", str(file)]) == 0
    monkeypatch.setenv("TEA_MODEL_PATH", str(tmp_path / "other.gguf"))
    assert cli.main(["validate", str(file)]) == 1
    assert "TEA_MODEL_PATH is set, but" in capsys.readouterr().out


def test_validate(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", file]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text("nodes:\n- {name: a, action: nope}\n- {name: a}\n")
    assert cli.main(["validate", file, str(bad)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file}: ok"
    assert lines[1].startswith(f"{bad}:2: node 'a': unknown action 'nope'")
    assert lines[2].startswith(f"{bad}:3: node 'a' is already defined")
