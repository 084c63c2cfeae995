"""The program and the libraries beside the extension, and modules that only texts name."""

from __future__ import annotations

from pathlib import Path

from PyInstaller.utils.hooks import get_package_paths

__all__ = ["binaries", "hiddenimports"]

_package = Path(get_package_paths("tea_llm")[1])
binaries = [(str(path), "tea_llm") for path in _package.glob("tea-llm-child*")]
binaries += [(str(path), "tea_llm/lib") for path in _package.glob("lib/*")]
hiddenimports = [f"tea_llm.{name}" for name in ("_core", "actions", "hub", "testing", "workflow")]
