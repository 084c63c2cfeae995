"""What memory there is, and which contexts it allows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from tea_llm import _core

reads_linux_files = pytest.mark.skipif(sys.platform != "linux", reason="these files are Linux's")

GIB = 2**30
GROUPS = {
    "v2": {
        "proc/self/cgroup": "0::/pod/me\n",
        "sys/fs/cgroup/pod/me/memory.max": f"{12 * GIB}\n",
        "sys/fs/cgroup/pod/me/memory.current": f"{11 * GIB}\n",
        "sys/fs/cgroup/pod/me/memory.stat": f"anon {GIB}\nfile {10 * GIB}\ninactive_file {7 * GIB}\n"
        f"active_file {3 * GIB}\n",
    },
    "v1": {
        "proc/self/cgroup": "7:cpu,cpuacct:/\n4:memory:/pod/me\n0::/\n",
        "sys/fs/cgroup/memory/pod/me/memory.limit_in_bytes": f"{12 * GIB}\n",
        "sys/fs/cgroup/memory/pod/me/memory.usage_in_bytes": f"{11 * GIB}\n",
        "sys/fs/cgroup/memory/pod/me/memory.stat": f"cache 5\ninactive_file 1\nactive_file 2\n"
        f"total_inactive_file {7 * GIB}\ntotal_active_file {3 * GIB}\n",
    },
}


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@reads_linux_files
@pytest.mark.parametrize("version", GROUPS)
def test_the_page_cache_of_files_counts_as_free(version: str, tmp_path: Path) -> None:
    """As in the machine's own MemAvailable: a model that was just read leaves as much as before."""
    root = write(tmp_path, GROUPS[version] | {"proc/meminfo": "MemTotal: 99 kB\nMemAvailable:  20971520 kB\n"})
    limits = _core.limits(root)
    assert limits["free_group_memory"] == 11 * GIB
    assert limits["free_memory"] == 20 * GIB


@reads_linux_files
def test_the_tightest_group_counts(tmp_path: Path) -> None:
    above = {
        "sys/fs/cgroup/pod/memory.max": f"{4 * GIB}\n",
        "sys/fs/cgroup/pod/memory.current": f"{3 * GIB}\n",  # and no memory.stat
    }
    assert _core.limits(write(tmp_path, GROUPS["v2"] | above))["free_group_memory"] == GIB


@reads_linux_files
def test_no_limit(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/me\n", "sys/fs/cgroup/me/memory.max": "max\n"}
    limits = _core.limits(write(tmp_path, files | {"sys/fs/cgroup/me/memory.current": "5\n"}))
    assert limits["free_group_memory"] == -1
    assert limits["free_memory"] == -1


@pytest.mark.parametrize(("arch", "full_bytes"), [("gemma3", 12 * 128), ("lfm2", 12 * 128), ("llama", 6 * 128)])
def test_a_context_is_refused_when_its_cache_does_not_fit(
    tiny_model: Callable[..., Path], arch: str, full_bytes: int
) -> None:
    """Of 12 layers, half have a window or a state: their caches hardly count. A token takes 128 bytes in a full one."""
    path = tiny_model(arch, n_layer=6 if arch == "llama" else 12)
    limits = _core.limits()
    free = min(limits[key] or 0 for key in ("free_memory", "free_group_memory") if limits[key] != -1)
    n_fitting = int(0.7 * free / (6 * 128))
    assert arch == "llama" or n_fitting * full_bytes > free
    tea_llm.load(path, n_ctx=min(n_fitting, 2**31 - 257), n_parallel=1).close()
    if 2 * n_fitting < 2**31 - 256:
        with pytest.raises(ValueError, match=rf"n_ctx={2 * n_fitting} needs a KV cache of [\d.]+ GiB, but only"):
            tea_llm.load(path, n_ctx=2 * n_fitting, n_parallel=1)
