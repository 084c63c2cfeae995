"""Targets of writes: replaced as a whole, tried before the work, never taken for something they are not."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tea_llm._files import replacing, replacing_by_name, scratch_directory
from tea_llm.chat.conversation import Conversation


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "x.npy"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with replacing(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    with pytest.raises(ZeroDivisionError), replacing(target) as file:
        file.write(b"newer" * (1 // 0))
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["x.npy"]


def test_private_files_are_private_even_where_an_older_one_was_not(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.write_bytes(b"old")
    target.chmod(0o644)
    with replacing(target, is_private=True) as file:
        file.write(b"new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("begin", [replacing, replacing_by_name])
def test_a_target_that_cannot_be_is_an_error_before_the_work(
    tmp_path: Path, begin: Callable[[Path], AbstractContextManager[object]]
) -> None:
    (tmp_path / "directory.npy").mkdir()
    loop = tmp_path / "loop.npy"
    loop.symlink_to(loop)
    for target, number in (
        (tmp_path / "gone" / "x.npy", errno.ENOENT),
        (tmp_path / "directory.npy", errno.EISDIR),
        (loop, errno.ELOOP),
    ):
        with pytest.raises(OSError, match=".") as caught, begin(target):
            pytest.fail("the work began")
        assert (caught.value.errno, caught.value.filename) == (number, str(target))


@pytest.mark.parametrize("has_target", [True, False])
def test_links_are_followed(tmp_path: Path, has_target: bool) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    if has_target:
        (real / "x").write_bytes(b"old")
    link.symlink_to(real / "x")
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (real / "x").read_bytes() == b"new"
    with replacing_by_name(link) as unfinished:
        unfinished.write_bytes(b"newer")
    assert link.is_symlink()
    assert link.read_bytes() == b"newer"
    assert names(real) == ["x"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as file:
        file.write(b"new")
    reader.join()
    assert read == [b"new"]
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="no regular file") as caught, replacing_by_name(pipe):
        pytest.fail("the work began")
    assert caught.value.filename == str(pipe)


def test_a_full_device_stays_one_and_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"), replacing(Path("/dev/full")) as file:
        file.write(bytes(1 << 21))
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"), replacing(Path("/dev/full")) as file:
        file.write(b"found out when it is closed")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@contextmanager
def child_within(manager: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has entered this context manager, and stays there."""
    code = "import sys; from pathlib import Path; from tea_llm._files import replacing, scratch_directory\n"
    code += f"with {manager}: print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=dict(os.environ)) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "x.npy"
    with child_within(f"replacing(Path({str(target)!r}))") as child:
        (part,) = names(tmp_path)
        with replacing(target) as file:
            file.write(b"first")
            assert part in names(tmp_path)
        child.kill()
    assert names(tmp_path) == [part, "x.npy"]
    (tmp_path / ".x.npy.part").touch()  # a download's, which is gone on with
    (tmp_path / ".other.npy.0123abcd.part").touch()
    with replacing(target) as file:
        file.write(b"second")
    assert names(tmp_path) == [".other.npy.0123abcd.part", ".x.npy.part", "x.npy"]


def test_a_scratch_directory_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    with child_within(f"scratch_directory(Path({str(tmp_path)!r}), '.pull-')") as child:
        (left,) = names(tmp_path)
        with scratch_directory(tmp_path, ".pull-") as own:
            assert names(tmp_path) == sorted([left, own.name])
        assert names(tmp_path) == [left]
        child.kill()
    with scratch_directory(tmp_path, ".pull-") as own:
        assert names(tmp_path) == [own.name]
    assert names(tmp_path) == []


def test_many_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "talk.json"
    talks = [Conversation([{"role": "user", "content": str(i) * 5000}]) for i in range(8)]

    def save(talk: Conversation) -> None:
        for _ in range(20):
            talk.save(target)

    threads = [threading.Thread(target=save, args=(talk,)) for talk in talks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Conversation.load(target).messages in [talk.messages for talk in talks]
    assert names(tmp_path) == ["talk.json"]
