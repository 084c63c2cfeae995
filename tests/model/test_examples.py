"""Every workflow in ``examples/`` runs with the small model, as its first lines say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import cli, workflow
from tea_llm.testing import MockBackend

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = (
    "complete chat stream embed conversation settings branch parallel similarity api_fallback".split()  # noqa: SIM905
)


@pytest.fixture(autouse=True)
def _small_model(smollm2: Path, one_core: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_MODEL_PATH", str(smollm2))


@pytest.fixture(scope="module", autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    tea_llm.close_all()


def run(name: str, **state: Any) -> dict[str, Any]:
    return workflow.load(EXAMPLES / f"{name}.yaml", allow_code=True).run(state)


def test_all_are_tested_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == sorted(TESTED)


@pytest.mark.parametrize("name", TESTED)
def test_every_example_is_valid(name: str) -> None:
    workflow.load(EXAMPLES / f"{name}.yaml", allow_code=True)


def test_complete() -> None:
    assert isinstance(run("complete")["complete"], str)


def test_settings() -> None:
    assert "Paris" in run("settings", question="The capital of France is")["generate"]


def test_chat() -> None:
    assert run("chat", question="What is a list?")["chat_response"]


def test_stream(capsys: pytest.CaptureFixture[str]) -> None:
    state = run("stream")
    assert capsys.readouterr().out == state["stream_response"] + "\n"


def test_embed() -> None:
    vector = run("embed", document="A document")["embed_text"]
    assert len(vector) == 576
    assert all(isinstance(number, float) for number in vector)


def test_conversation() -> None:
    first = run("conversation", input="Hi, I am Ada.")
    assert [message["role"] for message in first["messages"]] == ["user", "assistant"]
    assert first["messages"][1]["content"] == first["response"] == first["get_response"]
    second = run("conversation", messages=first["messages"], input="What is my name?")
    assert [message["role"] for message in second["messages"]] == ["user", "assistant"] * 2
    with pytest.raises(workflow.WorkflowError, match="allow it with --allow-code"):
        workflow.load(EXAMPLES / "conversation.yaml")


def test_branch() -> None:
    state = run("branch", topic="bread")
    assert state["answer"]
    assert 1 <= len(state["attempts"]) <= 3


def test_parallel() -> None:
    state = run("parallel", topic="working from home")
    assert state["pros"] != state["cons"]
    assert state["verdict"]


def test_similarity() -> None:
    state = run("similarity", a="The cat sat on the mat.", b="A cat was sitting on a mat.")
    assert -1 <= state["comparison"]["cosine_similarity"] <= 1
    assert state["verdict"]["content"]


def test_api_fallback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run("api_fallback", question="Who?")["backend"] == "local"
    monkeypatch.delenv("TEA_MODEL_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    with OpenAiServer(MockBackend(["from afar", "an API"])) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        state = run("api_fallback", question="Who?")
        assert server.requests[0].body["model"] == "gpt-4o-mini"
    assert (state["backend"], state["result"]["content"], state["who"]) == ("api", "from afar", "an API")
    assert state["result"]["fallback_reason"] == "no local model was found"


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(EXAMPLES / "chat.yaml")
    assert cli.main(["run", file, "--input", "question=What is a list?", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["question"] == "What is a list?"
    assert state["chat_response"]
