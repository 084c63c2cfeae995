"""What only the API backend does: what it sends, how it ends and that it survives Ctrl-C and fork."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import ApiLlmBackend, EngineClosedError, LocalLlmBackend, create_llm_backend

HI = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {"max_tokens": 12, "temperature": 0}
LONG: dict[str, Any] = {"max_tokens": 400, "temperature": 0, "ignore_eos": True}


def test_closing_ends_those_who_wait(server: OpenAiServer) -> None:
    llm = server.client()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            llm.call("Hello", **LONG)
        except BaseException as error:
            errors.append(error)

    n_before = len(server.requests)
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(server.requests) < n_before + 3:
        time.sleep(0.005)
    llm.close()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in errors] == [EngineClosedError] * 3


def test_an_api_without_completions_gets_a_message(local: LocalLlmBackend, caplog: pytest.LogCaptureFixture) -> None:
    with OpenAiServer(local, has_completions=False) as server, server.client() as llm:
        expected = local.chat(HI, **GREEDY).content
        assert llm.call("Hello", **GREEDY).content == expected
        assert "".join(chunk.text for chunk in llm.stream("Hello", **GREEDY)) == expected
        assert [request.path for request in server.requests] == ["/v1/completions"] + ["/v1/chat/completions"] * 2
        assert caplog.text.count("has no /completions") == 1
        with pytest.raises(tea_llm.ApiResponseError, match="404"):
            llm.call([1, 2])


def test_the_default_model_is_said_once(server: OpenAiServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with create_llm_backend({"llm": {"backend": "api", "api_url": server.url, "api_key": "k"}}) as llm:
            for _ in range(2):
                llm.chat(HI, max_tokens=1)
            assert server.requests[-1].body["model"] == "gpt-4o-mini"
    said = [record.getMessage() for record in caplog.records if "No model is set" in record.getMessage()]
    assert said == [f"No model is set: {server.url} is asked for its 'gpt-4o-mini'. Set model in settings.llm"]


def test_what_is_sent(server: OpenAiServer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    form = {"type": "json_object"}
    with server.client() as llm:
        llm.chat(HI)
        assert server.requests[-1].body == {"model": "tiny", "messages": HI, "max_tokens": 100, "temperature": 0.7}
        assert server.requests[-1].headers["authorization"] == "Bearer a-key"
        llm.chat(HI, tools=[tool], tool_choice="auto", response_format=form, seed=3, max_tokens=None, top_k=5)
        body = server.requests[-1].body
        assert body["tools"] == [tool]
        assert (body["tool_choice"], body["response_format"], body["seed"], body["top_k"]) == ("auto", form, 3, 5)
        assert "max_tokens" not in body
        llm.stream("Hello", stop="x", callback=lambda text: None)
        assert server.requests[-1].body["stop"] == ["x"]
    with ApiLlmBackend({"llm": {"provider": "ollama", "api_url": server.url, "model": "m"}}) as llm:
        with pytest.raises(ValueError, match="top_k is not supported by provider 'ollama'"):
            llm.chat(HI, top_k=5)
        llm.chat(HI)
        assert server.requests[-1].headers["authorization"] == "Bearer ollama"


def test_ctrl_c_and_the_end_of_the_process(server: OpenAiServer) -> None:
    code = """
        import signal, sys, tea_llm, threading
        signal.signal(signal.SIGINT, signal.default_int_handler)
        llm = tea_llm.ApiLlmBackend({"llm": {"api_url": sys.argv[1], "model": "m"}})
        threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
        try:
            while True:
                llm.call("Hello", max_tokens=400, ignore_eos=True)
        except KeyboardInterrupt:
            print("INTERRUPTED", flush=True)
        stream = llm.stream("Hello", max_tokens=400, ignore_eos=True)
        print(bool(next(stream).text))
    """
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), server.url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (child.stdout, child.stderr, child.returncode) == ("INTERRUPTED\nTrue\n", "", 0)


def test_an_api_backend_survives_fork(server: OpenAiServer) -> None:
    code = """
        import os, sys, tea_llm, warnings
        warnings.simplefilter("ignore")  # of forking with threads, which is the point
        llm = tea_llm.ApiLlmBackend({"llm": {"api_url": sys.argv[1], "model": "m"}})
        parent = llm.call("Hello", max_tokens=5, temperature=0).content
        child = os.fork()
        if child == 0:
            os._exit(llm.call("Hello", max_tokens=5, temperature=0).content != parent)
        sys.exit(os.waitpid(child, 0)[1])
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code), server.url], timeout=60)
    assert child.returncode == 0
