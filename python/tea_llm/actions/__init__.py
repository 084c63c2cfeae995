"""``llm.*`` actions for two workflow engines: The Edge Agent and ``tea_llm.workflow``.

Load them into The Edge Agent with ``imports: [{package: tea_llm.actions, namespace: ""}]``. Each is called as
``action(state=state, **params)``, returns a dict, and reports errors as ``{"error": ..., "success": False}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tea_llm._version import __version__
from tea_llm.actions._host import Host
from tea_llm.actions._request import FOREIGN, SETTINGS
from tea_llm.actions.embedding import EMBED_PARAMETERS, SIMILARITY_PARAMETERS, embed, similarity
from tea_llm.actions.generation import ANSWER_PARAMETERS, STREAM_PARAMETERS, answer, stream
from tea_llm.actions.tools import TOOLS_PARAMETERS, tools

__all__ = ["ACTIONS", "Action", "register_actions"]


@dataclass(frozen=True, slots=True)
class Action:
    """One action.

    Attributes:
        run: called with the parameters, and by keyword ``host``, ``state`` and, for ``llm.tools``, ``registry``.
        parameters: the names of its parameters, including those that select a backend.
    """

    run: Callable[..., dict[str, Any]]
    parameters: frozenset[str]


def _answers(**fixed: Any) -> Action:
    return Action(partial(answer, **{"is_local": False, "is_chat": False, **fixed}), ANSWER_PARAMETERS | SETTINGS)


_LOCAL = SETTINGS - {"api_base", "api_key", "api_url", "api_version", "backend", "deployment", "provider"}

ACTIONS: Mapping[str, Action] = {
    "llm.call": _answers(),
    "llm.chat": _answers(is_chat=True),
    "llm.embed": Action(partial(embed, is_local=False), EMBED_PARAMETERS | SETTINGS),
    "llm.local.call": _answers(is_local=True),
    "llm.local.chat": _answers(is_local=True, is_chat=True),
    "llm.local.embed": Action(partial(embed, is_local=True), EMBED_PARAMETERS | _LOCAL),
    "llm.local.stream": Action(partial(stream, is_local=True), STREAM_PARAMETERS | _LOCAL),
    "llm.retry": _answers(default_retries=3),
    "llm.similarity": Action(similarity, SIMILARITY_PARAMETERS | SETTINGS),
    "llm.stream": Action(partial(stream, is_local=False), STREAM_PARAMETERS | SETTINGS),
    "llm.tools": Action(tools, TOOLS_PARAMETERS | SETTINGS),
}
"""All actions by name. Each is also registered under the name ``actions.llm_*``."""

__tea_actions__ = {
    "version": __version__,
    "description": "Local and API language models",
    "actions": sorted(ACTIONS),
}


def register_actions(registry: MutableMapping[str, Callable[..., Any]], engine: object = None) -> None:
    """Adds the actions to an engine's registry, each under both of its names.

    Args:
        registry: the actions by name; existing actions of the same names are replaced.
        engine: its attributes ``llm_settings`` (or ``settings["llm"]``), ``cli_overrides``, ``actions_registry`` (for
            ``llm.tools``), ``on_token`` (for ``llm.stream``) and ``llm_backend`` (instead of the process's shared
            backend) are used, if it has them.
    """
    for name in ACTIONS:
        run = partial(_run, name, registry, engine)
        registry[name] = run
        registry[f"actions.{name.replace('.', '_')}"] = run


def _run(
    name: str, registry: Mapping[str, Any], engine: object, /, state: Mapping[str, Any] | None = None, **params: Any
) -> dict[str, Any]:
    host = Host.of(engine)
    more = {"registry": host.actions_registry or registry} if name == "llm.tools" else {}
    asked = {key: value for key, value in params.items() if key not in FOREIGN}
    return ACTIONS[name].run(asked, host=host, state=state, **more)
