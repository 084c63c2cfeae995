"""Limits on threads and memory, at every moment: calls raise LlmError or do with less, and the process lives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.process import USE_AS_BUILT, run_python

_START = """
import json, os, resource, sys, tea_llm

path, moment, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
told = []

def attempt(work):
    try:
        told.append(str(work()))
    except (tea_llm.LlmError, MemoryError) as error:
        told.append(type(error).__name__)

def use(llm):
    attempt(lambda: llm.call("Hello", max_tokens=3, ignore_eos=True).tokens_used)
    if moment == "later":
        limit()
    attempt(lambda: llm.call("Hello " * 100, max_tokens=20, ignore_eos=True).tokens_used)
    attempt(lambda: llm.call("Hello", max_tokens=20, regex="[a-z]{20}").tokens_used)
    attempt(lambda: len(llm.embed(["Hello", "world " * 90] * 8)))

def all_of_it():
    if moment == "load":
        limit()
    with tea_llm.load(path, n_threads=2, n_ctx=1024) as llm:
        if moment == "call":
            limit()
        use(llm)
        told.append(llm.stats().threads)
    return "done"

def limit_memory():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + n, used + n))
"""
_END = "attempt(all_of_it)\nprint(json.dumps(told))\n"
KIB = 1024
LARGE_STACKS = ("bash", "-c", 'ulimit -s 1048576; exec "$@"', "bash")
ROOMS = [100, 6000, 8500, 9000, 10_000, 12_000, 17_000, 20_000, 25_000, 70_000, 250_000]


@pytest.mark.parametrize("moment", ["load", "call", "later"])
@pytest.mark.parametrize("arch", ["llama", "bert"])
def test_an_address_space_that_ends(tiny_model: Callable[..., Path], arch: str, moment: str) -> None:
    """Once, std::bad_alloc as a thread's first exception ended the process: there was no memory to throw it."""
    outcomes = set()
    for room in ROOMS:
        args = [str(tiny_model(arch)), moment, str(room * KIB)]
        child = run_python(f"{_START}limit = limit_memory\n{_END}", args=args)
        assert child.returncode == 0, (room, child.stderr[-3000:])
        outcomes.add(child.stdout)
    assert any("Error" in one for one in outcomes), "no limit was reached: the rooms are too large"
    assert any('"done"' in one for one in outcomes)


@pytest.mark.parametrize("moment", ["load", "call", "later"])
def test_threads_that_may_not_be_started(tiny_model: Callable[..., Path], moment: str) -> None:
    """RLIMIT_NPROC, which binds everyone but root. What is imported late has to be there before root is left."""
    if os.geteuid() != 0:
        pytest.fail("needs root, to become somebody who runs nothing else")
    become_nobody = """
def limit():
    resource.setrlimit(resource.RLIMIT_NPROC, (len(os.listdir("/proc/self/task")) + n,) * 2)

moment, wanted = "", moment
all_of_it()
told.clear()
moment = wanted
os.setuid(61_234)
"""
    outcomes = []
    with tempfile.TemporaryDirectory() as directory:  # pytest's own is closed to others
        os.chmod(directory, 0o755)  # noqa: PTH101, S103 - to whom the child becomes
        model = shutil.copy(tiny_model("llama"), directory)
        for n in range(6):
            child = run_python(f"{_START}{become_nobody}{_END}", args=[model, moment, str(n)])
            assert child.returncode == 0, (n, child.stderr[-3000:])
            outcomes.append(child.stdout)
    assert "Error" in outcomes[0] or moment == "later"
    assert '"done"' in outcomes[-1]
    assert "Error" not in outcomes[-1]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A control group that can limit how many tasks it has, as a container's ``--pids-limit`` does."""
    root = Path("/sys/fs/cgroup")
    path = (root / "pids" if (root / "pids").is_dir() else root) / f"tea-llm-{os.getpid()}-{tmp_path.name}"
    path.mkdir()
    if not (path / "pids.max").exists():
        path.rmdir()
        pytest.fail(f"needs the pids controller in {root}/cgroup.subtree_control")
    yield path
    path.rmdir()


_IN_GROUP = """
group, n = sys.argv[3], int(sys.argv[2])

def put(name, value):
    with open(f"{group}/{name}", "w") as file:
        file.write(str(value))

def limit_group():
    put("pids.max", max(0, len(os.listdir("/proc/self/task")) + n))

put("pids.max", "max")  # the child before had a limit
put("cgroup.procs", os.getpid())
"""


@pytest.mark.parametrize("moment", ["load", "call", "later"])
@pytest.mark.parametrize("arch", ["llama", "bert"])
def test_a_container_that_may_start_no_more(
    tiny_model: Callable[..., Path], group: Path, arch: str, moment: str
) -> None:
    code = f"{_START.replace('int(sys.argv[3])', '0')}{_IN_GROUP}limit, moment = limit_group, '{moment}'\n{_END}"
    outcomes = []
    for n in range(5):
        child = run_python(code, args=[str(tiny_model(arch)), str(n), str(group)])
        assert child.returncode == 0, (n, child.stderr[-3000:])
        outcomes.append(child.stdout)
    assert "Error" in outcomes[0] or moment == "later" or arch == "bert"
    assert '"done"' in outcomes[-1]
    assert ("Error" in outcomes[-1]) == (arch == "bert"), "bert generates nothing"


_ADAPT = """
import threading, time

llm = tea_llm.load(sys.argv[1], n_ctx=1024)
begin, problems = threading.Event(), []

def repeat(work):
    begin.wait()
    end = time.monotonic() + 2
    try:
        while time.monotonic() < end:
            work()
    except BaseException as error:
        problems.append(error)

def call():
    assert llm.call("Hello", max_tokens=20, ignore_eos=True).tokens_used == 20

def embed():
    assert len(llm.embed(["Hello", "world " * 90])) == 2

call(), embed()
workers = [threading.Thread(target=repeat, args=[work]) for work in (call, embed)]
[worker.start() for worker in workers]
limit_group()
begin.set()
[worker.join() for worker in workers]
call(), embed()
llm.close()
assert not problems, problems
print("done")
"""


@pytest.mark.parametrize("n", [-2, 0, 8])
def test_adapting_in_a_container_that_may_start_no_more(tiny_model: Callable[..., Path], group: Path, n: int) -> None:
    """Two that compute at once share the processors: threads come and go, and those that went may not come back."""
    code = f"import os, sys, tea_llm\n{_IN_GROUP}{_ADAPT}"
    child = run_python(code, args=[str(tiny_model("llama")), str(n), str(group)])
    assert child.returncode == 0, child.stderr[-3000:]
    assert child.stdout == "done\n"


@pytest.mark.parametrize("arch", ["llama", "bert"])
def test_fewer_compute_threads_than_wanted(tiny_model: Callable[..., Path], arch: str) -> None:
    """Stacks of 1 GiB and an address space for some of them: as many compute as can be started, and the log says so."""
    code = f"""
{USE_AS_BUILT}
import logging
{_START}
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
llm = tea_llm.load(path, n_threads=4)
n_bytes = int(n / 10 * 2**30)
n = n_bytes
limit_memory()
if llm.info.n_ctx and "bert" not in path:
    print(llm.call("Hello", max_tokens=3, ignore_eos=True).tokens_used, llm.stats().threads)
print(len(llm.embed(["Hello", "world " * 50])))
llm.close()
"""
    for tenths, n_threads in ((12, 1), (23, 2), (34, 3), (90, 4)) if arch == "llama" else ((2, 1), (13, 2), (80, 4)):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        child = subprocess.run(
            [*LARGE_STACKS, sys.executable, "-c", code, str(tiny_model(arch)), "", str(tenths)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=120,
        )
        assert child.returncode == 0, (tenths, child.stdout, child.stderr[-3000:])
        if arch == "llama":
            assert f"3 {n_threads}\n" in child.stdout
        assert ("4 compute threads could not be started" in child.stdout) == (n_threads < 4), child.stdout


_FEW_THREADS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *data) {
    static atomic_int n_started;
    if (atomic_fetch_add(&n_started, 1) >= atoi(getenv("MAX_THREADS"))) return EAGAIN;
    return ((create *)dlsym(RTLD_NEXT, "pthread_create"))(thread, attributes, start, data);
}
"""


@pytest.mark.parametrize("arch", ["llama", "bert"])
def test_threads_that_somebody_else_takes_meanwhile(tiny_model: Callable[..., Path], tmp_path: Path, arch: str) -> None:
    """So many can be started in all: some are there when they are tried, and not when ggml starts its own."""
    source, library = tmp_path / "few.c", tmp_path / "few.so"
    source.write_text(_FEW_THREADS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)  # noqa: S607
    use = 'llm.embed(["Hello"])' if arch == "bert" else 'llm.call("Hello", max_tokens=3)'
    code = f"""
    import sys, tea_llm
    try:
        llm = tea_llm.load(sys.argv[1], n_threads=3)
        {use}
        print("done", flush=True)
    except tea_llm.LlmError as error:
        print(type(error).__name__, flush=True)
    """
    outcomes = []
    for n in range(8):
        environment = {"LD_PRELOAD": str(library), "MAX_THREADS": str(n), "OPENBLAS_NUM_THREADS": "1"}
        child = run_python(code, env=environment, args=[str(tiny_model(arch))])
        assert child.returncode == 0, (n, child.stderr[-3000:])
        outcomes.append(child.stdout.strip())
    n_needed = 1 if arch == "bert" else 2  # to load; the engine's
    assert outcomes[n_needed:] == ["done"] * (8 - n_needed)
    assert all(outcome.endswith("Error") for outcome in outcomes[:n_needed])
