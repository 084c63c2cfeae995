"""Brings llama.cpp's log lines to Python's logging, as ``tea_llm.llama``."""

from __future__ import annotations

import logging

from tea_llm._native import _core

__all__ = ["forward_native_log"]

logger = logging.getLogger("tea_llm.llama")
# llama.cpp warns of much that a user cannot change: seen by those who set logging up, not printed by default.
logger.addHandler(logging.NullHandler())


def forward_native_log() -> None:
    """Passes on what llama.cpp said since the last call. Its info lines are debug lines here: there are hundreds."""
    for level, text in _core.take_log_lines():
        logger.log(level, "%s", text)
