"""``pull`` from URLs and from the Hugging Face hub: a server on loopback stands for both."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tea_llm
from support.hub_server import REPO, Hub, serve_hub
from tea_llm import hub
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.hub import http
from tea_llm.hub.sources import understand

CONTENT = b"GGUF" + random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "hf_verysecretindeed"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no token."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(http, "_MAX_WAIT_S", 0.01)
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[Hub]:
    with serve_hub({"tiny.gguf": CONTENT, "tiny-Q4_K_M.gguf": b"GGUF4", "tiny-q8_0.gguf": b"GGUF8"}) as running:
        yield running


def names(directory: Path) -> list[str]:
    """What is in it besides receipts."""
    return sorted(path.name for path in directory.iterdir() if not path.name.endswith(".pulled.json"))


def pull_in_child(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tea_llm", "pull", *args]
    package = str(Path(tea_llm.__file__).parents[1])
    variables = {**os.environ, "PYTHONPATH": package, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


class TestUrl:
    @pytest.mark.parametrize("sha256", [None, SHA256, SHA256.upper()])
    def test_brings_the_file(self, server: Hub, tmp_path: Path, sha256: str | None) -> None:
        seen: list[tuple[int, int]] = []
        path = hub.pull(
            f"{server.url}/tiny.gguf", directory=tmp_path, sha256=sha256, progress=lambda *now: seen.append(now)
        )
        assert path == tmp_path / "tiny.gguf"
        assert path.read_bytes() == CONTENT
        assert names(tmp_path) == ["tiny.gguf"]
        assert seen[-1] == (len(CONTENT), len(CONTENT))

    def test_a_file_that_is_there_is_not_brought_again(self, server: Hub, tmp_path: Path) -> None:
        (tmp_path / "tiny.gguf").write_bytes(CONTENT)
        hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path, sha256=SHA256)
        assert server.ranges == []

    @pytest.mark.parametrize("sha256", [None, SHA256])
    def test_goes_on_after_a_cut(self, server: Hub, tmp_path: Path, sha256: str | None) -> None:
        server.cut_after = [1_000_000, 0, 500_000]
        path = hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path, sha256=sha256)
        assert path.read_bytes() == CONTENT
        assert server.n_bytes_sent == len(CONTENT)  # each byte once
        assert server.ranges == [None, "bytes=1000000-", "bytes=1000000-", "bytes=1500000-"]

    def test_waits_for_a_server_that_is_busy(self, server: Hub, tmp_path: Path) -> None:
        server.statuses = [503, 429, 500]
        assert hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path).read_bytes() == CONTENT

    def test_the_next_call_goes_on(self, server: Hub, tmp_path: Path) -> None:
        server.cut_after = [2_000_000] + [0] * http._ATTEMPTS
        with pytest.raises(ModelNotFoundError, match="the 2 MB received are kept for the next call"):
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path)
        assert not (tmp_path / "tiny.gguf").exists()
        server.cut_after = []
        assert hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path).read_bytes() == CONTENT
        assert server.n_bytes_sent == len(CONTENT)
        assert names(tmp_path) == ["tiny.gguf"]

    @pytest.mark.parametrize("change", ["etag", "no etag", "no ranges", "no note", "another URL"])
    def test_starts_again_when_the_beginning_may_be_anothers(self, server: Hub, tmp_path: Path, change: str) -> None:
        server.cut_after = [2_000_000] + [0] * http._ATTEMPTS
        server.files["old/tiny.gguf"] = b"GGUF" + bytes(3_000_000)
        with pytest.raises(ModelNotFoundError):
            hub.pull(f"{server.url}/old/tiny.gguf", directory=tmp_path)
        server.cut_after = []
        path = "tiny.gguf" if change == "another URL" else "old/tiny.gguf"
        server.files[path] = CONTENT
        server.etag = {"etag": '"two"', "no etag": None}.get(change, server.etag)
        server.takes_ranges = change != "no ranges"
        if change == "no note":
            (tmp_path / ".tiny.gguf.part.json").write_text("{")
        assert hub.pull(f"{server.url}/{path}", directory=tmp_path).read_bytes() == CONTENT

    def test_a_changed_file_that_a_cache_answers_for_is_not_mixed(self, server: Hub, tmp_path: Path) -> None:
        """A server that knows Range and not If-Range."""
        server.cut_after = [2_000_000]
        server.etag = 'W/"weak"'
        assert hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path).read_bytes() == CONTENT
        assert server.n_bytes_sent == 2_000_000 + len(CONTENT)  # nothing tells that it is the same file

    def test_a_complete_unfinished_file_is_taken(self, server: Hub, tmp_path: Path) -> None:
        """What kill -9 leaves between the last byte and the rename."""
        server.cut_after = [len(CONTENT) - 1] + [0] * http._ATTEMPTS
        with pytest.raises(ModelNotFoundError):
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path)
        with (tmp_path / ".tiny.gguf.part").open("ab") as file:
            file.write(CONTENT[-1:])
        server.cut_after = []
        assert hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path).read_bytes() == CONTENT
        assert server.n_bytes_sent == len(CONTENT) - 1

    def test_another_content_is_thrown_away(self, server: Hub, tmp_path: Path) -> None:
        with pytest.raises(ModelLoadError, match=rf"has sha256 {SHA256}, not 0000"):
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path, sha256="0" * 64)
        assert names(tmp_path) == []

    def test_a_page_is_no_model(self, server: Hub, tmp_path: Path) -> None:
        server.files["login.gguf"] = b"<html>log in</html>"
        with pytest.raises(ModelLoadError, match=r"not a GGUF file: it begins with b'<htm'"):
            hub.pull(f"{server.url}/login.gguf", directory=tmp_path)
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        ("status", "words"), [(401, "requires a login"), (403, "access is denied"), (410, "HTTP 410")]
    )
    def test_what_a_server_refuses(self, server: Hub, tmp_path: Path, status: int, words: str) -> None:
        server.statuses = [status]
        with pytest.raises(ModelNotFoundError, match=words) as caught:
            hub.pull(f"{server.url}/tiny.gguf?token={TOKEN}", directory=tmp_path)
        assert TOKEN not in str(caught.value)

    def test_no_such_file(self, server: Hub, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFoundError, match=r"HTTP 404 from http://127.*/gone\.gguf: there is no such file"):
            hub.pull(f"{server.url}/gone.gguf", directory=tmp_path)

    def test_nobody_listens(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFoundError, match="cannot download"):
            hub.pull("http://127.0.0.1:9/tiny.gguf", directory=tmp_path)

    def test_no_room(self, server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        with pytest.raises(ModelNotFoundError, match="3 MB more are needed, 1 MB are free"):
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path)

    def test_a_full_disk_ends_a_download(self, server: Hub, tmp_path: Path) -> None:
        """A limit on the size of files stands for it: the write fails in the same way."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        try:
            with pytest.raises(ModelNotFoundError, match="cannot be stored"):
                hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert not (tmp_path / "tiny.gguf").exists()
        assert hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path).read_bytes() == CONTENT

    def test_two_do_not_write_into_one_file(self, server: Hub, tmp_path: Path) -> None:
        def again(*_: int) -> None:
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path)

        with pytest.raises(ModelNotFoundError, match="another process is downloading"):
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path, progress=again)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_a_process_that_is_ended_leaves_a_beginning(self, server: Hub, home: Path, number: signal.Signals) -> None:
        server.is_slow = True
        models = home / ".cache/tea/models"
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tea_llm import cli; "
        code += f"raise SystemExit(cli.main(['pull', {server.url + '/tiny.gguf'!r}]))"
        environment = {**os.environ, "PYTHONPATH": str(Path(tea_llm.__file__).parents[1])}
        child = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        unfinished = models / ".tiny.gguf.part"
        while not unfinished.exists() or unfinished.stat().st_size < 200_000:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
        assert child.returncode == (130 if number == signal.SIGINT else -9), said
        assert not (models / "tiny.gguf").exists()
        server.is_slow = False
        done = unfinished.stat().st_size
        assert hub.pull(f"{server.url}/tiny.gguf").read_bytes() == CONTENT
        assert server.ranges[-1] == f"bytes={done}-"

    def test_redirects_that_go_round_or_nowhere(self, server: Hub, tmp_path: Path) -> None:
        server.redirects = {"a/x.gguf": "/b/x.gguf", "b/x.gguf": "/a/x.gguf", "c/x.gguf": "ftp://host/x.gguf"}
        server.redirects["d/x.gguf"] = "http://[::1"
        for where, words in (("a", "redirects"), ("c", "ftp"), ("d", "Invalid port")):
            with pytest.raises(ModelNotFoundError, match=rf"/{where}/x\.gguf: .*{words}"):
                hub.pull(f"{server.url}/{where}/x.gguf", directory=tmp_path)
        server.redirects = {"a/x.gguf": "/tiny.gguf"}
        assert hub.pull(f"{server.url}/a/x.gguf", directory=tmp_path).read_bytes() == CONTENT

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("HTTP_PROXY", "socks5://127.0.0.1:1", "socksio"),
            ("ALL_PROXY", f"ftp://me:{TOKEN}@127.0.0.1:1", "Unknown scheme for proxy"),
            ("HTTP_PROXY", f"http://me:{TOKEN}@[::1", "Invalid port"),
            ("SSL_CERT_FILE", "/no/such/file", "No such file"),
            ("SSL_CERT_FILE", __file__, "no certificate"),
        ],
    )
    def test_an_environment_that_cannot_be_used(
        self, server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ModelNotFoundError, match=f"cannot be used: .*{words}.*They are HTTPS_PROXY") as caught:
            hub.pull(f"{server.url}/tiny.gguf", directory=tmp_path)
        llm = tea_llm.ApiLlmBackend({"llm": {"api_url": server.url, "api_key": "k", "model": "m"}})
        with llm, pytest.raises(tea_llm.ApiConnectionError, match=f"cannot be used: .*{words}") as api_caught:
            llm.call("x")
        assert TOKEN not in f"{caught.value!r} {api_caught.value!r}"

    def test_without_a_network_what_came_before_will_do(
        self, server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = f"{server.url}/tiny.gguf"
        path = hub.pull(url, directory=tmp_path)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        assert hub.pull(url, directory=tmp_path) == path
        assert f"cannot download {url}: " in caplog.text
        assert f"Using {path}, which was downloaded from there before" in caplog.text
        assert hub.pull(url, directory=tmp_path, sha256=SHA256) == path
        for other in (f"{url}?v=2", url.replace("tiny", "other")):
            with pytest.raises(ModelNotFoundError, match="cannot download"):
                hub.pull(other, directory=tmp_path)
        with pytest.raises(ModelNotFoundError, match="cannot download"):
            hub.pull(url, directory=tmp_path, sha256="0" * 64)
        path.write_bytes(CONTENT + b"!")
        with pytest.raises(ModelNotFoundError, match="cannot download"):
            hub.pull(url, directory=tmp_path)

    def test_a_file_in_either_cache_is_there(
        self, server: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        old = home / ".cache/tea/models/tiny.gguf"
        old.parent.mkdir(parents=True)
        old.write_bytes(CONTENT)
        assert hub.pull(f"{server.url}/tiny.gguf", sha256=SHA256) == old
        assert hub.pull(f"{server.url}/tiny.gguf") == tmp_path / "xdg/tea/models/tiny.gguf"

    def test_file_urls(self, tmp_path: Path) -> None:
        (tmp_path / "a b.gguf").write_bytes(CONTENT)
        path = hub.pull(f"{(tmp_path / 'a b.gguf').as_uri()}", directory=tmp_path / "m", sha256=SHA256)
        assert path == tmp_path / "m" / "a b.gguf"
        assert path.read_bytes() == CONTENT
        with pytest.raises(ModelNotFoundError, match="no file at file://"):
            hub.pull((tmp_path / "gone.gguf").as_uri(), directory=tmp_path / "m")
        with pytest.raises(ModelLoadError, match="not 0000"):
            hub.pull((tmp_path / "a b.gguf").as_uri(), directory=tmp_path / "n", sha256="0" * 64)
        assert names(tmp_path / "n") == []


class TestHuggingFace:
    @pytest.mark.parametrize(
        ("name", "content"),
        [("/tiny.gguf", CONTENT), (":Q4_K_M", b"GGUF4"), (":q8_0", b"GGUF8"), ("@main/tiny.gguf", CONTENT)],
    )
    def test_brings_the_file(self, server: Hub, home: Path, name: str, content: bytes) -> None:
        child = pull_in_child(f"hf:{REPO}{name}", HF_ENDPOINT=server.url)
        assert child.returncode == 0, child.stderr
        path = Path(child.stdout.strip())
        assert path.parent == home / ".cache/tea/models"
        assert path.read_bytes() == content
        assert names(path.parent) == [path.name]

    def test_a_cut_and_a_changed_hash(self, server: Hub, home: Path) -> None:
        server.cut_after = [1_000_000]
        child = pull_in_child(f"hf:{REPO}/tiny.gguf", HF_ENDPOINT=server.url)
        assert child.returncode == 0, child.stderr
        assert server.ranges == [None, "bytes=1000000-"]
        child = pull_in_child(f"hf:{REPO}/tiny.gguf", "--sha256", "0" * 64, HF_ENDPOINT=server.url)
        assert child.returncode == 1
        assert f"has sha256 {SHA256}, not 0000" in child.stderr
        assert (home / ".cache/tea/models/tiny.gguf").read_bytes() == CONTENT

    def test_a_projector_beside_the_model_is_not_meant(self, server: Hub) -> None:
        server.files = {"mmproj-tiny-Q4_K_M.gguf": b"GGUFm", "tiny-Q4_K_M.GGUF": b"GGUF4"}
        for name in (f"hf:{REPO}:Q4_K_M", f"hf:{REPO}"):
            child = pull_in_child(name, HF_ENDPOINT=server.url)
            assert child.returncode == 0, child.stderr
            assert Path(child.stdout.strip()).name == "tiny-Q4_K_M.GGUF"

    def test_an_unreachable_hub_gives_the_file_that_came_before(self, server: Hub, home: Path) -> None:
        for name in (f"hf:{REPO}:Q4_K_M", f"hf:{REPO}/tiny.gguf"):
            path = pull_in_child(name, HF_ENDPOINT=server.url).stdout
            child = pull_in_child(name, HF_ENDPOINT="http://127.0.0.1:9")
            assert (child.returncode, child.stdout) == (0, path), child.stderr
            assert "the hub does not answer" in child.stderr
            assert "which was downloaded from there before" in child.stderr
        child = pull_in_child(name, "--sha256", SHA256, HF_ENDPOINT="http://127.0.0.1:9")
        assert (child.returncode, child.stdout, child.stderr) == (0, path, "")
        child = pull_in_child(f"hf:{REPO}:q8_0", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
        assert child.returncode == 1
        assert "the hub does not answer" in child.stderr

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            (f"{REPO}/gone.gguf", "has no file gone.gguf"),
            (f"{REPO}@v9/tiny.gguf", "has no revision v9"),
            ("nobody/nothing/tiny.gguf", "no repository nobody/nothing, or it is private"),
            (
                f"{REPO}:Q2_K",
                "no GGUF files of quantization Q2_K. GGUF files there: tiny-Q4_K_M.gguf, tiny-q8_0.gguf",
            ),
            (REPO, "has 3 GGUF files, not one"),
        ],
    )
    def test_what_is_not_there(self, server: Hub, name: str, words: str) -> None:
        child = pull_in_child(f"hf:{name}", HF_ENDPOINT=server.url)
        assert child.returncode == 1
        assert words in child.stderr
        assert "Traceback" not in child.stderr

    def test_a_gate_and_the_token_that_opens_it(self, server: Hub) -> None:
        server.is_gated = True
        child = pull_in_child(f"hf:{REPO}/tiny.gguf", HF_ENDPOINT=server.url)
        assert "is gated: accept its licence" in child.stderr
        child = pull_in_child(f"hf:{REPO}/tiny.gguf", HF_ENDPOINT=server.url, HF_TOKEN=TOKEN)
        assert child.returncode == 0, child.stderr
        assert server.tokens[-1] == f"Bearer {TOKEN}"
        assert TOKEN not in child.stdout + child.stderr

    def test_nobody_listens(self) -> None:
        child = pull_in_child(f"hf:{REPO}/tiny.gguf", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=TOKEN)
        assert "the hub does not answer" in child.stderr
        assert TOKEN not in child.stderr
        assert "Traceback" not in child.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf:owner", "must have the form hf:owner/repo"),
        ("hf:owner/repo/readme.md", "must have the form hf:owner/repo"),
        ("pypi:package/file.gguf", "must have the form pypi:package==version"),
        ("pypi:package==1.0/file.bin", "must end in the name of a .gguf file"),
        ("https://host/model", "must end in the name of a .gguf file"),
        ("https://host/.gguf", "must end in the name of a .gguf file"),
        ("https://me:secret@host/x.gguf", "must not contain a user or a password"),
        ("https:///x.gguf", "is not a URL"),
        ("https://[secret/x.gguf", "'https://...' is not a URL"),
        ("https://host:secret/x.gguf", "'https://...' is not a URL"),
        ("ftp://me:secret@host/x.gguf?secret", "'ftp://host/x.gguf' must begin with hf:, pypi:"),
        ("HTTPS://me:secret@host/x.gguf", "must not contain a user or a password"),
        ("https://host/a%1b[2J.gguf?secret", "contains control characters"),
    ],
)
def test_what_is_no_source(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        hub.pull(name)
    assert "secret" not in str(caught.value)


def test_what_is_no_hash() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits, not 'abc'"):
        understand("smollm2", "abc")
    with pytest.raises(TypeError, match="sha256 must be a string, not int"):
        understand("smollm2", 1)  # type: ignore[arg-type]
