"""Steps per second of the roll-out, and the two ceilings of the device that it stays below."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import randomness, schedules
from dagger_jax.tabular import rollout
from dagger_jax.types import Array
from dagger_jax.walk import block_size

from ..shared.timed_rollouts import problem
from ..shared.timed_tokens import timed

STATES, ACTIONS, HORIZON = 100, 5, 1000
REPEATS = 3
# 32-bit operations of one Threefry-2x32 call: 20 rounds of add, two shifts, or, xor; 6 key additions of two words.
THREEFRY = 20 * 5 + 6 * 2
# Bytes of a step and walker: state and cost read and written, the episode's index, a row of A - 1 thresholds, an alias
# entry and a cost. All from device memory, which tables of this size need not be: the share is an upper estimate.
BYTES = 4 * (2 + 2 + 1 + (ACTIONS - 1) + 1 + 1)


@functools.cache
def _measured(small: bool) -> dict[str, float]:
    """Bytes copied and 32-bit operations, both per second."""
    on_cpu = jax.default_backend() == "cpu"
    copied, chained = (1 << 22, 1 << 16) if small else ((1 << 24, 1 << 20) if on_cpu else (1 << 29, 1 << 26))
    array = jnp.arange(copied, dtype=jnp.float32)
    copying = timed(jax.jit(lambda array: array + 1), array, repeats=5)[1]
    turns = 64

    @jax.jit
    def chain(words: Array) -> Array:
        for turn in range(turns):  # the operations of Threefry: add, rotate, xor
            words = words + jnp.uint32(turn)
            words = ((words << 13) | (words >> 19)) ^ jnp.uint32(0x9E3779B9)
        return words

    computing = timed(chain, jnp.arange(chained, dtype=jnp.uint32), repeats=5)[1]
    return {"bytes_per_second": 2 * array.nbytes / copying, "operations_per_second": chained * turns * 5 / computing}


def ceilings(small: bool) -> Iterator[dict[str, Any]]:
    """A large copy (bytes read and written), and a long chain of elementwise uint32 operations."""
    yield _measured(small)


def shares(steps: float, small: bool) -> dict[str, float]:
    """How much of each ceiling so many walker-steps per second are.

    A lone walker needs one call of Threefry a step, two walkers share two. On a CPU, whose caches hold the walkers,
    they may move more bytes than a copy does.
    """
    limit = _measured(small)
    return {
        "share_of_operations": steps * THREEFRY / limit["operations_per_second"],
        "share_of_copying": steps * BYTES / limit["bytes_per_second"],
    }


def steps(small: bool) -> Iterator[dict[str, Any]]:
    """One walker, costs only: every batch, whole, in smaller blocks, and in the blocks that the library picks."""
    yield from _speeds(small, walkers=1, visits=False)


def two_walkers(small: bool) -> Iterator[dict[str, Any]]:
    """Two walkers in chunks of 10 steps, costs and labels."""
    yield from _speeds(small, walkers=2, visits=True)


def _speeds(small: bool, walkers: int, visits: bool) -> Iterator[dict[str, Any]]:
    horizon = 50 if small else HORIZON
    case = problem(horizon)
    tables = rollout.tables(case)
    policy = np.random.default_rng(0).dirichlet(np.ones(ACTIONS), (1, STATES)).astype(np.float32)
    row = schedules.row(schedules.chunked(1, schedules.starts(horizon, 10)), 0)
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)

    @functools.partial(jax.jit, static_argnames="block")
    def play(tables: rollout.Tables, ids: Array, block: int) -> Any:
        seen, episodes = rollout.play(tables, policy, row, key, ids, alone=walkers == 1, block=block)
        return (seen, episodes) if visits else episodes.novice_cost

    sizes = (1 << 10, 1 << 12) if small else tuple(1 << power for power in (20, 24, 16, 12, 22, 18, 14))
    if jax.default_backend() == "cpu" and not small:
        sizes = (1 << 12, 1 << 14, 1 << 16)
    measured: list[dict[str, Any]] = []
    picked = block_size()
    for batch in sizes:
        # Blocks follow each other: more than 16 of them say no more than 16.
        for block in dict.fromkeys(
            (min(picked, batch), batch, *(b for b in (1 << 12, 1 << 16) if 1 < batch // b <= 16))
        ):
            repeats = REPEATS if batch < 1 << 22 else 1
            compiling, running = timed(play, tables, jnp.arange(batch, dtype=jnp.uint32), block, repeats=repeats)
            speed = walkers * batch * horizon / running
            line = {"batch": batch, "block": block, "picked": block == min(picked, batch), "steps_per_second": speed}
            measured.append(line | shares(speed, small) | {"compile_seconds": compiling})
            yield {"horizon": horizon, "block_picked": picked, "measured": measured}
