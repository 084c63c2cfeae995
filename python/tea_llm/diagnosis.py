"""The checks of ``tea-llm doctor``: the state of this installation on this machine, and its problems.

A child process runs the native code, so that an installation that crashes can still be examined.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tea_llm import _child
from tea_llm._native import IS_NATIVE, _core
from tea_llm._version import __version__
from tea_llm.backends.api.endpoint import is_configured, resolve
from tea_llm.errors import ConfigError, LlmError, ModelNotFoundError
from tea_llm.inspection import problem_with
from tea_llm.paths import found_models, missing_models, models_dir, resolve_model_path, searched_places
from tea_llm.settings import LlmSettings

__all__ = ["Check", "diagnose"]

_SELF_TEST_S = 2.0
_CHILD_TIMEOUT_S = 60.0
_MAX_ERROR = 0.05  # relative error of a product; 8-bit activations cause 0.01


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: such as ``"threads"``.
        summary: the result in one line.
        problem: the problem and its remedy; None: no problem.
        facts: the result for programs, as JSON values.
    """

    name: str
    summary: str
    problem: str | None
    facts: dict[str, Any]


def diagnose(settings: Mapping[str, Any] | LlmSettings | None = None) -> list[Check]:
    """Checks the installation, the machine, models and settings; includes a self-test of two seconds.

    Args:
        settings: as ``create_llm_backend``; None: no settings.

    Returns:
        The results, in the order to show them. They contain no key or other secret.

    Raises:
        ConfigError: the settings are not valid.
    """
    parsed = LlmSettings.parse(settings)
    native = _ask_child()
    model = _check_model(parsed, can_look="problem" not in native)
    api = _check_api(parsed)
    if model.problem is not None and api.facts["is_configured"]:  # one of the two is enough
        model = Check(model.name, model.summary, None, model.facts)
    return [_check_python(), *_check_native(native), *_check_configured(parsed), model, api]


def _check_python() -> Check:
    facts = {
        "tea_llm": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "package": str(Path(__file__).parent),
    }
    summary = f"tea-llm {__version__}, Python {facts['python']}, {facts['platform']}"
    return Check("installation", summary, None, facts)


def _ask_child() -> dict[str, Any]:
    """The facts that the native code reports in a child process, or ``{"problem": ...}``."""
    try:
        facts = _child.run("kernels", str(_SELF_TEST_S), timeout=_CHILD_TIMEOUT_S)
        return facts | {"limits": _core.limits()}
    except (LlmError, TimeoutError) as error:
        return {"problem": str(error)}
    except _child.ChildDiedError as error:
        return {
            "problem": f"the self-test {error}: this build does not match this CPU "
            "(see TEA_LLM_CPU_VARIANT in docs/install.md), or a library is damaged"
        }


def _check_native(native: dict[str, Any]) -> list[Check]:
    if "problem" in native:
        return [Check("engine", "does not run here", native["problem"], {"is_native": IS_NATIVE})]
    return [_check_cpu(native), _check_threads(native), _check_memory(native), *_check_work(native)]


def _check_cpu(native: dict[str, Any]) -> Check:
    variants = native["variants"]
    used = next(variant["name"] for variant in variants if variant["is_in_use"])
    if len(variants) == 1:
        why = "compiled for the machine that built it"
    else:
        others = [variant["name"] for variant in variants if variant["score"] > 0 and not variant["is_in_use"]]
        why = f"of {len(variants)} variants; {', '.join(others) or 'no other'} would also run"
    facts = {"variant": used, "variants": variants, "kernels": native["kernels"]}
    return Check("CPU kernels", f"{used}: {why}", None, facts)


def _check_threads(native: dict[str, Any]) -> Check:
    limits = native["limits"]
    quota = "no quota" if limits["quota_cores"] is None else f"a cgroup's quota of {limits['quota_cores']:g} cores"
    summary = (
        f"{native['n_threads']}: {limits['n_physical_cores']} physical cores in {limits['n_cpus_allowed']} of "
        f"{limits['n_cpus']} CPUs that this process may use; {quota}"
    )
    facts = {"n_threads": native["n_threads"]} | {
        key: limits[key] for key in ("n_cpus", "n_cpus_allowed", "n_physical_cores", "quota_cores")
    }
    return Check("threads", summary, None, facts)


def _check_memory(native: dict[str, Any]) -> Check:
    limits = native["limits"]
    free, group = limits["free_memory"], limits["free_group_memory"]
    summary = "unknown" if free < 0 else f"{_gigabytes(free)} free"
    if group >= 0:
        summary += f", {_gigabytes(group)} of it in this process's cgroup"
    return Check("memory", summary, None, {"free_bytes": free, "free_group_bytes": group})


def _check_work(native: dict[str, Any]) -> list[Check]:
    devices, results = native["devices"], native["self_test"]
    names = "; ".join(f"{device['name']} ({device['description'].strip()})" for device in devices)
    wrong = [result["type"] for result in results if result["error"] is None or result["error"] > _MAX_ERROR]
    problem = f"the kernels for {', '.join(wrong)} give wrong results on this CPU" if wrong else None
    summary = ", ".join(f"{result['type']} {result['gflops']:.0f}" for result in results) + " GFLOP/s"
    return [
        Check("devices", names, None, {"devices": devices}),
        Check("self-test", summary, problem, {"results": results}),
    ]


def _check_configured(settings: LlmSettings) -> list[Check]:
    """A check for each model file that is configured but missing."""
    remedy = "correct or remove the path; until then another model may be used"
    return [
        Check("configured model", line, f"{line}: {remedy}", {"strict": settings.strict})
        for line in missing_models(settings)
    ]


def _check_model(settings: LlmSettings, *, can_look: bool) -> Check:
    try:
        path = resolve_model_path(settings)
    except ModelNotFoundError:  # strict settings
        path = None
    files = [str(file) for file in found_models()]
    facts = {"path": None if path is None else str(path), "searched": searched_places(settings), "files": files}
    if path is None:
        problem = "no model file and no API: download the small default model with 'tea-llm pull smollm2-135m'"
        return Check("model", f"none; {len(files)} files in {models_dir()}", problem, facts)
    fault = problem_with(path) if can_look else None
    advice = None if fault is None else f"{path} is {fault}. Download it again with 'tea-llm pull'"
    return Check("model", f"{path} ({_gigabytes(path.stat().st_size)})", advice, facts)


def _check_api(settings: LlmSettings) -> Check:
    if not is_configured(settings):
        return Check("API", "none configured", None, {"is_configured": False})
    try:
        endpoint = resolve(settings)
    except ConfigError as error:
        return Check("API", "cannot be used", str(error), {"is_configured": False})
    facts = {
        "is_configured": True,
        "provider": endpoint.provider,
        "url": endpoint.url,
        "model": endpoint.model,
        "has_key": bool(endpoint.key),
    }
    key = "with a key" if endpoint.key else "without a key"
    model = f"{endpoint.model} (the default)" if endpoint.has_default_model else endpoint.model
    return Check("API", f"{endpoint.provider}, {model} at {endpoint.url}, {key}", None, facts)


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
