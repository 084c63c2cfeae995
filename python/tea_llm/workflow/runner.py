"""The public interface of workflows: load one from a file, run it on a state."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphRecursionError

from tea_llm.actions import register_actions
from tea_llm.actions._host import Host
from tea_llm.workflow.errors import Problem, WorkflowError, WorkflowRunError
from tea_llm.workflow.graph import CHANNEL, Channel, begin, build, merge
from tea_llm.workflow.loader import plan_of
from tea_llm.workflow.model import Node, Plan

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.types import StateSnapshot

    from tea_llm.backends.base import LlmBackend

__all__ = ["Workflow", "check", "load", "loads"]

_MAX_STEPS = 100


class Workflow:
    """A checked workflow. It can be run any number of times, also concurrently.

    Created by ``load`` and ``loads``.
    """

    def __init__(self, plan: Plan, registry: Mapping[str, Callable[..., Any]]) -> None:
        self._plan = plan
        self._graph = build(plan, registry)

    @property
    def last(self) -> Node:
        """The last node of the file."""
        return self._plan.last

    def run(
        self,
        state: Mapping[str, Any] | None = None,
        *,
        max_steps: int = _MAX_STEPS,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        thread_id: str | None = None,
    ) -> dict[str, Any]:
        """Runs the workflow to its end.

        Args:
            state: initial values, which override those of ``initial_state``. Not modified.
            max_steps: the number of steps after which a run fails, to stop endless loops.
            checkpointer: a LangGraph checkpointer, to save the state of a thread.
            thread_id: the checkpointer's thread; a run starts with the state saved by the thread's last completed run.

        Returns:
            the final state.

        Raises:
            WorkflowRunError: a node failed or was interrupted, a template used an undefined name, parallel nodes wrote
                the same key, or the thread's last run did not complete.
        """
        values: dict[str, Any] = {}
        for _, after in self.stream(state, max_steps=max_steps, checkpointer=checkpointer, thread_id=thread_id):
            values = after
        return values

    def stream(
        self,
        state: Mapping[str, Any] | None = None,
        *,
        max_steps: int = _MAX_STEPS,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        thread_id: str | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Runs the workflow and yields the name of each node and the state after it.

        Args:
            state: as ``run``.
            max_steps: as ``run``.
            checkpointer: as ``run``.
            thread_id: as ``run``.

        Raises:
            WorkflowRunError: as ``run``.
        """
        graph = self._graph.compile(checkpointer=checkpointer)
        config = _config(max_steps, thread_id, checkpointer)
        past = None if checkpointer is None else _past(graph.get_state(config), config)
        channel = begin(self._given(state) if past else self._initial(state))
        if past:
            channel = merge(past, channel)
        try:
            for event in graph.stream({CHANNEL: channel}, config, stream_mode="updates"):
                for node, update in event.items():
                    if node not in self._plan.nodes:
                        continue  # the end of a parallel branch
                    channel = merge(channel, update[CHANNEL])
                    yield node, copy.deepcopy(channel["values"])
        except GraphRecursionError as error:
            raise _endless(max_steps) from error

    async def arun(
        self,
        state: Mapping[str, Any] | None = None,
        *,
        max_steps: int = _MAX_STEPS,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        thread_id: str | None = None,
    ) -> dict[str, Any]:
        """Runs the workflow to its end, for asyncio; nodes run in threads.

        Args:
            state: as ``run``.
            max_steps: as ``run``.
            checkpointer: as ``run``.
            thread_id: as ``run``.

        Raises:
            WorkflowRunError: as ``run``.
        """
        graph = self._graph.compile(checkpointer=checkpointer)
        config = _config(max_steps, thread_id, checkpointer)
        past = None if checkpointer is None else _past(await graph.aget_state(config), config)
        channel = begin(self._given(state) if past else self._initial(state))
        try:
            end = await graph.ainvoke({CHANNEL: channel}, config)
        except GraphRecursionError as error:
            raise _endless(max_steps) from error
        values: dict[str, Any] = end[CHANNEL]["values"]
        return values

    def __repr__(self) -> str:
        return f"<Workflow {self._plan.source!r} of {len(self._plan.nodes)} nodes>"

    def _initial(self, state: Mapping[str, Any] | None) -> dict[str, Any]:
        lists: dict[str, list[Any]] = {key: [] for key, kind in self._plan.schema.items() if kind is list}
        return copy.deepcopy({**lists, **self._plan.initial_state, **self._given(state)})

    def _given(self, state: Mapping[str, Any] | None) -> dict[str, Any]:
        if state is not None and not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping, not {type(state).__name__}")
        given = copy.deepcopy(dict(state or {}))
        for key, kind in self._plan.schema.items():
            value = given.get(key)
            is_number = kind is float and isinstance(value, int)
            if value is not None and not isinstance(value, kind) and not is_number:
                raise WorkflowRunError(f"state.{key} must be of type {kind.__name__}, not {value!r}")
        return given


def load(
    path: str | os.PathLike[str],
    *,
    allow_code: bool = False,
    actions: Mapping[str, Callable[..., Any]] | None = None,
    model_path: str | None = None,
    backend: str | None = None,
    llm: LlmBackend | None = None,
    on_token: Callable[[str], object] | None = None,
) -> Workflow:
    """Reads a workflow file and checks it completely.

    Args:
        path: path of the YAML file.
        allow_code: allow ``run`` blocks, whose Python code is executed; only for files that you trust.
        actions: further actions by name, called as ``action(state=state, **params)``.
        model_path: the model file for all nodes; overrides the workflow.
        backend: ``"local"``, ``"api"`` or ``"auto"`` for all nodes; overrides the workflow.
        llm: the backend to use instead of the one that settings and parameters select; it is not closed.
        on_token: called with the texts of ``llm.stream``; None: they are printed to stdout.

    Raises:
        WorkflowError: the file is invalid; lists every problem with its line.
    """
    return loads(
        _text_of(path),
        source=os.fspath(path),
        allow_code=allow_code,
        actions=actions,
        model_path=model_path,
        backend=backend,
        llm=llm,
        on_token=on_token,
    )


def check(path: str | os.PathLike[str]) -> None:
    """Checks a workflow file as ``tea-llm validate`` does: code is allowed, and model files named in it must exist.

    Args:
        path: path of the YAML file.

    Raises:
        WorkflowError: the file is invalid; lists every problem with its line.
    """
    plan_of(_text_of(path), os.fspath(path), allow_code=True, looks_for_files=True)


def _text_of(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(os.fspath(path), [Problem(1, str(error))]) from error


def loads(
    text: str,
    *,
    source: str = "<text>",
    allow_code: bool = False,
    actions: Mapping[str, Callable[..., Any]] | None = None,
    model_path: str | None = None,
    backend: str | None = None,
    llm: LlmBackend | None = None,
    on_token: Callable[[str], object] | None = None,
) -> Workflow:
    """Reads a workflow from a string, as ``load`` does from a file.

    Args:
        text: the YAML text.
        source: its name in errors.
        allow_code: as ``load``.
        actions: as ``load``.
        model_path: as ``load``.
        backend: as ``load``.
        llm: as ``load``.
        on_token: as ``load``.

    Raises:
        WorkflowError: as ``load``.
    """
    plan = plan_of(text, source, allow_code=allow_code, extra_actions=actions or ())
    registry: dict[str, Callable[..., Any]] = {}
    host = Host(
        llm_settings=plan.settings.get("llm") or {},
        cli_overrides={"model_path": model_path, "backend": backend},
        actions_registry=registry,
        llm_backend=llm,
        on_token=on_token,
    )
    register_actions(registry, host)
    registry.update(actions or {})
    return Workflow(plan, registry)


def _config(max_steps: int, thread_id: str | None, checkpointer: object) -> Any:
    if thread_id is not None and checkpointer is None:
        raise ValueError(f"thread_id={thread_id!r} needs a checkpointer, which saves the state of the thread")
    return {"recursion_limit": max_steps, "configurable": {"thread_id": thread_id or "default"}}


def _past(snapshot: StateSnapshot, config: Any) -> Channel | None:
    """The channel saved by the last run of a thread; None: there was no run.

    Raises:
        WorkflowRunError: the last run did not complete; a new run would repeat or lose its work.
    """
    if snapshot.next:
        thread = config["configurable"]["thread_id"]
        raise WorkflowRunError(
            f"the last run of thread {thread!r} stopped before {', '.join(map(repr, snapshot.next))} and cannot be "
            "continued: use another thread_id, or delete the thread from the checkpointer"
        )
    channel: Channel | None = snapshot.values.get(CHANNEL)
    return channel


def _endless(max_steps: int) -> WorkflowRunError:
    return WorkflowRunError(
        f"the workflow did not end after {max_steps} steps: check it for an endless loop, or raise max_steps"
    )
