"""YAML workflows: ``load("file.yaml").run({"question": "..."})``. Needs the extra ``tea-llm[workflow]``."""

from __future__ import annotations

import importlib.util

from tea_llm.errors import ConfigError

if any(importlib.util.find_spec(name) is None for name in ("langgraph", "yaml")):
    raise ConfigError('workflows need additional packages: pip install "tea-llm[workflow]"')

from tea_llm.workflow.errors import Problem, WorkflowError, WorkflowRunError
from tea_llm.workflow.runner import Workflow, check, load, loads

__all__ = ["Problem", "Workflow", "WorkflowError", "WorkflowRunError", "check", "load", "loads"]
