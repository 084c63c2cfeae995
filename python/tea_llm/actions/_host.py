"""The engine that runs actions: The Edge Agent or ``tea_llm.workflow``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tea_llm.backends.base import LlmBackend

__all__ = ["Host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The attributes of an engine that actions use. Another engine may lack any of them.

    Attributes:
        llm_settings: ``settings.llm``; None: ``settings["llm"]`` is used.
        settings: the settings of the workflow, of which ``llm`` is read.
        cli_overrides: ``model_path`` and ``backend`` of the command line, which override all others.
        actions_registry: the actions by name, for ``llm.tools``; None: the registry that the actions are in.
        llm_backend: the backend to use instead of the process's shared one.
        on_token: called with the texts of ``llm.stream``; None: they are printed to stdout.
    """

    llm_settings: Any = None
    settings: Any = None
    cli_overrides: Mapping[str, Any] | None = None
    actions_registry: Mapping[str, Callable[..., Any]] | None = None
    llm_backend: LlmBackend | None = None
    on_token: Callable[[str], object] | None = None

    @classmethod
    def of(cls, engine: object) -> Host:
        """The current attributes of an engine; missing ones are None."""
        return cls(**{item.name: getattr(engine, item.name, None) for item in fields(cls)})
