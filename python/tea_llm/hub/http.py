"""Downloads by HTTP. An interrupted one is resumed, in the same call and in later ones."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
import tenacity

from tea_llm._network import network_settings
from tea_llm._shown import without_secrets
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.hub.files import check_content
from tea_llm.hub.sources import UnreachableError, Wanted

__all__ = ["fetch"]

logger = logging.getLogger("tea_llm")

_ATTEMPTS = 5  # consecutive ones that receive nothing
_MAX_WAIT_S = 10.0
_TIMEOUT_S = 30.0
_REPORT_BYTES = 1 << 22


class _CutError(Exception):
    """The download ended early; it can be retried."""


@dataclass(frozen=True, slots=True)
class _Note:
    """Identifies the file that an unfinished download belongs to; stored beside it, so that only that file is resumed.

    Attributes:
        url_sha256: of the URL, which may contain a secret.
        sha256: of the whole file, if known.
        validator: the server's strong ETag or Last-Modified date; "": the server sent neither.
    """

    url_sha256: str
    sha256: str | None
    validator: str


def fetch(
    url: str,
    headers: Mapping[str, str],
    wanted: Wanted,
    target: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Downloads a file to ``.NAME.part``, then renames it to ``target``.

    Raises:
        ModelNotFoundError: the file does not exist, access is denied, or the network fails.
        ModelLoadError: the downloaded file is not the wanted one; it was discarded.
        OSError: the file cannot be stored.
    """
    unfinished = target.with_name(f".{target.name}.part")
    with network_settings(UnreachableError):
        client = httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S)
    with client, _locked(unfinished, wanted) as file:
        download = _Download(client, url, headers, wanted, file, unfinished, progress)
        download.run()
        file.flush()
        os.fsync(file.fileno())
        try:
            check_content(unfinished, wanted)
        except ModelLoadError:
            download.forget()
            raise
        unfinished.replace(target)
        download.note_file.unlink()


class _Download:
    def __init__(
        self,
        client: httpx.Client,
        url: str,
        headers: Mapping[str, str],
        wanted: Wanted,
        file: BinaryIO,
        unfinished: Path,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._client = client
        self._url = url
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._wanted = wanted
        self._file = file
        self._unfinished = unfinished
        self._progress = progress
        self._n_bytes = file.seek(0, os.SEEK_END)
        self._n_vain = 0  # attempts since data was last received
        self.note_file = unfinished.with_name(f"{unfinished.name}.json")

    def run(self) -> None:
        """Downloads, with retries, until the file is complete."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            wait=tenacity.wait_random_exponential(max=_MAX_WAIT_S),
            stop=lambda _: self._n_vain >= _ATTEMPTS,
            before_sleep=tenacity.before_sleep_log(logger, logging.INFO),
            reraise=True,
        )
        try:
            retrying(self._try)
        except (_CutError, httpx.RequestError, httpx.InvalidURL) as error:  # InvalidURL: of a redirect
            kept = f"; the {self._n_bytes / 1e6:.0f} MB received are kept for the next call" if self._n_bytes else ""
            raise UnreachableError(
                f"cannot download {without_secrets(self._url)}: {without_secrets(error) or type(error).__name__}{kept}"
            ) from error

    def forget(self) -> None:
        """Discards the data received."""
        self._unfinished.unlink()
        self.note_file.unlink(missing_ok=True)

    def _try(self) -> None:
        before = self._n_bytes
        self._n_vain += 1
        try:
            self._go_on()
        finally:
            if self._n_bytes > before:
                self._n_vain = 0

    def _go_on(self) -> None:
        known = self._read_note()
        if known is None:
            self._restart()
        elif self._n_bytes == self._wanted.size_bytes:
            return
        headers = dict(self._headers)
        if known is not None and self._n_bytes > 0:
            headers["Range"] = f"bytes={self._n_bytes}-"
            if known.validator and known.sha256 is None:
                headers["If-Range"] = known.validator
        with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code == 416:  # the file has become shorter, or a file of unknown length is complete
                if response.headers.get("Content-Range") == f"bytes */{self._n_bytes}":
                    return
                self._restart()
                raise _CutError("the file on the server has changed")
            self._check_status(response)
            note = self._note_of(response)
            begins_here = response.headers.get("Content-Range", "").startswith(f"bytes {self._n_bytes}-")
            if response.status_code == 206 and not (begins_here and known == note):
                self._restart()
                raise _CutError("the file on the server has changed")
            if response.status_code != 206:
                self._restart()
            total = self._total(response)
            self._check_room(total - self._n_bytes)
            self.note_file.write_text(json.dumps(asdict(note)))
            self._store(response, total)
        if total and self._n_bytes != total:
            raise _CutError(f"the connection ended after {self._n_bytes} of {total} bytes")

    def _store(self, response: httpx.Response, total: int) -> None:
        reported = self._n_bytes
        for block in response.iter_raw():  # with a block size, an interruption would lose the last partial block
            self._file.write(block)
            self._n_bytes += len(block)
            if self._progress is not None and self._n_bytes - reported >= _REPORT_BYTES:
                reported = self._n_bytes
                self._progress(self._n_bytes, total)
        if self._progress is not None and self._n_bytes == (total or self._n_bytes):
            self._progress(self._n_bytes, self._n_bytes)

    def _total(self, response: httpx.Response) -> int:
        """The size of the whole file in bytes; 0: unknown."""
        rest = _number(response.headers.get("Content-Length"))
        total = self._n_bytes + rest if rest else self._wanted.size_bytes or 0
        if self._wanted.size_bytes not in (None, total):
            raise ModelLoadError(
                f"{self._wanted.name} has {total} bytes on the server, not the expected {self._wanted.size_bytes}"
            )
        return total

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status < 400:
            return
        if status in (408, 429) or status >= 500:
            raise _CutError(f"HTTP {status}")
        reason = {401: ": it requires a login", 403: ": access is denied", 404: ": there is no such file"}
        raise ModelNotFoundError(
            f"{self._wanted.name}: HTTP {status} from {without_secrets(self._url)}{reason.get(status, '')}"
        )

    def _check_room(self, n_bytes: int) -> None:
        free = shutil.disk_usage(self._unfinished.parent).free
        if free < n_bytes:
            raise ModelNotFoundError(
                f"not enough disk space for {self._wanted.name} in {self._unfinished.parent}: {n_bytes / 1e6:.0f} MB "
                f"more are needed, {free / 1e6:.0f} MB are free"
            )

    def _note_of(self, response: httpx.Response) -> _Note:
        etag = response.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        return _Note(
            hashlib.sha256(self._url.encode()).hexdigest(),
            self._wanted.sha256,
            "" if self._wanted.sha256 is not None else validator,  # mirrors and caches may each send a different one
        )

    def _read_note(self) -> _Note | None:
        """The note of the unfinished file; None: it belongs to another download, or that cannot be known."""
        try:
            note = _Note(**json.loads(self.note_file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        url_sha256 = hashlib.sha256(self._url.encode()).hexdigest()
        is_ours = (note.url_sha256, note.sha256) == (url_sha256, self._wanted.sha256)
        return note if is_ours and (note.sha256 or note.validator) else None

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._n_bytes = 0


def _is_passing(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    return isinstance(error, (_CutError, httpx.TransportError)) and not isinstance(error, httpx.UnsupportedProtocol)


def _number(header: str | None) -> int:
    return int(header) if header is not None and header.isascii() and header.isdigit() else 0


@contextmanager
def _locked(path: Path, wanted: Wanted) -> Iterator[BinaryIO]:
    """Opens a file to append to, locked against downloads by other processes."""
    with path.open("ab") as file:
        try:
            import fcntl
        except ImportError:  # Windows does not let two processes replace one file
            yield file
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ModelNotFoundError(f"another process is downloading {wanted.name}: wait until it is done") from error
        yield file
