"""Speed of the sampler, of whole experiments and of token worlds, against what everyone writes first.

python -m experiments.benchmark --out=benchmark.json
"""

import json
import time

from absl import logging
from rich.console import Console
from rich.table import Table

from dagger_jax.runtime import files, record

from .. import claim
from ..claim import Settings, sizes, tool
from ..shared import timed_tokens
from ..shared.timed_rollouts import ACTIONS, HORIZON, STATES, sampler, whole

ABOUT = (
    "speed of the sampler against the roll-out that everyone writes first, of whole experiments, and of token worlds. "
    "Prints tables; medians over timed calls."
)
FLAGS = (
    tool.file("out", "Where the figures go.", ".json"),
    claim.integers("repeats", "Timed calls of each program; medians are reported.", low=1, many=False),
    claim.integers("batches", "Episodes at once.", low=1, high=1 << 32),
    claim.integers(
        "baseline_limit", "The largest batch of the naive roll-out: it is slow and stores much.", low=1, many=False
    ),
    claim.integers("token_batches", "Texts written at once.", low=1, high=1 << 32),
)
DEFAULTS = {
    "out": None,
    "repeats": 3,
    "batches": (1024, 4096, 16384, 65536, 1048576),
    "baseline_limit": 16384,
    "token_batches": (1, 64, 1024),
}


def memory(settings: Settings) -> tuple[claim.Need, ...]:
    """What the largest batches take."""
    naive = max((batch for batch in settings.batches if batch <= settings.baseline_limit), default=0)
    config = timed_tokens.decoder()
    cache = 2 * config.layers * config.width * timed_tokens.LENGTH * (2 if config.dtype == "bfloat16" else 4)
    return (
        claim.Need("the batches of episodes", 40 * max(settings.batches)),  # what is kept of each, and its walkers
        claim.Need("the naive roll-out", naive * (8 * HORIZON + 4 * (STATES + ACTIONS))),  # keys by step, laws
        claim.Need("the caches of token_batches", 2 * max(settings.token_batches) * cache),
    )


def main(settings: Settings) -> None:
    """Measures, prints and writes."""
    logging.set_verbosity("warning")  # not which backends JAX did not find
    sizes.fit(settings.values, DEFAULTS, memory)
    if settings.out:
        tool.writable("out", settings.out)
    found = {
        "device": record.device(),
        "versions": record.versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "world": f"S={STATES} A={ACTIONS} T={HORIZON}",
        "sampler": sampler(settings.batches, settings.baseline_limit, settings.repeats),
        "whole": whole(settings.repeats),
        "tokens": timed_tokens.measure(settings.token_batches, settings.repeats),
        "two_streams": timed_tokens.streams(settings.repeats),
    }
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"device: {found['device']}", markup=False)
    shown = Table("roll-out", "batch", "million steps/s", "times naive", "compile s", title=found["world"])
    for line in found["sampler"]:
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.0f}"
        speed = f"{line['steps_per_second'] / 1e6:.2f}"
        shown.add_row(line["what"], f"{line['batch']:,}", speed, ratio, f"{line['compile_seconds']:.2f}")
    console.print(shown)
    table = Table("partitions", "seeds", "experiments/s", "million steps/s", "compile s", title="whole experiments")
    for line in found["whole"]:
        rates = f"{line['experiments_per_second']:,.0f}", f"{line['steps_per_second'] / 1e6:.1f}"
        table.add_row(f"{line['partitions']:,}", str(line["seeds"]), *rates, f"{line['compile_seconds']:.2f}")
    console.print(table)
    for each in timed_tokens.shown(found["tokens"], found["two_streams"]):
        console.print(each)
    if settings.out:
        files.replace(settings.out, json.dumps(found, indent=2).encode())
        console.print(f"written to {settings.out}", markup=False)


if __name__ == "__main__":
    tool.run("benchmark", ABOUT, FLAGS, DEFAULTS, main)
