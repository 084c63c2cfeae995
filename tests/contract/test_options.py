"""Every option in every backend: it changes what is asked of the model or the server, or it is a ValueError."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import ApiLlmBackend, FallbackBackend, LlmBackend, LlmCallParams, LocalLlmBackend
from tea_llm.backends import options
from tea_llm.testing import MockBackend

HI = [{"role": "user", "content": "</s>Hello"}, {"role": "assistant", "content": "Ho"}]
TEMPLATE = (
    "{{ strftime_now('%Y') }}{{ mood }}{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
    "<|{{ m.role }}|>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
BASE: dict[str, Any] = {"max_tokens": 1, "seed": 1}

# For each option a value that is not its default, and what it needs beside it.
SAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_tokens": (2, {}),
    "temperature": (0, {}),
    "top_p": (0.5, {}),
    "top_k": (0, {}),  # not to be taken for "not given"
    "min_p": (0, {}),
    "typical_p": (0.5, {}),
    "seed": (0, {}),
    "stop": ("x", {}),
    "n": (2, {}),
    "repeat_penalty": (1.5, {}),
    "presence_penalty": (0.5, {}),
    "frequency_penalty": (0.5, {}),
    "repeat_last_n": (0, {}),
    "dry_multiplier": (0.5, {}),
    "dry_base": (2, {}),
    "dry_allowed_length": (3, {}),
    "dry_penalty_last_n": (0, {}),
    "dry_sequence_breakers": (["x"], {}),
    "xtc_probability": (0.5, {}),
    "xtc_threshold": (0, {}),
    "mirostat": (2, {}),
    "mirostat_tau": (0, {}),
    "mirostat_eta": (0, {}),
    "logit_bias": ({5: 1.0}, {}),
    "logprobs": (True, {}),
    "top_logprobs": (2, {"logprobs": True}),
    "ignore_eos": (True, {}),
    "tools": (TOOLS, {}),
    "tool_choice": ("required", {"tools": TOOLS}),
    "response_format": ({"type": "object"}, {}),
    "grammar": ('root ::= "x"', {}),
    "regex": ("x", {}),
    "template_kwargs": ({"mood": "glad"}, {}),
    "now": (datetime(1999, 1, 1), {}),
    "reasoning_budget": (0, {}),
    "trust_special_tokens": (True, {}),
    "continue_final_message": (True, {}),
    "timeout": (50.0, {}),
    "priority": (3, {}),
}


class Recorder:
    """An engine that tells what it was asked."""

    def __init__(self, engine: Any, asked: list[object]) -> None:
        self._engine = engine
        self._asked = asked

    def submit(self, tokens: Any, **given: Any) -> Any:
        self._asked.append((list(tokens), given))
        return self._engine.submit(tokens, **given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class RecordingApi(ApiLlmBackend):
    """An API backend that tells what it sends, and how long it waits for it."""

    def __init__(self, asked: list[object], **llm: Any) -> None:
        super().__init__({"llm": llm})
        self._asked = asked

    async def _limited(self, work: Any, timeout: float, *rest: Any) -> Any:
        self._asked.append(timeout)
        return await super()._limited(work, timeout, *rest)


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=2048, n_threads=1, chat_template=TEMPLATE) as loaded:
        yield loaded


@pytest.fixture(params=["local", "compatible", "ollama", "fallback-from-local", "fallback-to-api"])
def llm(request: pytest.FixtureRequest, model: LocalLlmBackend) -> Iterator[tuple[str, LlmBackend, list[object]]]:
    """A backend and what was asked of the model or the server behind it."""
    asked: list[object] = []
    engine = model._engine
    model._engine = Recorder(engine, asked)  # type: ignore[assignment]
    with OpenAiServer(MockBackend(["{}"] * 400)) as server:
        server.requests = asked  # type: ignore[assignment]
        api = RecordingApi(
            asked, api_url=server.url, model="m", provider="ollama" if request.param == "ollama" else "openai"
        )
        with api:
            yield (
                request.param,
                {
                    "local": model,
                    "compatible": api,
                    "ollama": api,
                    "fallback-from-local": FallbackBackend(model, api),
                    "fallback-to-api": FallbackBackend(None, api),
                }[request.param],
                asked,
            )
    model._engine = engine


def outcome(llm: LlmBackend, asked: list[object], method: str, given: dict[str, Any]) -> object:
    """What was asked, or None where it was refused before."""
    asked.clear()
    try:
        getattr(llm, method)("Hello" if method == "call" else HI, **given)
    except ValueError:
        assert asked == []
        return None
    return [one.body if hasattr(one, "body") else one for one in asked]


@pytest.mark.parametrize("method", ["call", "chat"])
def test_every_option_is_honoured_or_refused(llm: tuple[str, LlmBackend, list[object]], method: str) -> None:
    name, backend, asked = llm
    assert list(SAMPLES) == list(options.OPTIONS)
    refused = set()
    for option, (value, needed) in SAMPLES.items():
        without = {key: given for key, given in {**BASE, **needed}.items() if option == "seed" or key != option}
        plain = outcome(backend, asked, method, without)
        changed = outcome(backend, asked, method, {**without, option: value})
        if changed is None:
            refused.add(option)
        else:
            assert changed != plain, f"{option} was dropped"
    is_api = name in ("compatible", "ollama", "fallback-to-api")
    expected = set(options.LOCAL_ONLY) if is_api else set()
    expected |= set(options.NOT_OPENAI) | {"logit_bias", "n", "tool_choice"} if name == "ollama" else set()
    expected |= set(options.CHAT_ONLY) | ({"response_format"} if is_api else set()) if method == "call" else set()
    assert refused == expected
    assert {"reasoning_budget", "trust_special_tokens"} <= refused or (method == "chat" and not is_api)


def test_the_mock_refuses_as_the_real_ones() -> None:
    for option in options.CHAT_ONLY:
        value, needed = SAMPLES[option]
        with pytest.raises(ValueError, match="for chats"):
            MockBackend(["x"]).call("Hello", **{**needed, option: value})
        assert MockBackend(["x"]).chat(HI, **{**needed, option: value}).content == "x"


@pytest.mark.parametrize("option", options.NOT_OPENAI)
def test_openai_itself_has_not_got(option: str) -> None:
    value, needed = SAMPLES[option]
    with (
        ApiLlmBackend({"llm": {"provider": "openai", "api_key": "k", "model": "gpt-4o"}}) as llm,
        pytest.raises(ValueError, match=f"{option} is not supported by provider 'openai'"),
    ):
        llm.chat(HI, **{**needed, option: value})


def test_what_says_nothing_is_taken_by_all(llm: tuple[str, LlmBackend, list[object]]) -> None:
    """A program that writes its options out with their off values runs with any backend."""
    off: dict[str, Any] = {"grammar": None, "regex": None, "template_kwargs": None, "now": None, "priority": 0}
    off |= {"reasoning_budget": None, "trust_special_tokens": False, "ignore_eos": False, "n": 1, "stop": None}
    assert llm[1].chat(HI, **BASE, **off).backend in ("local", "api")


def test_an_empty_grammar_is_no_free_text(llm: tuple[str, LlmBackend, list[object]]) -> None:
    with pytest.raises(ValueError, match="grammar is an empty string"):
        llm[1].chat(HI, grammar="")


def test_several_answers_do_not_go_to_one_callback(llm: tuple[str, LlmBackend, list[object]]) -> None:
    """It is refused before anything is asked: an API would be paid for it."""
    _, backend, asked = llm
    asked.clear()
    arguments: list[tuple[str, Any]] = [("stream", "Hello"), ("stream_chat", HI)]
    for method, argument in arguments:
        with pytest.raises(ValueError, match="n=2 with a callback"):
            getattr(backend, method)(argument, print, n=2)
        with pytest.raises(TypeError, match="callback must be callable, not str"):
            getattr(backend, method)(argument, "print")
    assert asked == []


def test_a_keyword_goes_before_the_params(llm: tuple[str, LlmBackend, list[object]]) -> None:
    _, backend, asked = llm
    plain = outcome(backend, asked, "call", {"max_tokens": 5, "temperature": 0, "stop": "a", "seed": 1})
    asked.clear()
    backend.call(LlmCallParams("Hello", max_tokens=7, temperature=0, stop=["b"]), max_tokens=5, stop="a", seed=1)
    assert [one.body if hasattr(one, "body") else one for one in asked] == plain


def test_the_contract_says_where_options_apply_and_their_defaults() -> None:
    text = " ".join((tea_llm.LlmBackend.__doc__ or "").split("Raises:")[0].split())
    names = list(options.OPTIONS)
    starts = [re.search(rf" {name}: ", text).start() for name in names]  # type: ignore[union-attr]
    for name, start in zip(names, starts, strict=True):
        option = options.OPTIONS[name]
        end = min((other for other in starts if other > start), default=len(text))
        about = text[start:end]
        assert ("Local only." in about) == (option.apis == "none"), about
        number = re.search(r"Default (-?[\d.]+?)\.(?: |$)", about)
        if isinstance(option.default, (int, float)) and not isinstance(option.default, bool):
            assert number, about
            assert float(number[1]) == option.default, about


def test_the_docs_of_apis_list_the_options_of_local_models() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"options of local models: ([^.]+)\.", page)
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(options.LOCAL_ONLY)
