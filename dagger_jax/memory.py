"""How much memory is free: of the machine, of the control group that the process is in, and of the device."""

import os
from pathlib import Path

import jax

_GROUPS = Path("/sys/fs/cgroup")


def host() -> int:
    """Bytes that this process may still take, as far as the system tells; what it may drop counts as free."""
    return max(0, min([_machine(), *_groups()]))


def device() -> int | None:
    """Free bytes of the device that JAX computes on; None where it has no memory of its own, or does not tell."""
    known = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return known["bytes_limit"] - known.get("bytes_in_use", 0) if known and "bytes_limit" in known else None


def require(what: str, need: float, *, on_device: bool = False, instead: str = "") -> None:
    """Refuses what does not fit into the free memory, of the machine or of the device.

    Raises:
      ValueError: what it is, the bytes that it would take, what is free, and what to do `instead`.
    """
    own = device() if on_device else None
    free = host() if own is None else own
    if need > free:
        raise ValueError(f"{what} would take {words(need)} ({need:,.0f} bytes), and {words(free)} are free{instead}")


def words(count: float) -> str:
    """A number of bytes for readers."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.3g} EiB"


def _machine() -> int:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups() -> list[int]:
    """What each control group above the process, of version 1 or 2, leaves."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            root, names = _GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            root, names = _GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the group's own path may not be there, and the root is its own.
        left += [
            free
            for folder in (group, *group.parents)
            if folder.is_relative_to(root)
            if (free := _left(folder, *names)) is not None
        ]
    return left


def _left(folder: Path, limit: str, used: str, cached: str) -> int | None:
    try:
        most = int((folder / limit).read_text())  # "max", and so no number, where there is no limit
        now = int((folder / used).read_text())
        rest = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return most - now + int(rest.get(cached, 0))
