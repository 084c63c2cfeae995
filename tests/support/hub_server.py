"""A server on loopback that gives files as web servers and the Hugging Face hub do, and fails as they do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPO = "owner/tiny-GGUF"
COMMIT = "c" * 40


@dataclass
class Hub:
    """What the server has and how it behaves; tests change it while it runs.

    Attributes:
        files: contents by path: of plain URLs, and of the repository ``REPO``.
        cut_after: bytes after which a connection is cut, one for each answer; then none is.
        statuses: of the next answers, before any file is given.
        etag: of plain files; None: none is sent.
        takes_ranges: whether it knows ``Range``.
        is_gated: whether the repository wants a token.
        is_slow: give a block now and then.
        redirects: where paths have moved to.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    etag: str | None = '"one"'
    takes_ranges: bool = True
    is_gated: bool = False
    is_slow: bool = False
    redirects: dict[str, str] = field(default_factory=dict)
    n_bytes_sent: int = 0
    ranges: list[str | None] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve_hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """The running server."""
    hub = Hub(files=files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/")
            if self.command == "GET" and hub.statuses:
                self.give(hub.statuses.pop(0), {}, b"no")
            elif path in hub.redirects:
                self.give(302, {"Location": hub.redirects[path]}, b"")
            elif path.startswith("api/models/"):
                self.answer_api(path.removeprefix("api/models/"))
            elif "/resolve/" in path:
                self.answer_resolve(*path.split("/resolve/"))
            elif path in hub.files:
                self.answer_file(hub.files[path], {} if hub.etag is None else {"ETag": hub.etag})
            else:
                self.give(404, {}, b"nothing here")

        def answer_api(self, path: str) -> None:
            if not path.startswith(REPO):
                self.give(401, {"X-Error-Code": "RepoNotFound"}, b"{}")
                return
            names = [name for name in hub.files if "/" not in name]
            tree = [{"type": "file", "path": name, "size": len(hub.files[name]), "oid": "0"} for name in names]
            about = {"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            self.give(
                200, {"Content-Type": "application/json"}, json.dumps(tree if "/tree/" in path else about).encode()
            )

        def answer_resolve(self, repo: str, rest: str) -> None:
            revision, _, name = rest.partition("/")
            token = self.headers.get("Authorization")
            hub.tokens.append(token)
            if repo != REPO:
                self.give(404, {"X-Error-Code": "RepoNotFound"}, b"")
            elif hub.is_gated and token is None:
                self.give(403, {"X-Error-Code": "GatedRepo"}, b"")
            elif revision not in ("main", COMMIT):
                self.give(404, {"X-Error-Code": "RevisionNotFound"}, b"")
            elif name not in hub.files:
                self.give(404, {"X-Error-Code": "EntryNotFound"}, b"")
            else:
                sha256 = hashlib.sha256(hub.files[name]).hexdigest()
                headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sha256}"', "ETag": f'"{sha256}"'}
                headers["X-Linked-Size"] = str(len(hub.files[name]))
                self.answer_file(hub.files[name], headers)

        def answer_file(self, content: bytes, headers: dict[str, str]) -> None:
            wanted = self.headers.get("Range")
            if self.command == "GET":
                hub.ranges.append(wanted)
            is_same = self.headers.get("If-Range") in (None, headers.get("ETag"))
            if wanted is None or not hub.takes_ranges or not is_same:
                self.give(200, headers, content)
                return
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin >= len(content):
                self.give(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.give(206, headers, content[begin:])

        def give(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if status in (200, 206) and hub.cut_after:
                body = body[: hub.cut_after.pop(0)]
                self.close_connection = True
            for begin in range(0, len(body), 1 << 16):
                block = body[begin : begin + (1 << 16)]
                try:
                    self.wfile.write(block)
                except ConnectionError:  # the client is gone
                    return
                hub.n_bytes_sent += len(block)
                if hub.is_slow and hub.stop.wait(0.05):
                    return

    return Handler
