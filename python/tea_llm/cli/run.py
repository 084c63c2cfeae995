"""``tea-llm run``: runs a workflow file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tea_llm.cli._terminal import decoded, read_stdin, say, say_exactly

if TYPE_CHECKING:
    from tea_llm.workflow import Workflow

__all__ = ["run"]


def run(
    file: Annotated[Path, typer.Argument(help="The workflow: a YAML file.")],
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="Initial state: JSON, @file with JSON, - for JSON on stdin, or key=text. Repeatable."
        ),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print a JSON line after each node.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole final state as JSON.")] = False,
    gguf: Annotated[str | None, typer.Option(help="Model file for all nodes.")] = None,
    backend: Annotated[Literal["local", "api", "auto"] | None, typer.Option(help="Backend for all nodes.")] = None,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Execute Python code in the file.")] = False,
) -> None:
    """Run a workflow and print the result of its last node."""
    state = _state(given or [])
    from tea_llm.workflow import load

    on_token = _drop if stream or as_json else None  # stdout is for the state, which contains the text
    workflow = load(file, allow_code=allow_code, model_path=gguf, backend=backend, on_token=on_token)
    if stream:
        for node, after in workflow.stream(state):
            _print_json({"node": node, "state": after}, indent=None)
        return
    end = workflow.run(state)
    if as_json:
        _print_json(end, indent=2)
    elif not workflow.last.action.endswith("stream"):  # a stream has printed its text
        _print_value(workflow, end)


def _state(given: list[str]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for one in given:
        key, is_pair, text = one.partition("=")
        if is_pair and key.isidentifier():
            state[key] = text
        else:
            state.update(_json_object(one))
    return state


def _json_object(given: str) -> dict[str, Any]:
    if given == "-":
        where, text = "stdin", read_stdin()
    elif given.startswith("@"):
        where, text = given[1:], decoded(Path(given[1:]).read_bytes(), given[1:])
    else:
        where, text = "--input", given
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a JSON object, not {type(value).__name__}")
    return value


def _print_value(workflow: Workflow, end: dict[str, Any]) -> None:
    value = end.get(workflow.last.output or workflow.last.name, end)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        value = value["content"]
    if isinstance(value, str):
        say_exactly(value)
    else:
        _print_json(value, indent=2)


def _print_json(value: object, *, indent: int | None) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=str, allow_nan=False)
    except (TypeError, ValueError) as error:  # keys that are not strings, a list that contains itself, NaN
        raise ValueError(f"the state cannot be written as JSON: {error}") from None
    say(text)


def _drop(text: str) -> None:
    """Receives the texts of streams that are not printed."""
