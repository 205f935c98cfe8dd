"""What a run ran on."""

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp

_DECIDING = ("dagger_jax", "jax", "jaxlib", "numpy", "scipy", "flax", "optax", "scikit-learn", "pyarrow")
_PACKAGES = (*_DECIDING, "matplotlib")


def versions() -> dict[str, str]:
    """The versions of Python and of every package that a result may depend on.

    Returns:
        Version by name; "unknown" for a package that is used without being installed.
    """
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def software() -> dict[str, str]:
    """What must be equal for two processes to measure the same bits.

    Returns:
        Version by name, the digest of the source, the kind of device, and how many bits JAX's floats have.
    """
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _DECIDING},
        "source": source(),
        "backend": jax.default_backend(),
        "floats": str(jnp.result_type(float)),
    }


@functools.cache
def source() -> str:
    """The digest of the source that measures: every module of the engine and of the experiments but the report's.

    Returns:
        A sha256 in hexadecimal digits.
    """
    engine, digest = Path(__file__).parents[1], hashlib.sha256()
    inside = engine / "experiments"  # where a wheel has them; in a checkout they are beside the engine
    for folder in (engine, inside if inside.is_dir() else engine.parent / "experiments"):
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder)
            if folder != engine or name.parts[0] not in ("report", "experiments"):
                line = f"{folder.name}/{name.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
                digest.update(line.encode())
    return digest.hexdigest()


class Unavailable(Exception):
    """JAX has no device to run on; the message says why, in one line."""


def start() -> None:
    """Makes JAX find its devices.

    Raises:
        Unavailable: there are none of the kind that is asked for.
    """
    try:
        jax.devices()
    except Exception as error:  # a RuntimeError as a rule; where a plugin is missing an AssertionError
        asked = os.environ.get("JAX_PLATFORMS")
        where = f" on the JAX_PLATFORMS={asked} that the environment asks for" if asked else ""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unavailable(f"JAX cannot start{where} ({reason})") from error


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
