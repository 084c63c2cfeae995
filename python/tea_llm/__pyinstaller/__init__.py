"""What PyInstaller must know of this package; it finds it by the entry point ``pyinstaller40``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_directories"]


def hook_directories() -> list[str]:
    """Where the hooks are: this directory."""
    return [str(Path(__file__).parent)]
