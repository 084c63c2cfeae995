"""``LlmSettings``: what is taken, and how the rest is refused."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from tea_llm import ConfigError, LlmSettings
from tea_llm._check import MAX_CTX, MAX_SEQUENCES, MAX_THREADS
from tea_llm.backends.api.endpoint import resolve

KEY = "sk-very-secret"


def parse(**llm: Any) -> LlmSettings:
    return LlmSettings.parse({"llm": llm})


@pytest.mark.parametrize("nothing", [None, {}, {"llm": None}, {"llm": {}}, {"other": 1}, LlmSettings()])
def test_nothing_set_is_all_defaults(nothing: Any) -> None:
    assert LlmSettings.parse(nothing) == LlmSettings(backend="auto", fallback="create", provider="auto")


@pytest.mark.parametrize(
    ("llm", "expected"),
    [
        (
            {"n_ctx": "4096", "n_gpu_layers": "-1", "timeout": "2.5"},
            {"n_ctx": 4096, "n_gpu_layers": -1, "timeout": 2.5},
        ),
        ({"n_ctx": "auto", "n_parallel": 4}, {"n_ctx": "auto", "n_parallel": 4}),
        ({"strict": "True"}, {"strict": True}),
        ({"model_path": Path("~/x.gguf")}, {"model_path": "~/x.gguf"}),
        ({"api_base": "http://a/v1"}, {"api_url": "http://a/v1"}),
        ({"api_base": "http://a/v1", "api_url": "http://b/v1"}, {"api_url": "http://b/v1"}),
        ({"provider": "azure_openai"}, {"provider": "azure"}),
        ({"provider": "local"}, {"backend": "local", "provider": "auto"}),
        ({"model_path": "", "api_key": ""}, {"model_path": None, "api_key": None}),
        ({"opik_trace": True, "opik_project_name": "p", "shell_provider": "claude"}, {}),
        ({"n_ctx": None, "backend": "api"}, {"backend": "api"}),
    ],
)
def test_values_are_normal_afterwards(llm: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parse(**llm) == LlmSettings(**expected)


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        ({"modle_path": "x"}, r"unknown key 'modle_path': did you mean 'model_path'"),
        ({"zzz": 1}, r"unknown key 'zzz': allowed are backend, "),
        ({5: 1}, r"unknown key 5"),
        ({"backend": "lokal"}, r"settings\.llm\.backend='lokal' is not one of 'auto', 'local', 'api'"),
        ({"fallback": True}, r"settings\.llm\.fallback=True is not one of"),
        ({"n_ctx": "many"}, r"settings\.llm\.n_ctx must be an integer, not str \('many'\)"),
        ({"n_ctx": 0}, r"settings\.llm\.n_ctx=0 is out of range"),
        ({"n_ctx": 4096.5}, r"settings\.llm\.n_ctx must be an integer, not float"),
        ({"n_threads": True}, r"settings\.llm\.n_threads must be an integer, not bool"),
        ({"n_parallel": 300}, r"settings\.llm\.n_parallel=300 is out of range: allowed are 1 to 256"),
        ({"n_threads": 513}, r"settings\.llm\.n_threads=513 is out of range: allowed are 1 to 512"),
        ({"n_ctx": 2**31 - 1}, r"settings\.llm\.n_ctx=2147483647 is out of range"),
        ({"strict": "maybe"}, r"settings\.llm\.strict must be True or False, not str"),
        ({"timeout": "soon"}, r"settings\.llm\.timeout must be a number, not 'soon'"),
        ({"timeout": 0}, r"settings\.llm\.timeout=0\.0 is out of range"),
        ({"model": 5}, r"settings\.llm\.model must be a string, not int"),
        ({"chat_format": "llama"}, r"settings\.llm\.chat_format='llama' is not one of 'chatml', 'gemma', 'plain'"),
        ({"provider": "shell"}, r"settings\.llm\.provider='shell' is supported by The Edge Agent only"),
        ({"provider": "litellm"}, r"settings\.llm\.provider='litellm' is supported by The Edge Agent only"),
        ({"provider": "local", "backend": "api"}, r"provider: local and backend: api exclude each other"),
        ({"model": "${TEA_TEST_NOT_SET}"}, r"settings\.llm\.model uses the environment variable TEA_TEST_NOT_SET"),
    ],
)
def test_what_cannot_be_meant_names_key_and_remedy(llm: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LlmSettings.parse({"llm": llm})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_path": "x"}, r"unknown key 'model_path': did you mean {'llm': {'model_path': \.\.\.}}\?"),
        ({"modle_path": "x"}, r"did you mean {'llm': {'model_path'"),
        ({"api_base": "x"}, r"did you mean {'llm': {'api_base'"),
        ({"LLM": {"n_ctx": 5}}, r"unknown key 'LLM': did you mean 'llm'\?"),
    ],
)
def test_a_setting_outside_of_llm_is_not_ignored(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LlmSettings.parse(settings)


def test_sections_of_other_programs_are_theirs() -> None:
    for section in ("other", "memory", "ltm", "imports", "nodes", "name"):
        assert LlmSettings.parse({section: 1}) == LlmSettings.parse({section: 1, "llm": {}}) == LlmSettings()
    assert LlmSettings.parse({"timeout": 5, "llm": {"n_ctx": 5}}).n_ctx == 5


def test_all_wrong_settings_are_named_at_once() -> None:
    wrong = {"backend": "remote", "n_ctx": 0, "bakend": 1, "api_key": "${TEA_TEST_NOT_SET}", "n_threads": 2}
    assert list(LlmSettings.problems({"llm": wrong})) == ["backend", "n_ctx", "bakend", "api_key"]
    with pytest.raises(ConfigError) as caught:
        LlmSettings.parse({"llm": wrong})
    for name in ("backend='remote'", "n_ctx=0", "'bakend'", "TEA_TEST_NOT_SET"):
        assert name in str(caught.value)
    assert list(LlmSettings.problems({"llm": {"provider": "local", "backend": "api"}})) == ["llm"]


@pytest.mark.parametrize(
    ("name", "limit"), [("n_ctx", MAX_CTX), ("n_parallel", MAX_SEQUENCES), ("n_threads", MAX_THREADS)]
)
def test_limits_of_the_engine(name: str, limit: int) -> None:
    assert getattr(parse(**{name: limit}), name) == limit
    with pytest.raises(ConfigError, match=f"settings.llm.{name}={limit + 1}"):
        parse(**{name: limit + 1})


def test_a_constructor_checks_too() -> None:
    with pytest.raises(ConfigError, match="backend='cloud'"):
        LlmSettings(backend="cloud")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\n"])
def test_a_key_may_come_with_the_newline_of_its_file(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(api_key=key).api_key == KEY
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert resolve(parse(model="m")).headers == {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize("key", [f"{KEY} {KEY}", "schlüssel", f"{KEY}\n{KEY}", f"{KEY}\x7f"])
def test_a_key_in_the_environment_that_is_none_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.test")
    for variable, provider in {"OPENAI_API_KEY": "openai", "AZURE_OPENAI_API_KEY": "azure"}.items():
        monkeypatch.setenv(variable, key)
        with pytest.raises(ConfigError, match=f"{variable} contains a character that no key has") as caught:
            resolve(parse(model="m", provider=provider))
        assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["backend", "provider", "n_ctx", "timeout", "api_key", "model_path", "fallback"])
def test_empty_texts_are_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_TEST_EMPTY", "")
    assert parse(**{name: ""}) == parse(**{name: "${TEA_TEST_EMPTY}"}) == LlmSettings()


def test_a_copy_is_whole() -> None:
    settings = parse(api_key=KEY)
    assert copy.copy(settings).api_key == copy.deepcopy({"a": settings})["a"].api_key == KEY


@pytest.mark.parametrize("key", [f"{KEY} {KEY}", "schlüssel", f"{KEY}\x00"])
def test_a_key_that_no_header_could_hold_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="contains a character that no key has") as caught:
        parse(api_key=key)
    assert key not in str(caught.value)


def test_variables_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_TEST_KEY", KEY)
    monkeypatch.setenv("TEA_TEST_N", "512")
    settings = parse(api_key="${TEA_TEST_KEY}", n_ctx="$TEA_TEST_N", model_path="$TEA_TEST_NOT_SET/x.gguf")
    assert (settings.api_key, settings.n_ctx) == (KEY, 512)
    assert settings.model_path == "$TEA_TEST_NOT_SET/x.gguf"  # a path that is not there: searched, warned of


def test_the_key_is_never_shown_nor_pickled() -> None:
    settings = parse(api_key=KEY, model="m")
    assert KEY not in repr(settings)
    data = pickle.dumps(settings)
    assert KEY.encode() not in data
    assert pickle.loads(data) == parse(model="m")  # noqa: S301


def test_equal_settings_are_one_key_of_a_dict() -> None:
    assert len({parse(n_ctx=512), parse(n_ctx="512"), parse(n_ctx=512, temperature=0.5)}) == 1
    assert parse(api_key="a") != parse(api_key="b")


def test_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text("settings:\n  llm: {backend: local, n_ctx: 512}\nnodes: []\n")
    assert LlmSettings.from_yaml(file) == parse(backend="local", n_ctx=512)
    file.write_text("llm:\n  backend: api\n")
    assert LlmSettings.from_yaml(file) == parse(backend="api")
    for text, message in (
        ("- a", "must contain a mapping"),
        ("a: [", "workflow.yaml"),
        ("a: " + "[" * 3000, "workflow.yaml is not valid YAML: RecursionError"),
        ("llm: {n_ctx: 2026-13-45}", "workflow.yaml is not valid YAML: ValueError"),
        ("llm: {n: 1}", "unknown key 'n'"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            LlmSettings.from_yaml(file)
    with pytest.raises(ConfigError, match="No such file"):
        LlmSettings.from_yaml(tmp_path / "none.yaml")


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LlmSettings.from_env() == LlmSettings()
    monkeypatch.setenv("TEA_MODEL_PATH", "m.gguf")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert LlmSettings.from_env() == LlmSettings(model_path="m.gguf", api_key=KEY)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.azure")
    assert LlmSettings.from_env().provider == "azure"
    monkeypatch.setenv("OLLAMA_API_BASE", "http://localhost:1/v1")
    assert LlmSettings.from_env() == LlmSettings(
        model_path="m.gguf", provider="ollama", api_url="http://localhost:1/v1"
    )
