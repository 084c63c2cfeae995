"""Which model file is found, in what order, and what is said when there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tea_llm import LlmSettings, Tokenizer
from tea_llm.backends.select import get_llm_backend
from tea_llm.catalog import DEFAULT_MODELS
from tea_llm.errors import ConfigError, ModelNotFoundError
from tea_llm.inspection import inspect_model
from tea_llm.paths import (
    cache_dirs,
    found_models,
    missing_models,
    model_files,
    model_not_found,
    models_dir,
    resolve_model_path,
    search_dirs,
    searched_places,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and an environment that names no model."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.delenv("TEA_MODEL_PATH", raising=False)
    monkeypatch.delenv("APPDIR", raising=False)
    return directory


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    return path


def parsed(path: str | Path) -> LlmSettings:
    return LlmSettings.parse(settings(path))


def settings(path: object) -> dict[str, object]:
    return {"llm": {"model_path": path}}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_nothing_anywhere_is_none_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_model_path() is None
    assert resolve_model_path({}) is None
    assert resolve_model_path({"llm": None}) is None
    assert resolve_model_path({"llm": {"backend": "auto"}}) is None
    assert warnings(caplog) == []


def test_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = touch(models_dir() / DEFAULT_MODELS[0])
    assert resolve_model_path() == cached

    bundled = touch(tmp_path / "app/usr/share/models" / DEFAULT_MODELS[-1])
    monkeypatch.setenv("APPDIR", str(tmp_path / "app"))
    assert resolve_model_path() == bundled

    configured = touch(tmp_path / "configured.gguf")
    assert resolve_model_path(settings(str(configured))) == configured
    assert resolve_model_path(settings(configured)) == configured

    in_environment = touch(tmp_path / "environment.gguf")
    monkeypatch.setenv("TEA_MODEL_PATH", str(in_environment))
    assert resolve_model_path(settings(str(configured))) == in_environment

    explicit = touch(tmp_path / "explicit.gguf")
    assert resolve_model_path(settings(str(configured)), explicit=str(explicit)) == explicit
    assert resolve_model_path(settings(str(configured)), explicit=explicit) == explicit


def test_a_named_file_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search goes on, as the story has it, but those who ask hear of it; ``strict`` settings are an error."""
    cached = touch(models_dir() / DEFAULT_MODELS[0])
    assert missing_models() == missing_models(parsed(str(touch(tmp_path / "there.gguf")))) == []
    gone = tmp_path / "gone.gguf"
    line = f"settings.llm.model_path is set, but {gone} is not a model file: no such file"
    assert missing_models(parsed(gone)) == [line]
    assert resolve_model_path(settings(gone)) == cached
    strict = {"llm": {"model_path": gone, "strict": True}}
    with pytest.raises(ModelNotFoundError, match=r"gone.gguf is not a model file: no such file. .*strict forbids"):
        resolve_model_path(strict)
    monkeypatch.setenv("TEA_MODEL_PATH", str(tmp_path))
    from_environment = f"TEA_MODEL_PATH is set, but {tmp_path} is not a model file: it is a directory"
    assert missing_models(parsed(gone)) == [from_environment, line]
    with pytest.raises(ModelNotFoundError, match="TEA_MODEL_PATH is set"):
        resolve_model_path({"llm": {"strict": True}})
    monkeypatch.setenv("TEA_MODEL_PATH", str(cached))
    assert missing_models(parsed(gone)) == []  # the search does not come to it
    assert missing_models(parsed(gone), stops=False) == [line]
    assert resolve_model_path(strict) == cached


def test_default_names_in_order() -> None:
    for name in reversed(DEFAULT_MODELS):
        touch(models_dir() / name)
        assert resolve_model_path() == models_dir() / name


def test_models_dir_is_in_the_home_directory(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models_dir() == home / ".cache/tea/models"
    assert search_dirs() == [models_dir()]
    monkeypatch.setenv("APPDIR", str(tmp_path))
    assert search_dirs() == [tmp_path / "usr/share/models", models_dir()]


def test_xdg_cache_home_comes_before_the_home_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = touch(home / ".cache/tea/models" / DEFAULT_MODELS[0])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert models_dir() == tmp_path / "xdg/tea/models"
    assert cache_dirs() == search_dirs() == [models_dir(), home / ".cache/tea/models"]
    assert resolve_model_path() == old
    new = touch(models_dir() / DEFAULT_MODELS[-1])
    assert resolve_model_path() == new
    assert found_models() == [new, old]
    assert str(models_dir()) in str(model_not_found())
    for ignored in ("", "relative/cache", str(home / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_dirs() == [home / ".cache/tea/models"]


def test_what_is_found_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "real/m.gguf")
    (tmp_path / "link.GGUF").symlink_to("real/m.gguf")
    monkeypatch.chdir(tmp_path)
    assert resolve_model_path(explicit="link.GGUF") == tmp_path / "link.GGUF"
    assert resolve_model_path(settings("link.GGUF")) == tmp_path / "link.GGUF"
    monkeypatch.setenv("TEA_MODEL_PATH", "link.GGUF")
    assert resolve_model_path() == tmp_path / "link.GGUF"


def test_a_working_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ModelNotFoundError, match="m.gguf: no such file"):
        resolve_model_path(explicit="m.gguf")
    with pytest.raises(ModelNotFoundError, match="m.gguf: no such file"):
        get_llm_backend({"llm": {"model_path": "n.gguf"}}, model_path="m.gguf")


@pytest.mark.parametrize("take", [lambda path: resolve_model_path(explicit=path), Tokenizer, inspect_model])
@pytest.mark.parametrize("path", [b"m.gguf", 5, None.__class__])
def test_a_path_is_text(take: Callable[[Any], object], path: object) -> None:
    with pytest.raises(TypeError, match=r"the model's path must be a string or a pathlib\.Path, not ") as caught:
        take(path)
    assert ("os.fsdecode" in str(caught.value)) == isinstance(path, bytes)


def test_files_of_a_model_in_parts() -> None:
    first = Path("/m/x-00001-of-00002.GGUF")
    assert [file.name for file in model_files(first, 2)] == ["x-00001-of-00002.GGUF", "x-00002-of-00002.GGUF"]
    assert model_files(first.with_name("x-00002-of-00002.GGUF"), 2) == model_files(first, 2)
    assert model_files(first, 1) == model_files(first, 0) == model_files(first, 99_999) == [first]
    assert model_files(Path("x.gguf"), 2) == [Path("x.gguf")]


@pytest.mark.parametrize("form", ["~/m.gguf", "$HOME/m.gguf", "${HOME}/m.gguf", "$TEA_TEST_DIR/m.gguf"])
def test_paths_are_expanded(form: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_TEST_DIR", str(home))
    model = touch(home / "m.gguf")
    assert resolve_model_path(settings(form)) == model
    assert resolve_model_path(explicit=form) == model
    monkeypatch.setenv("TEA_MODEL_PATH", form)
    assert resolve_model_path() == model


def test_an_explicit_path_is_taken_literally_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(home / "m.gguf")
    literal = touch(tmp_path / "~" / "m.gguf")
    found = resolve_model_path(explicit="~/m.gguf")
    assert found is not None
    assert found.samefile(literal)


def test_missing_files_warn_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cached = touch(models_dir() / DEFAULT_MODELS[1])
    monkeypatch.setenv("TEA_MODEL_PATH", str(tmp_path / "a.gguf"))
    assert resolve_model_path(settings(str(tmp_path / "b.gguf"))) == cached
    first, second = warnings(caplog)
    assert "TEA_MODEL_PATH" in first
    assert str(tmp_path / "a.gguf") in first
    assert "settings.llm.model_path" in second
    assert str(tmp_path / "b.gguf") in second
    assert {record.name for record in caplog.records} == {"tea_llm"}


@pytest.mark.parametrize("value", ["~no-such-user-of-ours/m.gguf", "a\0b", "x" * 5000, "$NO_SUCH_VARIABLE/m.gguf"])
def test_strange_settings_only_warn(value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_model_path(settings(value)) is None
    assert len(warnings(caplog)) == 1
    with pytest.raises(ModelNotFoundError):
        resolve_model_path(explicit=value)


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TEA_MODEL_PATH", "")
    monkeypatch.setenv("APPDIR", "")
    assert resolve_model_path(settings("")) is None
    assert search_dirs() == [models_dir()]
    assert warnings(caplog) == []


def test_a_directory_is_not_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEA_MODEL_PATH", str(tmp_path))
    (models_dir() / DEFAULT_MODELS[0]).mkdir(parents=True)
    second = touch(models_dir() / DEFAULT_MODELS[1])
    assert resolve_model_path() == second
    assert "directory" in warnings(caplog)[0]


def test_links_are_kept(tmp_path: Path) -> None:
    touch(tmp_path / "blobs/sha256-0123")
    link = models_dir() / DEFAULT_MODELS[0]
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "blobs/sha256-0123")
    assert resolve_model_path() == link
    assert resolve_model_path(explicit=link) == link


def test_missing_explicit_path_raises_even_if_others_are_found(tmp_path: Path) -> None:
    touch(models_dir() / DEFAULT_MODELS[0])
    with pytest.raises(ModelNotFoundError, match=f"no model file at {tmp_path}/missing.gguf: no such file"):
        resolve_model_path(explicit=tmp_path / "missing.gguf")
    with pytest.raises(ModelNotFoundError, match="the model path is empty"):
        resolve_model_path(explicit="")


def test_explicit_dangling_link_and_special_file(tmp_path: Path) -> None:
    (tmp_path / "link.gguf").symlink_to(tmp_path / "gone.gguf")
    with pytest.raises(ModelNotFoundError, match="a link to a missing file"):
        resolve_model_path(explicit=tmp_path / "link.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelNotFoundError, match="not a regular file"):
        resolve_model_path(explicit=tmp_path / "pipe.gguf")
    touch(tmp_path / "file")
    with pytest.raises(ModelNotFoundError, match="Not a directory"):
        resolve_model_path(explicit=tmp_path / "file" / "m.gguf")


def test_explicit_directory_names_the_models_in_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"is a directory without \.gguf files"):
        resolve_model_path(explicit=tmp_path)
    for name in ("b.gguf", "a.gguf", "c.GGUF", "d.gguf", "e.gguf", "notes.txt"):
        touch(tmp_path / name)
    with pytest.raises(ModelNotFoundError, match=r"It contains a\.gguf, b\.gguf, c\.GGUF and 2 more$"):
        resolve_model_path(explicit=tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "settings must be a mapping"),
        ({"llm": "x"}, r"settings\.llm must be a mapping, not str"),
        ({"llm": {"model_path": 5}}, r"settings\.llm\.model_path must be a string, not int"),
    ],
)
def test_settings_of_a_wrong_type(value: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_model_path(value)


def test_the_error_lists_every_place_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_MODEL_PATH", str(tmp_path / "gone.gguf"))
    monkeypatch.setenv("APPDIR", str(tmp_path / "app"))
    touch(models_dir() / "mine.gguf")
    message = str(model_not_found(parsed(str(tmp_path))))
    assert f"TEA_MODEL_PATH: {tmp_path}/gone.gguf: no such file" in message
    assert f"settings.llm.model_path: {tmp_path}: it is a directory" in message
    assert f"{tmp_path}/app/usr/share/models: no default model ({', '.join(DEFAULT_MODELS)}" in message
    assert f"{models_dir()}: no default model, but mine.gguf" in message
    assert message.endswith("tea-llm pull smollm2-135m")


def test_searched_places_of_a_bare_machine() -> None:
    environment, configured, bundled, cached = searched_places()
    assert environment == "TEA_MODEL_PATH: not set"
    assert configured == "settings.llm.model_path: not set"
    assert bundled == "$APPDIR/usr/share/models: APPDIR is not set"
    assert cached.startswith(f"{models_dir()}: ")


def test_finds_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    cached = touch(models_dir() / DEFAULT_MODELS[0])
    with caplog.at_level(logging.INFO, logger="tea_llm"):
        resolve_model_path()
    assert f"Found cached model: {cached}" in caplog.text
