"""What `sample_complexity` measures of whole trajectories (Foster, Block and Misra) and of single labels (Stagger)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax import randomness, schedules
from dagger_jax.bounds import statistics
from dagger_jax.precision import float64
from dagger_jax.tabular import gallery, interaction, learners, rollout
from dagger_jax.types import Array, Problem, Schedule

from ..claim import devices
from .cases import ACTIONS, Point, cliff, cloned, gaps, keys, mean, padded, plain

SCATTER = ("reset_cliff", "sparse_reset_cliff", "recoverable_reset_cliff", "identity_bandit", "random_mdp", "dyck")
STEPS, STATES = 12, 8  # of the scatter's worlds; of dyck with two kinds of brackets, two deep, too
EPISODES, SCATTER_ROUNDS = 6, 8  # a round
SMOOTHING = (0.0, 1.0)  # of the log loss
RARITIES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # zeta x labels bought for behavioural cloning
STAGGER_STATES = 8
PARTS = (1, 2, 4, 8)  # of the budget, for the slope in the number of labels


# ---- gaps against distances of trajectory laws ----------------------------------------------------------------------


def scatter_world(world: str, seed: int) -> Problem:
    """A small world with a deterministic expert; all have the same shapes, so that each function is compiled once."""
    match world:
        case "reset_cliff":
            found = cliff(STEPS, STATES, 6)
        case "sparse_reset_cliff":
            found = plain(cliff(STEPS, STATES, 6), sparse=True)
        case "recoverable_reset_cliff":
            found = cliff(STEPS, STATES, 6, recoverable=True)
        case "identity_bandit":
            found = gallery.identity_bandit(STEPS, STATES, ACTIONS, 6, stationary=True)
        case "dyck":
            found = gallery.dyck(STEPS, kinds=2, depth=2, deterministic=True)
        case _:
            found = gallery.random_mdp(STEPS, STATES, ACTIONS, (seed, 0), stationary=True)
    found = plain(found)
    moves, expert = (
        np.broadcast_to(array, (STEPS, *array.shape[1:])) for array in (found.world.transition, found.expert)
    )
    return dataclasses.replace(found, world=dataclasses.replace(found.world, transition=moves), expert=expert)


@functools.partial(devices.jit, static_argnames=("shared",))
def _rounds(
    problem: Problem, sampler: rollout.Tables, schedule: Schedule, replicas: Array, smoothing: Array, *, shared: bool
) -> Array:
    """Policies [R, N, L, S, A] after each round, of the log loss."""

    def one(key: Array) -> Array:
        interpreter = interaction.by_sampling(sampler, randomness.words(key), jnp.arange(EPISODES, dtype=jnp.uint32))
        learner = learners.tabular(problem.world, learners.LogLoss(smoothing), shared)
        return interaction.run(problem, schedule, learner, interpreter, measure=lambda moment: moment.newest).measured

    return devices.over_devices(jax.vmap(one))(replicas)


@float64
def _distances(problem: Problem, policies: Array) -> statistics.Trajectories:
    return jax.vmap(statistics.trajectories, in_axes=(None, 0))(problem, policies)


def scattered(world: str, count: int, seed: int) -> tuple[list[Point], int]:
    """Learners of every kind in one world, a point each: cloned or DAgger's, shared or not, smooth or certain."""
    problem = scatter_world(world, seed)
    horizon = problem.world.horizon
    sampler = rollout.tables(problem)
    plans = {
        "behavioural_cloning": schedules.behavioural_cloning(SCATTER_ROUNDS, horizon),
        "dagger": schedules.dagger(SCATTER_ROUNDS, horizon),
    }
    points: list[Point] = []
    for algorithm, schedule in plans.items():
        for shared in (True, False):
            for smoothing in SMOOTHING:
                streams = keys(seed, repr(("scatter", world, algorithm, shared, smoothing)), count)
                found = np.asarray(_rounds(problem, sampler, schedule, streams, smoothing, shared=shared))
                kinds = {f"log_loss, smoothing {smoothing:g}": found[:, [0, 1, 3, 7]]}
                if not smoothing:
                    kinds["follow_the_leader"] = np.eye(found.shape[-1])[kinds["log_loss, smoothing 0"].argmax(-1)]
                for learner, policies in kinds.items():
                    full = np.broadcast_to(policies, (*policies.shape[:2], horizon, *policies.shape[3:])).reshape(
                        -1, horizon, *policies.shape[3:]
                    )
                    seen = _distances(problem, full)
                    points += _scatter_points(world, algorithm, learner, shared, seen)
    return points, len(plans) * 2 * len(SMOOTHING) * count * SCATTER_ROUNDS * EPISODES * horizon * 2


def _scatter_points(
    world: str, algorithm: str, learner: str, shared: bool, seen: statistics.Trajectories
) -> list[Point]:
    common = {"world": world, "algorithm": algorithm, "learner": learner, "shared": shared}
    common |= {"horizon": STEPS, "states": STATES}
    allowed = statistics.by_hellinger(seen)
    return [
        common
        | {"run": run, "gap": float(seen.gap[run]), "bound": float(allowed[run]), "range": float(seen.range[run])}
        | {"total_variation": float(seen.total_variation[run]), "hellinger": float(seen.hellinger[run])}
        for run in range(len(seen.gap))
    ]


# ---- Stagger --------------------------------------------------------------------------------------------------------


def stagger_world(horizon: int, budget: int, rarity: float, actions: int = ACTIONS, longest: int = 0) -> Problem:
    """The stationary reset cliff with a way back (mu = 1), whose rare states have probability `rarity` / `budget`.

    In arrays of the longest horizon, if one is given.
    """
    # reset_cliff takes whole samples, 1 / zeta - 1.
    samples = max(round(budget / rarity) - 1, STAGGER_STATES)
    return padded(cliff(horizon, STAGGER_STATES, samples, actions, recoverable=True), max(horizon, longest))


def mistakes(problem: Problem, wrong: np.ndarray, *, certain: bool) -> np.ndarray:
    """Exact gaps [M] of tables shared over time that are right but in the states `wrong` [M, S].

    There they take another action than the expert's (`certain`) or any action alike. Each distinct table is judged
    once; there are at most 2^S.
    """
    kinds, which = np.unique(wrong.reshape(len(wrong), -1), axis=0, return_inverse=True)
    expert = np.asarray(problem.expert[0])
    elsewhere = np.roll(expert, 1, axis=-1) if certain else np.full_like(expert, 1 / expert.shape[-1])
    tables = np.zeros((2**STAGGER_STATES, *expert.shape))  # of one shape, to be compiled once
    tables[: len(kinds)] = np.where(kinds[..., None], elsewhere, expert)
    return np.asarray(gaps(problem, tables[:, None]))[which.reshape(-1)]


@functools.partial(devices.jit, static_argnames=("rounds",))
def _staggered(problem: Problem, sampler: rollout.Tables, replicas: Array, *, rounds: int) -> tuple[Array, Array]:
    """Which states have no label yet, before each round of one label [R, N, S], and after the last [R, S]. Bool."""
    world = problem.world

    def one(key: Array) -> tuple[Array, Array]:
        own, steps = jax.random.split(key)
        plan = schedules.stagger(rounds, world.horizon, jax.random.randint(steps, (rounds,), 0, world.steps))
        interpreter = interaction.by_sampling(
            sampler, randomness.words(own), jnp.zeros(1, jnp.uint32), alone=True, block=1
        )
        learner = learners.tabular(problem.world, learners.LogLoss(), True)
        # A row of the acting policy is uniform as long as it has no label.
        seen = interaction.run(
            problem, plan, learner, interpreter, measure=lambda moment: moment.acting[0].max(-1) < 0.5
        )
        return seen.measured, seen.newest[0].max(-1) < 0.5

    return devices.over_devices(jax.vmap(one))(replicas)


def staggered(
    horizon: int, budget: int, costs: tuple[int, ...], rarity: float, actions: int, count: int, seed: int, longest: int
) -> tuple[list[Point], int]:
    """Stagger's uniform mixture after so many labels as a budget buys at each cost; and cloning for the whole budget.

    Stagger is exponential weights with log loss over all stationary tables: uniform where nothing was labelled. The
    mixture is of the policies that played, from the untrained one on.
    """
    problem = stagger_world(horizon, budget, rarity, actions, longest)
    sampler = rollout.tables(problem)
    streams = keys(seed, repr(("stagger", horizon, budget, rarity, actions)), count)
    unseen, last = (np.asarray(part) for part in _staggered(problem, sampler, streams, rounds=budget))
    ends = np.concatenate([(~unseen).sum(-1), (~last).sum(-1)[:, None]], axis=1)  # [R, N + 1] states labelled so far
    played = mistakes(problem, unseen.reshape(-1, STAGGER_STATES), certain=False).reshape(count, budget)
    log_class = STAGGER_STATES * np.log(actions)
    common = {"world": "stationary_recoverable_reset_cliff", "horizon": horizon, "states": STAGGER_STATES}
    common |= {"rarity": float(problem.world.initial[0]), "ratio": rarity, "actions": actions, "shared": True}
    bought = {budget // part for part in (*costs, *PARTS)}
    points: list[Point] = []
    for labels in sorted(bought):
        # A label in a state without one finds a mistake with probability 1 - 1 / A, every mistake costs 1, and H steps
        # are as likely to be asked about: so H (1 - 1 / A) E[states labelled] / n is the gap, exactly (derived).
        values = played[:, :labels].mean(1)
        explained = (1 - 1 / actions) * horizon / labels * ends[:, labels]
        off = mean(values - explained)
        own = {"algorithm": "stagger", "learner": "log_loss", "labels": labels, "trajectories": labels}
        own |= {"bound": float(statistics.stagger_expected(1.0, horizon, log_class, labels))}
        own |= {"closed_form": float(explained.mean())}
        own |= {"difference": off["gap"], "difference_stderr": off["gap_stderr"]}
        points.append(common | mean(values) | own)
    rivals = _rivals(problem, sampler, horizon, budget, 16 * count, seed)  # a few steps each, and of larger spread
    return points + [common | rival for rival in rivals], count * budget * horizon


def _rivals(
    problem: Problem, sampler: rollout.Tables, horizon: int, budget: int, count: int, seed: int
) -> list[dict[str, Any]]:
    """Behavioural cloning for the same number of labels, whole trajectories, with either default on the same data.

    "follow_the_leader" keeps one action of its own wherever it has seen nothing, wrong in the bad state, else wrong
    with probability 1 - 1 / A, drawn once for all steps. "log_loss" guesses there as Stagger does, at every step anew,
    and so leaves the bad state after A tries on average.
    """
    trajectories, chance = budget // horizon, float(problem.world.initial[0])
    labels, actions = trajectories * horizon, problem.world.actions
    samples, guess = round(1 / chance) - 1, 1 - 1 / actions
    streams = keys(seed, repr(("rival", horizon, budget, chance, actions)), count)
    rule = learners.LogLoss()
    found = np.asarray(cloned(problem, sampler, streams, rule, episodes=trajectories, shared=True))[:, 0]
    unseen = found.max(-1) < 0.5
    wrong = unseen & (np.random.default_rng((seed, horizon, actions)).random(unseen.shape) < guess)
    wrong[:, -1] = True
    guided = {"algorithm": "behavioural_cloning", "labels": labels, "trajectories": trajectories}
    rivals: list[dict[str, Any]] = []
    for learner, where, fixed in (("follow_the_leader", wrong, True), ("log_loss", unseen, False)):
        form = gallery.stationary_reset_cliff_gap(
            horizon, STAGGER_STATES, actions, samples, labels, stays=1.0 if fixed else guess, fixed=fixed
        )
        values = mean(mistakes(problem, where, certain=fixed))
        rivals.append(guided | values | {"learner": learner, "closed_form": form})
    return rivals
