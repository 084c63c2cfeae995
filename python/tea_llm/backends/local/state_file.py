"""Files with saved KV cache contents: verified before use, and replaced atomically.

Layout: magic, length of the header (8 bytes, little-endian), header (JSON), for each past its token ids (int32) and
the engine's state of them (llama.cpp's, and the order of its cells), SHA-256 of everything before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tea_llm._files import replacing
from tea_llm.errors import StateFileError

__all__ = ["ModelFiles", "Past", "read_state", "write_state"]

Past = tuple[list[int], bytes]
"""Token ids, and the engine's state of them."""

_MAGIC = b"tea-llm state 2\n"
_N_DIGEST = hashlib.sha256().digest_size
_N_SAMPLES = 64
_SAMPLE_SIZE = 1 << 16
_HEAD_SIZE = 1 << 20


class ModelFiles:
    """The files of a model as they were when it was loaded."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._loaded = self._now()
        self._fingerprint: str | None = None

    def fingerprint(self) -> str:
        """A fingerprint of the files: their sizes, their beginnings, and samples of their contents.

        Raises:
            StateFileError: they are not those that were loaded any more.
        """
        try:
            now = self._now()
        except FileNotFoundError as error:
            raise StateFileError(f"{error.filename} was loaded, but it does not exist any more") from error
        if now != self._loaded:
            raise StateFileError(f"{self._files[0]} has changed since it was loaded")
        if self._fingerprint is None:
            self._fingerprint = self._read_fingerprint()
        return self._fingerprint

    def _now(self) -> list[tuple[int, int, int, int]]:
        """Values that change when a file is replaced or modified."""
        stats = [part.stat() for part in self._files]
        return [(one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in stats]

    def _read_fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in self._files:
            size = part.stat().st_size
            digest.update(f"{size}\n".encode())
            with part.open("rb") as file:
                digest.update(file.read(_HEAD_SIZE))
                for index in range(_N_SAMPLES):
                    file.seek(index * size // _N_SAMPLES)
                    digest.update(file.read(_SAMPLE_SIZE))
        return digest.hexdigest()


def write_state(path: Path, pasts: Sequence[Past], facts: Mapping[str, Any]) -> None:
    """Writes the file atomically.

    Args:
        path: path of the file; an existing file is replaced.
        pasts: saved pasts, the most recently used first.
        facts: values that must be equal when the file is read.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
    """
    sizes = [[len(tokens), len(state)] for tokens, state in pasts]
    header = json.dumps({**facts, "sizes": sizes}).encode()
    digest = hashlib.sha256()
    with replacing(path, is_private=True) as file:
        for piece in _pieces(header, pasts):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())


def read_state(path: Path, facts: Mapping[str, Any]) -> list[Past]:
    """Reads the pasts in a file.

    Args:
        path: path of the file.
        facts: as for ``write_state``.

    Raises:
        StateFileError: the file is not a state file, is damaged, or belongs to another model or other parameters.
        OSError: the file cannot be read.
    """
    data = memoryview(path.read_bytes())
    begin = len(_MAGIC)
    if bytes(data[:begin]) != _MAGIC:
        raise StateFileError(f"{path} is not a state file of this version of tea-llm")
    if len(data) < begin + 8 + _N_DIGEST or hashlib.sha256(data[:-_N_DIGEST]).digest() != data[-_N_DIGEST:]:
        raise StateFileError(f"{path} is damaged: its checksum is wrong")
    n_header = int.from_bytes(data[begin : begin + 8], "little")
    header = _header(path, data[begin + 8 : -_N_DIGEST], n_header)
    for name, value in facts.items():
        if header.get(name) != value:
            raise StateFileError(f"{path} belongs to another {name}: {header.get(name)!r}, and not {value!r}")
    body = data[begin + 8 + n_header : -_N_DIGEST]
    sizes = _sizes(path, header, len(body))
    pasts = []
    position = 0
    for n_tokens, n_state in sizes:
        tokens = np.frombuffer(body[position : position + 4 * n_tokens], "<i4")
        position += 4 * n_tokens
        pasts.append((tokens.tolist(), bytes(body[position : position + n_state])))
        position += n_state
    return pasts


def _header(path: Path, data: memoryview, n_header: int) -> dict[str, Any]:
    """Checks the header. The checksum does not prove who wrote the file, so nothing in it is trusted."""
    try:
        header = json.loads(bytes(data[:n_header]))
    except (ValueError, RecursionError) as error:
        raise StateFileError(f"{path} is damaged: its header cannot be read") from error
    if n_header > len(data) or not isinstance(header, dict):
        raise StateFileError(f"{path} is damaged: its header has the wrong size or is not an object")
    return header


def _sizes(path: Path, header: Mapping[str, Any], n_body: int) -> list[tuple[int, int]]:
    sizes: Any = header.get("sizes")
    are_pairs = isinstance(sizes, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n > 0 for n in pair) for pair in sizes
    )
    if not are_pairs or sum(4 * n_tokens + n_state for n_tokens, n_state in sizes) != n_body:
        raise StateFileError(f"{path} is damaged: the sizes in its header are not those of what follows")
    return [(n_tokens, n_state) for n_tokens, n_state in sizes]


def _pieces(header: bytes, pasts: Sequence[Past]) -> Iterator[bytes]:
    yield _MAGIC
    yield len(header).to_bytes(8, "little")
    yield header
    for tokens, state in pasts:
        yield np.array(tokens, "<i4").tobytes()
        yield state
