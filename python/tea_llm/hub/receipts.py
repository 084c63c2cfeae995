"""Records beside each downloaded file where it came from, so that ``pull`` can recognize it without a network."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tea_llm._files import replacing
from tea_llm.hub.files import file_sha256, is_good
from tea_llm.hub.sources import Wanted

__all__ = ["find", "path_of", "write"]

logger = logging.getLogger("tea_llm")

_SUFFIX = ".pulled.json"


def path_of(model: Path) -> Path:
    """The path of a file's receipt."""
    return model.with_name(f".{model.name}{_SUFFIX}")


def write(wanted: Wanted, model: Path, sha256: str | None) -> None:
    """Records that ``model`` was downloaded for ``wanted``. ``sha256``: that of the file; None: it is computed."""
    if wanted.file_name is not None and wanted.sha256 is not None:  # the file can be checked without a receipt
        return
    known = {"source_sha256": _source_sha256(wanted), "sha256": sha256 or file_sha256(model)}
    if _read(path_of(model)) == known:
        return
    try:
        with replacing(path_of(model)) as file:
            file.write(json.dumps(known).encode())
    except OSError as error:  # the model is usable without it
        logger.debug("cannot write a receipt for %s: %s", model, error)


def find(wanted: Wanted, directories: Sequence[Path]) -> Path | None:
    """The file that was downloaded for the same ``wanted`` before, if it is there and unchanged."""
    receipts = [receipt for directory in directories for receipt in sorted(directory.glob(f".*{_SUFFIX}"))]
    for receipt in receipts:
        known = _read(receipt)
        model = receipt.with_name(receipt.name.removeprefix(".").removesuffix(_SUFFIX))
        sha256 = known.get("sha256")
        if known.get("source_sha256") != _source_sha256(wanted) or wanted.sha256 not in (None, sha256):
            continue
        if is_good(model, replace(wanted, sha256=sha256)):
            return model
    return None


def _source_sha256(wanted: Wanted) -> str:
    return hashlib.sha256(repr(wanted.source).encode()).hexdigest()  # a URL may contain a secret


def _read(receipt: Path) -> dict[str, str]:
    try:
        known = json.loads(receipt.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
