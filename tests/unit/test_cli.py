"""``tea-llm chat`` with a scripted model, and how the command line reports errors."""

from __future__ import annotations

import importlib.util
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

import tea_llm
from tea_llm import Conversation, LocalLlmBackend, cli
from tea_llm.cli import chat as chat_module
from tea_llm.errors import ContextOverflowError, ModelNotFoundError
from tea_llm.types import LlmCallResult, StreamChunk, Usage

Script = list[Any]
"""Texts of an answer; an exception among them is raised there."""


class FakeStream:
    def __init__(self, llm: FakeLlm, script: Script) -> None:
        self.llm = llm
        self.script = script

    def __enter__(self) -> FakeStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.llm.n_open -= 1

    def __iter__(self) -> Iterator[StreamChunk]:
        for item in self.script:
            if isinstance(item, BaseException):
                raise item
            yield StreamChunk(item)
        yield StreamChunk("", finish_reason=self.llm.finish_reason)

    @property
    def result(self) -> LlmCallResult:
        texts = [text for text in self.script if isinstance(text, str)]
        n = len(texts)
        return LlmCallResult("".join(texts), "fake", n, self.llm.finish_reason, Usage(1, n, n + 1))


class FakeLlm:
    """Answers from a list of scripts and remembers what it was asked."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.finish_reason: Any = "stop"
        self.load_arguments: tuple[Any, dict[str, Any]] | None = None
        self.requests: list[tuple[list[dict[str, str]], dict[str, Any]]] = []
        self.n_open = 0
        self.is_closed = False
        self.info = SimpleNamespace(n_ctx=1000)

    def load(self, model: Any = None, **options: Any) -> FakeLlm:
        self.load_arguments = (model, options)
        return self

    def __enter__(self) -> FakeLlm:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def count_tokens(self, messages: list[dict[str, str]]) -> int:
        return sum(len(message["content"]) for message in messages)

    def stream_chat(self, messages: list[dict[str, str]], **options: Any) -> FakeStream:
        self.requests.append((list(messages), options))
        self.n_open += 1
        return FakeStream(self, self.scripts.pop(0))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name in ("TEA_MODEL_PATH", "APPDIR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> FakeLlm:
    fake = FakeLlm()
    monkeypatch.setattr(tea_llm, "load", fake.load, raising=False)
    return fake


def read_until(terminal: int, end: bytes) -> bytes:
    said = b""
    while end not in said:
        said += os.read(terminal, 1 << 16)
    return said


def contents(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def run(*args: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(cli.build_app(), list(args), input=stdin, catch_exceptions=False)


class TestQuestion:
    def test_answer_goes_to_stdout(self, llm: FakeLlm, capsys: Any) -> None:
        llm.scripts = [["Pa", "ris", "."]]
        assert cli.main(["chat", "Capital of France?"]) == 0
        assert capsys.readouterr() == ("Paris.\n", "")
        assert llm.requests == [([{"role": "user", "content": "Capital of France?"}], {"max_tokens": None})]
        assert llm.load_arguments == (None, {})
        assert llm.is_closed
        assert llm.n_open == 0

    def test_every_piece_is_flushed(self, llm: FakeLlm, monkeypatch: pytest.MonkeyPatch) -> None:
        events: list[str] = []

        class Out(io.StringIO):
            def write(self, text: str) -> int:
                events.append(text)
                return super().write(text)

            def flush(self) -> None:
                events.append("flush")

        monkeypatch.setattr(sys, "stdout", Out())
        llm.scripts = [["Pa", "ris"]]
        assert cli.main(["chat", "Capital of France?"]) == 0
        texts = [event for event in events if event]
        assert texts[:4] == ["Pa", "flush", "ris", "flush"]

    def test_only_what_was_given_is_passed_on(self, llm: FakeLlm) -> None:
        llm.scripts = [["x"]]
        sampling = ["--max-tokens=5", "--temperature=0", "--top-k=3", "--top-p=0.5", "--min-p=0.1", "--seed=7"]
        loading = ["--gguf=m.gguf", "--n-ctx=512", "--threads=2"]
        assert run("chat", "Hi", "--system", "Be brief.", *sampling, *loading).exit_code == 0
        messages, options = llm.requests[0]
        assert messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert options == {"max_tokens": 5, "temperature": 0, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "seed": 7}
        assert llm.load_arguments == ("m.gguf", {"n_ctx": 512, "n_threads": 2})

    def test_question_from_stdin(self, llm: FakeLlm) -> None:
        llm.scripts = [["Hello!"]]
        assert run("chat", stdin="line one\nline two\n").stdout == "Hello!\n"
        assert llm.requests[0][0] == [{"role": "user", "content": "line one\nline two"}]

    def test_what_is_piped_in_follows_the_question(self, llm: FakeLlm) -> None:
        llm.scripts = [["x"]] * 3
        run("chat", "Summarize this:", stdin="line one\nline two\n\n")
        run("chat", "Hi", stdin=" \n")
        run("chat", " ", stdin="only this")
        asked = [messages[0]["content"] for messages, _ in llm.requests]
        assert asked == ["Summarize this:\n\nline one\nline two", "Hi", "only this"]

    def test_a_terminal_is_not_waited_for(self, llm: FakeLlm, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

            def read(self, *_: object) -> str:
                raise AssertionError

        monkeypatch.setattr(sys, "stdin", Terminal())
        llm.scripts = [["x"]]
        assert cli.main(["chat", "Hi"]) == 0
        assert llm.requests[0][0] == [{"role": "user", "content": "Hi"}]

    @pytest.mark.parametrize(("args", "stdin"), [(["chat"], ""), (["chat"], " \n"), (["chat", " "], None)])
    def test_an_empty_question_is_an_error_before_a_model_is_loaded(
        self, args: list[str], stdin: str | None, llm: FakeLlm, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        assert cli.main(args) == 1
        assert "question" in capsys.readouterr().err
        assert llm.load_arguments is None

    def test_closed_stdin_is_an_empty_question(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert cli.main(["chat"]) == 1

    @pytest.mark.parametrize(
        ("args", "note"),
        [(["--max-tokens", "2"], "[cut off: --max-tokens 2 was reached]\n"), ([], "[cut off: the context is full]\n")],
    )
    def test_a_cut_answer_is_said_to_be_cut(self, args: list[str], note: str, llm: FakeLlm, capsys: Any) -> None:
        llm.scripts, llm.finish_reason = [["a", "b"]], "length"
        assert cli.main(["chat", "Hi", *args]) == 0
        assert capsys.readouterr() == ("ab\n", note)

    def test_ctrl_c_ends_with_130(self, llm: FakeLlm) -> None:
        llm.scripts = [["Pa", KeyboardInterrupt()]]
        assert cli.main(["chat", "Hi"]) == 130
        assert llm.n_open == 0
        assert llm.is_closed

    def test_control_characters_do_not_reach_a_terminal(
        self, llm: FakeLlm, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        llm.scripts = [["a\x1b[2Jb\r\n", "\tc\x9b\N{WOMAN}\N{ZERO WIDTH JOINER}"]] * 2
        cli.main(["chat", "Hi"])
        assert "\x1b[2J" in capsys.readouterr().out  # a file gets what the model wrote
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        cli.main(["chat", "Hi"])
        assert capsys.readouterr().out == "a\\u001b[2Jb\n\tc\\u009b\N{WOMAN}\N{ZERO WIDTH JOINER}\n"


class TestErrors:
    @pytest.mark.parametrize(
        "error", [ModelNotFoundError("no such model"), ValueError("bad seed"), OSError(28, "No space left on device")]
    )
    def test_errors_are_one_line_and_status_1(
        self, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        def load(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(tea_llm, "load", load, raising=False)
        assert cli.main(["chat", "Hi"]) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", f"tea-llm: error: {error}\n")

    def test_a_defect_of_ours_keeps_its_traceback(self, llm: FakeLlm) -> None:
        llm.scripts = [[AttributeError("a defect")]]
        with pytest.raises(AttributeError, match="a defect"):
            cli.main(["chat", "Hi"])

    def test_usage_errors_are_status_2(self, capsys: Any) -> None:
        assert cli.main(["chat", "Hi", "--no-such-option"]) == 2
        assert cli.main(["chat", "Hi", "--seed", "x"]) == 2
        assert "--seed" in capsys.readouterr().err

    def test_warnings_are_shown_once(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        monkeypatch.setenv("TEA_MODEL_PATH", "/no/such.gguf")
        for _ in range(2):
            assert cli.main(["models"]) == 0
            assert capsys.readouterr().err.count("/no/such.gguf") == 1

    @pytest.mark.parametrize("name", ["typer", "rich"])
    def test_without_the_extra_packages(self, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda word: None if word == name else find_spec(word))
        assert cli.main(["--version"]) == 1
        assert 'pip install "tea-llm[cli]"' in capsys.readouterr().err

    def test_a_broken_pipe_is_silent(self) -> None:
        script = f"""if True:
            import sys, tea_llm
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from test_cli import FakeLlm
            from tea_llm.cli import main
            fake = FakeLlm()
            fake.scripts = [["line\\n"] * 100_000]
            tea_llm.load = fake.load
            sys.exit(main(["chat", "Hi"]))
        """
        read_end, write_end = os.pipe()
        package = Path(tea_llm.__file__).parents[1]
        with subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "ignore", "-c", script],
            env={**os.environ, "PYTHONPATH": str(package)},
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=subprocess.PIPE,
        ) as process:
            os.close(write_end)
            assert os.read(read_end, 5)
            os.close(read_end)
            _, said = process.communicate(timeout=60)
        assert said == b""
        assert process.returncode == 1


class TestConversation:
    @pytest.fixture
    def talk(self, llm: FakeLlm) -> Callable[..., None]:
        """Runs a conversation of the given lines; an exception among them is raised at the prompt."""

        def run_lines(*lines: Any, system: str | None = None, max_tokens: int | None = None) -> None:
            left = list(lines)

            def read_line(prompt: str) -> str:
                line = left.pop(0) if left else EOFError()
                if isinstance(line, BaseException):
                    raise line
                return str(line)

            start = Conversation([] if system is None else [{"role": "system", "content": system}])
            chat_module.converse(cast(LocalLlmBackend, llm), start, {"max_tokens": max_tokens}, read_line)
            assert not left
            assert llm.n_open == 0

        return run_lines

    def test_answers_stay_in_the_conversation(self, llm: FakeLlm, talk: Callable[..., None], capsys: Any) -> None:
        llm.scripts = [["Hello", "!"], ["Ada."]]
        talk("Hi, I am Ada.", "  ", "Who am I?", system="Be brief.")
        assert llm.requests[1][0] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi, I am Ada."},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "Who am I?"},
        ]
        assert "Hello!\n" in capsys.readouterr().out

    def test_the_oldest_turns_go_when_the_context_fills(
        self, llm: FakeLlm, talk: Callable[..., None], capsys: Any
    ) -> None:
        llm.scripts = [["a" * 400], ["b" * 200], ["c"]]
        talk("first", "second", "third", system="Be brief.")
        begin = ["Be brief.", "first", "a" * 400, "second"]
        assert contents(llm.requests[1][0]) == begin
        assert contents(llm.requests[2][0]) == [*begin, "b" * 200, "third"]
        assert "dropped" not in capsys.readouterr().err
        llm.scripts = [["a" * 400], ["b" * 400], ["c"]]
        talk("first", "second", "third", system="Be brief.")
        assert contents(llm.requests[5][0]) == ["Be brief.", "second", "b" * 400, "third"]
        assert "the first 2 messages were dropped" in capsys.readouterr().err

    def test_clear_keeps_the_system_message(self, llm: FakeLlm, talk: Callable[..., None]) -> None:
        llm.scripts = [["Hello!"], ["?"]]
        talk("Hi", "/clear", "Who am I?", system="Be brief.")
        assert [message["content"] for message in llm.requests[1][0]] == ["Be brief.", "Who am I?"]

    def test_exit_and_help_are_not_questions(self, llm: FakeLlm, talk: Callable[..., None], capsys: Any) -> None:
        talk("/help", "/exit")
        assert llm.requests == []
        out = capsys.readouterr().out
        assert all(word in out for word in ("/clear", "/exit", "/help", "Ctrl-C", "Ctrl-D"))

    def test_a_question_may_begin_with_a_slash(self, llm: FakeLlm, talk: Callable[..., None]) -> None:
        llm.scripts = [["A file."]]
        talk("/etc/passwd: what is it?")
        assert len(llm.requests) == 1

    def test_ctrl_c_at_the_prompt_clears_the_line(self, llm: FakeLlm, talk: Callable[..., None]) -> None:
        llm.scripts = [["Hello!"]]
        talk(KeyboardInterrupt(), "Hi")
        assert len(llm.requests) == 1

    def test_ctrl_c_stops_the_answer_not_the_program(
        self, llm: FakeLlm, talk: Callable[..., None], capsys: Any
    ) -> None:
        llm.scripts = [["Once ", "upon", KeyboardInterrupt()], [KeyboardInterrupt()], ["The end."]]
        talk("A story", "Go on", "End it")
        assert [message["content"] for message in llm.requests[2][0]] == ["A story", "Once upon", "End it"]
        captured = capsys.readouterr()
        assert "The end." in captured.out
        assert captured.err == "[stopped]\n[stopped]\n"

    def test_a_failed_question_is_forgotten(self, llm: FakeLlm, talk: Callable[..., None], capsys: Any) -> None:
        llm.scripts = [["par", ContextOverflowError("too long", 9, 8)], ["Hello!"]]
        talk("A long one", "Hi")
        assert [message["content"] for message in llm.requests[1][0]] == ["Hi"]
        assert "tea-llm: error: too long\n" in capsys.readouterr().err

    def test_a_bad_byte_is_no_end(self, llm: FakeLlm, talk: Callable[..., None], capsys: Any) -> None:
        llm.scripts = [["Hello!"]]
        talk(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "Hi")
        assert "invalid start byte" in capsys.readouterr().err

    def test_a_cut_answer_is_said_to_be_cut(self, llm: FakeLlm, talk: Callable[..., None], capsys: Any) -> None:
        llm.scripts, llm.finish_reason = [["a", "b"]], "length"
        talk("Hi", max_tokens=2)
        assert "cut off: --max-tokens 2" in capsys.readouterr().err

    def test_a_terminal_without_a_question_starts_one(
        self, llm: FakeLlm, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = iter(["Hi"])

        def read_line(prompt: str) -> str:
            for line in lines:
                return line
            raise EOFError

        monkeypatch.setattr(chat_module, "_is_terminal", lambda: True)
        monkeypatch.setattr("builtins.input", read_line)
        llm.scripts = [["Hello!"]]
        assert cli.main(["chat"]) == 0
        assert len(llm.requests) == 1
        history = home / ".cache/tea/history"
        assert stat.S_IMODE(history.stat().st_mode) == 0o600

    def test_pasted_lines_are_one_question(self, home: Path) -> None:
        """On a real terminal, which marks what is pasted."""
        script = f"""if True:
            import sys, tea_llm
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from test_cli import FakeLlm
            from tea_llm.cli import main
            fake = FakeLlm()
            fake.scripts = [["done"]]
            tea_llm.load = fake.load
            main(["chat"])
            print(repr([messages for messages, _ in fake.requests]))
        """
        ours, theirs = os.openpty()
        environment = {**os.environ, "PYTHONPATH": str(Path(tea_llm.__file__).parents[1]), "TERM": "xterm"}
        with subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        ) as child:
            os.close(theirs)
            read_until(ours, b"> ")
            os.write(ours, b"\x1b[200~def f():\r    return 1\r\x1b[201~\r")
            read_until(ours, b"done\r\n\x1b[?2004h> ")
            os.write(ours, b"\x04")
            said = read_until(ours, b"}]]")
            assert child.wait(timeout=30) == 0
        os.close(ours)
        assert b"def f():\\n    return 1'" in said

    @pytest.mark.usefixtures("llm")
    def test_no_place_for_the_history_is_no_error(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        def read_line(prompt: str) -> str:
            raise EOFError

        (home / ".cache").touch()
        monkeypatch.setattr(chat_module, "_is_terminal", lambda: True)
        monkeypatch.setattr("builtins.input", read_line)
        assert cli.main(["chat"]) == 0
        assert "the history cannot be used" in capsys.readouterr().err
