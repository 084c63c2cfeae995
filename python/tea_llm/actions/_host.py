"""The engine that carries out actions: The Edge Agent's, or ``tea_llm.workflow``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tea_llm.backends.base import LlmBackend

__all__ = ["Host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What actions take from their engine. A foreign engine may lack any of it.

    Attributes:
        llm_settings: ``settings.llm``; None: as ``settings`` has it.
        settings: the workflow's, of which ``llm`` is read.
        cli_overrides: ``model_path`` and ``backend`` of the command line, which override all others.
        actions_registry: the actions by name, for ``llm.tools``; None: the registry that the actions are in.
        llm_backend: answers instead of the process's backend.
        on_token: gets the texts of ``llm.stream``; None: stdout does.
    """

    llm_settings: Any = None
    settings: Any = None
    cli_overrides: Mapping[str, Any] | None = None
    actions_registry: Mapping[str, Callable[..., Any]] | None = None
    llm_backend: LlmBackend | None = None
    on_token: Callable[[str], object] | None = None

    @classmethod
    def of(cls, engine: object) -> Host:
        """What an engine has at the moment; None: nothing."""
        return cls(**{item.name: getattr(engine, item.name, None) for item in fields(cls)})
