"""What `chunk_price` measures: schedules in thousands a call, each beside its bound and its closed form."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import bounds, evidence, schedules
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, gallery, learners, oracle, rollout
from dagger_jax.types import Array, Problem, Schedule

from ..shared import study

# Where the error of a chunk lies, in each world: at all of its steps alike, all at its first, all at its last one.
PLACED: Mapping[str, tuple[tuple[str, oracle.Placement], ...]] = {
    "chunk_reset": (("chunked", "uniform"), ("chunked", "first"), ("reset", "last")),
    "cliff": (("chunked", "uniform"),),
    "debt": (("chunked", "first"),),
}
TAIL = 8  # a drawn chunk is at most so many times as long as the mean
TRAJECTORIES, ROUNDS = 20, 10  # a fitted learner sees 20 T expert trajectories, in ten rounds
STATES, ACTIONS = 8, 4  # of its world


# ---- one schedule, judged ------------------------------------------------------------------------------------


class Price(NamedTuple):
    """What is exactly known of a learner under a schedule."""

    gap: Array  # []
    bound: Array  # [] the combined bound, or that of the reset variant
    training_error: Array  # [] average over steps


def _judged(problem: Problem, policy: Array, row: Schedule, resets: Array) -> Price:
    known = evidence.constants(problem)
    seen = evidence.measure(problem, policy, row, known)
    continued, reset = (bounds.BOUNDS[name].value(row, seen, known) for name in ("combined", "reset variant"))
    return Price(seen.gap, jnp.where(resets, reset, continued), seen.eps.mean())


def _oracle(problem: Problem, starts: Array, resets: Array, errors: Array) -> Price:
    """The oracle learner whose chunks start at `starts` [T]: the expert's, or its own (the reset variant)."""
    continued, reset = (schedules.row(build(1, starts), 0) for build in (schedules.chunked, schedules.reset))
    either = schedules.stack([continued, reset])
    row = jax.tree.map(lambda column: jnp.where(resets, column[1], column[0]), either)
    return _judged(problem, oracle.policy(problem, row, errors), row, resets)


def _geometric(problem: Problem, mean: Array, eps: Array | float) -> Price:
    """Chunks that end by a coin, in `chunk_reset`: a learner that errs in state B first, as far as eps allows.

    B then carries training mass, so that no learner errs there for nothing; harm in B and in G is equal, and
    `oracle` would not know which to prefer.
    """
    row = schedules.row(schedules.chunked(1, schedules.geometric(problem.world.horizon, mean)), 0)

    def react(error: Array, law: Array) -> Array:
        good, bad = law
        stays = jnp.minimum(1.0, error / jnp.where(bad > 0, bad, error))
        falls = jnp.maximum(error - bad, 0.0) / good
        return jnp.array([[1 - falls, falls], [1 - stays, stays]])

    policy = exact.forward(problem, row, react, jnp.full(problem.world.horizon, eps)).policy
    return _judged(problem, policy, row, jnp.zeros((), bool))


price = float64(jax.vmap(_oracle, in_axes=(None, 0, 0, 0)))
price_geometric = float64(jax.vmap(_geometric, in_axes=(None, 0, None)))


# ---- closed forms ---------------------------------------------------------------------------------------------


def lengths(starts: Array) -> np.ndarray:
    """Lengths of the chunks that start at the entries of `starts` [T] that are not 0."""
    return np.diff(np.append(np.flatnonzero(starts), len(starts)))


def equal(horizon: int, chunks: int) -> np.ndarray:
    """Lengths of a number of chunks, as equal as whole steps allow."""
    return horizon // chunks + (np.arange(chunks) < horizon % chunks)


def closed_form(world: str, placed: tuple[str, str], starts: Array, errors: np.ndarray, eps: float) -> float | None:
    """The gap that theory states exactly, or None."""
    match world, *placed:
        case "chunk_reset", "chunked", "first":
            return eps * float((lengths(starts) ** 2).sum())  # T k eps, if k divides T
        case "chunk_reset", "chunked", "uniform":
            return gallery.chunk_reset_gap(lengths(starts), eps)
        case "cliff", "chunked", "uniform":
            return gallery.cliff_gap(len(errors), eps)
        case "chunk_reset", "reset", "last":  # the first mistake lasts: sum_t P(one by step t)
            return float(-np.expm1(np.cumsum(np.log1p(-errors))).sum())
    return None


def small_error(world: str, algorithm: str, starts: Array, errors: np.ndarray, u: int = 1) -> float:
    """The gap to first order in eps: sum_t eps_t x (what a first mistake at t costs)."""
    to_the_end = np.arange(len(errors), 0, -1)
    left = np.repeat(lengths(starts), lengths(starts)) - schedules.offsets(jnp.asarray(starts))
    costs = to_the_end if world == "cliff" or algorithm == "reset" else np.minimum(u * np.asarray(left), to_the_end)
    return float((costs * errors).sum())


# ---- blocks of points -----------------------------------------------------------------------------------------


def debt(horizon: int, u: int, longest: int) -> Problem:
    """The debt world, with room for the debts of two chunks that go wrong."""
    return gallery.debt(horizon, u, most=2 * longest * u)


def equal_chunks(problem: Problem, chunks: Sequence[int], eps: float, u: int = 1) -> list[dict[str, Any]]:
    """Chunks of equal lengths, in one call: a point a length, direction and placement."""
    world, horizon = problem.name, problem.world.horizon
    starts = schedules.starts(horizon, np.array(chunks))
    cases = [(place, placed) for placed in PLACED[world] for place in range(len(chunks))]
    joined = np.stack([starts[place] for place, _ in cases])
    resets = np.array([algorithm == "reset" for _, (algorithm, _) in cases])
    errors = np.stack([oracle.placement(starts[place], eps, where) for place, (_, where) in cases])
    found = price(problem, joined, resets, errors)
    return [
        {"algorithm": placed[0], "placement": placed[1], "law": "equal", "chunk": chunks[place]}
        | {"longest": min(chunks[place], horizon)}
        | {"closed_form": closed_form(world, placed, starts[place], errors[case], eps)}
        | {"small_error": small_error(world, placed[0], starts[place], errors[case], u)}
        | {name: values[case] for name, values in found._asdict().items()}
        for case, (place, placed) in enumerate(cases)
    ]


def laws(mean: int) -> dict[str, np.ndarray]:
    """Laws of chunk lengths 1, 2, ... of (nearly) equal means and growing variance."""
    size = np.arange(1, TAIL * mean + 1)
    spread, twice = (size < 2 * mean) * 1.0, np.zeros(TAIL * mean)
    twice[[0, 4 * mean - 1]] = 3 * mean, mean - 1
    each = {"uniform": spread, "geometric": (1 - 1 / mean) ** (size - 1), "two lengths": twice}
    return {name: law / law.sum() for name, law in each.items()}


def renewal(horizon: int, law: np.ndarray, eps: float) -> float:
    """The expected gap in `chunk_reset` of independent chunk lengths, the last one cut at the horizon."""
    size = np.arange(1, len(law) + 1)
    gaps = np.array([0.0, *(gallery.chunk_reset_gap(np.array([k]), eps) for k in range(1, horizon + 1))])
    expected = np.zeros(horizon + 1)
    for left in range(1, horizon + 1):
        expected[left] = law @ (gaps[np.minimum(size, left)] + expected[np.maximum(left - size, 0)])
    return float(expected[horizon])


def random_lengths(horizon: int, means: Sequence[int], eps: float, count: int, seed: int) -> list[dict[str, Any]]:
    """At least `count` random partitions in one call: lengths drawn independently, and cuts at random steps."""
    problem = gallery.chunk_reset(horizon)
    groups = [(name, mean, law) for mean in means for name, law in laws(mean).items()]
    each = -(-count // (len(groups) + 1))
    longest = max(len(law) for *_, law in groups)
    chances = np.stack([np.pad(law, (0, longest - len(law))) for *_, law in groups])
    keys = jax.random.split(jax.random.key(seed), (len(groups), each))
    draw = jax.vmap(jax.vmap(schedules.drawn, in_axes=(0, None, None)), in_axes=(0, None, 0))
    drawn = np.asarray(draw(keys, horizon, chances)).reshape(-1, horizon)
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(1, horizon), (each, 1)), axis=1)
    wanted = np.exp(rng.uniform(0, np.log(horizon), (each, 1)))
    cuts = np.where(np.arange(1, horizon) < wanted, order, horizon)
    starts = np.concatenate([drawn, jax.vmap(lambda steps: schedules.forks(horizon, steps))(cuts)])
    named = [(name, mean) for name, mean, _ in groups for _ in range(each)] + [("random cuts", None)] * each
    errors = np.full(starts.shape, eps)
    found = price(problem, starts, np.zeros(len(starts), bool), errors)
    return [
        {"algorithm": "chunked", "placement": "uniform", "law": name, "chunk": mean, "run": place}
        | {"pieces": len(pieces := lengths(starts[place])), "closed_form": gallery.chunk_reset_gap(pieces, eps)}
        | {"small_error": eps * float((pieces * (pieces + 1)).sum()) / 2, "longest": int(pieces.max())}
        | {"equal_gap": gallery.chunk_reset_gap(equal(horizon, len(pieces)), eps)}
        | {field: values[place] for field, values in found._asdict().items()}
        for place, (name, mean) in enumerate(named)
    ]


def geometric(horizon: int, means: Sequence[int], eps: float) -> list[dict[str, Any]]:
    """Chunks that end by a coin at every step: gap = eps sum_t E[r_t], to first order and at most."""
    found = price_geometric(gallery.chunk_reset(horizon), np.array(means, float), eps)
    expected = [eps * np.cumsum((1 - 1 / mean) ** np.arange(horizon)).sum() for mean in means]
    return [
        {"algorithm": "chunked", "placement": "uniform", "law": "coins", "chunk": mean}
        | {"small_error": expected[place], "longest": mean}
        | {name: values[place] for name, values in found._asdict().items()}
        for place, mean in enumerate(means)
    ]


def fitted(horizon: int, chunk: int, runs: int, seed: int) -> tuple[list[dict[str, Any]], int]:
    """Learners that follow the leader on sampled labels, where rare mistakes can be made good; a point a run."""
    trajectories = TRAJECTORIES * horizon
    problems = [
        gallery.reset_cliff(horizon, STATES, ACTIONS, trajectories, (seed, run), recoverable=True)
        for run in range(runs)
    ]
    batch = study.stacked(problems)
    samplers = rollout.tables(batch)
    starts, episodes = schedules.starts(horizon, chunk), trajectories // ROUNDS
    schedule = schedules.chunked(ROUNDS, starts, schedules.beta_indicator(ROUNDS))
    keys, rule = jax.random.split(jax.random.key(seed), runs), learners.Majority()
    policies = study.train(batch, samplers, schedule, keys, rule, episodes=episodes, shared=False, alone=False)
    row = schedules.row(schedules.chunked(1, starts), 0)
    judged = study.judge(batch, policies, row, batch=True)
    points = [
        {"algorithm": "chunked", "law": "equal", "chunk": chunk, "run": run}
        | {
            "gap": judged.gap[run],
            "bound": judged.bounds["combined"][run],
            "training_error": judged.training_error[run],
        }
        for run in range(runs)
    ]
    return points, 2 * ROUNDS * episodes * horizon * runs
