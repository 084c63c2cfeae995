"""The model in this process."""

from tea_llm.backends.local.backend import LocalLlmBackend
from tea_llm.backends.local.loading import load

__all__ = ["LocalLlmBackend", "load"]
