"""Speed of the sampler against hand-written C and other roll-outs, of whole experiments, and of token worlds.

python -m experiments.benchmark --out=benchmark.json
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from absl import logging
from rich.console import Console

from dagger_jax.runtime import files, record

from .. import claim
from ..claim import Settings, devices, sizes, tool
from ..claim.flags import DEVICES, PRESET
from ..shared import timed_rollouts, timed_tokens
from ..shared.timed_rollouts import ACTIONS, HORIZON, STATES
from . import rollouts, tables

ABOUT = (
    "how near the sampler comes to the limit of the machine, which is hand-written C beside it, built here and now; "
    "against the roll-out that everyone writes first, and gymnax's; whole experiments, the exact recursion, and token "
    "worlds. Timed in turn, medians; prints tables."
)
PARTS = ("whole", "exact", "tokens", "rollouts")
FLAGS = (
    tool.file("out", "Where the figures go.", ".json"),
    PRESET,
    DEVICES,
    claim.names("parts", "What is measured.", PARTS),
    claim.integers("repeats", "Timed calls of each program; medians are reported.", low=1, many=False),
    claim.integers("batches", "Episodes at once.", low=1, high=1 << 32),
    claim.names("cores", "Whether roll-outs run on one device, on all, or on both in turn.", ("one", "all")),
    claim.integers(
        "baseline_limit", "The largest batch of the naive roll-out and of gymnax: they are slow.", low=1, many=False
    ),
    claim.integers("partitions", "Distinct chunk partitions that are one call of whole experiments.", low=1),
    claim.integers("token_batches", "Texts written at once.", low=1, high=1 << 32),
)
DEFAULTS = {
    "out": None,
    "preset": "default",
    "devices": None,
    "parts": PARTS,
    "repeats": 5,
    "batches": (8192, 65536),
    "cores": ("one", "all"),
    "baseline_limit": 1024,
    "partitions": (1, 64, 2048, 16384),
    "token_batches": (1, 64, 1024),
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "parts": ("whole", "exact", "rollouts"),
        "repeats": 3,
        "batches": (8192,),
        "cores": ("all",),
        "baseline_limit": 64,
        "partitions": (64,),
    },
    "default": {},
    "full": {"repeats": 9, "batches": (1024, 8192, 65536, 1048576), "baseline_limit": 16384},
}


def memory(settings: Settings) -> tuple[claim.Need, ...]:
    """What the largest batches take."""
    naive = min(max(settings.batches), settings.baseline_limit)
    config = timed_tokens.decoder()
    cache = 2 * config.layers * config.width * timed_tokens.LENGTH * (2 if config.dtype == "bfloat16" else 4)
    return (
        claim.Need("the batches of episodes", 40 * max(settings.batches)),  # what is kept of each, and its walkers
        claim.Need("the naive roll-out", naive * (8 * HORIZON + 4 * (STATES + ACTIONS))),  # keys by step, laws
        claim.Need("the partitions of whole experiments", 40_000 * max(settings.partitions)),
        claim.Need("the caches of token_batches", 2 * max(settings.token_batches) * cache),
    )


def measure(settings: Settings) -> dict[str, Any]:
    """The figures of each part."""
    repeats = settings.repeats
    parts = {
        "whole": lambda: timed_rollouts.whole(repeats, settings.partitions),
        "exact": lambda: timed_rollouts.sweep(repeats),
        "tokens": lambda: timed_tokens.measure(settings.token_batches, repeats),
        "two_streams": lambda: timed_tokens.streams(repeats),
        "rollouts": lambda: rollouts.measure(settings.batches, settings.cores, settings.baseline_limit, repeats),
    }
    return {name: part() for name, part in parts.items() if name.replace("two_streams", "tokens") in settings.parts}


def main(settings: Settings) -> None:
    """Measures, prints and writes."""
    logging.set_verbosity("warning")  # not which backends JAX did not find
    devices.start(settings.devices)
    devices.check()
    sizes.fit(settings.values, {**DEFAULTS, **PRESETS[settings.preset]}, memory)
    if settings.out:
        tool.writable("out", settings.out)
    about = {
        "device": record.device() | {"used": devices.used()},
        "versions": record.versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "world": f"S={STATES} A={ACTIONS} T={HORIZON}",
    }
    found = measure(settings)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"device: {about['device']}, {about['world']}", markup=False)
    for table in tables.shown(found):
        console.print(table)
    if settings.out:
        files.replace(settings.out, json.dumps(about | found, indent=2).encode())
        console.print(f"written to {settings.out}", markup=False)


if __name__ == "__main__":
    tool.run("benchmark", ABOUT, FLAGS, DEFAULTS, main, presets=PRESETS)
