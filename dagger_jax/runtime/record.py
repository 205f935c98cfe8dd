"""What a run ran on, and how long the compiler took."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import jax
import jax.monitoring

_PACKAGES = ("dagger_jax", "jax", "jaxlib", "numpy", "scipy", "flax", "optax", "pyarrow", "matplotlib")
_COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


@contextmanager
def compile_clock() -> Iterator[Callable[[], float]]:
    """Measures tracing, lowering and compiling while the context is open.

    Yields:
        A function without arguments: the seconds so far. A compilation inside a trace counts once.
    """
    spans: list[tuple[float, float]] = []

    def listen(event: str, start_time: float, end_time: float, **_: str | int) -> None:
        if event in _COMPILING:
            while spans and spans[-1][0] >= start_time:
                spans.pop()
            spans.append((start_time, end_time))

    jax.monitoring.register_event_time_span_listener(listen)
    try:
        yield lambda: sum(end - start for start, end in spans)
    finally:
        jax.monitoring.unregister_event_time_span_listener(listen)


def versions() -> dict[str, str]:
    """The versions of Python and of every package that a result may depend on.

    Returns:
        Version by name; "unknown" for a package that is used without being installed.
    """
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def software() -> dict[str, str]:
    """What must be equal for two processes to measure the same bits.

    Returns:
        Version by name, and the kind of device.
    """
    deciding = ("dagger_jax", "jax", "jaxlib", "numpy", "pyarrow")
    return {**{name: _version(name) for name in deciding}, "backend": jax.default_backend()}


def device() -> dict[str, str | int | None]:
    """The devices in words.

    Returns:
        Backend, kind and number of devices, and the host's processors and system.
    """
    devices = jax.devices()
    return {
        "backend": jax.default_backend(),
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processors": os.cpu_count(),
        "system": platform.platform(),
    }


def revision() -> str | None:
    """The git revision of the engine's source, followed by "-dirty" where tracked files differ from it.

    Returns:
        The revision, or None where the source is not in a git repository.
    """
    package = Path(__file__).parent
    # An installed package may lie inside somebody else's repository, which does not track it.
    if not _git(package, "ls-files", Path(__file__).name):
        return None
    commit = _git(package, "rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git(package, "status", "--porcelain", "-uno") else commit or None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
