"""Steps per second of the sampler, of the roll-out that everyone writes first, of gymnax, and of hand-written C."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import randomness, schedules
from dagger_jax.tabular import rollout
from dagger_jax.types import Array, Schedule

from ..claim import devices
from ..shared.timed_rollouts import ACTIONS, HORIZON, STATES, problem
from .peers import KERNELS, Peers, cores
from .plain import CARTPOLE_STEPS, cartpole, naive
from .turns import Taken, in_turn

CHUNK = 10  # steps
SHARES = {"join": 0.1, "beta": 0.3, "back": 0.05, "noise": 0.1}  # of the row that has every column
POLICIES = 4  # played in turn
FAST = {"avx512": 1 << 15, "avx512_same_draws": 1 << 14}  # episodes at least: fewer are done before a clock could tell
LIMIT, SAME = "c_avx512", "c_avx512_same_draws"
SHARED = (LIMIT, SAME, "c_scalar", "naive", "gymnax")  # rows say which shares of these they reach
Calls = dict[str, tuple[float, Callable[[], Any]]]  # steps of all walkers in a call, and the call


def spread(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Jits a function whose last argument, [B, ...], is divided among devices; results are [D, ...], one a device."""

    def whole(*arguments: Any) -> Any:
        *common, last = arguments
        own = lambda part: jax.tree.map(lambda leaf: leaf[None], function(*common, part[0]))
        return devices.over_devices(own)(last.reshape(count, -1, *last.shape[1:]))

    return devices.jit(whole)


def policies() -> np.ndarray:
    """Learners' policies, [POLICIES, 1, S, A] float32."""
    return np.random.default_rng(0).dirichlet(np.ones(ACTIONS), (POLICIES, 1, STATES)).astype(np.float32)


def sampler(batch: int, count: int) -> Calls:
    """The ways in which the sampler is used, in calls of `batch` episodes."""
    tables, several = rollout.tables(problem()), [jnp.asarray(policy) for policy in policies()]
    turn, first = itertools.cycle(several), policies()[0]
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    ids = jnp.arange(batch, dtype=jnp.uint32)
    chunks = schedules.row(schedules.chunked(1, schedules.starts(HORIZON, CHUNK)), 0)
    full = chunks._replace(**{name: np.full(HORIZON, share, np.float32) for name, share in SHARES.items()})

    def play(row: Schedule, alone: bool, labels: bool) -> Callable[[], Any]:
        def call(tables: rollout.Tables, policy: Array, ids: Array) -> Any:
            seen, episodes = rollout.play(tables, policy, row, key, ids, alone=alone)
            return (seen, episodes) if labels else episodes.novice_cost

        program = spread(call, count)
        return lambda: program(tables, next(turn), ids)

    fixed = spread(lambda tables, ids: rollout.play(tables, first, chunks, key, ids, alone=True)[1].novice_cost, count)
    steps = float(batch * HORIZON)
    return {
        "one_walker": (steps, play(chunks, True, False)),
        "one_walker_fixed_policy": (steps, lambda: fixed(tables, ids)),
        "one_walker_labels": (steps, play(chunks, True, True)),
        "two_walkers_labels": (2 * steps, play(chunks, False, True)),
        "two_walkers_every_column": (2 * steps, play(full, False, True)),
    }


def others(batch: int, plain_batch: int, count: int, threads: int) -> Calls:
    """The peers: C in calls of as many episodes or more, naive JAX and gymnax of `plain_batch`."""
    case = problem()
    key = randomness.for_round(randomness.words(jax.random.key(0)), 0)
    peers = Peers(case, policies()[0], key)
    keys = jax.random.split(jax.random.key(0), -(-plain_batch // count) * count)
    plain = spread(functools.partial(naive, case.world, policies()[0]), count)

    @functools.cache
    def rolled() -> Callable[[Array], Array]:
        return spread(cartpole(), count)

    many = {f"c_{name}": (name, max(batch, FAST.get(name, 0))) for name in KERNELS}
    return {
        row: (float(episodes * HORIZON), functools.partial(peers.play, name, episodes, threads))
        for row, (name, episodes) in many.items()
    } | {
        "naive": (float(len(keys) * HORIZON), lambda: plain(keys)),
        "gymnax": (float(len(keys) * CARTPOLE_STEPS), lambda: rolled()(keys)),
    }


def measure(batches: Sequence[int], on: Sequence[str], plain_limit: int, repeats: int) -> list[dict[str, Any]]:
    """All of them in turn, and their speeds in shares of the limit's.

    Args:
      batches: episodes of a call.
      on: "one" device, "all", or both; C runs on as many cores, where devices are cores, and otherwise on all.
      plain_limit: the most episodes of naive JAX and gymnax.
      repeats: timed calls of each; a walker's step counts once.

    Returns:
      A row each, with `absent` in place of figures where there is no such peer here.
    """
    found: list[dict[str, Any]] = []
    counts = dict.fromkeys({"one": 1, "all": devices.used()}[each] for each in on)
    for asked, count in itertools.product(batches, counts):
        batch = -(-asked // count) * count
        threads = count if jax.default_backend() == "cpu" else cores()
        calls = sampler(batch, count) | others(batch, min(batch, plain_limit), count, threads)
        taken = in_turn({name: call for name, (_, call) in calls.items()}, repeats)
        found += lines(batch, count, {name: (steps, taken[name]) for name, (steps, _) in calls.items()})
    return found


def lines(batch: int, count: int, taken: Mapping[str, tuple[float, Taken | str]]) -> list[dict[str, Any]]:
    """Rows of steps and what they took: speeds and their shares of `SHARED`, by wall clock and by CPU time."""
    measured = {name: (steps, each) for name, (steps, each) in taken.items() if isinstance(each, Taken)}
    speeds = {name: steps / each.seconds for name, (steps, each) in measured.items()}
    costs = {name: each.cpu_seconds / steps for name, (steps, each) in measured.items()}
    rows = []
    for name, (_, each) in taken.items():
        row = {"name": name, "batch": batch, "devices": count}
        if isinstance(each, str):
            rows.append(row | {"absent": each})
            continue
        row |= {"steps_per_second": speeds[name], "cpu_nanoseconds": 1e9 * costs[name]}
        row |= {f"of_{peer}": speeds[name] / speeds[peer] if peer in speeds else None for peer in SHARED}
        row |= {f"of_{peer}_by_cpu": costs[peer] / costs[name] if peer in costs else None for peer in SHARED}
        rows.append(row | {"compile_seconds": max(0.0, each.first_seconds - each.seconds)})
    return rows
