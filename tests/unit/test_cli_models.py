"""``tea-llm pull``, ``tea-llm models`` and the program itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tea_llm
from tea_llm import cli
from tea_llm._version import __version__
from tea_llm.catalog import DEFAULT_MODELS
from tea_llm.paths import models_dir


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home directory, and an environment that names no model."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TEA_MODEL_PATH", "APPDIR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def run(*args: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(cli.build_app(), list(args), input=stdin, catch_exceptions=False)


def python(*args: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, as a user starts it."""
    package = Path(tea_llm.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, *args], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


class TestPull:
    def test_prints_the_path_and_progress_apart(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        def pull(name: str, *, sha256: str | None, progress: Callable[[int, int], None]) -> Path:
            for done in range(0, 8_000_001, 1_000_000):
                progress(done, 8_000_000)
            return Path("/models", name)

        monkeypatch.setattr("tea_llm.hub.pull", pull)
        assert cli.main(["pull", "tiny"]) == 0
        captured = capsys.readouterr()
        assert captured.out == "/models/tiny\n"
        assert captured.err.splitlines() == [f"tiny: {done}.0 of 8.0 MB" for done in (0, 2, 4, 6, 8)]

    def test_a_terminal_gets_a_bar(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        def pull(name: str, *, sha256: str | None, progress: Callable[[int, int], None]) -> Path:
            progress(8, 8)
            return Path("/models", name)

        monkeypatch.setattr("tea_llm.hub.pull", pull)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert cli.main(["pull", "tiny"]) == 0
        captured = capsys.readouterr()
        assert captured.out == "/models/tiny\n"
        assert "8/8 bytes" in captured.err

    def test_unknown_name(self, capsys: Any) -> None:
        assert cli.main(["pull", "smolm2-135m"]) == 1
        assert "Did you mean smollm2-135m" in capsys.readouterr().err


class TestModels:
    def test_lists_what_is_here_and_marks_the_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = tmp_path / "elsewhere.gguf"
        bundled = tmp_path / "app/usr/share/models"
        for path in (elsewhere, bundled / "b.gguf", models_dir() / "mine.GGUF", models_dir() / DEFAULT_MODELS[-1]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(1_500_000))
        (models_dir() / "notes.txt").touch()
        (models_dir() / "directory.gguf").mkdir()
        monkeypatch.setenv("APPDIR", str(tmp_path / "app"))

        lines = run("models").stdout.splitlines()
        assert [line.split()[0] for line in lines if line.startswith("*")] == ["*"]
        assert any(line.startswith(f"*  {DEFAULT_MODELS[-1]}  1.5 MB  {models_dir()}") for line in lines)
        assert any(line.split() == ["mine.GGUF", "1.5", "MB", str(models_dir()), "damaged"] for line in lines)
        assert any(line.split() == ["b.gguf", "1.5", "MB", str(bundled), "damaged"] for line in lines)
        assert any(line.split()[0] == "smollm2-135m" and line.endswith("is here") for line in lines if line)
        assert not any("notes.txt" in line or "directory.gguf" in line for line in lines)

        monkeypatch.setenv("TEA_MODEL_PATH", str(elsewhere))
        (default,) = [line for line in run("models").stdout.splitlines() if line.startswith("*")]
        assert default.split() == ["*", "elsewhere.gguf", "1.5", "MB", str(tmp_path), "damaged"]

    def test_a_bare_machine(self) -> None:
        result = run("models")
        assert f"No model files here. They are looked for in {models_dir()}" in result.stdout
        assert "smollm2-135m" in result.stdout
        assert "is here" not in result.stdout


class TestProgram:
    def test_version(self) -> None:
        assert run("--version").stdout == f"tea-llm {__version__}\n"

    def test_module_runs_too(self) -> None:
        done = python("-m", "tea_llm", "--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"tea-llm {__version__}\n", "")

    def test_help_names_the_commands(self) -> None:
        out = run("--help").stdout
        assert all(word in out for word in ("chat", "pull", "models", "--version"))

    @pytest.mark.parametrize("command", ["chat", "pull", "models"])
    def test_every_command_has_help(self, command: str) -> None:
        assert run(command, "--help").exit_code == 0


class TestRm:
    def put(self, *names: str) -> Path:
        models_dir().mkdir(parents=True, exist_ok=True)
        for name in names:
            (models_dir() / name).write_bytes(b"GGUF")
        return models_dir()

    def test_removes_a_file_and_what_is_left_of_its_download(self) -> None:
        directory = self.put("a.gguf", ".a.gguf.part", ".a.gguf.part.json", "b.gguf")
        result = run("rm", "a.gguf", "--yes")
        assert result.exit_code == 0
        assert result.stdout == f"removed {directory / 'a.gguf'}\n"
        assert [path.name for path in directory.iterdir()] == ["b.gguf"]

    def test_rm_asks_before_it_deletes(self) -> None:
        directory = self.put(DEFAULT_MODELS[-1])
        assert run("rm", "smollm2", stdin="n\n").exit_code == 1
        assert (directory / DEFAULT_MODELS[-1]).exists()
        assert run("rm", "smollm2", stdin="y\n").exit_code == 0
        assert not (directory / DEFAULT_MODELS[-1]).exists()

    def test_rm_deletes_nothing_else(self, capsys: Any, tmp_path: Path) -> None:
        (tmp_path / "mine.gguf").touch()
        (self.put() / "notes.txt").touch()
        for name in (str(tmp_path / "mine.gguf"), "../../../mine.gguf", "notes.txt", "gone.gguf", ".."):
            assert cli.main(["rm", name, "--yes"]) == 1
        assert (tmp_path / "mine.gguf").exists()
        assert (models_dir() / "notes.txt").exists()
        assert "is a path: give the name of a model in" in capsys.readouterr().err
