"""The figures as tables."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from ..shared import timed_tokens
from .rollouts import CHUNK, LIMIT, SAME, SHARES

WORDS: Mapping[str, str] = {
    "one_walker": "the sampler: costs only, a policy that changes every round",
    "one_walker_fixed_policy": "the sampler: costs only, a fixed policy",
    "one_walker_labels": "the sampler: costs and labels",
    "two_walkers_labels": f"the sampler: costs and labels, chunks of {CHUNK} steps",
    "two_walkers_every_column": f"the sampler: costs and labels; {', '.join(SHARES)} are drawn at every step",
    LIMIT: "hand-written, AVX-512, alias tables, xoshiro128+, states only: the limit",
    SAME: "the same with the draws and costs of one_walker: Threefry, thresholds of actions",
    "c_inverse_cdf": "the same, next states by bisection of cumulative laws",
    "c_scalar": "hand-written, no vectors, alias tables, xoshiro128+, states only",
    "c_scalar_same_draws": "the same with the draws and costs of one_walker",
    "naive": "vmap, scan, jax.random.categorical twice a step",
    "gymnax": "gymnax's roll-out of CartPole, a network of 2 x 64: another world, for scale",
}


def shown(found: Mapping[str, Any]) -> list[Table]:
    """As tables, the sampler and its limit last."""
    tables = []
    if "whole" in found:
        table = Table("partitions", "seeds", "experiments/s", "million steps/s", "compile s", title="whole experiments")
        for line in found["whole"]:
            rates = f"{line['experiments_per_second']:,.0f}", f"{line['steps_per_second'] / 1e6:.1f}"
            table.add_row(f"{line['partitions']:,}", str(line["seeds"]), *rates, f"{line['compile_seconds']:.2f}")
        tables.append(table)
    if "exact" in found:
        title = "exact recursion, float64: cells of (world, schedule, step)"
        table = Table("", "worlds", "schedules", "steps", "million cells/s", "compile s", title=title)
        for line in found["exact"]:
            counts = (f"{line[name]:,}" for name in ("worlds", "schedules", "steps"))
            speed = f"{line['cells_per_second'] / 1e6:.2f}"
            table.add_row(line["what"], *counts, speed, f"{line['compile_seconds']:.2f}")
        tables.append(table)
    if "tokens" in found:
        tables += timed_tokens.shown(found["tokens"], found["two_streams"])
    return tables + _rollouts(found.get("rollouts", ()))


def _rollouts(found: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Tables, one a batch and number of devices, and what their rows mean."""
    tables = []
    for (batch, devices), group in itertools.groupby(found, lambda row: (row["batch"], row["devices"])):
        title = f"roll-outs, {batch:,} episodes at once, {devices} device{'s' * (devices > 1)}"
        name = Column("", no_wrap=True)
        table = Table(name, "M/s", "of limit", "CPU ns", "of limit", "of draws", "x naive", title=title)
        table.caption = f"million steps/s, share of {LIMIT}; CPU time of a step, shares of {LIMIT}, {SAME}"
        for row in group:
            if "absent" in row:
                table.add_row(row["name"], "absent")
                continue
            speed, share = _short(row["steps_per_second"] / 1e6), _share(row[f"of_{LIMIT}"])
            shares = (_share(row[f"of_{peer}_by_cpu"]) for peer in (LIMIT, SAME))
            naive = "" if row["of_naive"] is None else f"{row['of_naive']:,.0f}"
            table.add_row(row["name"], speed, share, _short(row["cpu_nanoseconds"]), *shares, naive)
        tables.append(table)
    legend = Table("row", "what it is", title="roll-outs")
    for name, words in WORDS.items():
        absent = next((row["absent"] for row in found if row["name"] == name and "absent" in row), None)
        legend.add_row(name, words if absent is None else escape(f"{words} (absent: {absent})"))
    return [legend, *tables] if found else []


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value > 0.001 else f"{value:.0e}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
