"""What is measured, the most valuable first."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from dagger_jax.runtime import record

from . import same, speed, whole

Found = Iterator[dict[str, Any]]


class Part(NamedTuple):
    """One part. `measure` says, again and again, what is known so far."""

    measure: Callable[[bool], Found]  # (small sizes?)
    weight: float  # its share of the time


def device(small: bool) -> Found:
    """The card, its driver and memory, the software, the commit."""
    first = jax.devices()[0]
    yield {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": record.revision(),
        **record.device(),
        "card": _card(),
        "memory_bytes": (first.memory_stats() or {}).get("bytes_limit"),
        "host": platform.processor() or platform.machine(),
        "versions": record.versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "small": small,
    }


def _card() -> str | None:
    """Name, driver and memory as the driver tells them; None where there is no such tool."""
    fields = "--query-gpu=name,driver_version,memory.total"
    try:
        done = subprocess.run(
            ["nvidia-smi", fields, "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


PARTS: Mapping[str, Part] = {
    "device": Part(device, 0.2),
    "same_statistics": Part(same.statistics, 2),
    "exact_agrees": Part(same.exact_agrees, 2),
    "ceilings": Part(speed.ceilings, 1),
    "steps": Part(speed.steps, 3),
    "two_walkers": Part(speed.two_walkers, 2),
    "schedules": Part(whole.schedules, 2),
    "tokens": Part(whole.tokens, 3),
    "main_job": Part(whole.main_job, 3),
}
