"""The automatic context where a container leaves little memory. Needs root, for a mount namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT = 16 * 2**30
MIB = 2**20
CHILD = """
import json, sys, tea_llm
with tea_llm.load(sys.argv[1], mmap=sys.argv[2] == "True", n_parallel=1) as llm:
    print(json.dumps([llm.info.n_ctx, llm._model.n_ctx_train]))
"""
MOUNTS = """
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/memory
put() {  # directory, name of the limit, of the usage, prefix of the counts
    echo "$LIMIT" > "$1/$2"
    echo "$USAGE" > "$1/$3"
    printf "$4inactive_file %d\\n$4active_file %d\\n" "$INACTIVE" "$ACTIVE" > "$1/memory.stat"
}
put /sys/fs/cgroup memory.max memory.current ''
put /sys/fs/cgroup/memory memory.limit_in_bytes memory.usage_in_bytes total_
"""


def contexts(path: Path, *, left: int, inactive: int = 0, active: int = 0, mmap: bool = True) -> tuple[int, int]:
    """The automatic and the trained context where a group has so much left beside the page cache of files."""
    usage = LIMIT - left + inactive + active
    variables = f"LIMIT={LIMIT} USAGE={usage} INACTIVE={inactive} ACTIVE={active}"
    command = f'{variables}\n{MOUNTS}\nexec "$0" "$@"'
    run = subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", command, sys.executable, "-c", CHILD, str(path), str(mmap)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    n_ctx, n_trained = json.loads(run.stdout)
    return n_ctx, n_trained


@pytest.mark.parametrize("arch", ["gemma3", "lfm2", "llama"])
def test_a_model_that_was_just_read_has_its_context(tiny_model: Callable[..., Path], arch: str) -> None:
    path = tiny_model(arch)
    for inactive, active in ((LIMIT // 2, 0), (0, LIMIT // 2)):
        n_ctx, n_trained = contexts(path, left=64 * MIB, inactive=inactive, active=active)
        assert n_ctx == n_trained
    n_ctx, n_trained = contexts(path, left=MIB)
    assert n_ctx == 256 < n_trained


def test_mapped_weights_count(tiny_model: Callable[..., Path]) -> None:
    """They have to come back into memory whenever something is computed; those that were read are there."""
    path = tiny_model("llama", n_embd=512, n_layer=6)  # 57 MiB of them
    read, n_trained = contexts(path, left=72 * MIB, mmap=False)
    assert read == n_trained
    mapped, _ = contexts(path, left=72 * MIB)
    assert 256 <= mapped < n_trained
